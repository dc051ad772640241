/*
 * The short table used while tuning: six rows that together meet every common
 * path of a small-object allocator (hit, refill and flush, reuse of warm and of
 * cold objects, and freeing what another thread allocated).
 */
#include <stdlib.h>

#include "ring.h"
#include "row.h"

#define PAIRS 1000

static void pair_pass(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < PAIRS; i++) {
		void *p = malloc(64);
		touch(p);
		free(p);
	}
}

/* Random churn: every operation frees a random slot and fills it again. */
struct churn {
	struct rng rng;
	uint32_t slots;
	void *slot[];
};

#define CHURN_OPS 10000

static inline void *churn_object(struct churn *c)
{
	void *p = malloc(16 + rng_below(&c->rng, 240));
	touch(p);
	return p;
}

static void *churn_setup(const struct row *row)
{
	struct churn *c = bench_map(sizeof(*c) + row->count * sizeof(void *));
	c->rng.s = 42;
	c->slots = row->count;
	for (uint32_t i = 0; i < c->slots; i++)
		c->slot[i] = churn_object(c);
	return c;
}

static void churn_pass(void *ctx)
{
	struct churn *c = ctx;
	for (int i = 0; i < CHURN_OPS; i++) {
		uint32_t k = rng_below(&c->rng, c->slots);
		free(c->slot[k]);
		c->slot[k] = churn_object(c);
	}
}

static void churn_teardown(void *ctx)
{
	struct churn *c = ctx;
	for (uint32_t i = 0; i < c->slots; i++)
		free(c->slot[i]);
	bench_unmap(c, sizeof(*c) + c->slots * sizeof(void *));
}

/* One thread allocates, another frees. */
#define RING_OBJECTS 100000

static void produce(struct ring *r)
{
	uint32_t head = ring_head(r);
	uint32_t end = head + RING_OBJECTS;

	while (head != end) {
		ring_wait_space(r, head);
		for (int i = 0; i < RING_STEP && head != end; i++) {
			void *p = malloc(64);
			touch(p);
			r->entry[head++ % RING_ENTRIES] = p;
		}
		ring_publish_head(r, head);
	}
}

static void consume(struct ring *r)
{
	uint32_t tail = ring_tail(r);
	uint32_t end = tail + RING_OBJECTS;

	while (tail != end) {
		uint32_t head = ring_wait_entries(r, tail);
		for (int i = 0; i < RING_STEP && tail != head; i++)
			free(r->entry[tail++ % RING_ENTRIES]);
		ring_publish_tail(r, tail);
	}
}

static void *ring_setup(const struct row *row)
{
	(void)row;
	return bench_map(sizeof(struct ring));
}

/*
 * The threads live for one pass; a pass is long enough (some milliseconds)
 * that starting them does not count.
 */
struct ring_side {
	struct ring *ring;
	bool producer;
};

static void *ring_thread(void *arg)
{
	struct ring_side *side = arg;
	if (side->producer)
		produce(side->ring);
	else
		consume(side->ring);
	return NULL;
}

static void ring_pass(void *ctx)
{
	struct ring_side side[2] = { { ctx, true }, { ctx, false } };
	void *args[2] = { &side[0], &side[1] };
	bench_threads(2, ring_thread, args);
}

static void ring_teardown(void *ctx)
{
	bench_unmap(ctx, sizeof(struct ring));
}

const struct row rows_table[] = {
	{ .name = "table/pair-64", .about = "malloc(64), free, repeated",
	  .passes = 20000, .ops = PAIRS, .pass = pair_pass },
	{ .name = "table/batch-100", .about = "100 x malloc(48), then 100 x free",
	  .passes = 250000, .ops = 100, .count = 100, .size = 48, .setup = batch_setup,
	  .pass = batch_fifo_pass, .teardown = batch_teardown },
	{ .name = "table/fifo-100k",
	  .about = "100 000 x malloc(48), then all freed in order",
	  .passes = 200, .ops = 100000, .count = 100000, .size = 48, .setup = batch_setup,
	  .pass = batch_fifo_pass, .teardown = batch_teardown },
	{ .name = "table/churn-2k",
	  .about = "random churn, 2 000 slots, 16-255 B",
	  .passes = 2000, .ops = CHURN_OPS, .count = 2000, .setup = churn_setup,
	  .pass = churn_pass, .teardown = churn_teardown },
	{ .name = "table/churn-1m",
	  .about = "random churn, 1 000 000 slots, 16-255 B",
	  .passes = 200, .ops = CHURN_OPS, .count = 1000000,
	  .setup = churn_setup, .pass = churn_pass, .teardown = churn_teardown },
	{ .name = "table/prodcons-64",
	  .about = "producer thread to consumer thread, 64 B",
	  .passes = 30, .ops = RING_OBJECTS, .setup = ring_setup,
	  .pass = ring_pass, .teardown = ring_teardown },
	{ .name = NULL },
};
