/*
 * rank 4: huge pages: which pageblocks the system may back with a page of 2 MiB at
 * the first touch.
 *
 * A huge page saves 511 faults and most of the address translation, and costs
 * memory where less than all of it is used. In a large heap that is at most a
 * pageblock of each migratetype, since pages are handed out block by block; in a
 * small one it would be most of the heap. Where the host of a virtual machine
 * has to find the memory first, a huge page also makes its user wait for all of
 * it: measured on two, 2 MiB took 0.25 to 0.35 ms to touch when the host had them at hand,
 * 4 to 7 ms as a rule when it had not, and 1 to 2 ms in small pages. So auto begins late, and
 * takes the time of some small pages first; in heaps of a middle size of a huge one as well, and
 * leaves alone what they grow by for buffers; and it leaves alone a heap of which much was never
 * touched, and what has a limit: there each page counts when it is wanted.
 *
 * With auto a block that is mapped for itself has the system's own policy: how densely it
 * will be used, only the program knows.
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

/* Pages in use, and pages of a zone, from which on it grows by huge ones. */
#define HUGE_FROM (((u64)1 << 30) >> PAGE_SHIFT)

/* The same, from which on it does if the first of those comes fast. */
#define TRY_FROM (((u64)64 << 20) >> PAGE_SHIFT)

/*
 * Pageblocks that so small a heap grows by, for one request: how densely a larger block will
 * be used, only the program knows.
 */
#define TRY_MOST (((u64)32 << 20) >> PAGE_SHIFT >> PAGEBLOCK_ORDER)

/*
 * Nanoseconds that a huge page takes: no processor clears one faster, and what takes
 * longer has to be found by somebody first.
 */
#define CLEARED_NS ((u64)20 * 1000)
#define FAST_NS ((u64)500 * 1000)

/*
 * The least that so many small pages take, at most: 0.25 to 4 us were measured, and 10 to 13
 * where the hypervisor keeps the page tables' shadows.
 */
#define SMALL_FAST_NS ((u64)6 * 1000)
#define SMALL_TOUCHES 3

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

/* Pages, of program and libraries, that a peak may have beyond the heap's. */
#define BESIDE_HEAP (((u64)64 << 20) >> PAGE_SHIFT)

/*
 * Whether programs touch what they are given, at least three quarters of it: huge pages for the
 * rest would be memory that nobody wanted. The peak tells of a heap that was never dense, and of
 * no other; what is resident now the system tells only through files, or calls that some filters
 * kill for.
 *
 * The figure is not always the heap's: exec leaves it as it was, so that a process begins with the
 * peak of the one that started it, and mapped files count. Where it is more than the heap explains
 * at the first look, what both grew by since then counts.
 */
static bool is_dense(const struct zone *zone)
{
	static u64 first_peak, first_backed; /* relaxed atomics, as is the next */
	static u32 looked;
	/* The zone's: blocks mapped for themselves have the system's policy. */
	u64 backed = zone_nr_backed(zone);
	u64 peak = os_peak_rss() >> PAGE_SHIFT, all = pages_nr_backed(), from;

	if (!__atomic_exchange_n(&looked, 1, __ATOMIC_RELAXED) &&
	    peak > all + all / 4 + BESIDE_HEAP) {
		__atomic_store_n(&first_peak, peak, __ATOMIC_RELAXED);
		__atomic_store_n(&first_backed, backed, __ATOMIC_RELAXED);
	}
	/* A child of fork begins with a peak of its own. */
	if (peak < __atomic_load_n(&first_peak, __ATOMIC_RELAXED)) {
		__atomic_store_n(&first_peak, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&first_backed, 0, __ATOMIC_RELAXED);
	}
	from = __atomic_load_n(&first_backed, __ATOMIC_RELAXED);
	if (backed <= from)
		return false;
	backed -= from;
	return peak - __atomic_load_n(&first_peak, __ATOMIC_RELAXED) >= backed - backed / 4;
}

/* Each page counts when it is wanted, then. */
static bool has_limit(void)
{
	return __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED) != UINT64_MAX;
}

/* Somebody is about to use these, and from here on they count as any that were in use. */
static void note_touched(u64 pfn, u64 nr)
{
	pages_set_dirty(pfn, nr);
	pages_poison(pfn, nr);
}

/*
 * Whether the machine's page tables are its own. Where a hypervisor keeps shadows of them even a
 * small page takes long, and one huge page may make it drop all that it has for the process: each
 * page in use is found anew then, at 5 us. The pageblock's first pages tell, and go back.
 */
static bool small_pages_come_fast(u64 pfn)
{
	u64 unit = system_page_pages(), nr = SMALL_TOUCHES * unit, least = UINT64_MAX, at;

	/* Else one would be a huge page. */
	if (!only_asked)
		return true;
	for (at = pfn; at < pfn + nr; at += unit) {
		u64 ns = os_first_touch_ns(pfn_to_addr(at));

		least = MIN(least, ns);
	}
	/* Locked pages stay. */
	if (least > SMALL_FAST_NS || !os_give_back(pfn_to_addr(pfn), nr << PAGE_SHIFT))
		note_touched(pfn, nr);
	return least <= SMALL_FAST_NS;
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
	if (!only_asked && !has_limit() && managed + (nr_blocks << PAGEBLOCK_ORDER) >= OWN_FROM)
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

/* Whether a huge page does, which is taken and stays. */
static bool huge_page_comes_fast(u64 pfn)
{
	u64 ns;

	thp_set(pfn, 1, THP_HUGE);
	thp_repeat(pfn, PAGEBLOCK_PAGES);
	ns = os_first_touch_ns(pfn_to_addr(pfn));
	note_touched(pfn, ns >= CLEARED_NS ? PAGEBLOCK_PAGES : system_page_pages());
	return ns >= CLEARED_NS && ns <= FAST_NS;
}

/*
 * Whether huge pages are a gain now for what the zone grows by: a large heap, or one of a middle
 * size where the first comes fast. If not, there is another try for that when the zone is half as
 * large again.
 */
static bool huge_pages_gain(const struct zone *zone, u64 pfn, u64 nr_blocks, bool for_buffers)
{
	static u64 try_from = TRY_FROM; /* relaxed atomic */
	u64 managed = zone_managed(zone);
	u64 backed = pages_nr_backed();
	bool large = managed >= HUGE_FROM && backed >= HUGE_FROM;
	bool middle = managed >= __atomic_load_n(&try_from, __ATOMIC_RELAXED) &&
		      backed >= TRY_FROM && nr_blocks <= TRY_MOST && only_asked && !for_buffers;

	if (!(large || middle) || !is_dense(zone))
		return false;
	if (small_pages_come_fast(pfn) && (large || huge_page_comes_fast(pfn)))
		return true;
	__atomic_store_n(&try_from, managed + managed / 2, __ATOMIC_RELAXED);
	return false;
}

void thp_choose(const struct zone *zone, u64 pfn, u64 nr_blocks, bool for_buffers)
{
	thp_set(pfn, nr_blocks, thp_at_first(zone, pfn, nr_blocks));
	if (options.thp == option_thp_auto && pfn_to_block(pfn)->state != BLOCK_HIGHMEM &&
	    !has_limit() && huge_pages_gain(zone, pfn, nr_blocks, for_buffers))
		thp_set(pfn, nr_blocks, THP_HUGE);
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
	for (at = to; only_asked && at < end; at = next) {
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

bool thp_is_hot_locked(u64 pfn)
{
	const struct pageblock *block = pfn_to_block(pfn);
	unsigned idle = 0, i;

	if (!thp_is_huge(pfn))
		return false;
	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		idle += (unsigned)__builtin_popcountll(block->free[i] &
						       bitmap_word(block->dirty, i));
	return idle < BREAK_LEAST;
}
