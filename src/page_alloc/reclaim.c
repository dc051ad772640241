/*
 * rank 4: giving memory back: shrinkers, ageing of dirty free pages, purge.
 *
 * Ageing. Time is cut into DECAY_STEPS steps per decay_ms. What lay idle in a
 * step is the least number of dirty free pages there was within it: the rest was
 * used again. At each step the growth of that number is remembered; a page that
 * lay idle for i steps may stay dirty with the share 1 - i/DECAY_STEPS, and what
 * exceeds the sum of these shares is purged, oldest pageblock first. So a peak
 * melts evenly over decay_ms and a steady load keeps its warm pages.
 *
 * Purge. The free and dirty runs of a pageblock are taken out of the zone
 * (they look allocated), madvise runs without any lock, then they come back
 * clean. Nobody else waits for the system call, and nobody can be handed a
 * page that is being dropped.
 *
 * State: `decay` is used by the one thread that holds decay.busy.
 */
#include "base/options.h"
#include "base/stats.h"
#include "buddy/pcp.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"
#include "page_alloc/watch.h"

#define DECAY_STEPS 10

static struct {
	u32 busy;	/* 1 = some thread is ageing; acquire/release */
	u64 next_ms;	/* when the next step is due; relaxed atomic */
	u64 last_idle;
	u64 backlog[DECAY_STEPS]; /* newest first, pages; none is new that lay idle for a step */
} decay;

static u64 floor_pages; /* what ageing leaves; relaxed atomic */

/* Threads that hold runs while they purge them, and threads that wait for these. */
static u32 purging, purge_waiters; /* atomic, sequentially consistent */

static struct shrinker *shrinkers; /* written at start only */

void register_shrinker(struct shrinker *s)
{
	s->next = shrinkers;
	shrinkers = s;
}

static void drain_zones(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (__atomic_load_n(&zone_table[i]->managed, __ATOMIC_RELAXED))
			pcp_drain_all(zone_table[i]);
}

void shrink_all(void)
{
	struct shrinker *s;

	for (s = shrinkers; s; s = s->next)
		s->shrink(true);
	drain_zones();
}

u64 shrinkers_give(enum give how)
{
	struct shrinker *s;
	u64 nr = 0;

	for (s = shrinkers; s; s = s->next)
		if (s->give)
			nr += s->give(how);
	return nr;
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
	u64 i;

	if (!pfn_has_block(pfn) || pfn_to_block(pfn)->state != BLOCK_PRESENT || pfn_to_block(pfn)->zone != zone->index)
		return false;
	for (i = 0; i < PAGEBLOCK_PAGES; i += 64)
		if (~pfn_to_block(pfn)->free[i / 64])
			return false;
	return pages_nr_dirty(pfn, PAGEBLOCK_PAGES) != 0;
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
	__atomic_fetch_add(&purging, 1, __ATOMIC_SEQ_CST);
}

static void purge_end(struct zone *zone, struct purge *p)
{
	struct purge **link = &purges[zone->index];
	unsigned i;

	lock(&zone->lock, LOCK_ZONE);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	for (i = 0; i < p->nr; i++)
		zone_free_range_locked(zone, p->runs[i].pfn, p->runs[i].nr);
	unlock(&zone->lock, LOCK_ZONE);
	__atomic_fetch_sub(&purging, 1, __ATOMIC_SEQ_CST);
	if (unlikely(__atomic_load_n(&purge_waiters, __ATOMIC_SEQ_CST)))
		os_futex_wake(&purging, INT32_MAX);
}

/* Purges the oldest pageblock if it is older than `before`; pages, or 0 if none is. */
static u64 purge_oldest(struct zone *zone, u32 before, u64 most, bool aged, bool *more)
{
	struct purge p;
	struct pageblock *block;
	u64 purged = 0;
	unsigned i;
	u32 number;

	lock(&zone->lock, LOCK_ZONE);
	number = zone->lru_first;
	block = &window.blocks[number];
	if (!number || (int)(block->stamp - before) >= 0) {
		unlock(&zone->lock, LOCK_ZONE);
		*more = false;
		return 0;
	}
	if (aged && thp_is_hot_locked((u64)number << PAGEBLOCK_ORDER)) {
		zone_rotate_lru_locked(zone, number);
		unlock(&zone->lock, LOCK_ZONE);
		*more = true;
		return 0;
	}
	p.nr = find_runs(zone, (u64)number << PAGEBLOCK_ORDER, most, p.runs);
	purge_begin_locked(zone, &p);
	zone_rotate_lru_locked(zone, number);
	unlock(&zone->lock, LOCK_ZONE);

	for (i = 0; i < p.nr; i++) {
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
	purge_end(zone, &p);
	stat_add_shared(purged_pages, purged);
	*more = true;
	return purged;
}

bool reclaim_wait(void)
{
	u32 seen = __atomic_load_n(&purging, __ATOMIC_SEQ_CST);

	if (!seen)
		return false;
	__atomic_fetch_add(&purge_waiters, 1, __ATOMIC_SEQ_CST);
	os_futex_wait(&purging, seen);
	__atomic_fetch_sub(&purge_waiters, 1, __ATOMIC_SEQ_CST);
	return true;
}

/* Starts a new tick, so that "older than now" has a meaning; the tick that ended. */
static u32 next_tick(struct zone *zone)
{
	u32 tick;

	lock(&zone->lock, LOCK_ZONE);
	tick = ++zone->tick;
	unlock(&zone->lock, LOCK_ZONE);
	return tick;
}

static u64 purge(u64 nr, bool aged)
{
	u64 purged = 0;
	unsigned i;

	for (i = 0; i < nr_zones && purged < nr; i++) {
		struct zone *zone = zone_table[i];
		u32 tick = next_tick(zone);
		/* Locked pages stay: that is what they were asked for. */
		bool more = zone->type != ZONE_DMA;

		while (more && purged < nr)
			purged += purge_oldest(zone, tick, nr - purged, aged, &more);
	}
	return purged;
}

u64 reclaim_purge(u64 nr)
{
	return purge(nr, false);
}

u64 reclaim_nr_dirty(void)
{
	u64 dirty = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_table[i]->type != ZONE_DMA)
			dirty += __atomic_load_n(&zone_table[i]->nr_dirty, __ATOMIC_RELAXED);
	return dirty;
}

static void shift_backlog(u64 steps)
{
	unsigned i;

	for (i = DECAY_STEPS; i-- > 0;)
		decay.backlog[i] = i >= steps ? decay.backlog[i - steps] : 0;
}

/* One step in which so many pages lay idle. */
static void backlog_add(u64 idle)
{
	shift_backlog(1);
	decay.backlog[1] += idle > decay.last_idle ? idle - decay.last_idle : 0;
	decay.last_idle = idle;
}

/* Pages that lay idle since the last call, in all zones that age. */
static u64 least_dirty(void)
{
	u64 least = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++) {
		struct zone *zone = zone_table[i];

		if (zone->type == ZONE_DMA || !__atomic_load_n(&zone->managed, __ATOMIC_RELAXED))
			continue;
		lock(&zone->lock, LOCK_ZONE);
		least += zone->least_dirty;
		zone->least_dirty = zone->nr_dirty;
		unlock(&zone->lock, LOCK_ZONE);
	}
	return least;
}

/*
 * Moves the backlog on by `steps`; in the first of them least_dirty lay idle.
 * Whoever frees pages looks at the clock, so in the others, a pause, nothing came
 * or went: all that is dirty at its end lay idle.
 */
static void decay_pass(u64 steps, u64 dirty)
{
	backlog_add(least_dirty());
	if (steps < 2)
		return;
	backlog_add(dirty);
	shift_backlog(MIN(steps - 2, (u64)DECAY_STEPS));
}

/* How many of the idle pages may stay dirty. */
static u64 decay_allowance(void)
{
	u64 allowed = 0;
	unsigned i;

	for (i = 0; i < DECAY_STEPS; i++)
		allowed += decay.backlog[i] * (DECAY_STEPS - i) / DECAY_STEPS;
	return allowed;
}

static void decay_step(u64 now, u64 step_ms)
{
	u64 due = __atomic_load_n(&decay.next_ms, __ATOMIC_RELAXED);
	u64 steps = (now - due) / step_ms + 1;
	u64 allowed, floor, purged;
	struct shrinker *s;

	__atomic_store_n(&decay.next_ms, now + step_ms, __ATOMIC_RELAXED);
	if (!due) /* the first call only starts the clock */
		steps = 1;
	/* What lay in the pcp lists was not used lately, or will be again soon:
	 * either way it is still warm when it comes back from the zone. */
	for (s = shrinkers; s; s = s->next)
		s->shrink(false);
	drain_zones();
	decay_pass(steps, reclaim_nr_dirty());
	floor = __atomic_load_n(&floor_pages, __ATOMIC_RELAXED);
	/* After a pause of decay_ms all that could be given has been idle for so long. */
	if (reclaim_nr_dirty() >= floor)
		shrinkers_give(steps > DECAY_STEPS ? GIVE_AGED : GIVE_IDLE);
	allowed = MAX(decay_allowance(), floor);
	if (decay.last_idle <= allowed)
		return;
	/* A pageblock goes as a whole, and some of it may be in use again at once:
	 * so for less than one nothing goes before all that is idle has aged. */
	if (decay.last_idle - allowed < PAGEBLOCK_PAGES && allowed > floor)
		return;
	purged = purge(decay.last_idle - allowed, true);
	decay.last_idle -= MIN(purged, decay.last_idle);
	/* While they were on their way they were no idle pages; if refused, they are again. */
	least_dirty();
}

u64 reclaim_step_ms(void)
{
	return MAX((u64)options.decay_ms / DECAY_STEPS, (u64)1);
}

void reclaim_age_now(void)
{
	u64 step_ms = reclaim_step_ms();
	u64 now = os_now_ms();

	if (likely(now < __atomic_load_n(&decay.next_ms, __ATOMIC_RELAXED)))
		return;
	if (__atomic_exchange_n(&decay.busy, 1, __ATOMIC_ACQUIRE))
		return;
	/* Another may have made the step since we looked at the clock. */
	if (now >= __atomic_load_n(&decay.next_ms, __ATOMIC_RELAXED))
		decay_step(now, step_ms);
	__atomic_store_n(&decay.busy, 0, __ATOMIC_RELEASE);
}

void reclaim_age(void)
{
	if (options.decay_ms < 0 || !scope_may_map())
		return;
	if (options.decay_ms == 0)
		purge(UINT64_MAX, true);
	else if (kswapd_is_running())
		kswapd_wake();
	else
		reclaim_age_now();
}

void reclaim_wake(void)
{
	u64 now = os_now_ms();

	if (kswapd_is_running()) {
		kswapd_wake();
		return;
	}
	/* 0 is the state before the first step, which only starts the clock. */
	if (options.decay_ms > 0 && __atomic_load_n(&decay.next_ms, __ATOMIC_RELAXED) > now)
		__atomic_store_n(&decay.next_ms, now, __ATOMIC_RELAXED);
}

void reclaim_set_floor(u64 bytes)
{
	__atomic_store_n(&floor_pages, bytes >> PAGE_SHIFT, __ATOMIC_RELAXED);
}

void reclaim_reinit(void)
{
	__atomic_store_n(&decay.busy, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&purging, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&purge_waiters, 0, __ATOMIC_RELAXED);
}

/* What threads that are not here had in their hands comes back, with the data it may still hold. */
static void put_back(struct zone *zone, struct purge **link)
{
	struct purge *p;
	unsigned i;

	while ((p = *link)) {
		if (p->thread == &this_scope) {
			/* fork was called by a signal's handler, in the midst of it. */
			__atomic_fetch_add(&purging, 1, __ATOMIC_SEQ_CST);
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

void reclaim_after_fork(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		put_back(zone_table[i], &purges[i]);
}

u64 reclaim_trim(u64 pad)
{
	u64 dirty, given, keep = pad >> PAGE_SHIFT;

	shrink_all();
	given = shrinkers_give(GIVE_ALL);
	dirty = reclaim_nr_dirty();
	if (dirty > keep)
		given += reclaim_purge(dirty - keep);
	return given << PAGE_SHIFT;
}

u64 reclaim_give(u64 bytes)
{
	u64 want = (bytes >> PAGE_SHIFT) + (bytes % PAGE_SIZE != 0);
	u64 given = want ? reclaim_purge(want) : 0;

	if (given < want) {
		shrink_all();
		given += reclaim_purge(want - given);
	}
	if (given < want)
		given += shrinkers_give(GIVE_ALL);
	/* Slabs that became empty under that. */
	if (given < want)
		given += reclaim_purge(want - given);
	return given << PAGE_SHIFT;
}
