/*
 * model.c - random sequences of calls, checked against what malloc promises
 *
 *   model [-t THREADS] [-n CALLS] [SEED]
 *
 * Without -t it runs with 1, 2 and 8 threads. The seed comes from the argument,
 * from $BM_SEED, or from the clock, and is printed first: with one thread the
 * same seed makes the same calls.
 *
 * Every object is filled to its usable size with bytes that follow from a key
 * of its own and is read back before it is resized, given away or freed. A
 * shadow of the address space (shadow.h) finds memory that is given out twice.
 *
 * State: each thread owns its slots. Slots are given to other threads through
 * the mailboxes, under a mutex each; what dead threads leave in their slots is
 * inherited by the next generation.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "shadow.h"

/* C23; the libc may not have them, the library does. */
__attribute__((weak)) void free_sized(void *p, size_t size);
__attribute__((weak)) void free_aligned_sized(void *p, size_t align, size_t size);

enum {
	MAX_THREADS = 64,
	NR_SLOTS = 4000,
	NR_MAILBOXES = 256,
	NR_GENERATIONS = 3,
	/* Read in full up to here; beyond, a word of every page and both ends. */
	READ_IN_FULL = 16384,
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct slot {
	unsigned char *p;
	size_t size;	/* as asked for */
	size_t usable;	/* filled with the pattern of key */
	size_t align;	/* 0: not from an aligned function */
	uint64_t key;
};

struct mailbox {
	pthread_mutex_t lock;
	struct slot slot; /* under lock */
};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	unsigned long nr_calls;	/* to make */
	unsigned long at;	/* calls made */
	size_t live_bytes;
	size_t live_max;
	struct slot slots[NR_SLOTS];
};

static struct worker *workers;
static struct mailbox mailboxes[NR_MAILBOXES];
static unsigned long long seed;

__attribute__((noreturn, format(printf, 3, 4)))
static void fail(const struct worker *w, const struct slot *s, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "model: seed %llu, thread %u, call %lu: ", seed, w->index, w->at);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	if (s)
		fprintf(stderr, " (%p, size %zu, usable %zu, align %zu)", (void *)s->p, s->size,
			s->usable, s->align);
	fputc('\n', stderr);
	_exit(1);
}

/* ------------------------------------------------------------------- sizes */

static size_t random_size(struct worker *w)
{
	static const struct {
		unsigned per_mille;
		size_t below;
	} mix[] = {
		{ 500, 128 },	     { 230, KIB },	 { 150, 8 * KIB },  { 70, 40 * KIB },
		{ 35, 512 * KIB }, { 13, 4 * MIB }, { 2, 48 * MIB },
	};
	size_t pick = random_below(&w->random, 1000), size = 0;

	for (size_t i = 0; i < sizeof(mix) / sizeof(mix[0]); i++) {
		if (pick < mix[i].per_mille) {
			size = random_below(&w->random, mix[i].below + 1);
			break;
		}
		pick -= mix[i].per_mille;
	}
	/* Mistakes live next to powers of two. */
	if (next_random(&w->random) % 8 == 0) {
		size_t power = 1;

		while (power < size)
			power *= 2;
		size = power + random_below(&w->random, 35);
		size -= size < 17 ? size : 17;
	}
	return w->live_bytes + size > w->live_max ? size % 256 : size;
}

/* ----------------------------------------------------------------- content */

static void write_content(struct slot *s, uint64_t key)
{
	s->key = key;
	fill(s->p, s->usable, key);
}

/* Whether the first n bytes are what was written when the object had them. */
static bool content_is_kept(const unsigned char *p, size_t n, uint64_t key)
{
	/* The words of the pattern are 8 bytes, and its last one may be cut. */
	n &= ~(size_t)7;
	if (n <= READ_IN_FULL)
		return is_filled(p, n, key);
	for (size_t at = 0; at < n; at += 4096) {
		size_t word = at + (key + at / 4096 * 88) % 4096;

		word &= ~(size_t)7;
		if (word + 8 <= n && !is_filled(p + word, 8, key + word / 8))
			return false;
	}
	return is_filled(p, 512, key) && is_filled(p + n - 512, 512, key + (n - 512) / 8);
}

static void check_content(const struct worker *w, const struct slot *s)
{
	if (malloc_usable_size(s->p) != s->usable)
		fail(w, s, "usable size became %zu", malloc_usable_size(s->p));
	if (!content_is_kept(s->p, s->usable, s->key))
		fail(w, s, "content changed");
}

/* ------------------------------------------------------------------ objects */

static void admit(struct worker *w, struct slot *s, void *p, size_t size, size_t align)
{
	*s = (struct slot){ .p = p, .size = size, .align = align };
	if (!p)
		fail(w, s, "no memory: %s", strerror(errno));
	if ((uintptr_t)p % (align > 16 ? align : 16) && (size >= 16 || !align))
		fail(w, s, "not aligned");
	s->usable = malloc_usable_size(p);
	if (s->usable < size)
		fail(w, s, "usable size is less than asked for");
	if (!shadow_claim(p, s->usable))
		fail(w, s, "overlaps a live object");
	w->live_bytes += s->usable;
	write_content(s, next_random(&w->random));
}

/* From here on the memory is the allocator's, whatever comes of the call. */
static void dismiss(struct worker *w, const struct slot *s)
{
	check_content(w, s);
	if (!shadow_release(s->p, s->usable))
		fail(w, s, "was not claimed in full");
	w->live_bytes -= s->usable < w->live_bytes ? s->usable : w->live_bytes;
}

static void allocate(struct worker *w, struct slot *s)
{
	size_t size = random_size(w), align = 0, nr;
	uint64_t dice = next_random(&w->random) % 16;
	void *p;

	if (dice >= 13) {
		align = (size_t)8 << random_below(&w->random, 10);
		if (next_random(&w->random) % 64 == 0)
			align = (size_t)1 << (13 + random_below(&w->random, 10));
	}
	switch (dice) {
	default:
		p = malloc(size);
		break;
	case 9: case 10: case 11:
		nr = 1 + random_below(&w->random, 20);
		size = size / nr * nr;
		p = calloc(nr, size / nr);
		if (p && !is_zero(p, size))
			fail(w, NULL, "calloc of %zu bytes at %p is not zero", size, p);
		break;
	case 12:
		p = realloc(NULL, size);
		break;
	case 13:
		p = memalign(align, size);
		break;
	case 14:
		if (posix_memalign(&p, align, size) != 0)
			p = NULL;
		break;
	case 15:
		p = aligned_alloc(align, size);
		break;
	}
	admit(w, s, p, size, align);
}

static void release(struct worker *w, struct slot *s)
{
	uint64_t dice = next_random(&w->random) % 4;

	dismiss(w, s);
	if (dice == 0 && free_sized && !s->align)
		free_sized(s->p, s->size);
	else if (dice == 0 && free_aligned_sized && s->align)
		free_aligned_sized(s->p, s->align, s->size);
	else
		free(s->p);
	s->p = NULL;
}

static void resize(struct worker *w, struct slot *s)
{
	size_t size = random_size(w), kept;
	struct slot old = *s;
	unsigned char *p;

	/* Often a little more or less, as growing buffers do. */
	if (next_random(&w->random) % 2)
		size = s->size + s->size / 2 < MIB ? s->size + s->size / 2 + size % 32
						   : s->size - s->size / 4;
	dismiss(w, s);
	if (next_random(&w->random) % 4) {
		p = realloc(s->p, size);
	} else {
		size_t nr = 1 + random_below(&w->random, 9);

		size = size / nr * nr;
		p = reallocarray(s->p, nr, size / nr);
	}
	s->p = NULL;
	/* Of no size: some free and give NULL, some give an object of no bytes. */
	if (!p && !size)
		return;
	kept = size < old.usable ? size : old.usable;
	if (p && !content_is_kept(p, kept, old.key))
		fail(w, &old, "realloc to %zu at %p lost content", size, (void *)p);
	admit(w, s, p, size, 0);
}

/* Gives the object to whoever comes by, and takes what lies there. */
static void exchange(struct worker *w, struct slot *s)
{
	struct mailbox *box = &mailboxes[random_below(&w->random, NR_MAILBOXES)];
	struct slot given = *s;

	pthread_mutex_lock(&box->lock);
	*s = box->slot;
	box->slot = given;
	pthread_mutex_unlock(&box->lock);
	w->live_bytes += s->p ? s->usable : 0;
	w->live_bytes -= given.p && given.usable < w->live_bytes ? given.usable : 0;
	if (s->p)
		check_content(w, s);
}

/*
 * The share of slots in use goes up and down, so that slabs and blocks fill,
 * empty, and are given back.
 */
static bool should_fill(struct worker *w)
{
	static const unsigned tide[] = { 90, 60, 30, 5, 50, 95, 20, 70 };
	size_t part = w->at * 8 / (w->nr_calls + 1);

	return random_below(&w->random, 100) < tide[part % 8];
}

static void one_call(struct worker *w)
{
	struct slot *s = &w->slots[random_below(&w->random, NR_SLOTS)];
	uint64_t dice = next_random(&w->random) % 16;

	if (dice == 0)
		exchange(w, s);
	else if (s->p && dice < 5)
		resize(w, s);
	else if (s->p && (dice < 6 || !should_fill(w)))
		release(w, s);
	else if (s->p)
		check_content(w, s);
	else if (should_fill(w))
		allocate(w, s);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (w->at = 0; w->at < w->nr_calls; w->at++)
		one_call(w);
	return NULL;
}

/* --------------------------------------------------------------------- runs */

static void empty_all(unsigned nr_threads)
{
	struct worker *w = &workers[0];

	for (unsigned i = 0; i < nr_threads; i++)
		for (size_t j = 0; j < NR_SLOTS; j++)
			if (workers[i].slots[j].p)
				release(w, &workers[i].slots[j]);
	for (size_t i = 0; i < NR_MAILBOXES; i++)
		if (mailboxes[i].slot.p)
			release(w, &mailboxes[i].slot);
	if (shadow_claimed() != 0)
		fail(w, NULL, "%zu granules are still claimed", shadow_claimed());
}

static void run(unsigned nr_threads, unsigned long nr_calls)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	memset(workers, 0, MAX_THREADS * sizeof(*workers));
	for (unsigned generation = 0; generation < NR_GENERATIONS; generation++) {
		for (unsigned i = 0; i < nr_threads; i++) {
			struct worker *w = &workers[i];

			w->index = i;
			w->random = (seed + 1) * 0x9e3779b97f4a7c15ULL ^
				    (generation * MAX_THREADS + i + 1) * 0xd1b54a32d192ed03ULL;
			w->random += !w->random;
			w->nr_calls = nr_calls / nr_threads / NR_GENERATIONS;
			w->live_max = 160 * MIB / nr_threads;
			if (nr_threads == 1)
				work(w);
			else if (pthread_create(&w->thread, NULL, work, w) != 0)
				fail(w, NULL, "no thread");
		}
		for (unsigned i = 0; i < nr_threads && nr_threads > 1; i++)
			pthread_join(workers[i].thread, NULL);
	}
	empty_all(nr_threads);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("model: %u thread%s, %lu calls: ok, %.1f s\n", nr_threads,
	       nr_threads > 1 ? "s" : "", nr_calls,
	       (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
	fflush(stdout);
}

static unsigned long long number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 0);

	if (*end || end == text) {
		fprintf(stderr, "model: not a number: %s\n", text);
		exit(99);
	}
	return n;
}

int main(int argc, char **argv)
{
	/* About two seconds each: fewer threads make larger objects. */
	static const struct {
		unsigned threads;
		unsigned long calls;
	} defaults[] = { { 1, 400000 }, { 2, 1000000 }, { 8, 2000000 } };
	unsigned long nr_calls = 0;
	unsigned nr_threads = 0;
	int option;

	seed = getenv("BM_SEED") ? number(getenv("BM_SEED")) :
				   (unsigned long long)time(NULL) * 1000 + (unsigned)getpid() % 1000;
	while ((option = getopt(argc, argv, "t:n:")) != -1) {
		if (option == 't')
			nr_threads = (unsigned)number(optarg);
		else if (option == 'n')
			nr_calls = (unsigned long)number(optarg);
		else
			return 99;
	}
	if (optind < argc)
		seed = number(argv[optind]);
	if (nr_threads > MAX_THREADS) {
		fprintf(stderr, "model: at most %d threads\n", MAX_THREADS);
		return 99;
	}
	printf("model: seed %llu\n", seed);
	fflush(stdout);

	/* Not from the heap under test. */
	workers = mmap(NULL, MAX_THREADS * sizeof(*workers), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (workers == MAP_FAILED)
		return 99;
	for (size_t i = 0; i < NR_MAILBOXES; i++)
		pthread_mutex_init(&mailboxes[i].lock, NULL);
	if (nr_threads)
		run(nr_threads, nr_calls ? nr_calls : 400000);
	for (size_t i = 0; !nr_threads && i < 3; i++)
		run(defaults[i].threads, nr_calls ? nr_calls : defaults[i].calls);
	return 0;
}
