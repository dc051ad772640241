/*
 * reclaim.c - memory goes back to the system
 *
 * After a peak, from inside slabs, from threads that sleep: by the program's own calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "load.h"
#include "trap.h"

#define NR_BLOCKS 64

static void one_call_after_the_peak(void)
{
	peak();
	usleep(1500 * 1000);
	free(malloc(256 << 10));
	CHECK(status_kib("RssAnon") < 8 * 1024, "%ld KiB", status_kib("RssAnon"));
}

#define NR_OBJECTS 100000

/*
 * One object of 32 stays: a slab of 8 pages has one page in use, or two. RSS when
 * all were there, in KiB.
 */
static long objects_far_apart(char **object)
{
	long full;

	for (int i = 0; i < NR_OBJECTS; i++) {
		object[i] = malloc(1000);
		memset(object[i], i, 1000);
	}
	full = status_kib("RssAnon");
	for (int i = 0; i < NR_OBJECTS; i++)
		if (i % 32)
			free(object[i]);
	return full;
}

/* The first call after a pause finds that time has passed for slabs too. */
static void holes_in_slabs_age(void)
{
	char **object = malloc(NR_OBJECTS * sizeof(*object));
	long full = objects_far_apart(object), sparse;

	usleep(1500 * 1000);
	free(malloc(256 << 10));
	sparse = status_kib("RssAnon");
	CHECK(sparse < full / 2, "%ld KiB, then %ld KiB", full, sparse);
}

static void holes_in_slabs_go(void)
{
	char **object = malloc(NR_OBJECTS * sizeof(*object));
	long full = objects_far_apart(object), sparse;

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

/* Blocks that were written to, freed and given back lazily, large ones and in slabs. */
static void use_and_age(void)
{
	enum { NR = 2000 };
	static unsigned char *object[NR];

	peak();
	for (int i = 0; i < NR; i++) {
		object[i] = malloc(5000);
		CHECK(object[i]);
		memset(object[i], 0x77, 5000);
	}
	for (int i = 0; i < NR; i++)
		if (i % 16)
			free(object[i]);
	for (int i = 0; i < 20; i++) {
		usleep(20 * 1000);
		free(malloc(256 << 10));
	}
	for (int i = 0; i < NR; i += 16) {
		CHECK(object[i][0] == 0x77 && object[i][4999] == 0x77);
		free(object[i]);
	}
}

/*
 * The system takes such pages in need only, so most hold their old data still:
 * a calloc that takes them for zero is found out.
 */
static void calloc_of_lazy_pages(void)
{
	static const size_t sizes[] = { 100, 5000, 20000, 40000, 300000, 2 * MIB, 5 * MIB };
	void *block[NR_BLOCKS / 2];
	bool stale = false;

	use_and_age();
	if (smaps_kib("LazyFree") < 1024)
		trap_skip("no MADV_FREE here");
	for (int i = 0; i < NR_BLOCKS / 2; i++) {
		block[i] = malloc(2 * MIB);
		CHECK(block[i]);
		stale |= !is_zero(block[i], 2 * MIB);
	}
	for (int i = 0; i < NR_BLOCKS / 2; i++)
		free(block[i]);
	CHECK(stale, "all pages are zero: this test shows nothing");
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		void *last = NULL;

		use_and_age();
		for (size_t got = 0; got < 100 * MIB; got += sizes[s]) {
			void **p = calloc(1, sizes[s]);

			CHECK(p && is_zero(p, sizes[s]), "%zu bytes", sizes[s]);
			*p = last;
			last = p;
		}
		while (last) {
			void *next = *(void **)last;

			free(last);
			last = next;
		}
	}
}

/* What malloc_trim and bm_reclaim say, the resident set shows. */
static void trim_is_true(void)
{
	long before, fell;

	malloc_trim(0);
	CHECK(malloc_trim(0) == 0, "nothing is left to give");
	peak();
	CHECK(malloc_trim((size_t)1 << 40) == 0, "all of it is to stay");
	before = status_kib("RssAnon");
	CHECK(malloc_trim(0) == 1);
	fell = before - status_kib("RssAnon");
	CHECK(fell > 50 * 1024, "%ld KiB", fell);
	CHECK(malloc_trim(0) == 0);
}

/* Locked pages cannot be given back, and that is what is said. */
static void trim_of_locked_pages(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	long before;

	malloc_trim(0);
	setrlimit(RLIMIT_MEMLOCK, &all);
	peak();
	if (mlockall(MCL_CURRENT) != 0)
		trap_skip("mlockall is not allowed here");
	before = status_kib("RssAnon");
	CHECK(malloc_trim(0) == 0);
	errno = 77;
	CHECK(bm_reclaim(SIZE_MAX) == 0 && errno == 77);
	CHECK(before - status_kib("RssAnon") < 1024);
	munlockall();
	CHECK(malloc_trim(0) == 1);
	CHECK(before - status_kib("RssAnon") > 100 * 1024);
}

/* What the system refuses to take is no failure of the call that pays for ageing. */
static void ageing_of_locked_pages(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	uint64_t before, after;

	setrlimit(RLIMIT_MEMLOCK, &all);
	peak();
	if (mlockall(MCL_CURRENT) != 0)
		trap_skip("mlockall is not allowed here");
	CHECK(bm_stat_get("purge_calls", &before) == 0);
	for (int i = 0; i < 200; i++) {
		void *p;

		errno = 77;
		p = hide(malloc(hide_size(2 * MIB)));
		CHECK(p && errno == 77);
		free(p);
		free(hide(malloc(hide_size(100000))));
		CHECK(errno == 77);
		usleep(1000);
	}
	CHECK(bm_stat_get("purge_calls", &after) == 0 && after > before);
}

static void reclaim_an_amount(void)
{
	long before, fell;
	size_t given, sum = 0;

	malloc_trim(0);
	CHECK(bm_reclaim(SIZE_MAX) == 0 && bm_reclaim(0) == 0);
	peak();
	errno = 77;
	for (int i = 0; i < 8; i++) {
		before = status_kib("RssAnon");
		given = bm_reclaim(10 * MIB);
		fell = before - status_kib("RssAnon");
		CHECK(errno == 77);
		CHECK(given >= 10 * MIB && given < 13 * MIB, "%zu", given);
		CHECK(labs(fell - (long)(given >> 10)) < 256, "%zu, but %ld KiB", given, fell);
		sum += given;
	}
	given = bm_reclaim(SIZE_MAX);
	CHECK(given >= NR_BLOCKS * 2 * MIB - sum, "%zu", given);
	CHECK(given < NR_BLOCKS * 2 * MIB - sum + 4 * MIB, "%zu", given);
	CHECK(bm_reclaim(SIZE_MAX) == 0);
}

/* Of pages inside slabs too no more than was asked for. */
static void reclaim_an_amount_of_holes(void)
{
	char **object = malloc(NR_OBJECTS * sizeof(*object));
	size_t given;

	objects_far_apart(object);
	for (int i = 0; i < 10; i++) {
		given = bm_reclaim(4 * MIB);
		CHECK(given >= 4 * MIB && given < 6 * MIB, "%zu", given);
	}
	CHECK(bm_reclaim(SIZE_MAX) > 16 * MIB);
}

/* Threads that allocate, and several that reclaim, at the same time. */
static void reclaim_in_a_thread(unsigned index)
{
	for (int i = 0; i < 200 && index % 2; i++)
		bm_reclaim(index % 4 == 1 ? SIZE_MAX : MIB);
	CHECK(churn(index + 1, 20000, 500, 50000) == NULL);
}

static void reclaim_in_threads(void)
{
	run_threads(8, reclaim_in_a_thread);
	bm_reclaim(SIZE_MAX);
	CHECK(bm_reclaim(SIZE_MAX) == 0);
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

/* An array that grows by copies does not keep all the smaller ones as well. */
static void smaller_arrays_do_not_stay(void)
{
	char *array = malloc(MIB), *twice;

	CHECK(array);
	memset(array, 1, MIB);
	for (size_t size = MIB; size < 256 * MIB; size *= 2) {
		twice = malloc(2 * size);
		CHECK(twice);
		memcpy(twice, array, size);
		memset(twice + size, 1, size);
		free(array);
		array = twice;
	}
	/* 384 MiB are alive at most, with those before the last two it would be 511. */
	CHECK(status_kib("VmHWM") < 450 * 1024, "%ld KiB", status_kib("VmHWM"));
	free(array);
}

/* A program that only ever takes and gives one buffer ages what it had before, too. */
static void one_buffer_is_enough_to_age(void)
{
	peak();
	for (int i = 0; i < 1500 && status_kib("RssAnon") > 8 * 1024; i++) {
		for (int j = 0; j < 30; j++)
			free(hide(malloc(hide_size(100000))));
		usleep(1000);
	}
	CHECK(status_kib("RssAnon") < 8 * 1024, "%ld KiB", status_kib("RssAnon"));
}

static uint64_t dirty_bytes(void)
{
	uint64_t bytes;

	CHECK(bm_stat_get("dirty_bytes", &bytes) == 0);
	return bytes;
}

/* An array that was hardly used is no memory any more when it goes; one that was used waits. */
static void untouched_zeroes_go_at_once(void)
{
	const size_t size = 64 * MIB, some = 5 * MIB;

	for (int i = 0; i < 3; i++) {
		char *p = hide(calloc(1, size));

		CHECK(p && !p[0] && !p[some] && !p[size - 1]);
		p[0] = p[some] = 1;
		free(p);
		CHECK(dirty_bytes() < 8 * MIB, "%lu", (unsigned long)dirty_bytes());
	}
	for (int i = 0; i < 3; i++) {
		char *p = hide(calloc(1, size));

		CHECK(p && is_zero(p, size));
		memset(p, 1, size);
		free(p);
		CHECK(dirty_bytes() >= size - 4 * MIB, "%lu", (unsigned long)dirty_bytes());
	}
}

static const struct trap_case cases[] = {
	{ .name = "untouched_zeroes_go_at_once", .run = untouched_zeroes_go_at_once,
	  .conf = "decay_ms:-1" },
	{ .name = "one_call_after_the_peak", .run = one_call_after_the_peak },
	{ .name = "smaller_arrays_do_not_stay", .run = smaller_arrays_do_not_stay },
	{ .name = "one_buffer_is_enough_to_age", .run = one_buffer_is_enough_to_age,
	  .conf = "decay_ms:300" },
	{ .name = "holes_in_slabs_age", .run = holes_in_slabs_age },
	{ .name = "holes_in_slabs_go", .run = holes_in_slabs_go },
	{ .name = "calloc_of_lazy_pages", .run = calloc_of_lazy_pages,
	  .conf = "free:lazy,decay_ms:50" },
	{ .name = "calloc_of_lazy_pages_at_once", .run = calloc_of_lazy_pages,
	  .conf = "free:lazy,decay_ms:0" },
	{ .name = "trim_is_true", .run = trim_is_true },
	{ .name = "trim_of_locked_pages", .run = trim_of_locked_pages, .conf = "decay_ms:-1" },
	{ .name = "ageing_of_locked_pages", .run = ageing_of_locked_pages, .conf = "decay_ms:50" },
	{ .name = "reclaim_an_amount_of_holes", .run = reclaim_an_amount_of_holes, .conf = "decay_ms:-1" },
	{ .name = "reclaim_an_amount", .run = reclaim_an_amount, .conf = "decay_ms:-1" },
	{ .name = "reclaim_in_threads", .run = reclaim_in_threads },
	{ .name = "sleeping_threads_give_back", .run = sleeping_threads_give_back },
};

TRAP_MAIN(cases)
