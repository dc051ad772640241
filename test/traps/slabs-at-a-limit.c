/*
 * slabs-at-a-limit.c - what small objects may have when hard_limit is near
 *
 * Holes in slabs were given back, so an object that is free may need memory anew: it
 * counts then, and what needs none is there for whoever asks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "trap.h"

/* Pages that holes in slabs gave back count again when their objects are handed out. */
static void punched_slabs_count(void)
{
	enum { NR = 55000, SIZE = 1024 };
	static char *p[NR];
	int i;

	for (i = 0; i < NR && (p[i] = malloc(SIZE)); i++)
		memset(p[i], 1, SIZE);
	for (i = 0; i < NR; i++)
		if (i % 64) {
			free(p[i]);
			p[i] = NULL;
		}
	malloc_trim(0);
	for (char *large; (large = malloc(MIB / 2));)
		memset(large, 1, MIB / 2);
	for (i = 0; i < NR; i++)
		if (!p[i] && (p[i] = malloc(SIZE)))
			memset(p[i], 1, SIZE);
	CHECK(status_kib("RssAnon") < 72 * 1024, "%ld KiB", status_kib("RssAnon"));
}

/* Objects of one size up to the limit; how many. */
static long fill_up(char **p, long most, size_t size)
{
	long n = 0;

	while (n < most && (p[n] = malloc(size)))
		p[n++][0] = 1;
	return n;
}

/* Frees all of the first nr but one in 64, and gives back what that leaves. */
static void punch(char **p, long nr)
{
	for (long i = 0; i < nr; i++)
		if (i % 64)
			free(p[i]);
	malloc_trim(0);
}

/* Objects whose memory is there stand behind many that would need some. */
static void warm_objects_are_found(void)
{
	enum { MOST = 400000, SIZE = 256, PUNCHED = 200 * 64 };
	static char *p[MOST];
	long n = fill_up(p, MOST, SIZE), freed = 0;

	CHECK(n > 100000, "%ld", n);
	punch(p, PUNCHED);
	for (char *large; (large = malloc(40000));)
		memset(large, 1, 40000);
	for (long i = PUNCHED; i < n - 2000; i += 16, freed++)
		free(p[i]);
	malloc_trim(0);
	for (long i = 0; i < freed; i++)
		CHECK(malloc(SIZE), "%ld of %ld", i, freed);
}

/* Nor is what one page of a slab was given back for lost for the others. */
static void other_pages_of_the_slab_serve(void)
{
	enum { MOST = 200000, SIZE = 1024 };
	static char *p[MOST];
	long n = fill_up(p, MOST, SIZE), freed = 0;

	CHECK(n > 30000, "%ld", n);
	/* The first page of each slab becomes free, and of each other page one object stays. */
	for (long i = 0; i < n; i++) {
		uintptr_t page = (uintptr_t)p[i] / 4096 % 16, at = (uintptr_t)p[i] / SIZE % 4;

		if (page && !at)
			continue;
		free(p[i]);
		freed++;
	}
	malloc_trim(0);
	for (char *large; (large = malloc(40000));)
		memset(large, 1, 40000);
	for (long i = 0; i < freed - freed / 8; i++) {
		char *q = malloc(SIZE);

		CHECK(q, "%ld of %ld", i, freed);
		q[0] = 1;
	}
	CHECK(status_kib("RssAnon") < 72 * 1024, "%ld KiB", status_kib("RssAnon"));
}

/* One object wants room for the pages it lies in, not for all that its slab has given back. */
static void one_object_needs_little_room(void)
{
	enum { MOST = 200000, SIZE = 1024 };
	static char *p[MOST];
	char *large = NULL, *last = NULL;
	long n = fill_up(p, MOST, SIZE);

	CHECK(n > 30000, "%ld", n);
	punch(p, 20 * 64);
	while ((large = malloc(33000))) {
		memset(large, 1, 33000);
		last = large;
	}
	free(last);
	malloc_trim(0);
	CHECK(malloc(SIZE));
}

/* What succeeds leaves errno alone, however hard it was to find. */
static void success_keeps_errno(void)
{
	enum { SLOTS = 3000 };
	static char *p[SLOTS];
	uint64_t seed = 7;

	for (long i = 0; i < 200000; i++) {
		size_t slot = random_below(&seed, SLOTS);
		size_t size = 1 + random_below(&seed, random_below(&seed, 4) ? 60000 : 3 * MIB / 2);
		char *q;

		errno = 4711;
		if (p[slot] && !random_below(&seed, 3)) {
			free(p[slot]);
			CHECK(errno == 4711);
			p[slot] = NULL;
			continue;
		}
		q = realloc(p[slot], size);
		CHECK(errno == (q ? 4711 : ENOMEM), "%zu bytes: %d", size, errno);
		if (q) {
			memset(q, 1, size);
			p[slot] = q;
		}
	}
}

static _Atomic bool trimming = true;

static void *trim(void *unused)
{
	while (trimming)
		malloc_trim(0);
	return unused;
}

/*
 * Whoever trims holds empty slabs for a moment, on no list: they are no reason to fail. On one
 * processor the moment is long when it ends the thread's turn.
 */
static void a_trim_takes_nothing_away(void)
{
	enum { NR = 1004, PART = 128, SIZE = 64 << 10, ROUNDS = 60000 };
	static char *p[NR];
	uint64_t seed = 7;
	pthread_t thread;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < NR; i++) {
		p[i] = malloc(SIZE);
		CHECK(p[i]);
		memset(p[i], 1, SIZE);
	}
	CHECK(pthread_create(&thread, NULL, trim, NULL) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		size_t from = random_below(&seed, NR - PART);

		for (size_t i = from; i < from + PART; i++)
			free(p[i]);
		for (size_t i = from; i < from + PART; i++) {
			p[i] = malloc(SIZE);
			CHECK(p[i], "round %d", round);
			p[i][0] = 1;
		}
	}
	trimming = false;
	pthread_join(thread, NULL);
}

static const struct trap_case cases[] = {
	{ .name = "punched_slabs_count", .run = punched_slabs_count, .conf = "hard_limit:64M" },
	{ .name = "warm_objects_are_found", .run = warm_objects_are_found,
	  .conf = "hard_limit:64M" },
	{ .name = "other_pages_of_the_slab_serve", .run = other_pages_of_the_slab_serve,
	  .conf = "hard_limit:64M" },
	{ .name = "one_object_needs_little_room", .run = one_object_needs_little_room,
	  .conf = "hard_limit:64M" },
	{ .name = "a_trim_takes_nothing_away", .run = a_trim_takes_nothing_away,
	  .conf = "hard_limit:64M", .seconds = 120 },
	{ .name = "success_keeps_errno", .run = success_keeps_errno, .conf = "hard_limit:40M" },
};

TRAP_MAIN(cases)
