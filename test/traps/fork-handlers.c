/*
 * fork-handlers.c - fork with handlers that allocate, fork or wait, before and after our own
 *
 * A lock that is held across fork shows as a child that never ends: the
 * runner's time limit turns it into a failure.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fork-early.h"
#include "helpers.h"
#include "load.h"
#include "trap.h"

static atomic_bool stop;

static atomic_uint handled;
static bool nested;

static void handler_allocates(void)
{
	const char *wrong = churn(++handled, 200, 40, 200000);

	CHECK(!wrong, "%s", wrong);
}

static void handler_forks(void)
{
	pid_t pid;

	handler_allocates();
	if (nested)
		return;
	nested = true;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		handler_allocates();
		_exit(0);
	}
	CHECK(wait_exit(pid) == 0, "the child of the handler");
	nested = false;
}

/*
 * Registered before the library's own, and without its knowledge, these run between them:
 * prepare after it took its locks, parent and child before it lets go of them. They
 * allocate all the same.
 */
static unsigned first_handled;
static size_t first_handler_bytes; /* 0: some objects of all sizes */

static void first_handler(void)
{
	first_handled++;
	if (first_handler_bytes)
		free(malloc(hide_size(first_handler_bytes)));
	else
		handler_allocates();
}

static void fork_and_check(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			CHECK(churn(i + 1, 500, 50, 200000) == NULL);
			exit(0);
		}
		CHECK(wait_exit(pid) == 0, "child %u", i);
	}
}

static void handlers_allocate(void)
{
	pthread_t threads[3];

	CHECK(pthread_atfork(handler_allocates, handler_allocates, handler_allocates) == 0);
	start_busy(threads, 3);
	fork_and_check(20);
	end_busy(threads, 3);
	CHECK(handled == 20 * 2, "%u", handled);
}

static void first_handlers_may_allocate(void)
{
	pthread_t threads[3];

	early_unseen = first_handler;
	start_busy(threads, 3);
	fork_and_check(20);
	end_busy(threads, 3);
	CHECK(first_handled == 20 * 2, "%u", first_handled);
}

/* A handler that waits for a mutex, whose holder allocates. */
static pthread_mutex_t held_while_allocating = PTHREAD_MUTEX_INITIALIZER;

static void *allocates_with_a_mutex(void *unused)
{
	for (uint64_t i = 1; !atomic_load(&stop); i++) {
		const char *wrong;

		pthread_mutex_lock(&held_while_allocating);
		wrong = churn(i, 400, 60, i % 4 ? 3000 : 600000);
		pthread_mutex_unlock(&held_while_allocating);
		CHECK(!wrong, "%s", wrong);
		/* The mutex is not fair: fork must get it now and then. */
		usleep(10);
	}
	return unused;
}

static void early_handlers_may_wait(void)
{
	pthread_t thread;

	early_mutex = &held_while_allocating;
	CHECK(pthread_create(&thread, NULL, allocates_with_a_mutex, NULL) == 0);
	fork_and_check(100);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

static void prepare_handler_forks(void)
{
	pthread_t threads[2];

	CHECK(pthread_atfork(handler_forks, NULL, NULL) == 0);
	start_busy(threads, 2);
	fork_and_check(10);
	end_busy(threads, 2);
}

static void parent_handler_forks(void)
{
	pthread_t threads[2];

	CHECK(pthread_atfork(NULL, handler_forks, NULL) == 0);
	start_busy(threads, 2);
	fork_and_check(10);
	end_busy(threads, 2);
}

static void child_handler_forks(void)
{
	pthread_t threads[2];

	CHECK(pthread_atfork(NULL, NULL, handler_forks) == 0);
	start_busy(threads, 2);
	fork_and_check(10);
	end_busy(threads, 2);
}

/* What a handler cannot have while we hold the locks, others must not be waited for. */
static atomic_bool holds_much;

static void *trims(void *unused)
{
	while (!atomic_load(&stop)) {
		char *p;

		atomic_store(&holds_much, true);
		p = malloc(64 << 20);
		/* The two want more than there may be, where the handler holds no locks. */
		CHECK(p || first_handler_bytes);
		if (p)
			memset(p, 1, 64 << 20);
		free(p);
		atomic_store(&holds_much, false);
		malloc_trim(0);
	}
	return unused;
}

static void first_handlers_want_too_much(void)
{
	pthread_t thread;
	pid_t pid;
	int i;

	early_unseen = first_handler;
	first_handler_bytes = 100 << 20;
	CHECK(pthread_create(&thread, NULL, trims, NULL) == 0);
	for (i = 0; i < 150; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(0);
		CHECK(wait_exit(pid) == 0);
		usleep(100 * (useconds_t)(i % 50));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* What a thread was giving back during the fork, the child may have. */
static void free_pages_are_the_child_s_too(void)
{
	pthread_t thread;
	pid_t pid;
	int i;

	CHECK(pthread_create(&thread, NULL, trims, NULL) == 0);
	for (i = 0; i < 100; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(!atomic_load(&holds_much) && !malloc(hide_size(110 << 20)));
		CHECK(wait_exit(pid) == 0, "the child of fork %d", i);
		usleep(100 * (useconds_t)(i % 50));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

static const struct trap_case cases[] = {
	{ .name = "handlers_allocate", .run = handlers_allocate },
	{ .name = "first_handlers_may_allocate", .run = first_handlers_may_allocate },
	{ .name = "first_handlers_want_too_much", .run = first_handlers_want_too_much,
	  .conf = "hard_limit:128M" },
	{ .name = "free_pages_are_the_child_s_too", .run = free_pages_are_the_child_s_too,
	  .conf = "hard_limit:128M" },
	{ .name = "early_handlers_may_wait", .run = early_handlers_may_wait, .seconds = 180 },
	{ .name = "prepare_handler_forks", .run = prepare_handler_forks },
	{ .name = "parent_handler_forks", .run = parent_handler_forks },
	{ .name = "child_handler_forks", .run = child_handler_forks },
};

TRAP_MAIN(cases)
