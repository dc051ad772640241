/*
 * rank 4: huge pages: which pageblocks the system may back with a page of 2 MiB at
 * the first touch.
 *
 * A huge page saves 511 faults and most of the address translation, and costs
 * memory where less than all of it is used. In a large heap that is at most a
 * pageblock of each migratetype, since pages are handed out block by block; in a
 * small one it would be most of the heap. Where the host of a virtual machine
 * has to find the memory first, a huge page also makes its user wait for all of
 * it: measured on one, 2 MiB took 0.25 ms to touch when the host had them at hand,
 * 7 ms when it had not, and 1.5 ms in small pages. So auto begins late, and
 * leaves alone what has a limit: there each page counts when it is wanted.
 *
 * A block that is mapped for itself has the system's own policy: how densely it
 * will be used, only the program knows.
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"

/* Pages in use, and pages of a zone, from which on it grows by huge ones. */
#define HUGE_FROM (((u64)1 << 30) >> PAGE_SHIFT)

/*
 * Pages of a zone, what it grows by included, from which on the system may use them of
 * its own accord: 4 MiB that may lie idle at the ends of pageblocks are no more than a
 * quarter then.
 */
#define OWN_FROM (((u64)16 << 20) >> PAGE_SHIFT)

/* Idle pages for which ageing breaks a huge page up. */
#define BREAK_LEAST (PAGEBLOCK_PAGES / 2)

/* The system uses huge pages where it is asked to, if at all. Written by thp_init. */
static bool only_asked;

void thp_init(void)
{
	only_asked = options.thp == option_thp_auto && !os_huge_pages_unasked();
}

/* No huge pages: a system that only uses them where it is asked to need not be told. */
static enum thp small_pages(void)
{
	return only_asked ? THP_DEFAULT : THP_SMALL;
}

static enum thp choose(const struct zone *zone, enum pageblock_state state, u64 nr)
{
	u64 managed = __atomic_load_n(&zone->managed, __ATOMIC_RELAXED);

	if (options.thp == option_thp_always)
		return THP_HUGE;
	if (options.thp == option_thp_never)
		return THP_SMALL;
	if (state == BLOCK_HIGHMEM)
		return THP_DEFAULT;
	if (__atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED) != UINT64_MAX)
		return small_pages();
	if (managed >= HUGE_FROM && pages_nr_backed() >= HUGE_FROM)
		return THP_HUGE;
	return !only_asked && managed + (nr << PAGEBLOCK_ORDER) >= OWN_FROM ? THP_OWN : small_pages();
}

void thp_choose(const struct zone *zone, u64 pfn, u64 nr_blocks)
{
	enum thp thp = choose(zone, (enum pageblock_state)pfn_to_block(pfn)->state, nr_blocks);
	u64 i;

	for (i = 0; i < nr_blocks; i++)
		pfn_to_block(pfn + (i << PAGEBLOCK_ORDER))->thp = (u8)thp;
	thp_repeat(pfn, nr_blocks << PAGEBLOCK_ORDER);
}

void thp_repeat(u64 pfn, u64 nr)
{
	u64 end = pfn + nr, from;

	/* Run by run of pageblocks that are alike. */
	while (pfn < end) {
		enum thp thp = (enum thp)pfn_to_block(pfn)->thp;

		from = pfn;
		do
			pfn = MIN(end, round_down(pfn, (u64)PAGEBLOCK_PAGES) + PAGEBLOCK_PAGES);
		while (pfn < end && pfn_to_block(pfn)->thp == thp);
		if (thp == THP_HUGE || thp == THP_SMALL)
			os_allow_huge_pages(pfn_to_addr(from), (size_t)(pfn - from) << PAGE_SHIFT,
					    thp == THP_HUGE);
	}
}

void thp_moved(u64 to, u64 from, u64 nr)
{
	u64 at;

	/* Of a place that the system was told nothing of, nobody would know: it cannot be untold. */
	if (only_asked && pfn_to_block(from)->thp == THP_HUGE)
		for (at = round_up(to, (u64)PAGEBLOCK_PAGES); at + PAGEBLOCK_PAGES <= to + nr;
		     at += PAGEBLOCK_PAGES)
			if (pfn_to_block(at)->thp == THP_DEFAULT)
				pfn_to_block(at)->thp = THP_HUGE;
	thp_repeat(to, nr);
}

bool thp_differs(u64 a, u64 b, u64 nr)
{
	u8 thp = pfn_to_block(a)->thp;
	u64 at = 0;

	/* One page of each pageblock, then the last page. */
	for (; at < nr; at = MIN(at + PAGEBLOCK_PAGES, MAX(nr - 1, at + 1)))
		if (pfn_to_block(a + at)->thp != thp || pfn_to_block(b + at)->thp != thp)
			return true;
	return false;
}

bool thp_is_huge(u64 pfn)
{
	u8 thp = pfn_to_block(pfn)->thp;

	return thp == THP_HUGE || thp == THP_OWN;
}

bool thp_is_hot_locked(u64 pfn)
{
	const struct pageblock *block = pfn_to_block(pfn);
	unsigned idle = 0, i;

	if (!thp_is_huge(pfn))
		return false;
	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		idle += (unsigned)__builtin_popcountll(
			block->free[i] & __atomic_load_n(&block->dirty[i], __ATOMIC_RELAXED));
	return idle < BREAK_LEAST;
}
