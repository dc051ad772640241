/* Giving memory back: exactly the dirty free pages, in whole pages of the system; trimming. */
#include "pages.h"

#include <string.h>

#include "base/options.h"
#include "base/stats.h"
#include "page_alloc/internal.h"

#define NR_BLOCKS 4
#define NR_PAGES ((u32)(NR_BLOCKS * PAGEBLOCK_PAGES))

static u64 first;	/* NR_PAGES pages, a block that the test cuts up */
static uint64_t seed;

static void start(void)
{
	options.decay_ms = -1;
	pages_start();
	first = alloc_pages_exact(BM_GFP_KERNEL, NR_PAGES, 4);
	assert_int_not_equal(first, 0);
	assert_int_equal(first % PAGEBLOCK_PAGES, 0);
	/* What the heap has beyond is clean. */
	assert_int_equal(reclaim_purge(UINT64_MAX), 0);
}

static bool is_free[NR_PAGES], was_dirty[NR_PAGES];

static u64 *page_word(u32 page)
{
	return (u64 *)(void *)pfn_to_virt(first + page);
}

/* All is allocated: makes some ranges clean, marks every page, frees some ranges. */
static void free_some(unsigned nr_clean, unsigned nr_free, u32 longest, u32 grain)
{
	u32 at, len, i;

	pages_set_dirty(first, NR_PAGES);
	memset(is_free, 0, sizeof(is_free));
	for (; nr_clean; nr_clean--) {
		at = (u32)random_below(&seed, NR_PAGES);
		len = 1 + (u32)random_below(&seed, longest);
		len = MIN(len, NR_PAGES - at);
		pages_clear_dirty(first + at, len);
	}
	for (i = 0; i < NR_PAGES; i++) {
		was_dirty[i] = pages_nr_dirty(first + i, 1);
		*page_word(i) = i + 1;
	}
	for (; nr_free; nr_free--) {
		at = (u32)random_below(&seed, NR_PAGES) / grain * grain;
		len = (1 + (u32)random_below(&seed, longest)) * grain;
		len = MIN(len, NR_PAGES - at);
		for (i = at; i < at + len && !is_free[i]; i++)
			is_free[i] = true;
		if (i > at)
			zone_free_range(zone_table[0], first + at, i - at);
	}
	pages_check_zone(zone_table[0]);
}

static bool all(const bool *what, u32 at, u32 nr)
{
	while (nr--)
		if (!what[at++])
			return false;
	return true;
}

/* Purging drops a page of the system when all of it is free. */
static bool may_go(u32 page, u32 unit)
{
	return all(is_free, round_down(page, unit), unit);
}

/* Takes back what was freed, so that all is allocated again. */
static void take_back(void)
{
	u32 i;

	lock(&zone_table[0]->lock, LOCK_ZONE);
	for (i = 0; i < NR_PAGES; i++)
		if (is_free[i])
			assert_true(zone_take_range_locked(zone_table[0], first + i, 1));
	unlock(&zone_table[0]->lock, LOCK_ZONE);
}

static void purge_and_check(void)
{
	u32 unit = (u32)(fake.page_size >> PAGE_SHIFT), i, gone = 0, left = 0;
	u64 before = stats_shared.purged_pages;
	u64 purged = reclaim_purge(UINT64_MAX);

	pages_check_zone(zone_table[0]);
	for (i = 0; i < NR_PAGES; i++) {
		bool goes = is_free[i] && was_dirty[i] && may_go(i, unit);
		bool is_dirty = pages_nr_dirty(first + i, 1);

		gone += goes;
		left += is_free[i] && is_dirty;
		if (is_dirty != (was_dirty[i] && !goes))
			fail_msg("page %u: free %d, was dirty %d, is dirty %d", i, is_free[i],
				 was_dirty[i], is_dirty);
		if (goes && *page_word(i) != 0)
			fail_msg("page %u is called clean and is not", i);
		if (!is_free[i] && *page_word(i) != i + 1)
			fail_msg("page %u was in use and is purged", i);
	}
	assert_int_equal(purged, gone);
	assert_int_equal(stats_shared.purged_pages - before, gone);
	assert_int_equal(zone_table[0]->nr_dirty, left);
	if (unit == 1)
		assert_int_equal(left, 0);
	take_back();
}

static void random_patterns(void)
{
	unsigned round;

	seed = unit_seed();
	start();
	for (round = 0; round < 25; round++) {
		free_some(round % 20, 40, 80, 1);
		purge_and_check();
		free_some(30, 500, 3, 1);
		purge_and_check();
		free_some(3, 10, 1000, 1);
		purge_and_check();
		free_some(40, 10, 3, (u32)PAGEBLOCK_PAGES);
		purge_and_check();
	}
}

static void exactly_the_dirty_free_pages(void)
{
	random_patterns();
}

/* Of larger pages of the system only whole ones go; the rest stays, dirty. */
static void pages_of_16_kib(void)
{
	unit_needs_pages_of(16384);
	fake.page_size = 16384;
	random_patterns();
}

static void pages_of_64_kib(void)
{
	fake.page_size = 65536;
	random_patterns();
}

/* Every other page: the most runs a pageblock can have. */
static void most_runs(void)
{
	u32 i;

	unit_needs_pages_of(4096);
	start();
	free_some(0, 0, 1, 1);
	for (i = 1; i < NR_PAGES; i += 2) {
		is_free[i] = true;
		zone_free_range(zone_table[0], first + i, 1);
	}
	purge_and_check();
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), NR_PAGES / 2);
}

/* Whole pageblocks side by side go in few calls. */
static void large_runs_take_few_calls(void)
{
	start();
	free_some(0, 0, 1, 1);
	memset(is_free, 1, sizeof(is_free));
	zone_free_range(zone_table[0], first, NR_PAGES);
	purge_and_check();
	/* One for the pages, one for their struct pages. */
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 2);
}

/* Only as much as was asked for, but for the rest of a pageblock; the oldest first. */
static void oldest_first_and_no_more_than_asked(void)
{
	enum { RUN = 304 }; /* whole pages of the system, of any size */
	static const u32 order[NR_BLOCKS] = { 2, 0, 3, 1 };
	u32 i, j;

	start();
	free_some(0, 0, 1, 1);
	for (i = 0; i < NR_BLOCKS; i++) {
		/* Not the whole pageblock, or it would go with its neighbours. */
		zone_free_range(zone_table[0], first + order[i] * PAGEBLOCK_PAGES, RUN);
		zone_table[0]->tick++;
	}
	for (i = 0; i < NR_BLOCKS; i++) {
		assert_int_equal(reclaim_purge(1 + i * 90), RUN);
		for (j = 0; j < NR_BLOCKS; j++)
			assert_int_equal(pages_nr_dirty(first + order[j] * PAGEBLOCK_PAGES, RUN),
					 j <= i ? 0 : RUN);
	}
	assert_int_equal(reclaim_purge(1), 0);
	pages_check_zone(zone_table[0]);
}

/* When the system refuses, the pages stay dirty, the call ends, and the next one tries again. */
static void refusals_are_survived(void)
{
	unsigned round, i;
	u64 dirty;

	seed = unit_seed();
	start();
	for (round = 0; round < 20; round++) {
		free_some(10, 100, 50, 1);
		dirty = zone_table[0]->nr_dirty;
		fake_fail(FAKE_GIVE_BACK, 1, FAKE_ALWAYS);
		assert_int_equal(reclaim_purge(UINT64_MAX), 0);
		assert_int_equal(zone_table[0]->nr_dirty, dirty);
		pages_check_zone(zone_table[0]);
		/* A few of many. */
		fake_fail(FAKE_GIVE_BACK, 3, 4);
		reclaim_purge(UINT64_MAX);
		pages_check_zone(zone_table[0]);
		fake_fail(FAKE_GIVE_BACK, 1, 0);
		for (i = 0; i < NR_PAGES; i++)
			was_dirty[i] = pages_nr_dirty(first + i, 1);
		purge_and_check();
	}
}

/* While the system is at it nobody is handed a page that is being dropped. */
static u64 taken[2000];
static unsigned nr_taken;

static void allocate_meanwhile(void *addr, size_t len)
{
	u64 from = virt_to_pfn(addr), to = from + (len >> PAGE_SHIFT), nr, pfn;
	unsigned i;

	for (i = 0; i < 6; i++) {
		nr = 1 + random_below(&seed, 20);
		pfn = alloc_pages_exact(i % 2 ? BM_GFP_KERNEL : BM_GFP_KERNEL | BM_GFP_MOVABLE, nr,
					0);
		assert_int_not_equal(pfn, 0);
		assert_true(pfn + nr <= from || pfn >= to);
		pages_mark(pfn, nr, pfn * 3);
		taken[nr_taken++] = pfn;
	}
	for (i = 0; i < 2; i++) {
		unsigned which = (unsigned)random_below(&seed, nr_taken);

		pfn = taken[which];
		assert_true(pages_are_marked(pfn, pfn_to_page(pfn)->nr_pages, pfn * 3));
		free_pages(pfn);
		taken[which] = taken[--nr_taken];
	}
	if (nr_taken > 1900)
		fake_on_give_back = NULL;
}

static void allocations_go_on_meanwhile(void)
{
	unsigned i;

	unit_needs_pages_of(16384);
	seed = unit_seed();
	start();
	free_some(10, 100, 6, 1);
	fake_on_give_back = allocate_meanwhile;
	reclaim_purge(UINT64_MAX);
	fake_on_give_back = NULL;
	pages_check_zone(zone_table[0]);
	assert_true(nr_taken > 10);
	for (i = 0; i < nr_taken; i++)
		assert_true(pages_are_marked(taken[i], pfn_to_page(taken[i])->nr_pages,
					     taken[i] * 3));
}

/* trim(pad): everything above pad bytes, what the per-CPU lists and shrinkers hold too. */
static u64 held;

static void give_held(enum give how)
{
	assert_int_equal(how, GIVE_ALL);
	if (held)
		free_pages(held);
	held = 0;
}

static const struct shrinker shrinker = { .shrink = give_held };

static void trim_keeps_the_pad(void)
{
	struct page_totals t;
	u64 single;

	start();
	set_shrinkers(&shrinker, 1);
	assert_int_equal(reclaim_trim(0), 0);
	held = alloc_pages_exact(BM_GFP_KERNEL, 77, 0);
	single = alloc_pages_exact(BM_GFP_KERNEL, 1, 0);
	free_pages(single);
	assert_int_equal(reclaim_trim(0), 78 * PAGE_SIZE);
	assert_int_equal(held, 0);
	page_alloc_totals(&t);
	assert_int_equal(t.dirty, 0);
	assert_int_equal(t.pcp, 0);
	free_pages(first);
	assert_int_equal(reclaim_trim(NR_PAGES * PAGE_SIZE), 0);
	assert_int_equal(reclaim_trim((u64)1 << 40), 0);
	/* To the pageblock. */
	assert_true(reclaim_trim(100 * PAGE_SIZE) > 0);
	page_alloc_totals(&t);
	assert_true(t.dirty <= 100);
	reclaim_trim(0);
	page_alloc_totals(&t);
	assert_int_equal(t.dirty, 0);
	assert_int_equal(t.free, t.managed);
}

/* Free pages go first; only for more the layers above are asked. */
static void give_as_much_as_asked_for(void)
{
	u64 single;

	unit_needs_pages_of(16384);
	start();
	set_shrinkers(&shrinker, 1);
	assert_int_equal(reclaim_give(UINT64_MAX), 0);
	held = alloc_pages_exact(BM_GFP_KERNEL, 77, 0);
	zone_free_range(zone_table[0], first, 300);
	assert_int_equal(reclaim_give(0), 0);
	assert_int_equal(reclaim_give(1), 300 * PAGE_SIZE);
	assert_int_not_equal(held, 0);
	assert_int_equal(reclaim_give(1), 77 * PAGE_SIZE);
	assert_int_equal(held, 0);
	/* From the lists of the CPUs too; and all there is, however much is wanted. */
	single = alloc_pages_exact(BM_GFP_KERNEL, 1, 0);
	free_pages(single);
	assert_int_equal(reclaim_give(1), PAGE_SIZE);
	zone_free_range(zone_table[0], first + 300, NR_PAGES - 300);
	assert_int_equal(reclaim_give(UINT64_MAX), (NR_PAGES - 300) * PAGE_SIZE);
	pages_check(0);
}

static void shrink_nothing(enum give how)
{
	(void)how;
}

static u64 free_held(enum give how, u64 most)
{
	(void)how;
	(void)most;
	free_pages(held);
	held = 0;
	return 0;
}

/* What comes free while a layer above gives what it keeps, as its slabs do, goes too. */
static void what_comes_free_meanwhile_goes(void)
{
	static const struct shrinker frees = { .shrink = shrink_nothing, .give = free_held };

	unit_needs_pages_of(16384);
	start();
	set_shrinkers(&frees, 1);
	held = alloc_pages_exact(BM_GFP_KERNEL, 400, 0);
	assert_int_equal(reclaim_give(UINT64_MAX), 400 * PAGE_SIZE);
	assert_int_equal(held, 0);
	pages_check(NR_PAGES);
}

/* What the system did not take was not given. */
static void refused_nothing_is_claimed(void)
{
	start();
	free_pages(first);
	fake_fail(FAKE_GIVE_BACK, 1, FAKE_ALWAYS);
	assert_int_equal(reclaim_give(UINT64_MAX), 0);
	assert_int_equal(reclaim_trim(0), 0);
	fake_fail(FAKE_GIVE_BACK, 1, 0);
	assert_int_equal(reclaim_trim(0), NR_PAGES * PAGE_SIZE);
	assert_int_equal(reclaim_trim(0), 0);
}

UNIT_MAIN(CASE(exactly_the_dirty_free_pages), CASE(pages_of_16_kib), CASE(pages_of_64_kib),
	  CASE(most_runs), CASE(large_runs_take_few_calls),
	  CASE(oldest_first_and_no_more_than_asked), CASE(refusals_are_survived),
	  CASE(allocations_go_on_meanwhile), CASE(trim_keeps_the_pad),
	  CASE(give_as_much_as_asked_for), CASE(what_comes_free_meanwhile_goes),
	  CASE(refused_nothing_is_claimed))
