/*
 * Blocks of many pages, and the calls beside malloc: realloc, calloc, aligned
 * allocation. Page faults and moved bytes decide most of these rows, so every
 * page of a block is written once, as a program would (but of a sparse one).
 */
#include <stdlib.h>
#include <string.h>

#include "row.h"

struct large {
	struct rng rng;
	uint32_t slots;
	uint32_t next;
	size_t size;
	int64_t ops;
	void *slot[1000];
};

static void *large_setup(const struct row *row)
{
	struct large *l = bench_map(sizeof(*l));

	l->rng.s = 31337;
	l->slots = row->count;
	l->size = row->size;
	l->ops = row->ops;
	return l;
}

static void large_teardown(void *ctx)
{
	struct large *l = ctx;

	for (uint32_t i = 0; i < l->slots; i++)
		free(l->slot[i]);
	bench_unmap(l, sizeof(*l));
}

/* Every doubling of size between the two is as likely as any other. */
static size_t log_uniform(struct rng *rng, size_t least, int doublings)
{
	size_t base = least << rng_below(rng, (uint32_t)doublings);

	return base + rng_below(rng, (uint32_t)base);
}

static void refill(struct large *l, uint32_t k, size_t size)
{
	free(l->slot[k]);
	l->slot[k] = bench_malloc(size);
	touch_pages(l->slot[k], size);
}

static void churn_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++)
		refill(l, rng_below(&l->rng, l->slots),
		       log_uniform(&l->rng, 64 << 10, 6));
}

static void cycle_medium_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++)
		refill(l, l->next++ % l->slots,
		       (16 << 10) + rng_below(&l->rng, 496 << 10));
}

static void cycle_huge_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++)
		refill(l, l->next++ % l->slots,
		       (5 << 20) + rng_below(&l->rng, 20 << 20));
}

/* A buffer that grows to 64 MiB by 64 KiB; only the new part is written. */
#define GROW_STEP (64 << 10)

static void grow_pass(void *ctx)
{
	struct large *l = ctx;
	char *p = NULL;

	for (int64_t i = 0; i < l->ops; i++) {
		size_t old = (size_t)i * GROW_STEP;
		p = bench_realloc(p, old + GROW_STEP);
		touch_pages(p + old, GROW_STEP);
	}
	free(p);
}

/* A text that grows to 64 KiB by 32 bytes, beside a neighbour that stays. */
#define APPEND_STEP 32

static void append_pass(void *ctx)
{
	struct large *l = ctx;
	char *p = NULL;

	for (int64_t i = 0; i < l->ops; i++) {
		size_t old = (size_t)i * APPEND_STEP;
		p = bench_realloc(p, old + APPEND_STEP);
		memset(p + old, 'x', APPEND_STEP);
	}
	free(p);
}

/* Arrays that grow by half, in turns, from 64 B to 208 KiB. */
static void vectors_pass(void *ctx)
{
	struct large *l = ctx;
	size_t size = 64;

	for (int64_t step = 0; step < l->ops / l->slots; step++) {
		size_t grown = size + size / 2;
		for (uint32_t k = 0; k < l->slots; k++) {
			l->slot[k] = bench_realloc(l->slot[k], grown);
			touch_pages((char *)l->slot[k] + size, grown - size);
		}
		size = grown;
	}
	for (uint32_t k = 0; k < l->slots; k++) {
		free(l->slot[k]);
		l->slot[k] = NULL;
	}
}

/* Zeroed memory, of which each page is written to. */
static void calloc_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++) {
		uint32_t k = l->next++ % l->slots;
		free(l->slot[k]);
		l->slot[k] = calloc(1, l->size);
		if (!l->slot[k])
			bench_die("calloc");
		touch_pages(l->slot[k], l->size);
	}
}

/* An array of which little is used, as solvers and numpy.zeros have them: 4 KiB of each MiB. */
static void calloc_sparse_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++) {
		char *p = calloc(1, l->size);
		if (!p)
			bench_die("calloc");
		for (size_t at = 0; at < l->size; at += 1 << 20)
			touch(p + at);
		free(p);
	}
}

/* Alignments from 32 B to 4 KiB for sizes from 16 B to 2 KiB. */
static void aligned_pass(void *ctx)
{
	struct large *l = ctx;

	for (int64_t i = 0; i < l->ops; i++) {
		uint32_t k = rng_below(&l->rng, l->slots);
		size_t align = (size_t)32 << rng_below(&l->rng, 8);
		free(l->slot[k]);
		if (posix_memalign(&l->slot[k], align,
				   log_uniform(&l->rng, 16, 7)))
			bench_die("posix_memalign");
		touch(l->slot[k]);
	}
}

#define LARGE(label, what, fn, nr_slots, bytes, nr_passes, nr_ops)             \
	{ .name = label, .about = what, .passes = nr_passes, .ops = nr_ops,    \
	  .size = bytes, .count = nr_slots, .setup = large_setup,              \
	  .pass = fn##_pass, .teardown = large_teardown }

const struct row rows_large[] = {
	LARGE("large/churn-64k-4m", "random churn, 64 slots, 64 KiB-4 MiB", churn,
	      64, 0, 30, 200),
	LARGE("large/cycle-16k-512k", "64 slots refilled in turn, 16-512 KiB",
	      cycle_medium, 64, 0, 40, 1000),
	LARGE("large/cycle-5m-25m", "4 slots refilled in turn, 5-25 MiB",
	      cycle_huge, 4, 0, 10, 10),
	LARGE("realloc/grow-64m", "one block to 64 MiB by 64 KiB", grow, 0, 0, 2,
	      1024),
	LARGE("realloc/append-64k", "one block to 64 KiB by 32 B", append, 0, 0,
	      5000, 2048),
	LARGE("realloc/vectors", "100 arrays by half each, 64 B to 208 KiB",
	      vectors, 100, 0, 30, 2000),
	LARGE("calloc/128", "1 000 slots in turn, 128 B", calloc, 1000, 128, 1000,
	      10000),
	LARGE("calloc/64k", "16 slots in turn, 64 KiB", calloc, 16, 64 << 10, 150,
	      1000),
	LARGE("calloc/4m", "4 slots in turn, 4 MiB", calloc, 4, 4 << 20, 30, 20),
	LARGE("calloc/sparse-64m", "64 MiB, of each MiB one page is written",
	      calloc_sparse, 0, 64 << 20, 20, 20),
	LARGE("aligned/mixed", "1 000 slots, 16 B-2 KiB, aligned to 32 B-4 KiB",
	      aligned, 1000, 0, 200, 10000),
	{ .name = NULL },
};
