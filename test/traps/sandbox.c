/*
 * sandbox.c - system call filters: what the library calls once the program runs
 *
 * A filter kills for a call that it does not know, or lets madvise only pretend.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "load.h"
#include "trap.h"

/* Others may make some of these calls by other numbers. */
#if defined(__x86_64__) || defined(__aarch64__)
#define ALLOW(nr)                                                             \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1),                      \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void install(struct sock_filter *filter, size_t len)
{
	struct sock_fprog program = { (unsigned short)len, filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		trap_skip("no seccomp filters here");
}

/* What a strict sandbox lets an allocator do once the program runs. */
#define SANDBOX_CALLS                                                                          \
	ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_mprotect),            \
		ALLOW(SYS_madvise), ALLOW(SYS_brk), ALLOW(SYS_futex), ALLOW(SYS_sched_yield),  \
		ALLOW(SYS_write), ALLOW(SYS_clock_gettime), ALLOW(SYS_rt_sigreturn),           \
		ALLOW(SYS_getrusage),                                                          \
		ALLOW(SYS_exit_group), ALLOW(SYS_exit), ALLOW(SYS_rt_sigprocmask)

static void enter_sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		SANDBOX_CALLS,
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

/* What idle_reclaim calls beyond that. */
static void enter_wider_sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		SANDBOX_CALLS,
		ALLOW(SYS_clock_nanosleep), ALLOW(SYS_membarrier), ALLOW(SYS_getpid),
		ALLOW(SYS_gettid), ALLOW(SYS_tgkill),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

/* What reports call beyond that. */
static void enter_reporting_sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		SANDBOX_CALLS,
		ALLOW(SYS_getpid), ALLOW(SYS_newfstatat), ALLOW(SYS_fstat),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

static void reports_in_a_sandbox(void)
{
	const char *wrong = churn(3, 1000, 100, MIB);

	CHECK(!wrong, "%s", wrong);
	enter_reporting_sandbox();
	malloc_stats();
	exit(0);
}

static pthread_barrier_t cached, done;

/* Its cache is full, and it sleeps. */
static void *idles(void *unused)
{
	const char *wrong = churn(5, 20000, 1000, 2000);

	CHECK(!wrong, "%s", wrong);
	pthread_barrier_wait(&cached);
	pthread_barrier_wait(&done);
	return unused;
}

static void sandbox_with_an_idle_thread(void (*enter)(void))
{
	pthread_t thread;
	int i;

	pthread_barrier_init(&cached, NULL, 2);
	pthread_barrier_init(&done, NULL, 2);
	CHECK(pthread_create(&thread, NULL, idles, NULL) == 0);
	pthread_barrier_wait(&cached);
	enter();
	for (i = 0; i < 40; i++) {
		const struct timespec pause = { 0, 5000000 };
		const char *wrong = churn((uint64_t)i, 2000, 300, 20000);

		CHECK(!wrong, "%s", wrong);
		if (enter == enter_wider_sandbox)
			nanosleep(&pause, NULL);
	}
	malloc_trim(0);
	_exit(0);
}

static void idle_thread_in_a_sandbox(void)
{
	sandbox_with_an_idle_thread(enter_sandbox);
}

static void idle_thread_in_a_wider_sandbox(void)
{
	sandbox_with_an_idle_thread(enter_wider_sandbox);
}

static void in_a_sandbox(void)
{
	const char *wrong = churn(3, 1000, 100, MIB);

	CHECK(!wrong, "%s", wrong);
	enter_sandbox();
	wrong = churn(1, 20000, 1000, MIB / 2);
	CHECK(!wrong, "%s", wrong);
	wrong = churn(2, 200, 20, 40 * MIB);
	CHECK(!wrong, "%s", wrong);
	malloc_trim(0);
	survive_failure_of((size_t)1 << 50);
	_exit(0);
}

/* As in an emulator: madvise says yes and leaves everything where it is. */
static void let_madvise_pretend(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

static void madvise_pretends(void)
{
	size_t size;

	let_madvise_pretend();
	for (size = 100; size < 20 * MIB; size = size * 3 / 2) {
		void *p = malloc(size), *beside = malloc(size / 3);

		memset(p, 0x5a, size);
		memset(beside, 0x77, size / 3);
		free(p);
		malloc_trim(0);
		p = calloc(1, size);
		CHECK(is_zero(p, size), "%zu bytes", size);
		free(beside);
		free(p);
	}
}

/* The same of an array of which little was used, and where that lies nobody looks. */
static void madvise_pretends_of_gaps(void)
{
	const size_t size = 64 * MIB;
	char *p;

	let_madvise_pretend();
	p = malloc(size);
	for (size_t at = 3 * 4096; at < size; at += 2 * MIB)
		memset(p + at, 0x5a, 4096);
	free(p);
	CHECK(is_zero(calloc(1, size), size));
}

static const struct trap_case cases[] = {
	{ .name = "idle_thread_in_a_sandbox", .run = idle_thread_in_a_sandbox,
	  .conf = "idle_reclaim:false,decay_ms:20" },
	{ .name = "idle_thread_in_a_wider_sandbox", .run = idle_thread_in_a_wider_sandbox,
	  .conf = "decay_ms:20" },
	{ .name = "in_a_sandbox", .run = in_a_sandbox },
	{ .name = "in_a_sandbox_when_purging", .run = in_a_sandbox, .conf = "decay_ms:0" },
	{ .name = "reports_in_a_sandbox", .run = reports_in_a_sandbox, .conf = "stats_print:true",
	  .says = "^buddymalloc: statistics of pid [0-9]+ \\(sandbox\\)\n(buddymalloc: [^\n]*\n)+"
		  "buddymalloc: report of pid [0-9]+ \\(sandbox\\)\n(buddymalloc: [^\n]*\n)+$" },
	{ .name = "madvise_pretends", .run = madvise_pretends },
	{ .name = "madvise_pretends_of_gaps", .run = madvise_pretends_of_gaps },
};

TRAP_MAIN(cases)
#else
#include <stdio.h>

int main(void)
{
	puts("what a filter has to allow is not known for this processor");
	return 77;
}
#endif
