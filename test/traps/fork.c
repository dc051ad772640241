/*
 * fork.c - fork in threaded processes, storms, and the ways round fork
 *
 * A lock that is held across fork shows as a child that never ends: the
 * runner's time limit turns it into a failure.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "load.h"
#include "trap.h"

extern char **environ;

static atomic_bool stop;

static void child_thread(unsigned index)
{
	for (unsigned i = 1; i <= 5; i++) {
		const char *wrong = churn(index * 77 + i, 1000, 100, 50000);

		CHECK(!wrong, "%s", wrong);
	}
}

/* ------------------------------------------------ children that go on for long */

static void *kept[3000];

static void keep_objects(void)
{
	for (size_t i = 0; i < 3000; i++) {
		kept[i] = malloc(1 + i * 7);
		CHECK(kept[i]);
		fill(kept[i], 1 + i * 7, i);
	}
}

static void drop_objects(void)
{
	for (size_t i = 0; i < 3000; i++) {
		CHECK(is_filled(kept[i], 1 + i * 7, i), "object %zu", i);
		free(kept[i]);
	}
}

static void children_go_on(void)
{
	pthread_t threads[4];

	keep_objects();
	start_busy(threads, 4);
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			drop_objects();
			run_threads(4, child_thread);
			/* A normal exit: exit handlers run in the child too. */
			exit(0);
		}
		CHECK(wait_exit(pid) == 0, "child %d", i);
	}
	end_busy(threads, 4);
	drop_objects();
}

/* Each generation has threads, forks from one of them, and waits. */
static void generation(unsigned left)
{
	pthread_t threads[2];
	const char *wrong;
	pid_t pid;

	start_busy(threads, 2);
	wrong = churn(left + 1, 3000, 200, 100000);
	CHECK(!wrong, "%s", wrong);
	if (left) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			generation(left - 1);
			exit(0);
		}
		CHECK(wait_exit(pid) == 0, "generation %u", left);
	}
	end_busy(threads, 2);
}

static void generations(void)
{
	generation(5);
}

static void fork_many(unsigned index)
{
	for (unsigned i = 0; i < 40; i++) {
		void *p = malloc(100 + i), *q = malloc(100000 + i);
		pid_t pid;

		CHECK(p && q);
		fill(p, 100, index);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			const char *wrong;

			CHECK(is_filled(p, 100, index));
			free(p);
			free(q);
			wrong = churn(index * 100 + i + 1, 300, 50, 300000);
			CHECK(!wrong, "%s", wrong);
			_exit(0);
		}
		free(q);
		CHECK(wait_exit(pid) == 0, "child %u of thread %u", i, index);
		CHECK(is_filled(p, 100, index));
		free(p);
	}
}

/* All threads fork at once; the children of one wait for nobody. */
static void fork_storm(void)
{
	run_threads(8, fork_many);
}

/* Thread caches of threads that do not exist in the child must not pile up. */
static void forks_do_not_leak(void)
{
	long before = status_kib("RssAnon"), grown;
	pthread_t threads[8];

	for (int depth = 0; depth < 30; depth++) {
		pid_t pid;

		start_busy(threads, 8);
		pid = fork();
		CHECK(pid >= 0);
		if (pid != 0) {
			end_busy(threads, 8);
			_exit(wait_exit(pid));
		}
	}
	CHECK(churn(3, 1000, 100, 10000) == NULL);
	malloc_trim(0);
	grown = status_kib("RssAnon") - before;
	CHECK(grown < 256 * 1024, "%ld KiB after 30 generations", grown);
	_exit(0);
}

/* ------------------------------------------------------ round fork's handlers */

static void vfork_then_exec(void)
{
	pthread_t threads[4];

	start_busy(threads, 4);
	for (int i = 0; i < 40; i++) {
		char *arg = malloc(20);
		pid_t pid;

		CHECK(arg);
		strcpy(arg, "exit 7");
		pid = vfork();
		if (pid == 0) {
			execlp("sh", "sh", "-c", arg, (char *)NULL);
			_exit(126);
		}
		CHECK(pid > 0);
		CHECK(wait_exit(pid) == 7, "run %d", i);
		free(arg);
	}
	end_busy(threads, 4);
}

static void spawn_helpers(void)
{
	char sh[] = "sh", c[] = "-c", script[] = "exit 5", line[100];
	char *args[] = { sh, c, script, NULL };
	pthread_t threads[4];

	start_busy(threads, 4);
	for (int i = 0; i < 20; i++) {
		FILE *pipe;
		pid_t pid;

		CHECK(posix_spawnp(&pid, "sh", NULL, NULL, args, environ) == 0);
		CHECK(wait_exit(pid) == 5);
		CHECK(WEXITSTATUS(system("exit 6")) == 6);
		pipe = popen("echo from the pipe", "r");
		CHECK(pipe && fgets(line, sizeof(line), pipe));
		CHECK(strcmp(line, "from the pipe\n") == 0);
		CHECK(pclose(pipe) == 0);
	}
	end_busy(threads, 4);
}

/* A process made without libc's knowledge, from one that has no other thread. */
static void raw_clone(void)
{
	keep_objects();
	for (int i = 0; i < 20; i++) {
		long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

		CHECK(pid >= 0);
		if (pid == 0) {
			drop_objects();
			CHECK(churn((uint64_t)i + 1, 2000, 100, 300000) == NULL);
			_exit(0);
		}
		CHECK(wait_exit((pid_t)pid) == 0, "child %d", i);
	}
	drop_objects();
}

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 34)
/* fork without handlers, as async-signal-safe code is meant to call it. */
static void fork_without_handlers(void)
{
	pthread_t threads[4];

	start_busy(threads, 4);
	for (int i = 0; i < 50; i++) {
		pid_t pid = _Fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			execlp("sh", "sh", "-c", "exit 3", (char *)NULL);
			_exit(126);
		}
		CHECK(wait_exit(pid) == 3, "child %d", i);
	}
	end_busy(threads, 4);
}

/* Faults of parent and children. */
static long faults_of_forks(pid_t (*how)(void), int nr)
{
	struct rusage self, children;
	long before;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	before = self.ru_minflt + children.ru_minflt;
	for (int i = 0; i < nr; i++) {
		pid_t pid = how();

		CHECK(pid >= 0);
		if (!pid)
			_exit(0);
		CHECK(wait_exit(pid) == 0);
	}
	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return self.ru_minflt + children.ru_minflt - before;
}

/* A process with one thread pays for no locks: each page with one was a fault on both sides. */
static void forks_of_one_thread(void)
{
	long with, without;

	CHECK(!churn(1, 2000, 100, 1000));
	faults_of_forks(fork, 5);
	without = faults_of_forks(_Fork, 50);
	with = faults_of_forks(fork, 50);
	CHECK(with - without < 50 * 15, "%ld faults each, %ld without handlers", with / 50,
	      without / 50);
}

/* The process's C library knows of one thread. The other is of a second copy of it. */
static void thread_of_another_c_library(void)
{
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	int (*join)(pthread_t, void **);
	void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
	pthread_t thread;

	CHECK(libc, "%s", dlerror());
	*(void **)&create = dlsym(libc, "pthread_create");
	*(void **)&join = dlsym(libc, "pthread_join");
	CHECK(create && join);
	CHECK(create(&thread, NULL, busy_thread, NULL) == 0);
	for (int i = 0; i < 1000; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			_exit(churn((uint64_t)i, 20, 10, 200000) != NULL);
		CHECK(wait_exit(pid) == 0, "child %d", i);
		free(malloc(50000 + (size_t)i * 97 % 90000));
	}
	stop_busy();
	CHECK(join(thread, NULL) == 0);
}

#define GLIBC_2_34 1
#endif
#endif

/*
 * A parent with 128 MiB of free memory and 4 MiB in use: neither side copies pages
 * that are free, and what the child gives back it gives back truly.
 */
#define FREE_BLOCKS 2000

static void free_pages_are_not_copied(void)
{
	char *kept = malloc(4 << 20), *block[FREE_BLOCKS], byte = 0;
	int status, seen[2];
	long before;
	pid_t pid;

	memset(kept, 1, 4 << 20);
	for (int i = 0; i < FREE_BLOCKS; i++)
		memset(block[i] = malloc(65536), 1, 65536);
	for (int i = 0; i < FREE_BLOCKS; i++)
		free(block[i]);
	CHECK(status_kib("RssAnon") > 120 * 1024);
	CHECK(pipe(seen) == 0);
	pid = fork();
	CHECK(pid >= 0);
	before = smaps_kib("Private_Dirty");
	for (int i = 0; i < 1000; i++)
		free(malloc((size_t)i * 10));
	CHECK(!churn((uint64_t)pid + 1, 2000, 100, 1000));
	/* Shared with the other side, so nothing is private but what was written now. */
	CHECK(smaps_kib("Private_Dirty") - before < 4 * 1024, "%ld KiB",
	      smaps_kib("Private_Dirty") - before);
	/* What one side gives back is the other's alone: not before both have looked. */
	if (pid) {
		CHECK(write(seen[1], &byte, 1) == 1);
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
		return;
	}
	CHECK(read(seen[0], &byte, 1) == 1);
	CHECK(malloc_trim(0) == 1);
	CHECK(status_kib("RssAnon") < 16 * 1024, "%ld KiB", status_kib("RssAnon"));
	for (size_t i = 0; i < 4 << 20; i += 4096)
		CHECK(kept[i] == 1);
	_exit(0);
}

/* A stream that allocates when it is flushed, with all streams locked. */
static ssize_t write_and_allocate(void *cookie, const char *text, size_t n)
{
	const char *wrong = churn((uintptr_t)cookie, 100, 20, 100000);

	(void)text;
	CHECK(!wrong, "%s", wrong);
	return (ssize_t)n;
}

static void *flusher(void *unused)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = write_and_allocate });

	CHECK(f);
	while (!atomic_load(&stop)) {
		fputs("something", f);
		fflush(NULL);
		/* The lock of the streams is not fair: fork must get it now and then. */
		usleep(10);
	}
	return unused;
}

static void streams_that_allocate(void)
{
	pthread_t thread;
	int i, status;

	CHECK(pthread_create(&thread, NULL, flusher, NULL) == 0);
	for (i = 0; i < 300; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			free(malloc(100));
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* A process of one thread forks, and its child has threads, as daemons do. */
static void *opens_a_stream(void *unused)
{
	FILE *f = fopen("/dev/null", "w");

	CHECK(f && fclose(f) == 0 && fflush(NULL) == 0);
	return unused;
}

static void threads_of_a_child(void)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		pthread_t thread;

		alarm(20);
		CHECK(pthread_create(&thread, NULL, opens_a_stream, NULL) == 0);
		pthread_join(thread, NULL);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0, "%#x", (unsigned)status);
}

/* The thread forks after its cache has gone to another one. */
static pthread_key_t last_key;

static void fork_at_the_end(void *rounds)
{
	int status;
	pid_t pid;

	if ((uintptr_t)rounds < 4) {
		pthread_setspecific(last_key, (char *)rounds + 1);
		return;
	}
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		free(malloc(100));
		_exit(malloc_trim(0) < 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void *ends_with_a_fork(void *unused)
{
	free(malloc(100));
	pthread_setspecific(last_key, (void *)1);
	return unused;
}

static void forks_of_ending_threads(void)
{
	pthread_t busy_ones[2], thread;
	int i;

	CHECK(pthread_key_create(&last_key, fork_at_the_end) == 0);
	start_busy(busy_ones, 2);
	for (i = 0; i < 200; i++) {
		CHECK(pthread_create(&thread, NULL, ends_with_a_fork, NULL) == 0);
		pthread_join(thread, NULL);
	}
	end_busy(busy_ones, 2);
}

static const struct trap_case cases[] = {
	{ .name = "children_go_on", .run = children_go_on },
	{ .name = "children_go_on_hardened", .run = children_go_on, .conf = "hardened:true" },
	{ .name = "generations", .run = generations },
	{ .name = "fork_storm", .run = fork_storm, .seconds = 120 },
	{ .name = "free_pages_are_not_copied", .run = free_pages_are_not_copied,
	  .conf = "decay_ms:-1" },
	{ .name = "forks_do_not_leak", .run = forks_do_not_leak },
	{ .name = "streams_that_allocate", .run = streams_that_allocate },
	{ .name = "threads_of_a_child", .run = threads_of_a_child },
	{ .name = "forks_of_ending_threads", .run = forks_of_ending_threads },
	{ .name = "vfork_then_exec", .run = vfork_then_exec },
	{ .name = "spawn_helpers", .run = spawn_helpers },
	{ .name = "raw_clone", .run = raw_clone },
#ifdef GLIBC_2_34
	{ .name = "fork_without_handlers", .run = fork_without_handlers },
	{ .name = "forks_of_one_thread", .run = forks_of_one_thread },
	{ .name = "thread_of_another_c_library", .run = thread_of_another_c_library,
	  .seconds = 180 },
#endif
};

TRAP_MAIN(cases)
