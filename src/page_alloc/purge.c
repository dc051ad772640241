/*
 * rank 4: purge: free pages that hold data go back to the system.
 *
 * The ranges of free dirty pages in a pageblock are taken out of the zone (they look
 * allocated), madvise runs without any lock, then they come back clean. Nobody
 * else waits for the system call, and nobody can be handed a page that is being
 * dropped.
 */
#include "base/options.h"
#include "base/stats.h"
#include "buddy/lru.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

/* A range of free dirty pages, off the free lists while it is purged. */
struct dirty_range {
	u32 pfn, nr; /* small: many of them stand on the stack of any thread */
};

/* Whole pageblocks are purged together, this many at most. */
#define RANGE_BLOCKS 32
#define MAX_RANGES (PAGEBLOCK_PAGES / 2)

/* Ranges that are being purged, on the stack of the thread that does it. */
struct purge {
	struct purge *next;
	const struct scope *thread; /* the address of its scope names a thread */
	unsigned nr;
	struct dirty_range ranges[MAX_RANGES];
};

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
	unsigned unit = (unsigned)system_page_pages();
	u64 word = pfn % PAGEBLOCK_PAGES / 64;
	u64 dirty = bitmap_word(block->dirty, word);

	return block->free[word] & (unit == 1 ? dirty : spread(dirty, unit));
}

static bool whole_block_dirty_free(const struct zone *zone, u64 pfn)
{
	const struct pageblock *block;

	if (!pfn_has_block(pfn))
		return false;
	block = pfn_to_block(pfn);
	return block_is_of(block, zone->index) && all_bits_set(block->free) &&
	       pages_nr_dirty(pfn, PAGEBLOCK_PAGES);
}

/* Appends [from, to), cut to whole pages of the system, if `least` pages are left. */
static void add_range(struct dirty_range *ranges, unsigned *nr, u64 from, u64 to, u64 least)
{
	u64 unit = system_page_pages();

	from = round_up(from, unit);
	to = round_down(to, unit);
	if (from + least <= to && *nr < MAX_RANGES)
		ranges[(*nr)++] = (struct dirty_range){ (u32)from, (u32)(to - from) };
}

/*
 * Finds the ranges of the pageblock at pfn, all of `least` pages and more; where whole pageblocks
 * follow, one range of up to `most` pages. Zone lock held.
 */
static unsigned find_dirty_ranges(const struct zone *zone, u64 pfn, u64 least, u64 most,
				  struct dirty_range *ranges)
{
	u64 end = pfn + PAGEBLOCK_PAGES, start = 0, at;
	unsigned nr = 0;

	if (whole_block_dirty_free(zone, pfn)) {
		while (end - pfn < RANGE_BLOCKS * PAGEBLOCK_PAGES && end - pfn < most &&
		       whole_block_dirty_free(zone, end))
			end += PAGEBLOCK_PAGES;
		ranges[0] = (struct dirty_range){ (u32)pfn, (u32)(end - pfn) };
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
			add_range(ranges, &nr, start, at, least);
			start = 0;
		}
	}
	if (start)
		add_range(ranges, &nr, start, end, least);
	return nr;
}

/*
 * The struct pages of whole pageblocks off the free lists say nothing: zeroes
 * say as much. Whoever lists such a block again writes its head.
 */
static void purge_mem_map(const struct dirty_range *range)
{
	struct page *start = pfn_to_page(range->pfn);

	give_back_whole(whole_pages_in(start, start + range->nr));
}

static void purge_begin_locked(struct zone *zone, struct purge *p)
{
	unsigned i;

	for (i = 0; i < p->nr; i++)
		zone_take_range_locked(zone, p->ranges[i].pfn, p->ranges[i].nr);
	p->thread = &this_scope;
	p->next = zone->purges;
	/* In this order: a signal's handler may fork in between, and the child walks the list. */
	__atomic_store_n(&zone->purges, p, __ATOMIC_RELEASE);
	in_flight_begin();
}

/* What was `refused` is not tried again soon. */
static void purge_end(struct zone *zone, struct purge *p, bool refused)
{
	struct purge **link = &zone->purges;
	unsigned i;
	u64 pfn;

	lock(&zone->lock, LOCK_ZONE);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	for (i = 0; i < p->nr; i++)
		zone_free_range_locked(zone, p->ranges[i].pfn, p->ranges[i].nr);
	for (i = 0; i < p->nr && refused; i++)
		for (pfn = p->ranges[i].pfn; pfn < (u64)p->ranges[i].pfn + p->ranges[i].nr;
		     pfn = pageblock_end(pfn))
			lru_set_aside(zone, pfn_to_block(pfn));
	unlock(&zone->lock, LOCK_ZONE);
	in_flight_end(true);
}

/* Pages by which it is told what of a range is refused, when somebody is in need. */
#define REFUSED_LEAST 16

/*
 * Gives the range back; pages given. One locked page makes the system refuse all that is
 * behind it, so what is refused is tried by halves: down to pageblocks by ageing.
 */
static u64 give_range(u64 pfn, u64 nr, enum give how)
{
	u64 given = pages_give_back(pfn, nr, how), half;

	if (given || !pages_nr_dirty(pfn, nr))
		return given;
	half = round_up(nr / 2, system_page_pages());
	if (nr <= (how == GIVE_ALL ? REFUSED_LEAST : (u64)PAGEBLOCK_PAGES) || half >= nr) {
		/* The refusal may have come halfway. */
		pages_poison(pfn, nr);
		return 0;
	}
	return give_range(pfn, half, how) + give_range(pfn + half, nr - half, how);
}

/* Ranges of a pageblock that ageing tries though all are refused. */
#define REFUSALS_MOST 4

/*
 * Takes what is dirty in the oldest pageblock, if that is older than `before`, out of the zone's
 * hands. False when it has nothing to give; `more` says whether there was such a pageblock.
 */
static bool take_oldest(struct zone *zone, u32 before, u64 least, u64 most, enum give how,
			struct purge *p, bool *more)
{
	struct pageblock *block;
	u64 pfn;

	p->nr = 0;
	lock(&zone->lock, LOCK_ZONE);
	block = lru_oldest(zone, before);
	*more = block;
	if (!block)
		goto out;
	pfn = block_to_pfn(block);
	if (how != GIVE_ALL && options.decay_ms && thp_is_hot_locked(pfn)) {
		lru_rotate(zone, block);
		goto out;
	}
	p->nr = find_dirty_ranges(zone, pfn, least, most, p->ranges);
	if (p->nr)
		purge_begin_locked(zone, p);
	if (p->nr || least > 1) {
		lru_rotate(zone, block);
	} else {
		/* Of larger pages of the system none may be free as a whole. */
		lru_set_aside(zone, block);
	}
out:
	unlock(&zone->lock, LOCK_ZONE);
	return p->nr;
}

/* Gives it to the system; pages given. */
static u64 purge_oldest(struct zone *zone, u32 before, u64 least, u64 most, enum give how,
			bool *more)
{
	struct purge p;
	u64 purged = 0;
	unsigned i;

	if (!take_oldest(zone, before, least, most, how, &p, more))
		return 0;
	for (i = 0; i < p.nr && (how == GIVE_ALL || purged || i < REFUSALS_MOST); i++) {
		/* Not the same ones each time. */
		const struct dirty_range *range = &p.ranges[(i + before) % p.nr];

		purged += give_range(range->pfn, range->nr, how);
		if (range->nr >= PAGEBLOCK_PAGES && !pages_nr_dirty(range->pfn, range->nr))
			purge_mem_map(range);
	}
	purge_end(zone, &p, how != GIVE_ALL && !purged);
	stat_add_shared(purged_pages, purged);
	return purged;
}

/* Starts a new tick, so that "older than now" has a meaning; the tick that begins. */
static u32 next_tick(struct zone *zone, enum give how)
{
	u32 tick;

	lock(&zone->lock, LOCK_ZONE);
	if (how == GIVE_ALL)
		lru_take_back(zone);
	tick = ++zone->tick;
	unlock(&zone->lock, LOCK_ZONE);
	return tick;
}

u64 zones_purge(u64 nr, u64 least, enum give how)
{
	u64 purged = 0;
	unsigned i;

	for (i = 0; i < nr_zones && purged < nr; i++) {
		struct zone *zone = zone_table[i];
		u32 tick = next_tick(zone, how);
		/* Locked pages stay: that is what they were asked for. */
		bool more = zone_ages(zone);

		while (more && purged < nr)
			purged += purge_oldest(zone, tick, least, nr - purged, how, &more);
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

/* What threads that are not here had in their hands comes back, with the data it may still hold. */
static void restore_lost_purges(struct zone *zone)
{
	struct purge **link = &zone->purges, *p;
	unsigned i;

	while ((p = *link)) {
		if (p->thread == &this_scope) {
			/* fork was called by a signal's handler, in the midst of it. */
			link = &p->next;
			continue;
		}
		*link = p->next;
		for (i = 0; i < p->nr; i++) {
			pages_set_dirty(p->ranges[i].pfn, p->ranges[i].nr);
			pages_poison(p->ranges[i].pfn, p->ranges[i].nr);
			zone_free_range(zone, p->ranges[i].pfn, p->ranges[i].nr);
		}
	}
}

void purge_after_fork(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		restore_lost_purges(zone_table[i]);
}
