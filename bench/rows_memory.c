/*
 * How much memory comes back, and how much a long-lived heap holds. The figure
 * of these rows is RSS; each does its work once, and reports
 *
 *   rss        the RSS the row is about, at the moment its text names
 *   rss_start  before the row allocated anything
 *   live       bytes the program still held at that moment
 *
 * The rows' own arrays are given back before RSS is read, or are small.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "process.h"
#include "row.h"

static void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t))
		;
}

/* Many objects by pointer; `slot` has room for `count`. */
struct heap {
	struct rng rng;
	uint32_t count;
	uint64_t rss_start;
	void **slot;
};

static size_t slots_bytes(uint32_t count)
{
	return count * sizeof(void *);
}

static void *heap_setup(const struct row *row)
{
	struct heap *h = bench_map(sizeof(*h));

	h->rss_start = process_rss_bytes();
	h->rng.s = 271828;
	h->count = row->count;
	h->slot = bench_map(slots_bytes(row->count));
	return h;
}

static void heap_drop(void *ctx)
{
	struct heap *h = ctx;

	for (uint32_t i = 0; i < h->count; i++)
		free(h->slot[i]);
	bench_unmap(h->slot, slots_bytes(h->count));
	bench_unmap(h, sizeof(*h));
}

static void report(const struct heap *h, uint64_t rss, uint64_t live)
{
	row_report_rss("rss", rss);
	row_report_rss("rss_start", h->rss_start);
	row_report_rss("live", live);
}

/*
 * Two seconds without a call, then one ordinary allocation: some allocators return
 * memory only when they are called; the first call finds that time has passed.
 */
static void rest(void)
{
	nap_ms(2000);
	void *p = bench_malloc(256 << 10);
	touch(p);
	free(p);
}

/*
 * A peak that is over: 2 GiB in 2 MiB blocks, all freed, two seconds of sleep,
 * then one ordinary allocation. Nobody asks for memory back: this is what a
 * program gets that does not know about trimming.
 */
#define PEAK_BLOCK (2 << 20)

static void peak_pass(void *ctx)
{
	struct heap *h = ctx;

	for (uint32_t i = 0; i < h->count; i++) {
		h->slot[i] = bench_malloc(PEAK_BLOCK);
		touch_pages(h->slot[i], PEAK_BLOCK);
	}
	for (uint32_t i = 0; i < h->count; i++) {
		free(h->slot[i]);
		h->slot[i] = NULL;
	}
	rest();
	report(h, process_rss_bytes(), 0);
}

/*
 * Fragmentation: 3 million objects of 16-255 B, of which a random share is
 * freed; then the allocator is asked to give back what it can. The survivors'
 * pointers move to the front so that the rest of the array costs no RSS.
 */
static void fragment(struct heap *h, uint32_t keep_percent)
{
	uint64_t live = 0;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		h->slot[i] = bench_malloc(16 + rng_below(&h->rng, 240));
		touch(h->slot[i]);
	}
	/* The sizes are drawn again, in the same order, to add up the live. */
	struct rng sizes = { 271828 };
	for (uint32_t i = 0; i < h->count; i++) {
		uint32_t size = 16 + rng_below(&sizes, 240);
		if (rng_below(&h->rng, 100) < keep_percent) {
			h->slot[kept++] = h->slot[i];
			live += size;
		} else {
			free(h->slot[i]);
		}
	}
	void **few = bench_map(slots_bytes(kept));
	memcpy(few, h->slot, slots_bytes(kept));
	bench_unmap(h->slot, slots_bytes(h->count));
	h->slot = few;
	h->count = kept;
	process_trim();
	report(h, process_rss_bytes(), live);
}

static void fragment_98_pass(void *ctx)
{
	fragment(ctx, 2);
}

static void fragment_90_pass(void *ctx)
{
	fragment(ctx, 10);
}

/*
 * 64 threads that worked, freed everything and now sleep: RSS after a trim
 * that only the main thread asks for. What remains is caches of idle threads.
 */
#define IDLE_THREADS 64
#define IDLE_SLOTS 2000
#define IDLE_OPS 20000

static _Atomic int idle_waiting;
static _Atomic bool idle_released;

static void *idle_thread(void *arg)
{
	struct rng rng = { 500 + (uint64_t)(uintptr_t)arg };
	void **slot = bench_map(slots_bytes(IDLE_SLOTS));

	for (int i = 0; i < IDLE_OPS; i++) {
		uint32_t k = rng_below(&rng, IDLE_SLOTS);
		free(slot[k]);
		slot[k] = malloc(16 + rng_below(&rng, 1008));
		touch(slot[k]);
	}
	for (int i = 0; i < IDLE_SLOTS; i++)
		free(slot[i]);
	bench_unmap(slot, slots_bytes(IDLE_SLOTS));
	atomic_fetch_add(&idle_waiting, 1);
	while (!atomic_load(&idle_released))
		nap_ms(10);
	return NULL;
}

static void idle_pass(void *ctx)
{
	pthread_t thread[IDLE_THREADS];

	for (uintptr_t i = 0; i < IDLE_THREADS; i++)
		thread[i] = bench_thread(idle_thread, (void *)i);
	while (atomic_load(&idle_waiting) < IDLE_THREADS)
		nap_ms(1);
	process_trim();
	report(ctx, process_rss_bytes(), 0);
	atomic_store(&idle_released, true);
	for (int i = 0; i < IDLE_THREADS; i++)
		pthread_join(thread[i], NULL);
}

/*
 * A server for hours, compressed: 100 phases that each prefer other sizes and
 * replace a third of what is alive. The heap should neither grow from phase to
 * phase (compare rss_middle) nor hold much more than the pages that contain a
 * live object (live_pages). The hours take a second or two, which leaves memory no
 * time to age: what time alone brings back shows in rss_rest, after two seconds more,
 * and with a pause after each phase, as a server has that is not always busy.
 */
#define SERVER_PHASES 100
#define SERVER_PAUSE_MS 50

/*
 * One phase: half of its objects have nearly one size. `first`: it fills all slots, else it
 * replaces objects at random. Keeps the sizes of the slots, and the sum.
 */
static void server_phase(struct heap *h, bool first, uint32_t replaced, uint32_t *size,
			 uint64_t *live)
{
	uint32_t favourite = 16u << rng_below(&h->rng, 8);

	for (uint32_t i = 0; i < replaced; i++) {
		uint32_t k = first ? i : rng_below(&h->rng, h->count);
		uint32_t bytes = rng_below(&h->rng, 2) ?
			favourite + rng_below(&h->rng, favourite / 4) :
			16 + rng_below(&h->rng, 1008);
		free(h->slot[k]);
		h->slot[k] = bench_malloc(bytes);
		memset(h->slot[k], 1, bytes);
		*live += (uint64_t)bytes - size[k];
		size[k] = bytes;
	}
}

/* Bytes of the 4 KiB pages that hold at least part of a live object. */
static uint64_t live_pages(const struct heap *h, const uint32_t *size)
{
	const uint32_t places = 1 << 20; /* far more than there are pages */
	uintptr_t *set = bench_map(places * sizeof(*set));
	uint64_t pages = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		uintptr_t page = (uintptr_t)h->slot[i] / 4096;
		uintptr_t last = ((uintptr_t)h->slot[i] + size[i] - 1) / 4096;
		for (; page <= last; page++) {
			uint32_t at = (uint32_t)(page * 0x9e3779b1u) % places;
			while (set[at] && set[at] != page)
				at = (at + 1) % places;
			pages += !set[at];
			set[at] = page;
		}
	}
	bench_unmap(set, places * sizeof(*set));
	return pages * 4096;
}

static void serve(struct heap *h, long pause_ms)
{
	uint32_t *size = bench_map(h->count * sizeof(*size));
	uint64_t live = 0;

	for (int phase = 0; phase < SERVER_PHASES; phase++) {
		server_phase(h, !phase, phase ? h->count / 3 : h->count, size, &live);
		if (pause_ms)
			nap_ms(pause_ms);
		if (phase == SERVER_PHASES / 2)
			row_report_rss("rss_middle", process_rss_bytes());
	}
	report(h, process_rss_bytes(), live);
	rest();
	row_report_rss("rss_rest", process_rss_bytes());
	row_report_rss("live_pages", live_pages(h, size));
	bench_unmap(size, h->count * sizeof(*size));
}

static void server_pass(void *ctx)
{
	serve(ctx, 0);
}

static void server_paced_pass(void *ctx)
{
	serve(ctx, SERVER_PAUSE_MS);
}

/*
 * The same where each phase replaces nearly all objects, one after another at random. What a
 * phase leaves of its favourite size is spread over all that it had; whether the objects that
 * come and go later stay spread, or gather, is what this row shows. Memory has time to age.
 */
#define LONG_PHASES 20
#define LONG_PHASE_TURNS 3 /* for each object, on average */

static void phases_pass(void *ctx)
{
	struct heap *h = ctx;
	uint32_t *size = bench_map(h->count * sizeof(*size));
	uint64_t live = 0;

	for (int phase = 0; phase < LONG_PHASES; phase++)
		server_phase(h, !phase, phase ? h->count * LONG_PHASE_TURNS : h->count, size, &live);
	rest();
	report(h, process_rss_bytes(), live);
	row_report_rss("live_pages", live_pages(h, size));
	bench_unmap(size, h->count * sizeof(*size));
}

#define MEMORY(label, what, fn, objects)                                       \
	{ .name = "memory/" label, .about = what, .passes = 1, .ops = 1,       \
	  .count = objects, .setup = heap_setup, .pass = fn##_pass,            \
	  .teardown = heap_drop, .metric = ROW_RSS, .cold = true }

const struct row rows_memory[] = {
	MEMORY("peak-wait", "RSS 2 s after 2 GiB of 2 MiB blocks were freed", peak,
	       1024),
	MEMORY("fragment-98", "RSS after a trim: 3 million objects, 98% freed",
	       fragment_98, 3000000),
	MEMORY("fragment-90", "RSS after a trim: 3 million objects, 90% freed",
	       fragment_90, 3000000),
	MEMORY("idle-64", "RSS after a trim while 64 threads that worked sleep",
	       idle, 1),
	MEMORY("server", "RSS after 100 phases of changing sizes, 100 000 objects",
	       server, 100000),
	MEMORY("server-paced", "the same with 50 ms of rest after each phase",
	       server_paced, 100000),
	MEMORY("phases", "RSS 2 s after 20 phases that each replace all of 100 000 objects",
	       phases, 100000),
	{ .name = NULL },
};
