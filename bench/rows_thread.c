/*
 * Threads: independent work side by side, objects freed by a thread that did not
 * allocate them, threads that come and go, and cache lines that two share.
 *
 * Threads live for one pass. Unless a row is about starting threads, its passes
 * are long enough (milliseconds) that starting them does not count.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "ring.h"
#include "row.h"

#define MAX_THREADS 64

struct team;

/* One thread's place: its slots go to whoever takes the place next. */
struct seat {
	struct team *team;
	int index;
	struct rng rng;
	uint32_t slots;
	void **slot;
};

struct team {
	int threads;
	int64_t ops;   /* of each thread, per pass */
	uint32_t slots; /* of each seat */
	_Atomic int waiting;
	_Atomic bool released;
	pthread_t idle[MAX_THREADS];
	struct ring ring[2];
	struct seat seat[MAX_THREADS];
	_Atomic(void *) exchange[4096];
};

static void *team_new(const struct row *row, int threads, uint32_t slots)
{
	struct team *t = bench_map(sizeof(*t));

	t->threads = threads;
	t->slots = slots;
	t->ops = row->ops / threads;
	for (int i = 0; i < threads; i++) {
		struct seat *s = &t->seat[i];
		s->team = t;
		s->index = i;
		s->rng.s = 1000 + (uint64_t)i;
		s->slots = slots;
		s->slot = slots ? bench_map(slots * sizeof(void *)) : NULL;
	}
	return t;
}

static void team_drop(void *ctx)
{
	struct team *t = ctx;

	for (int i = 0; i < t->threads; i++) {
		for (uint32_t k = 0; k < t->slots; k++)
			free(t->seat[i].slot[k]);
		if (t->slots)
			bench_unmap(t->seat[i].slot, t->slots * sizeof(void *));
	}
	for (size_t k = 0; k < sizeof(t->exchange) / sizeof(void *); k++)
		free(t->exchange[k]);
	bench_unmap(t, sizeof(*t));
}

static void team_run(struct team *t, void *(*fn)(void *))
{
	void *args[MAX_THREADS];

	for (int i = 0; i < t->threads; i++)
		args[i] = &t->seat[i];
	bench_threads(t->threads, fn, args);
}

static void seat_churn(struct seat *s, int64_t ops)
{
	for (int64_t i = 0; i < ops; i++) {
		uint32_t k = rng_below(&s->rng, s->slots);
		free(s->slot[k]);
		s->slot[k] = malloc(16 + rng_below(&s->rng, 496));
		touch(s->slot[k]);
	}
}

static void *churn_thread(void *arg)
{
	struct seat *s = arg;

	seat_churn(s, s->team->ops);
	return NULL;
}

/* Threads that share nothing: two on the two seats' own slots. */
static void *independent_setup(const struct row *row)
{
	return team_new(row, 2, 10000);
}

static void independent_pass(void *ctx)
{
	team_run(ctx, churn_thread);
}

/*
 * A server whose workers are replaced: each works on the objects its
 * predecessor left, frees most of them, leaves its own and exits. Every pass is
 * a generation, and takes the seat's slots from another seat.
 */
static void *hand_on_setup(const struct row *row)
{
	return team_new(row, 4, 2000);
}

static void hand_on_pass(void *ctx)
{
	struct team *t = ctx;
	void **first = t->seat[0].slot;

	for (int i = 0; i + 1 < t->threads; i++)
		t->seat[i].slot = t->seat[i + 1].slot;
	t->seat[t->threads - 1].slot = first;
	team_run(t, churn_thread);
}

/* Short threads, four at a time; what each leaves the main thread frees. */
#define STORM_OBJECTS 50

static void *storm_setup(const struct row *row)
{
	return team_new(row, 4, STORM_OBJECTS);
}

static void *storm_thread(void *arg)
{
	struct seat *s = arg;

	for (uint32_t k = 0; k < s->slots; k++) {
		s->slot[k] = malloc(16 + rng_below(&s->rng, 1008));
		touch(s->slot[k]);
	}
	for (uint32_t k = 0; k < s->slots; k += 2) {
		free(s->slot[k]);
		s->slot[k] = NULL;
	}
	return NULL;
}

static void storm_pass(void *ctx)
{
	struct team *t = ctx;

	for (int64_t n = 0; n < t->ops; n++) {
		team_run(t, storm_thread);
		for (int i = 0; i < t->threads; i++)
			for (uint32_t k = 1; k < t->slots; k += 2) {
				free(t->seat[i].slot[k]);
				t->seat[i].slot[k] = NULL;
			}
	}
}

/*
 * Several threads that each allocate groups of one size and free them in
 * different orders: one group forward, one backward, one alternating.
 */
#define GROUP 300

static void *mixed_order_setup(const struct row *row)
{
	return team_new(row, 4, 0);
}

static void *mixed_order_thread(void *arg)
{
	struct seat *s = arg;
	void *group[GROUP];

	for (int64_t done = 0, turn = 0; done < s->team->ops;
	     done += GROUP, turn++) {
		size_t size = 16 + rng_below(&s->rng, 1 + rng_below(&s->rng, 800));
		for (int i = 0; i < GROUP; i++) {
			group[i] = malloc(size);
			touch(group[i]);
		}
		switch (turn % 3) {
		case 0:
			for (int i = 0; i < GROUP; i++)
				free(group[i]);
			break;
		case 1:
			for (int i = GROUP; i-- > 0;)
				free(group[i]);
			break;
		default:
			for (int i = 0; i < GROUP; i += 2)
				free(group[i]);
			for (int i = 1; i < GROUP; i += 2)
				free(group[i]);
		}
	}
	return NULL;
}

static void mixed_order_pass(void *ctx)
{
	team_run(ctx, mixed_order_thread);
}

/* Half of what each thread frees comes from the other: both swap objects with
 * random places of one shared array. Nobody ever waits. */
static void *exchange_setup(const struct row *row)
{
	return team_new(row, 2, 0);
}

static void *exchange_thread(void *arg)
{
	struct seat *s = arg;
	struct team *t = s->team;

	for (int64_t i = 0; i < t->ops; i++) {
		void *p = malloc(16 + rng_below(&s->rng, 240));
		touch(p);
		free(atomic_exchange_explicit(
			&t->exchange[rng_below(&s->rng, 4096)], p,
			memory_order_acq_rel));
	}
	return NULL;
}

static void exchange_pass(void *ctx)
{
	team_run(ctx, exchange_thread);
}

/* Two threads that each send batches to the other and free what they receive. */
static void *ping_pong_setup(const struct row *row)
{
	return team_new(row, 2, 0);
}

static void *ping_pong_thread(void *arg)
{
	struct seat *s = arg;
	struct ring *out = &s->team->ring[s->index];
	struct ring *in = &s->team->ring[1 - s->index];
	uint32_t head = ring_head(out), tail = ring_tail(in);

	for (int64_t done = 0; done < s->team->ops; done += RING_STEP) {
		int left = RING_STEP;
		ring_wait_space(out, head);
		for (int i = 0; i < RING_STEP; i++) {
			void *p = malloc(16 + rng_below(&s->rng, 1008));
			touch(p);
			out->entry[head++ % RING_ENTRIES] = p;
		}
		ring_publish_head(out, head);
		while (left > 0) {
			uint32_t ready = ring_wait_entries(in, tail);
			for (; left > 0 && tail != ready; left--)
				free(in->entry[tail++ % RING_ENTRIES]);
			ring_publish_tail(in, tail);
		}
	}
	return NULL;
}

static void ping_pong_pass(void *ctx)
{
	team_run(ctx, ping_pong_thread);
}

/* The main thread allocates, four others free. */
static void *fan_out_setup(const struct row *row)
{
	return team_new(row, 4, (uint32_t)(row->ops / 4));
}

static void *fan_out_thread(void *arg)
{
	struct seat *s = arg;

	for (uint32_t k = 0; k < s->slots; k++) {
		free(s->slot[k]);
		s->slot[k] = NULL;
	}
	return NULL;
}

static void fan_out_pass(void *ctx)
{
	struct team *t = ctx;

	/* Neighbours in memory go to different threads. */
	for (uint32_t k = 0; k < t->slots; k++)
		for (int i = 0; i < t->threads; i++) {
			t->seat[i].slot[k] = malloc(128);
			touch(t->seat[i].slot[k]);
		}
	team_run(t, fan_out_thread);
}

/*
 * False sharing: two threads write to small objects of their own, which are
 * slow if they lie in one cache line. Active: the allocator gave two threads
 * parts of a line. Passive: it did when one thread frees what it was handed and
 * then gets the same place again, beside what the other thread was handed.
 */
#define SHARING_WRITES 100

static void *sharing_setup(const struct row *row)
{
	return team_new(row, 2, 1);
}

static void *sharing_thread(void *arg)
{
	struct seat *s = arg;

	free(s->slot[0]);
	s->slot[0] = NULL;
	for (int64_t i = 0; i < s->team->ops; i++) {
		volatile uint64_t *p = malloc(8);
		for (int w = 0; w < SHARING_WRITES; w++)
			(*p)++;
		free((void *)p);
	}
	return NULL;
}

static void sharing_active_pass(void *ctx)
{
	team_run(ctx, sharing_thread);
}

static void sharing_passive_pass(void *ctx)
{
	struct team *t = ctx;

	for (int i = 0; i < t->threads; i++) {
		t->seat[i].slot[0] = malloc(8);
		touch(t->seat[i].slot[0]);
	}
	team_run(t, sharing_thread);
}

/* Many threads that worked and now sleep, while the main thread works. */
static void *idle_thread(void *arg)
{
	struct seat *s = arg;

	seat_churn(s, 5000);
	atomic_fetch_add(&s->team->waiting, 1);
	while (!atomic_load(&s->team->released)) {
		struct timespec nap = { 0, 20000000 };
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static void *idle_setup(const struct row *row)
{
	struct team *t = team_new(row, MAX_THREADS, 200);

	t->ops = row->ops;
	for (int i = 1; i < t->threads; i++)
		t->idle[i] = bench_thread(idle_thread, &t->seat[i]);
	while (atomic_load(&t->waiting) < t->threads - 1)
		sched_yield();
	return t;
}

static void idle_pass(void *ctx)
{
	struct team *t = ctx;

	seat_churn(&t->seat[0], t->ops);
}

static void idle_drop(void *ctx)
{
	struct team *t = ctx;

	atomic_store(&t->released, true);
	for (int i = 1; i < t->threads; i++)
		pthread_join(t->idle[i], NULL);
	team_drop(t);
}

#define THREAD(label, what, fn, nr_passes, nr_ops)                             \
	{ .name = "thread/" label, .about = what, .passes = nr_passes,         \
	  .ops = nr_ops, .setup = fn##_setup, .pass = fn##_pass,               \
	  .teardown = team_drop }

const struct row rows_thread[] = {
	THREAD("independent", "2 threads, each churning 10 000 slots of its own",
	       independent, 10, 1000000),
	THREAD("hand-on", "4 threads work on their predecessors' objects and exit",
	       hand_on, 100, 80000),
	THREAD("storm", "short threads, 4 at a time; ns per thread", storm, 5, 800),
	THREAD("mixed-order", "4 threads free groups in mixed orders", mixed_order,
	       10, 1200000),
	THREAD("exchange", "2 threads swap objects with places of a shared array",
	       exchange, 10, 500000),
	THREAD("ping-pong", "2 threads free what the other allocated, 16 B-1 KiB",
	       ping_pong, 10, 256000),
	THREAD("fan-out", "one thread allocates 40 000, 4 others free them",
	       fan_out, 50, 40000),
	{ .name = "thread/sharing-active",
	  .about = "2 threads write to 8 B objects; ns per object, 100 writes each",
	  .passes = 10, .ops = 100000, .setup = sharing_setup,
	  .pass = sharing_active_pass, .teardown = team_drop },
	{ .name = "thread/sharing-passive",
	  .about = "the same after each freed what it was handed from one line",
	  .passes = 10, .ops = 100000, .setup = sharing_setup,
	  .pass = sharing_passive_pass, .teardown = team_drop },
	{ .name = "thread/idle-64",
	  .about = "one thread churns 200 slots while 63 others sleep",
	  .passes = 1000, .ops = 10000, .setup = idle_setup, .pass = idle_pass,
	  .teardown = idle_drop },
	{ .name = NULL },
};
