/*
 * rank 4: purge: free pages that hold data go back to the system.
 *
 * The free and dirty runs of a pageblock are taken out of the zone (they look
 * allocated), madvise runs without any lock, then they come back clean. Nobody
 * else waits for the system call, and nobody can be handed a page that is being
 * dropped.
 */
#include "base/options.h"
#include "base/stats.h"
#include "buddy/lru.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"
#include "page_alloc/watch.h"

/*
 * Threads that have pages on their way, how often some arrived, or the last thread with
 * none, and threads that wait for that. Who seeks pages notes `arrivals` before it looks: when that has changed since, a
 * look was too early, whether or not anybody is on the way still. All atomic, sequentially
 * consistent.
 */
static u32 underway, arrivals, waiters;

void pages_leave(void)
{
	__atomic_fetch_add(&underway, 1, __ATOMIC_SEQ_CST);
}

/* True when it was the last. In a child that a signal's handler forked meanwhile, the counts began anew. */
static bool count_down(u32 *count)
{
	u32 seen = __atomic_load_n(count, __ATOMIC_SEQ_CST);

	while (seen && !__atomic_compare_exchange_n(count, &seen, seen - 1, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST))
		;
	return seen <= 1;
}

void pages_arrive(bool any)
{
	bool last;

	if (any)
		__atomic_fetch_add(&arrivals, 1, __ATOMIC_SEQ_CST);
	last = count_down(&underway);
	if (likely(!__atomic_load_n(&waiters, __ATOMIC_SEQ_CST)))
		return;
	/* Who comes last lets them go even with empty hands: nobody else will come. */
	if (last && !any)
		__atomic_fetch_add(&arrivals, 1, __ATOMIC_SEQ_CST);
	if (last || any)
		os_futex_wake(&arrivals, INT32_MAX);
}

u32 reclaim_arrivals(void)
{
	return __atomic_load_n(&arrivals, __ATOMIC_SEQ_CST);
}

/* A run of free dirty pages, off the free lists while it is purged. */
struct run {
	u32 pfn, nr; /* small: many of them stand on the stack of any thread */
};

/* Whole pageblocks are purged together, this many at most. */
#define RUN_BLOCKS 32
#define MAX_RUNS (PAGEBLOCK_PAGES / 2)

/* Runs that are being purged, on the stack of the thread that does it. */
struct purge {
	struct purge *next;
	const struct scope *thread; /* the address of its scope names a thread */
	unsigned nr;
	struct run runs[MAX_RUNS];
};
static struct purge *purges[MAX_NR_ZONES]; /* of each zone; under its lock */

/* One dirty page makes all of a page of the system dirty, which is `unit` of ours. */
static u64 spread(u64 bits, unsigned unit)
{
	u64 all = ((u64)1 << unit) - 1;
	unsigned shift;

	for (shift = 1; shift < unit; shift *= 2)
		bits |= bits >> shift;
	return (bits & ~(u64)0 / all) * all;
}

/* Of 64 pages, those that are free and can be given back. */
static u64 dirty_free_word(u64 pfn)
{
	const struct pageblock *block = pfn_to_block(pfn);
	unsigned unit = (unsigned)(os_page_size() >> PAGE_SHIFT);
	u64 word = pfn % PAGEBLOCK_PAGES / 64;
	u64 dirty = __atomic_load_n(&block->dirty[word], __ATOMIC_RELAXED);

	return block->free[word] & (unit == 1 ? dirty : spread(dirty, unit));
}

static bool whole_block_dirty_free(const struct zone *zone, u64 pfn)
{
	const struct pageblock *block;

	if (!pfn_has_block(pfn))
		return false;
	block = pfn_to_block(pfn);
	return block->state == BLOCK_PRESENT && block->zone == zone->index &&
	       all_bits_set(block->free) && pages_nr_dirty(pfn, PAGEBLOCK_PAGES);
}

/* Appends [from, to), cut to whole pages of the system, if anything is left. */
static void add_run(struct run *runs, unsigned *nr, u64 from, u64 to)
{
	u64 unit = os_page_size() >> PAGE_SHIFT;

	from = round_up(from, unit);
	to = round_down(to, unit);
	if (from < to && *nr < MAX_RUNS)
		runs[(*nr)++] = (struct run){ (u32)from, (u32)(to - from) };
}

/* Finds the runs of the pageblock at pfn, up to `most` pages. Zone lock held. */
static unsigned find_runs(const struct zone *zone, u64 pfn, u64 most, struct run *runs)
{
	u64 end = pfn + PAGEBLOCK_PAGES, start = 0, at;
	unsigned nr = 0;

	if (whole_block_dirty_free(zone, pfn)) {
		while (end - pfn < RUN_BLOCKS * PAGEBLOCK_PAGES && end - pfn < most &&
		       whole_block_dirty_free(zone, end))
			end += PAGEBLOCK_PAGES;
		runs[0] = (struct run){ (u32)pfn, (u32)(end - pfn) };
		return 1;
	}
	for (at = pfn; at < end; at++) {
		u64 bits = dirty_free_word(at);

		if (at % 64 == 0 && !bits && !start) {
			at += 63;
			continue;
		}
		if (bits >> at % 64 & 1) {
			if (!start)
				start = at;
		} else if (start) {
			add_run(runs, &nr, start, at);
			start = 0;
		}
	}
	if (start)
		add_run(runs, &nr, start, end);
	return nr;
}

/*
 * The struct pages of whole pageblocks off the free lists say nothing: zeroes
 * say as much. Whoever lists such a block again writes its head.
 */
static void purge_mem_map(const struct run *run)
{
	u64 from = round_up((u64)(uintptr_t)pfn_to_page(run->pfn), (u64)os_page_size());
	u64 to = round_down((u64)(uintptr_t)pfn_to_page((u64)run->pfn + run->nr), (u64)os_page_size());

	if (from < to)
		os_purge((void *)(uintptr_t)from, to - from);
}

static void purge_begin_locked(struct zone *zone, struct purge *p)
{
	unsigned i;

	for (i = 0; i < p->nr; i++)
		zone_take_range_locked(zone, p->runs[i].pfn, p->runs[i].nr);
	p->thread = &this_scope;
	p->next = purges[zone->index];
	purges[zone->index] = p;
	pages_leave();
}

/* What was `refused` is not tried again soon. */
static void purge_end(struct zone *zone, struct purge *p, bool refused)
{
	struct purge **link = &purges[zone->index];
	unsigned i;
	u64 pfn;

	lock(&zone->lock, LOCK_ZONE);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	for (i = 0; i < p->nr; i++)
		zone_free_range_locked(zone, p->runs[i].pfn, p->runs[i].nr);
	for (i = 0; i < p->nr && refused; i++)
		for (pfn = p->runs[i].pfn; pfn < (u64)p->runs[i].pfn + p->runs[i].nr;
		     pfn = round_down(pfn, (u64)PAGEBLOCK_PAGES) + PAGEBLOCK_PAGES)
			lru_set_aside(zone, pfn_to_block(pfn));
	unlock(&zone->lock, LOCK_ZONE);
	pages_arrive(true);
}

/* Runs of a pageblock that ageing tries though all are refused. */
#define REFUSALS_MOST 4

/* Purges the oldest pageblock if it is older than `before`; pages, or 0 if none is. */
static u64 purge_oldest(struct zone *zone, u32 before, u64 most, bool aged, bool *more)
{
	struct pageblock *block;
	struct purge p;
	u64 pfn, purged = 0;
	unsigned i;

	lock(&zone->lock, LOCK_ZONE);
	block = lru_oldest(zone, before);
	*more = block;
	if (!block) {
		unlock(&zone->lock, LOCK_ZONE);
		return 0;
	}
	pfn = (u64)(block - window.blocks) << PAGEBLOCK_ORDER;
	if (aged && options.decay_ms && thp_is_hot_locked(pfn)) {
		lru_rotate(zone, block);
		unlock(&zone->lock, LOCK_ZONE);
		return 0;
	}
	p.nr = find_runs(zone, pfn, most, p.runs);
	/* Of larger pages of the system none may be free as a whole. */
	if (!p.nr) {
		lru_set_aside(zone, block);
		unlock(&zone->lock, LOCK_ZONE);
		return 0;
	}
	purge_begin_locked(zone, &p);
	lru_rotate(zone, block);
	unlock(&zone->lock, LOCK_ZONE);

	for (i = 0; i < p.nr && !(aged && i >= REFUSALS_MOST && !purged); i++) {
		const struct run *run = &p.runs[i];
		u64 given = pages_give_back(run->pfn, run->nr, aged);

		purged += given;
		/* A refusal may have come halfway, where a page of the run is locked. */
		if (unlikely(!given))
			pages_poison(run->pfn, run->nr);
		if (given && run->nr >= PAGEBLOCK_PAGES)
			purge_mem_map(run);
		stat_add_shared(purge_calls, 1);
	}
	purge_end(zone, &p, aged && !purged);
	stat_add_shared(purged_pages, purged);
	return purged;
}

/* A thread that ended by the bare system call in the midst of it never arrives. */
#define WAIT_MOST_MS 50

bool reclaim_wait(u32 seen)
{
	u64 now, end;

	if (reclaim_arrivals() != seen)
		return true;
	/* Who forks holds the locks under which they come back. */
	if (lock_is_forking())
		return false;
	now = os_now_ms();
	end = now + WAIT_MOST_MS;
	__atomic_fetch_add(&waiters, 1, __ATOMIC_SEQ_CST);
	/* Whoever is the last after this look sees that somebody waits. A signal ends no wait. */
	while (now < end && reclaim_arrivals() == seen &&
	       __atomic_load_n(&underway, __ATOMIC_SEQ_CST)) {
		os_futex_wait_ms(&arrivals, seen, end - now);
		now = os_now_ms();
	}
	count_down(&waiters);
	return reclaim_arrivals() != seen;
}

/* Starts a new tick, so that "older than now" has a meaning; the tick that begins. */
static u32 next_tick(struct zone *zone, bool aged)
{
	u32 tick;

	lock(&zone->lock, LOCK_ZONE);
	if (!aged)
		lru_take_back(zone);
	tick = ++zone->tick;
	unlock(&zone->lock, LOCK_ZONE);
	return tick;
}

u64 purge(u64 nr, bool aged)
{
	u64 purged = 0;
	unsigned i;

	for (i = 0; i < nr_zones && purged < nr; i++) {
		struct zone *zone = zone_table[i];
		u32 tick = next_tick(zone, aged);
		/* Locked pages stay: that is what they were asked for. */
		bool more = zone->type != ZONE_DMA;

		while (more && purged < nr)
			purged += purge_oldest(zone, tick, nr - purged, aged, &more);
	}
	return purged;
}

void purge_retry(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++) {
		lock(&zone_table[i]->lock, LOCK_ZONE);
		lru_take_back(zone_table[i]);
		unlock(&zone_table[i]->lock, LOCK_ZONE);
	}
}

u64 reclaim_purge(u64 nr)
{
	return purge(nr, false);
}

void purge_reinit(void)
{
	__atomic_store_n(&underway, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&waiters, 0, __ATOMIC_RELAXED);
}

/* What threads that are not here had in their hands comes back, with the data it may still hold. */
static void put_back(struct zone *zone, struct purge **link)
{
	struct purge *p;
	unsigned i;

	while ((p = *link)) {
		if (p->thread == &this_scope) {
			/* fork was called by a signal's handler, in the midst of it. */
			link = &p->next;
			continue;
		}
		*link = p->next;
		for (i = 0; i < p->nr; i++) {
			pages_set_dirty(p->runs[i].pfn, p->runs[i].nr);
			pages_poison(p->runs[i].pfn, p->runs[i].nr);
			zone_free_range(zone, p->runs[i].pfn, p->runs[i].nr);
		}
	}
}

void purge_after_fork(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		put_back(zone_table[i], &purges[i]);
}
