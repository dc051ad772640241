/*
 * rank 4: huge pages: which pageblocks the system may back with a page of 2 MiB at
 * the first touch, as far as thp_gain.c finds them a gain.
 *
 * With auto a heap that has a limit uses none: there each page counts when it is wanted. A block
 * that is mapped for itself has the system's own policy: how densely it will be used, only the
 * program knows.
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

/*
 * Pages of a zone, what it grows by included, from which on the system may use them of
 * its own accord: 4 MiB that may lie idle at the ends of pageblocks are no more than a
 * quarter then.
 */
#define OWN_FROM (((u64)16 << 20) >> PAGE_SHIFT)

/*
 * Idle pages for which ageing breaks a huge page up, and the part of what the zone keeps backed
 * that all idle ones must be: a heap that grows slowly keeps the rest of its newest huge pages.
 */
#define BREAK_LEAST (PAGEBLOCK_PAGES / 2)
#define BREAK_FRACTION 32

/* How the system uses them, unless they are never to be used. Written by thp_init. */
static enum os_huge_use system_mode;

void thp_init(void)
{
	if (options.thp != option_thp_never)
		system_mode = os_huge_pages();
}

/* No huge pages: a system that only uses them where it is asked to need not be told. */
static enum thp small_pages(void)
{
	return options.thp == option_thp_auto && system_mode != OS_HUGE_UNASKED ? THP_DEFAULT :
										 THP_SMALL;
}

/* Each page counts when it is wanted, then. */
static bool has_limit(void)
{
	return __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED) != UINT64_MAX;
}

/* What the option and the system say, as far as that is known without a look at the machine. */
static enum thp thp_at_first(const struct zone *zone, u64 pfn, u64 nr_blocks)
{
	u64 managed = zone_managed(zone);

	if (options.thp == option_thp_always)
		return THP_HUGE;
	if (options.thp == option_thp_never)
		return THP_SMALL;
	if (pfn_to_block(pfn)->state == BLOCK_HIGHMEM)
		return THP_DEFAULT;
	if (system_mode == OS_HUGE_UNASKED && !has_limit() &&
	    managed + (nr_blocks << PAGEBLOCK_ORDER) >= OWN_FROM)
		return THP_OWN;
	return small_pages();
}

void thp_set(u64 pfn, u64 nr_blocks, enum thp thp)
{
	u64 i;

	for (i = 0; i < nr_blocks; i++, pfn += PAGEBLOCK_PAGES) {
		enum thp before = (enum thp)__atomic_exchange_n(&pfn_to_block(pfn)->thp, (u32)thp,
								__ATOMIC_RELAXED);
		int more = (thp == THP_SPLIT) - (before == THP_SPLIT);

		if (more)
			__atomic_fetch_add(&pfn_zone(pfn)->nr_split, (u32)more, __ATOMIC_RELAXED);
	}
}

void thp_choose(const struct zone *zone, u64 pfn, u64 nr_blocks)
{
	thp_set(pfn, nr_blocks, thp_at_first(zone, pfn, nr_blocks));
	if (options.thp == option_thp_auto && system_mode == OS_HUGE_ASKED &&
	    pfn_to_block(pfn)->state != BLOCK_HIGHMEM && !has_limit())
		thp_set(pfn, thp_gains(zone, pfn, nr_blocks), THP_HUGE);
	thp_repeat(pfn, nr_blocks << PAGEBLOCK_ORDER);
}

void thp_repeat(u64 pfn, u64 nr)
{
	u64 end = pfn + nr, from;

	/* Run by run of pageblocks that are alike. */
	while (pfn < end) {
		enum thp thp = thp_of(pfn);

		from = pfn;
		do
			pfn = MIN(end, pageblock_end(pfn));
		while (pfn < end && thp_of(pfn) == thp);
		if (thp != THP_DEFAULT && thp != THP_OWN)
			os_allow_huge_pages(pfn_to_addr(from), (size_t)(pfn - from) << PAGE_SHIFT,
					    thp == THP_HUGE);
	}
}

/* Of no more pages than a pageblock has. */
static bool has_huge(u64 pfn, u64 nr)
{
	return thp_of(pfn) == THP_HUGE || thp_of(pfn + nr - 1) == THP_HUGE;
}

void thp_moved(u64 to, u64 from, u64 nr)
{
	u64 start = pageblock_start(to), end = to + nr, at, next;

	/*
	 * A place that was told nothing cannot be put back into that state: it is noted as
	 * THP_HUGE, so that it is told later.
	 */
	for (at = to; small_pages() == THP_DEFAULT && at < end; at = next) {
		next = MIN(end, pageblock_end(at));
		if (thp_of(at) == THP_DEFAULT && has_huge(from + (at - to), next - at))
			thp_set(at, 1, THP_HUGE);
	}
	/* Whole pageblocks: a mapping more begins at the border of one. */
	thp_repeat(start, round_up(end, (u64)PAGEBLOCK_PAGES) - start);
}

bool thp_differs(u64 a, u64 b, u64 nr)
{
	enum thp thp = thp_of(a);
	u64 at = 0;

	/* One page of each pageblock, then the last page. */
	for (; at < nr; at = MIN(at + PAGEBLOCK_PAGES, MAX(nr - 1, at + 1)))
		if (thp_of(a + at) != thp || thp_of(b + at) != thp)
			return true;
	return false;
}

bool thp_is_huge(u64 pfn)
{
	enum thp thp = thp_of(pfn);

	return thp == THP_HUGE || thp == THP_OWN || thp == THP_FORMER;
}

/*
 * What is allowed may not be had. Where pages are larger than ours the huge ones are larger than a
 * pageblock, too. What is free and dirty is poison, if anything is: what came along is not. And
 * with decay_ms:0 it goes at once.
 */
static inline bool comes_whole(u64 pfn)
{
	return unlikely(thp_of(pfn) == THP_HUGE) && system_page_pages() == 1 &&
	       system_mode != OS_HUGE_NEVER && !options.page_poison && options.decay_ms;
}

/* A limit counts each page: near one the rest is not to come along. */
static void back_rest_of(u64 pfn)
{
	u64 rest = PAGEBLOCK_PAGES - pages_nr_dirty(pfn, PAGEBLOCK_PAGES);
	u64 first_mark = __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED);

	if (pages_nr_backed() + rest > first_mark && scope_may_map())
		thp_split(pfn);
	else
		zone_back_block(pfn_zone(pfn), pfn);
}

void pages_back(u64 pfn, u64 nr)
{
	u64 end = pfn + nr, small = 0, n;

	for (; pfn < end; pfn += n) {
		u64 fresh;

		n = MIN(pageblock_end(pfn), end) - pfn;
		fresh = pages_set_dirty(pfn, n);
		if (!comes_whole(pfn))
			small += fresh;
		else if (fresh && n < PAGEBLOCK_PAGES)
			back_rest_of(pageblock_start(pfn));
	}
	if (small)
		thp_count_small(small);
}

bool thp_is_hot_locked(u64 pfn)
{
	const struct pageblock *block = pfn_to_block(pfn);
	const struct zone *zone = pfn_zone(pfn);
	unsigned idle = 0, i;

	if (!thp_is_huge(pfn))
		return false;
	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		idle += (unsigned)__builtin_popcountll(block->free[i] &
						       bitmap_word(block->dirty, i));
	return idle < BREAK_LEAST ||
	       (idle < PAGEBLOCK_PAGES && zone->nr_dirty < zone_nr_backed(zone) / BREAK_FRACTION);
}
