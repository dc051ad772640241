/*
 * background.c - the background thread: what it gives back while the program sleeps, how it
 * begins and ends, and whether it watches for memory pressure
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "load.h"
#include "trap.h"

static void check_background(void)
{
	peak();
	for (int i = 0; i < 50 && status_kib("RssAnon") > 8 * 1024; i++)
		usleep(100 * 1000);
	CHECK(status_kib("RssAnon") < 8 * 1024, "%ld KiB", status_kib("RssAnon"));
	CHECK(count_tasks() == 2, "%d tasks", count_tasks());
}

static volatile sig_atomic_t signals_taken;

static void take_signal(int unused)
{
	signals_taken++;
	(void)unused;
}

/* Signals are the program's: where that blocks one, it stays. */
static void the_thread_takes_no_signals(void)
{
	sigset_t one, pending;

	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	CHECK(signal(SIGUSR1, take_signal) != SIG_ERR);
	CHECK(pthread_sigmask(SIG_BLOCK, &one, NULL) == 0);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	usleep(20 * 1000);
	CHECK(!signals_taken && sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
	CHECK(pthread_sigmask(SIG_UNBLOCK, &one, NULL) == 0 && signals_taken == 1);
}

static void background_thread(void)
{
	pid_t pid;

	check_background();
	the_thread_takes_no_signals();
	pid = fork();
	if (pid == 0) {
		CHECK(count_tasks() == 1);
		CHECK(churn(1, 5000, 500, 2000) == NULL);
		check_background();
		exit(0);
	}
	CHECK(wait_exit(pid) == 0);
}

/* The C library takes it off the stack of each thread, the library's own too. */
static __thread volatile char much_for_each_thread[MIB / 2];

static void beside_much_thread_local_data(void)
{
	much_for_each_thread[0] = 1;
	check_background();
}

/* No handler of fork runs for a child that a bare system call makes: the thread is not in it. */
static void a_bare_child_ends(void)
{
	pid_t pid;

	CHECK(churn(1, 5000, 500, 2000) == NULL);
	CHECK(count_tasks() == 2, "%d tasks", count_tasks());
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		exit(0);
	CHECK(wait_exit(pid) == 0);
}

/*
 * The C library frees under locks that making a thread takes: in a child the thread is started by
 * who allocates, however much is freed and ages before.
 */
static void frees_start_no_thread(void)
{
	enum { NR = 300 };
	void *block[NR];
	pid_t pid;
	int i;

	for (i = 0; i < NR; i++)
		block[i] = malloc(2 << 20);
	pid = fork();
	if (pid == 0) {
		for (i = 0; i < NR; i++) {
			memset(block[i], 1, 4096);
			free(block[i]);
			usleep(1000);
		}
		CHECK(count_tasks() == 1, "%d tasks", count_tasks());
		for (i = 0; i < 64; i++)
			free(malloc(2 << 20));
		CHECK(count_tasks() == 2, "%d tasks", count_tasks());
		exit(0);
	}
	CHECK(wait_exit(pid) == 0);
}

/* The whole of it on the real system, which is not short of memory, as far as known. */
static void watching_for_pressure(void)
{
	check_background();
}

static void allocate_a_little(void)
{
	CHECK(churn(1, 5000, 500, 2000) == NULL);
}

/* The time from the start of a child to its end. */
static long ms_of_child(void)
{
	struct timespec before, after;
	pid_t pid;

	clock_gettime(CLOCK_MONOTONIC, &before);
	pid = fork();
	if (pid == 0) {
		allocate_a_little();
		exit(0);
	}
	CHECK(wait_exit(pid) == 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
}

/*
 * The thread may be deep in its wait when the program ends: nobody waits for it. On a busy
 * machine one look at the clock says little, so the best of a few counts.
 */
static void ends_at_once(void)
{
	long ms;

	usleep(50 * 1000);
	ms = ms_of_child();
	for (int tries = 1; tries < 6 && ms >= 800; tries++)
		ms = ms_of_child();
	CHECK(ms < 800, "%ld ms", ms);
}

static const struct trap_case cases[] = {
	{ .name = "background_thread", .run = background_thread,
	  .conf = "background_thread:true,decay_ms:300" },
	{ .name = "beside_much_thread_local_data", .run = beside_much_thread_local_data,
	  .conf = "background_thread:true,decay_ms:300" },
	{ .name = "frees_start_no_thread", .run = frees_start_no_thread,
	  .conf = "background_thread:true,decay_ms:10" },
	{ .name = "a_bare_child_ends", .run = a_bare_child_ends, .conf = "background_thread:true" },
	{ .name = "watching_for_pressure", .run = watching_for_pressure,
	  .conf = "background_thread:true,pressure:auto,decay_ms:300,verbose:true",
	  .says = "buddymalloc: pressure: (/[a-z/.]* is watched|nothing tells of it)\n" },
	{ .name = "pressure_ends_at_once", .run = ends_at_once,
	  .conf = "background_thread:true,pressure:auto,decay_ms:3600000" },
	{ .name = "pressure_wants_the_thread", .run = allocate_a_little, .conf = "pressure:auto",
	  .says = "^buddymalloc: pressure: nothing is watched without background_thread:true\n$" },
};

TRAP_MAIN(cases)
