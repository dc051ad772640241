/*
 * storms.c - threads in great numbers: one after the other, at the same time, and all that begin
 * at once
 */
#define _GNU_SOURCE
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

static void *short_life(void *seed)
{
	const char *wrong = churn((uintptr_t)seed, 100, 20, 8000);

	CHECK(!wrong, "%s", wrong);
	return malloc(10 + (uintptr_t)seed % 1000);
}

static void thread_storm(void)
{
	enum { NR = 10000, AT_ONCE = 20 };
	long early = 0, late;

	for (unsigned i = 0; i < NR / AT_ONCE; i++) {
		pthread_t threads[AT_ONCE];
		void *gift;

		for (unsigned j = 0; j < AT_ONCE; j++)
			CHECK(pthread_create(&threads[j], NULL, short_life,
					     (void *)(uintptr_t)(i * AT_ONCE + j + 1)) == 0);
		for (unsigned j = 0; j < AT_ONCE; j++) {
			CHECK(pthread_join(threads[j], &gift) == 0 && gift);
			free(gift);
		}
		if (i == 50)
			early = status_kib("RssAnon");
	}
	late = status_kib("RssAnon");
	CHECK(late < early + 8 * 1024, "%ld KiB grew to %ld KiB", early, late);
}

/*
 * Threads that never allocate: the last of them free what belonged to the stacks of
 * others, after all destructors, and leave no cache for it behind.
 */
static void *does_nothing(void *unused)
{
	usleep(2000);
	return unused;
}

static void detached_threads_leave_nothing(void)
{
	size_t before = mallinfo2().arena;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (int round = 0; round < 15; round++) {
		for (int i = 0; i < 40; i++) {
			pthread_t thread;

			CHECK(pthread_create(&thread, &attr, does_nothing, NULL) == 0);
		}
		usleep(20000);
	}
	CHECK(mallinfo2().arena < before + (16 << 20), "%zu, then %zu", before,
	      mallinfo2().arena);
}

/* Detached threads end in any order, some while main returns. */
static void *detached(void *seed)
{
	const char *wrong = churn((uintptr_t)seed, 300, 20, 8000);

	CHECK(!wrong, "%s", wrong);
	return NULL;
}

static void exit_while_threads_allocate(void)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (uintptr_t i = 1; i < 400; i++) {
		pthread_t thread;

		while (pthread_create(&thread, &attr, detached, (void *)i) != 0)
			usleep(1000);
	}
}

static atomic_uint many_ready;
static pthread_barrier_t barrier;

static void one_of_many(unsigned index)
{
	void *p[20];

	for (unsigned i = 0; i < 20; i++) {
		p[i] = malloc(100 + index % 50 * 16);
		CHECK(p[i]);
		fill(p[i], 100, index + i);
	}
	atomic_fetch_add(&many_ready, 1);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < 20; i++) {
		CHECK(is_filled(p[i], 100, index + i));
		free(p[i]);
	}
}

/* Idle threads must not each hold a lot. */
static void many_threads_at_once(void)
{
	enum { NR = 500 };
	long grown, before = status_kib("RssAnon");

	CHECK(pthread_barrier_init(&barrier, NULL, NR) == 0);
	run_threads(NR, one_of_many);
	CHECK(many_ready == NR);
	grown = status_kib("RssAnon") - before;
	/* 500 stacks are in it, of two or three pages each. */
	CHECK(grown < 64 * 1024, "%ld KiB for 500 idle threads", grown);
}

/* ------------------------------------------------------ threads that begin together */

enum { HERD = 200, HERD_OBJECTS = 100 };
static pthread_barrier_t herd;

static void *allocate_with_the_herd(void *unused)
{
	char *p[HERD_OBJECTS];
	int i;

	pthread_barrier_wait(&herd);
	for (i = 0; i < HERD_OBJECTS; i++)
		memset(p[i] = malloc(1000), 1, 1000);
	pthread_barrier_wait(&herd);
	for (i = 0; i < HERD_OBJECTS; i++)
		free(p[i]);
	return unused;
}

#define STACK_BYTES (PTHREAD_STACK_MIN > 65536 ? PTHREAD_STACK_MIN : 65536)

/* Each finds no memory at the same moment; one of them has it mapped. */
static void heap_grows_once_for_all(void)
{
	pthread_t t[HERD];
	pthread_attr_t attr;
	long before, grown;
	int i;

	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, STACK_BYTES));
	CHECK(!pthread_barrier_init(&herd, NULL, HERD + 1));
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_create(&t[i], &attr, allocate_with_the_herd, NULL));
	before = status_kib("VmSize");
	pthread_barrier_wait(&herd);
	pthread_barrier_wait(&herd);
	grown = status_kib("VmSize") - before;
	/* 19 MiB of objects, and the caches of 200 threads. */
	CHECK(grown < 150 * 1024, "%ld KiB", grown);
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_join(t[i], NULL));
}

/* Objects of all sizes come and go, so that all sheaves grow. */
static void *use_all_sheaves(void *unused)
{
	static const int most = 32000;
	char *p[300];
	int i, size;

	for (size = 16; size < most; size += size / 8 + 16) {
		for (i = 0; i < 300 && i * size < 1 << 20; i++)
			CHECK((p[i] = malloc((size_t)size)));
		while (i--)
			free(p[i]);
	}
	pthread_barrier_wait(&herd);
	return unused;
}

/* What 200 threads at once had is not kept for the next 200. */
static void caches_of_ended_threads_go_back(void)
{
	pthread_t t[HERD];
	pthread_attr_t attr;
	long before, kept;
	int i;

	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, STACK_BYTES));
	CHECK(!pthread_barrier_init(&herd, NULL, HERD));
	malloc_trim(0);
	before = status_kib("VmRSS");
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_create(&t[i], &attr, use_all_sheaves, NULL));
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_join(t[i], NULL));
	malloc_trim(0);
	kept = status_kib("VmRSS") - before;
	CHECK(kept < 12 * 1024, "%ld KiB", kept);
	/* They work again. */
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_create(&t[i], &attr, use_all_sheaves, NULL));
	for (i = 0; i < HERD; i++)
		CHECK(!pthread_join(t[i], NULL));
}

static const struct trap_case cases[] = {
	{ .name = "thread_storm", .run = thread_storm },
	{ .name = "detached_threads_leave_nothing", .run = detached_threads_leave_nothing },
	{ .name = "exit_while_threads_allocate", .run = exit_while_threads_allocate },
	{ .name = "many_threads_at_once", .run = many_threads_at_once },
	{ .name = "heap_grows_once_for_all", .run = heap_grows_once_for_all },
	{ .name = "caches_of_ended_threads_go_back", .run = caches_of_ended_threads_go_back },
};

TRAP_MAIN(cases)
