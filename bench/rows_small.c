/*
 * Small objects on one thread: single pairs at each scale of size, batches freed
 * in the order of allocation and in reverse, and mixes of sizes and lifetimes.
 */
#include <stdlib.h>
#include <string.h>

#include "row.h"

/* malloc and free of one size; one word per page of the block is written. */
struct pair {
	size_t size;
	int64_t ops;
};

static void *pair_setup(const struct row *row)
{
	struct pair *pair = bench_map(sizeof(*pair));
	pair->size = row->size;
	pair->ops = row->ops;
	return pair;
}

static void pair_pass(void *ctx)
{
	const struct pair *pair = ctx;

	for (int64_t i = 0; i < pair->ops; i++) {
		void *p = bench_malloc(pair->size);
		touch_pages(p, pair->size);
		free(p);
	}
}

static void pair_teardown(void *ctx)
{
	bench_unmap(ctx, sizeof(struct pair));
}

/* Batches: so many objects are allocated, then all are freed. */
struct batch {
	size_t size;
	uint32_t count;
	struct rng rng;
	void *slot[];
};

static size_t batch_bytes(uint32_t count)
{
	return sizeof(struct batch) + count * sizeof(void *);
}

void *batch_setup(const struct row *row)
{
	struct batch *b = bench_map(batch_bytes(row->count));
	b->size = row->size;
	b->count = row->count;
	b->rng.s = 7;
	return b;
}

static void batch_fill(struct batch *b)
{
	for (uint32_t i = 0; i < b->count; i++) {
		b->slot[i] = malloc(b->size);
		touch(b->slot[i]);
	}
}

void batch_fifo_pass(void *ctx)
{
	struct batch *b = ctx;

	batch_fill(b);
	for (uint32_t i = 0; i < b->count; i++)
		free(b->slot[i]);
}

static void batch_lifo_pass(void *ctx)
{
	struct batch *b = ctx;

	batch_fill(b);
	for (uint32_t i = b->count; i-- > 0;)
		free(b->slot[i]);
}

static void batch_shuffled_pass(void *ctx)
{
	struct batch *b = ctx;

	batch_fill(b);
	for (uint32_t left = b->count; left > 0; left--) {
		uint32_t k = rng_below(&b->rng, left);
		free(b->slot[k]);
		b->slot[k] = b->slot[left - 1];
	}
}

void batch_teardown(void *ctx)
{
	bench_unmap(ctx, batch_bytes(((struct batch *)ctx)->count));
}

/* Slots of random sizes, for the mixes. */
struct mix {
	struct rng rng;
	uint32_t slots;
	uint32_t next;
	int64_t ops;
	void *slot[];
};

static size_t mix_bytes(uint32_t slots)
{
	return sizeof(struct mix) + slots * sizeof(void *);
}

static void *mix_setup(const struct row *row)
{
	struct mix *m = bench_map(mix_bytes(row->count));
	m->rng.s = 99;
	m->slots = row->count;
	m->ops = row->ops;
	return m;
}

static void mix_teardown(void *ctx)
{
	struct mix *m = ctx;

	for (uint32_t i = 0; i < m->slots; i++)
		free(m->slot[i]);
	bench_unmap(m, mix_bytes(m->slots));
}

/* Each doubling of size is half as frequent, from 16 B up to 1 MiB: most
 * objects are small, and every octave holds about as many bytes. */
static size_t heavy_tailed_size(struct rng *rng)
{
	uint64_t bits = rng_next(rng);
	int octave = __builtin_ctzll(bits | 1ULL << 15);
	size_t least = (size_t)16 << octave;

	return least + (bits >> 32) % least;
}

static void heavy_tail_pass(void *ctx)
{
	struct mix *m = ctx;

	for (int64_t i = 0; i < m->ops; i++) {
		uint32_t k = rng_below(&m->rng, m->slots);
		size_t size = heavy_tailed_size(&m->rng);
		free(m->slot[k]);
		m->slot[k] = bench_malloc(size);
		touch_pages(m->slot[k], size);
	}
}

/* Nine objects in ten die after 64 more allocations, the tenth lives until its
 * place is drawn among all slots: a request handler beside a cache. */
#define SHORT_LIVED 64

static void lifetimes_pass(void *ctx)
{
	struct mix *m = ctx;

	for (int64_t i = 0; i < m->ops; i++) {
		uint32_t draw = rng_below(&m->rng, 10 * (m->slots - SHORT_LIVED));
		uint32_t k = draw % 10 ? m->next++ % SHORT_LIVED :
					 SHORT_LIVED + draw / 10;
		size_t size = 16 + rng_below(&m->rng, draw % 10 ? 2032 : 496);
		free(m->slot[k]);
		m->slot[k] = malloc(size);
		touch(m->slot[k]);
	}
}

/* Words of a text: short strings, written in full, freed page by page. */
static void strings_pass(void *ctx)
{
	struct mix *m = ctx;
	static const char text[] =
		"the quick brown fox jumps over the lazy dog and runs away";

	for (int64_t i = 0; i < m->ops; i++) {
		uint32_t k = m->next++ % m->slots;
		size_t len = 1 + rng_below(&m->rng, sizeof(text) - 1);
		char *s;
		free(m->slot[k]);
		s = malloc(len + 1);
		memcpy(s, text, len);
		s[len] = '\0';
		m->slot[k] = s;
	}
}

#define PAIR(label, bytes, nr_passes, nr_ops)                                  \
	{ .name = "pair/" label, .about = "malloc and free of " label,         \
	  .passes = nr_passes, .ops = nr_ops, .size = bytes,                   \
	  .setup = pair_setup, .pass = pair_pass, .teardown = pair_teardown }

#define BATCH(label, what, order, objects, bytes, nr_passes)                   \
	{ .name = "batch/" label, .about = what, .passes = nr_passes,          \
	  .ops = objects, .size = bytes, .count = objects,                     \
	  .setup = batch_setup, .pass = batch_##order##_pass,                  \
	  .teardown = batch_teardown }

#define MIX(label, what, fn, objects, nr_passes, nr_ops)                       \
	{ .name = "mix/" label, .about = what, .passes = nr_passes,            \
	  .ops = nr_ops, .count = objects, .setup = mix_setup,                 \
	  .pass = fn##_pass, .teardown = mix_teardown }

const struct row rows_small[] = {
	PAIR("16", 16, 20000, 1000),
	PAIR("256", 256, 20000, 1000),
	PAIR("1k", 1024, 20000, 1000),
	PAIR("8k", 8192, 10000, 1000),
	PAIR("64k", 65536, 1000, 1000),
	PAIR("256k", 262144, 300, 1000),
	PAIR("1m", 1 << 20, 500, 100),
	PAIR("16m", 16 << 20, 60, 10),
	BATCH("fifo-1k", "1 000 of 32 B, freed in order", fifo, 1000, 32, 20000),
	BATCH("fifo-1m", "1 000 000 of 32 B, freed in order", fifo, 1000000, 32, 10),
	BATCH("lifo-100", "100 of 64 B, freed in reverse", lifo, 100, 64, 200000),
	BATCH("lifo-10k", "10 000 of 64 B, freed in reverse", lifo, 10000, 64, 1500),
	BATCH("lifo-1m", "1 000 000 of 64 B, freed in reverse", lifo, 1000000, 64, 6),
	BATCH("shuffled-100k", "100 000 of 96 B, freed in random order", shuffled,
	      100000, 96, 40),
	BATCH("fifo-2k-of-2k", "2 000 of 2 KiB, freed in order", fifo, 2000, 2048, 1000),
	MIX("heavy-tail", "16 B-1 MiB, each octave half as frequent, 20 000 slots",
	    heavy_tail, 20000, 200, 10000),
	MIX("lifetimes", "nine short-lived, one long-lived among 100 000, 16 B-2 KiB",
	    lifetimes, 100000, 400, 10000),
	MIX("strings", "copies of short strings, 50 000 alive", strings, 50000,
	    500, 10000),
	{ .name = NULL },
};
