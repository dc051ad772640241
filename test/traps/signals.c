/*
 * signals.c - a signal's handler that forks, or ends the process, in the midst of malloc or free
 *
 * In a program with several threads only what is async-signal-safe may follow in the
 * child, malloc is not; but programs do go on there, and an object that is handed out twice
 * would be ours to answer for.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

/* ---------------------------------------------- one thread, perhaps with a lock held */

static volatile sig_atomic_t forks_made;

static void fork_and_exec_nothing(int unused)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0)
		_exit(7);
	if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7) {
		dprintf(STDERR_FILENO, "child %d: status %#x, %m\n", child, status);
		abort();
	}
	forks_made = forks_made + 1;
	(void)unused;
}

static void fork_in_a_handler(void)
{
	static const struct sigaction action = { .sa_handler = fork_and_exec_nothing,
						 .sa_flags = SA_RESTART };
	const struct itimerval timer = { { 0, 2000 }, { 0, 2000 } };
	static char *p[2000];
	unsigned long i;

	CHECK(!sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &timer, NULL));
	for (i = 0; forks_made < 1000; i++) {
		unsigned long n = i * 2654435761ul >> 7, slot = n % 2000;

		if (p[slot])
			CHECK(p[slot][0] == (char)slot);
		free(p[slot]);
		CHECK((p[slot] = malloc(1 + n % 60000)));
		p[slot][0] = (char)slot;
	}
}

/* ------------------------------- two threads: the other takes from the interrupted one's cache */

#define SIZE 48
#define BATCH 100
#define MANY 20000
#define CHILDREN 60

static atomic_bool wants_trim;
static volatile sig_atomic_t armed, is_child;

static void *trims(void *unused)
{
	for (;;) {
		while (!atomic_load(&wants_trim))
			usleep(20);
		malloc_trim(0);
		atomic_store(&wants_trim, false);
	}
	return unused;
}

/* The parent's cache is emptied as far as an interrupted pop allows; then comes the fork. */
static void trim_and_fork(int unused)
{
	pid_t pid;

	if (!armed || is_child)
		return;
	armed = 0;
	atomic_store(&wants_trim, true);
	while (atomic_load(&wants_trim))
		;
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid)
		is_child = 1;
	else if (wait_exit(pid) != 0)
		abort();
	forks_made = forks_made + 1;
	(void)unused;
}

/* The child goes on where the parent was interrupted, and gets no object twice. */
static void end_child(void)
{
	static void *objects[MANY];
	int i;

	for (i = 0; i < MANY; i++)
		objects[i] = malloc(SIZE);
	qsort(objects, MANY, sizeof(*objects), by_address);
	for (i = 1; i < MANY; i++)
		if (objects[i] == objects[i - 1])
			_exit(1);
	_exit(0);
}

static void child_gets_no_object_twice(void)
{
	static const struct sigaction action = { .sa_handler = trim_and_fork,
						 .sa_flags = SA_RESTART };
	static void *p[4 * BATCH];
	pthread_t thread;
	sigset_t alarm;
	int i;

	/* The signal is for this thread alone: in the other its handler would wait for itself. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	CHECK(!pthread_sigmask(SIG_BLOCK, &alarm, NULL));
	CHECK(pthread_create(&thread, NULL, trims, NULL) == 0);
	CHECK(!pthread_sigmask(SIG_UNBLOCK, &alarm, NULL));
	CHECK(!sigaction(SIGALRM, &action, NULL));
	while (forks_made < CHILDREN) {
		struct itimerval timer = { .it_value.tv_usec = 100 + forks_made * 37 % 100 };

		for (i = 0; i < 4 * BATCH; i++)
			p[i] = malloc(SIZE);
		for (i = 0; i < 4 * BATCH; i++)
			free(p[i]);
		armed = 1;
		CHECK(!setitimer(ITIMER_REAL, &timer, NULL));
		while (armed) {
			for (i = 0; i < BATCH && armed; i++)
				p[i] = malloc(SIZE);
			if (is_child)
				end_child();
			while (i--)
				free(p[i]);
			if (is_child)
				end_child();
		}
	}
}

/* ------------------------------------------------ exit, as many a handler of SIGTERM calls it */

#define ENDS "SIGNALS_TEST_ENDS"

static void end(int unused)
{
	(void)unused;
	exit(0);
}

/* A new process that does this ends in no way but by the signal. */
__attribute__((constructor)) static void work_until_the_signal(void)
{
	const char *number = getenv(ENDS);
	struct itimerval timer = { .it_value.tv_usec = 1000 };
	static char *p[2000];
	unsigned long i;

	if (!number)
		return;
	timer.it_value.tv_usec += atoi(number) * 61 % 2000;
	signal(SIGALRM, end);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (i = 0;; i++) {
		unsigned long n = i * 2654435761ul >> 7, slot = n % 2000;

		free(p[slot]);
		p[slot] = malloc(1 + n % 60000);
	}
}

static void exit_in_a_handler(void)
{
	int i, status;

	for (i = 0; i < 100; i++) {
		const char number[] = { (char)('0' + i / 10), (char)('0' + i % 10), '\0' };
		pid_t child = fork();

		if (child == 0) {
			if (!setenv(ENDS, number, 1))
				execl("/proc/self/exe", "signals", (char *)NULL);
			_exit(9);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
	}
}

static const struct trap_case cases[] = {
	{ .name = "exit_in_a_handler", .run = exit_in_a_handler },
	{ .name = "fork_in_a_handler", .run = fork_in_a_handler },
	{ .name = "child_gets_no_object_twice", .run = child_gets_no_object_twice },
};

TRAP_MAIN(cases)
