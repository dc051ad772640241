/*
 * interrupted.c - a signal's handler that forks, or calls exit, at each instruction of the library
 *
 * What such a handler finds half done crashes its child once in some thousand times, if a timer
 * sends the signal (signals.c). So here the signal comes from the instructions: each of them is
 * made a breakpoint, which its first execution removes, and the handler of SIGTRAP is the
 * program's handler. Of what it does all but the first step happens in copies of the process, made
 * by a bare clone that no handler of fork sees, so that the process itself goes on to the next
 * instruction as if nothing had been:
 *
 *  - a copy forks and returns from the handler. It and its child finish the call that was
 *    interrupted, find all objects as they were, and go on to allocate and free;
 *  - another one calls exit.
 *
 * In a process of several threads a fork waits for ever while the interrupted call holds a lock,
 * as with any allocator: there it is left out.
 *
 * Each case takes every so many instructions. INTERRUPTED_EVERY=1 takes all of them, in some
 * minutes, INTERRUPTED_FIRST=n begins with another one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

/* -------------------------------------------------------- objects, and what is in them */

#define SLOTS 200
#define KIB ((size_t)1 << 10)

static struct object {
	void *p;
	size_t size;
	uint64_t key;
} live[SLOTS];

static uint64_t seed = 1, last_key;

/* Large ones at their ends only: each page that is written is a fault in each copy. */
#define END_BYTES (4 * KIB)

static void fill_object(const struct object *o)
{
	fill(o->p, o->size < END_BYTES ? o->size : END_BYTES, o->key);
}

static void check_object(const struct object *o, size_t size)
{
	CHECK(is_filled(o->p, size < END_BYTES ? size : END_BYTES, o->key), "%zu bytes at %p",
	      o->size, o->p);
}

static void check_all(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (live[i].p)
			check_object(&live[i], live[i].size);
}

static void put(unsigned slot, void *p, size_t size)
{
	CHECK(p);
	live[slot] = (struct object){ p, size, ++last_key };
	fill_object(&live[slot]);
}

static void take(unsigned slot, size_t size)
{
	put(slot, malloc(size), size);
}

static void take_zeroed(unsigned slot, size_t size)
{
	char *p = calloc(1, size);

	CHECK(p && is_zero(p, size < END_BYTES ? size : END_BYTES));
	put(slot, p, size);
}

/* While it is the library's it is in nobody's list. */
static struct object take_out(unsigned slot)
{
	struct object o = live[slot];

	live[slot] = (struct object){ 0 };
	return o;
}

static void drop(unsigned slot)
{
	struct object o = take_out(slot);

	check_object(&o, o.size);
	free(o.p);
}

static void resize(unsigned slot, size_t size)
{
	struct object o = take_out(slot);

	o.p = realloc(o.p, size);
	CHECK(o.p);
	check_object(&o, (o.size < size ? o.size : size) & ~(size_t)7);
	put(slot, o.p, size);
}

static void churn_live(unsigned rounds)
{
	static const size_t below[] = { 64, 300, 2000, 40000 };

	while (rounds--) {
		unsigned slot = (unsigned)random_below(&seed, SLOTS);

		if (live[slot].p)
			drop(slot);
		else
			take(slot, 1 + random_below(&seed, below[random_below(&seed, 4)]));
	}
}

/* ------------------------------------------------------------------ breakpoints */

#if defined(__x86_64__)
typedef uint8_t insn_t;
#define BREAKPOINT 0xcc
#elif defined(__aarch64__)
typedef uint32_t insn_t;
#define BREAKPOINT 0xd4200000
#endif

#define INSNS_MOST 100000
#define PLAN_FD 200

/* What the runner, which may allocate, finds out for the case: see make_plan. */
static struct plan {
	long held;		/* where locks_held is among the library's thread-local data */
	unsigned nr;
	uint32_t insn[INSNS_MOST];	/* offsets from the library's base, ascending */
} plan;

#ifdef BREAKPOINT

static insn_t was[INSNS_MOST];
static char *base, *text;	/* of the library, and where its code is mapped */
static size_t text_bytes;
static off_t text_at;
static int lib_fd;
static ptrdiff_t held_at;	/* from the thread pointer */

static void put_insn(unsigned i, insn_t insn)
{
	char *at = base + plan.insn[i];

	memcpy(at, &insn, sizeof(insn));
	__builtin___clear_cache(at, at + sizeof(insn));
}

static void set_breakpoints(void)
{
	CHECK(mprotect(text, text_bytes, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	for (unsigned i = 0; i < plan.nr; i++) {
		memcpy(&was[i], base + plan.insn[i], sizeof(insn_t));
		put_insn(i, BREAKPOINT);
	}
}

/* Whole, by the file: a page that is written would be one fault more. */
static void drop_breakpoints(void)
{
	if (mmap(text, text_bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, lib_fd,
		 text_at) == MAP_FAILED)
		_exit(5);
}

static int by_offset(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uintptr_t *pc_of(ucontext_t *context)
{
#ifdef __x86_64__
	return (uintptr_t *)&context->uc_mcontext.gregs[REG_RIP];
#else
	return (uintptr_t *)&context->uc_mcontext.pc;
#endif
}

static int find_text(struct dl_phdr_info *info, size_t size, void *lib)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	char path[PATH_MAX];

	(void)size;
	if (!realpath(info->dlpi_name, path) || strcmp(path, lib) != 0)
		return 0;
	base = (char *)info->dlpi_addr;
	held_at = (char *)info->dlpi_tls_data + plan.held - (char *)__builtin_thread_pointer();
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		text = base + (ph->p_vaddr & ~page);
		text_bytes = (ph->p_vaddr + ph->p_memsz) - (ph->p_vaddr & ~page);
		text_at = (off_t)(ph->p_offset & ~page);
	}
	return 1;
}

/* ------------------------------------------------------------------ the handler */

static enum { INTERRUPTED, PARENT, CHILD, ENDS } volatile role;
static unsigned every, points;
static bool several_threads;
static unsigned long point; /* the last one's offset in the library */

/* A process that went on: all is as it was, and works. */
static void end_copy(void)
{
	uint64_t nr;

	check_all();
	churn_live(30);
	if (points % 4 == 0 || several_threads)
		malloc_trim(0);
	CHECK(bm_stat_get("threads", &nr) == 0 && (several_threads || nr == 1), "%lu threads",
	      (unsigned long)nr);
	churn_live(30);
	check_all();
	_exit(0);
}

static void judge(pid_t pid, const char *what)
{
	int status = -1;

	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	CHECK(status == 0, "%s: status %#x, interrupted at +%#lx of the library", what, status,
	      point);
}

/* A copy of the process that knows nothing of it. */
static pid_t copy(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);

	CHECK(pid >= 0);
	if (!pid) {
		drop_breakpoints();
		alarm(120);
	}
	return pid;
}

static void fork_here(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	role = pid ? PARENT : CHILD;
	if (pid)
		judge(pid, "the child");
	else
		alarm(120);
}

static bool holds_lock(void)
{
	return *(int *)(void *)((char *)__builtin_thread_pointer() + held_at) > 0;
}

/* There is less to go wrong. */
#define EXIT_EVERY 4

static void interrupt(int sig, siginfo_t *info, void *context)
{
	uintptr_t *pc = pc_of(context);
	int saved = errno;
	uint32_t offset, *found;
	unsigned i;
	pid_t pid;

	(void)sig;
	(void)info;
#ifdef __x86_64__
	*pc -= sizeof(insn_t);
#endif
	point = *pc - (uintptr_t)base;
	offset = (uint32_t)point;
	found = bsearch(&offset, plan.insn, plan.nr, sizeof(offset), by_offset);
	if (!found || role != INTERRUPTED)
		_exit(6);
	i = (unsigned)(found - plan.insn);
	put_insn(i, was[i]);
	if (i % every)
		return;
	points++;
	if (!several_threads || !holds_lock()) {
		pid = copy();
		if (!pid) {
			fork_here();
			errno = saved;
			return;
		}
		judge(pid, "who forks");
	}
	errno = saved;
	if (points % EXIT_EVERY)
		return;
	pid = copy();
	if (!pid) {
		role = ENDS;
		exit(0);
	}
	judge(pid, "who calls exit");
	errno = saved;
}

/* From here on the library is interrupted. */
static void begin(void)
{
	if (role == INTERRUPTED)
		set_breakpoints();
}

static void end(void)
{
	if (role != INTERRUPTED)
		end_copy();
	drop_breakpoints();
	CHECK(points > 20, "%u points", points);
}

/* ------------------------------------------------------------------ the cases */

static void start(unsigned by_default)
{
	static const struct sigaction action = { .sa_sigaction = interrupt,
						 .sa_flags = SA_SIGINFO };
	const char *number = getenv("INTERRUPTED_EVERY"), *first = getenv("INTERRUPTED_FIRST");
	unsigned skip = first ? (unsigned)atoi(first) : 0;
	char lib[PATH_MAX];

	if (pread(PLAN_FD, &plan, sizeof(plan), 0) != sizeof(plan) || !plan.nr || plan.held < 0)
		trap_skip("needs objdump, and a library with symbols");
	CHECK(realpath(trap_library(), lib) && dl_iterate_phdr(find_text, lib) && text);
	lib_fd = open(lib, O_RDONLY | O_CLOEXEC);
	CHECK(lib_fd >= 0 && sigaction(SIGTRAP, &action, NULL) == 0);
	every = number && atoi(number) > 0 ? (unsigned)atoi(number) : by_default;
	plan.nr -= skip;
	memmove(plan.insn, plan.insn + skip, plan.nr * sizeof(*plan.insn));
}

static void first_call(void)
{
	start(11);
	begin();
	take(0, 100);
	end();
}

static void all_sizes(void)
{
	start(83);
	churn_live(200);
	begin();
	for (unsigned i = 0; i < 60; i++)
		resize(i, 2000);
	take(60, 50 * KIB);
	take(61, 200 * KIB);
	drop(60);
	resize(61, MIB);
	drop(61);
	take(60, 2 * MIB);
	resize(60, 5 * MIB);
	drop(60);
	take_zeroed(60, 3 * MIB);
	put(61, aligned_alloc(64 * KIB, 64 * KIB), 64 * KIB);
	for (unsigned i = 0; i < 60; i++)
		drop(i);
	end();
}

static void trim(void)
{
	static void *many[400];

	start(61);
	churn_live(200);
	for (unsigned i = 0; i < 400; i++) {
		many[i] = malloc(1500);
		memset(many[i], 1, 1500);
	}
	for (unsigned i = 0; i < 400; i++)
		if (i % 13)
			free(many[i]);
	begin();
	malloc_trim(0);
	end();
}

static pthread_key_t last_key_of_thread;

/* Of the destructors the last, in the last round. */
static void end_of_thread(void *round)
{
	uintptr_t n = (uintptr_t)round + 1;

	if (n <= PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(last_key_of_thread, (void *)n);
	else
		end();
}

static void *ends(void *unused)
{
	pthread_setspecific(last_key_of_thread, (void *)1);
	churn_live(100);
	begin();
	return unused;
}

static void thread_ends(void)
{
	pthread_t thread;

	start(43);
	several_threads = true;
	churn_live(100);
	CHECK(pthread_key_create(&last_key_of_thread, end_of_thread) == 0);
	CHECK(pthread_create(&thread, NULL, ends, NULL) == 0 && pthread_join(thread, NULL) == 0);
	check_all();
}

#else

static void skip(void)
{
	trap_skip("this processor's breakpoints are not known here");
}
#define first_call skip
#define all_sizes skip
#define trim skip
#define thread_ends skip

#endif

/* Without instructions, if there is no objdump. */
static void make_plan(void)
{
	char command[2 * PATH_MAX + 100], line[1024];
	int fd = memfd_create("plan", 0), end;
	unsigned long at;
	FILE *f;

	unsetenv("LD_PRELOAD");
	snprintf(command, sizeof(command),
		 "exec 2>&1; objdump -t '%s'; objdump -d -j .text --no-show-raw-insn '%s'",
		 trap_library(), trap_library());
	plan.held = -1;
	f = popen(command, "r");
	while (f && fgets(line, sizeof(line), f)) {
		end = 0;
		if (strstr(line, ".tbss") && strstr(line, " locks_held\n"))
			plan.held = strtol(line, NULL, 16);
		/* Data, and what only fills up. */
		if (line[0] != ' ' || sscanf(line, " %lx:%n", &at, &end) != 1 || !end ||
		    strstr(line, ".word") || strstr(line, "nop") || plan.nr == INSNS_MOST)
			continue;
		plan.insn[plan.nr++] = (uint32_t)at;
	}
	if (f)
		pclose(f);
	setenv("LD_PRELOAD", trap_library(), 1);
	if (write(fd, &plan, sizeof(plan)) != sizeof(plan) || dup2(fd, PLAN_FD) < 0)
		_exit(126);
}

static const struct trap_case cases[] = {
	{ .name = "first_call", .run = first_call, .prepare = make_plan, .seconds = 500 },
	{ .name = "all_sizes", .run = all_sizes, .prepare = make_plan, .seconds = 500 },
	{ .name = "all_sizes_hardened", .run = all_sizes, .prepare = make_plan, .seconds = 500,
	  .conf = "hardened:true" },
	{ .name = "all_sizes_poisoned", .run = all_sizes, .prepare = make_plan, .seconds = 500,
	  .conf = "page_poison:true" },
	{ .name = "all_sizes_huge", .run = all_sizes, .prepare = make_plan, .seconds = 500,
	  .conf = "thp:always" },
	{ .name = "all_sizes_given_at_once", .run = all_sizes, .prepare = make_plan, .seconds = 500,
	  .conf = "decay_ms:0" },
	{ .name = "all_sizes_near_limits", .run = all_sizes, .prepare = make_plan, .seconds = 500,
	  .conf = "hard_limit:200M,soft_limit:100M" },
	{ .name = "trim_lazily", .run = trim, .prepare = make_plan, .seconds = 500,
	  .conf = "free:lazy,decay_ms:10" },
	{ .name = "trim", .run = trim, .prepare = make_plan, .seconds = 500 },
	{ .name = "thread_ends", .run = thread_ends, .prepare = make_plan, .seconds = 500 },
};

TRAP_MAIN(cases)
