/*
 * reclaim.c - memory goes back to the system
 *
 * After a peak, from inside slabs, from threads that sleep; with and without
 * the background thread, and in a child.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#define MIB ((size_t)1 << 20)
#define NR_BLOCKS 64

static void peak(void)
{
	void *block[NR_BLOCKS];

	for (int i = 0; i < NR_BLOCKS; i++) {
		block[i] = malloc(2 * MIB);
		CHECK(block[i]);
		memset(block[i], 1, 2 * MIB);
	}
	CHECK(status_kib("RssAnon") > 100 * 1024);
	for (int i = 0; i < NR_BLOCKS; i++)
		free(block[i]);
}

static void one_call_after_the_peak(void)
{
	peak();
	usleep(1500 * 1000);
	free(malloc(256 << 10));
	CHECK(status_kib("RssAnon") < 8 * 1024, "%ld KiB", status_kib("RssAnon"));
}

static void check_background(void)
{
	peak();
	for (int i = 0; i < 50 && status_kib("RssAnon") > 8 * 1024; i++)
		usleep(100 * 1000);
	CHECK(status_kib("RssAnon") < 8 * 1024, "%ld KiB", status_kib("RssAnon"));
	CHECK(count_tasks() == 2, "%d tasks", count_tasks());
}

static void background_thread(void)
{
	pid_t pid;

	check_background();
	/* Signals are the program's: the thread takes none. */
	raise(SIGUSR1);
	pid = fork();
	if (pid == 0) {
		CHECK(count_tasks() == 1);
		CHECK(churn(1, 5000, 500, 2000) == NULL);
		check_background();
		exit(0);
	}
	CHECK(wait_exit(pid) == 0);
}

static void ignore_signal(void)
{
	signal(SIGUSR1, SIG_IGN);
}

#define NR_OBJECTS 100000

static void holes_in_slabs_go(void)
{
	char **object = malloc(NR_OBJECTS * sizeof(*object));
	long full, sparse;

	for (int i = 0; i < NR_OBJECTS; i++) {
		object[i] = malloc(1000);
		memset(object[i], i, 1000);
	}
	full = status_kib("RssAnon");
	/* One object of 32 stays: one slab of 8 pages has one page in use, or two. */
	for (int i = 0; i < NR_OBJECTS; i++)
		if (i % 32)
			free(object[i]);
	CHECK(malloc_trim(0) == 1);
	sparse = status_kib("RssAnon");
	CHECK(sparse < full / 3, "%ld KiB, then %ld KiB", full, sparse);
	CHECK(malloc_trim(0) == 0);
	for (int i = 0; i < NR_OBJECTS; i++) {
		if (i % 32) {
			object[i] = malloc(1000);
			memset(object[i], i, 1000);
		}
	}
	for (int i = 0; i < NR_OBJECTS; i++) {
		CHECK(object[i][0] == (char)i && object[i][999] == (char)i);
		free(object[i]);
	}
}

#define NR_SLEEPERS 16

static pthread_barrier_t worked, trimmed;

static void *sleeper(void *arg)
{
	CHECK(churn((uint64_t)(uintptr_t)arg + 1, 20000, 2000, 2000) == NULL);
	pthread_barrier_wait(&worked);
	pthread_barrier_wait(&trimmed);
	CHECK(churn((uint64_t)(uintptr_t)arg + 1, 20000, 2000, 2000) == NULL);
	return NULL;
}

static void sleeping_threads_give_back(void)
{
	pthread_t thread[NR_SLEEPERS];
	long before, after;

	pthread_barrier_init(&worked, NULL, NR_SLEEPERS + 1);
	pthread_barrier_init(&trimmed, NULL, NR_SLEEPERS + 1);
	for (uintptr_t i = 0; i < NR_SLEEPERS; i++)
		CHECK(pthread_create(&thread[i], NULL, sleeper, (void *)i) == 0);
	pthread_barrier_wait(&worked);
	before = status_kib("RssAnon");
	CHECK(malloc_trim(0) == 1);
	after = status_kib("RssAnon");
	CHECK(after < before / 2, "%ld KiB, then %ld KiB", before, after);
	pthread_barrier_wait(&trimmed);
	for (int i = 0; i < NR_SLEEPERS; i++)
		pthread_join(thread[i], NULL);
}

static const struct trap_case cases[] = {
	{ .name = "one_call_after_the_peak", .run = one_call_after_the_peak },
	{ .name = "background_thread", .run = background_thread,
	  .prepare = ignore_signal, .conf = "background_thread:true,decay_ms:300" },
	{ .name = "holes_in_slabs_go", .run = holes_in_slabs_go },
	{ .name = "sleeping_threads_give_back", .run = sleeping_threads_give_back },
};

TRAP_MAIN(cases)
