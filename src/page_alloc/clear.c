/*
 * rank 4: pages cleared for who wants zeroes.
 *
 * A page that was handed out is dirty in our books, but of large arrays much is never touched:
 * numpy.zeros, hash tables, solvers' matrices. To clear such a block when it is used again would
 * make all of it resident, and take as long. So pageblocks are looked at first: a page that is not
 * there is a fault to be read, and the system counts those. Where all that are looked at are
 * missing the pageblock is given back instead, which costs next to nothing, and is zero then; where
 * some are, so with parts of it. A block that came as zeroes is looked at as a whole when it goes:
 * where hardly any of it was touched it is given back then, and who has it next finds zeroes without
 * a look at each pageblock.
 */
#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

/* Pages that are looked at of a pageblock; of what lies behind a gap, or of a part; and a part. */
#define LOOKS 8
#define FEW_LOOKS 4
#define PART_PAGES ((u64)64)

/* Smaller blocks are not worth a look as they go: there would be as many as when they come. */
#define GOING_LEAST (4 * PAGEBLOCK_PAGES)

/* Adjacent pages that are missing, to be given back together. */
struct gap {
	u64 pfn, nr;
};

/*
 * The dirty bits stay: the pages are about to be used. Other pages of the gap may hold data, so a
 * probe word tells whether madvise really took it: some emulators only pretend.
 */
static bool gap_goes(const struct gap *gap)
{
	volatile u64 *word = (volatile u64 *)(void *)pfn_to_addr(gap->pfn);

	stat_add_shared(purge_calls, 1);
	*word = 1;
	return os_give_back(pfn_to_addr(gap->pfn), (size_t)gap->nr << PAGE_SHIFT) && !*word;
}

static void close_gap(struct gap *gap)
{
	if (gap->nr && !gap_goes(gap))
		pages_zero_dirty(gap->pfn, gap->nr);
	gap->nr = 0;
}

/* The next pages are missing, or hold something. */
static void gap_add(struct gap *gap, u64 pfn, u64 nr, bool missing)
{
	if (!missing) {
		close_gap(gap);
		pages_zero_dirty(pfn, nr);
		return;
	}
	if (!gap->nr)
		gap->pfn = pfn;
	gap->nr += nr;
}

/*
 * How many of so many pages, evenly spread over nr, are missing. By odd steps: programs that touch
 * each Nth page do so by powers of two.
 */
static unsigned nr_missing(u64 pfn, u64 nr, unsigned looks)
{
	u64 step = nr / looks | 1, first = step / 2 | 1;

	return os_count_missing(pfn_to_addr(pfn + first), (size_t)step << PAGE_SHIFT, looks);
}

/* Whether pfn begins a pageblock that may be looked at, the pages up to end being the caller's. */
static bool may_look(u64 pfn, u64 end)
{
	return begins_whole_block(pfn, end - pfn) && all_bits_set(pfn_to_block(pfn)->dirty) &&
	       !__atomic_load_n(&pfn_to_block(pfn)->stale, __ATOMIC_RELAXED);
}

/*
 * The longer the gap, the more pageblocks behind it are looked at together; pages that turn out
 * to be missing with it.
 */
static u64 gap_extend(struct gap *gap, u64 pfn, u64 end)
{
	u64 at = pfn, most = MIN(end, pfn + round_down(gap->nr / 2, (u64)PAGEBLOCK_PAGES));

	while (at < most && may_look(at, most) && !thp_is_huge(at))
		at += PAGEBLOCK_PAGES;
	if (at == pfn || nr_missing(pfn, at - pfn, FEW_LOOKS) < FEW_LOOKS)
		return 0;
	gap_add(gap, pfn, at - pfn, true);
	return at - pfn;
}

static void zero_block(struct gap *gap, u64 pfn)
{
	/* A huge page, or one of zeroes, comes whole, with the first fault. */
	unsigned looks = thp_is_huge(pfn) ? 1 : LOOKS;
	unsigned missing = nr_missing(pfn, PAGEBLOCK_PAGES, looks);
	u64 end = pfn + PAGEBLOCK_PAGES;

	if (!missing || missing == looks) {
		gap_add(gap, pfn, PAGEBLOCK_PAGES, missing);
		return;
	}
	for (; pfn < end; pfn += PART_PAGES)
		gap_add(gap, pfn, PART_PAGES, nr_missing(pfn, PART_PAGES, FEW_LOOKS) == FEW_LOOKS);
}

void pages_zero(u64 pfn, u64 nr)
{
	u64 end = pfn + nr, done;
	struct gap gap = { 0 };

	if (nr < PAGEBLOCK_PAGES || !scope_may_map()) {
		pages_zero_dirty(pfn, nr);
		return;
	}
	for (; pfn < end; pfn += done) {
		done = gap_extend(&gap, pfn, end);
		if (done)
			continue;
		done = MIN(end - pfn, PAGEBLOCK_PAGES - pfn % PAGEBLOCK_PAGES);
		if (may_look(pfn, end))
			zero_block(&gap, pfn);
		else
			gap_add(&gap, pfn, done, false);
	}
	close_gap(&gap);
}

void pages_forget_untouched(u64 pfn, u64 nr)
{
	u64 first = round_up(pfn, (u64)PAGEBLOCK_PAGES), at = first;
	u64 end = round_down(pfn + nr, (u64)PAGEBLOCK_PAGES);

	/* With poison all of it is about to be written. */
	if (nr < GOING_LEAST || !scope_may_map() ||
	    __atomic_load_n(&page_detour, __ATOMIC_RELAXED))
		return;
	while (at < end && may_look(at, end))
		at += PAGEBLOCK_PAGES;
	if (at >= end && nr_missing(first, end - first, LOOKS) == LOOKS)
		pages_give_back(first, end - first, GIVE_ALL);
}
