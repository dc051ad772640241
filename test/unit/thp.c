/* Huge pages: which pageblocks get them, and how ageing treats those that are in use. */
#include "pages.h"

#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

#define MIB ((u64)1 << 20)
#define MOVABLE (BM_GFP_KERNEL | BM_GFP_MOVABLE)

static void start(unsigned thp, u64 hard_limit, bool unasked)
{
	fake.huge_unasked = unasked;
	options.thp = thp;
	options.decay_ms = 1000;
	options.hard_limit = hard_limit;
	pages_start();
	limit_init();
	thp_init();
}

/* Blocks of 8 MiB until the zone has so many bytes. */
static void grow_to(u64 bytes)
{
	while (zone_table[0]->managed << PAGE_SHIFT < bytes)
		assert_int_not_equal(alloc_pages_exact(MOVABLE, 2048, 0), 0);
}

static u64 nr_huge(void)
{
	return fake_calls(FAKE_HUGE);
}

static void large_heaps_get_them(void)
{
	u64 pfn;

	start(option_thp_auto, 0, false);
	grow_to(64 * MIB);
	/* A system that uses none unasked is told nothing until then. */
	assert_int_equal(nr_huge() + fake_calls(FAKE_SMALL), 0);
	/* None is to be had: one more try for each time the heap is half as large again. */
	grow_to((u64)1 << 30);
	assert_in_range(nr_huge(), 5, 8);
	assert_int_equal(pfn_to_block(alloc_pages_exact(MOVABLE, 1, 0))->thp, THP_DEFAULT);
	grow_to(1300 * MIB);
	assert_true(nr_huge() > 8);
	/* For itself alone: the program knows how dense it is. */
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, ((u64)1 << MAX_ORDER) + 1, 0);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_HIGHMEM);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_DEFAULT);
}

/* Whether the heap grows by huge pages beyond 64 MiB when one takes so long. */
static bool grows_by_huge_pages(u64 ns, u64 nr)
{
	u64 pfn, backed;

	start(option_thp_auto, 0, false);
	fake.touch_ns = ns;
	grow_to(64 * MIB);
	assert_null(fake.touched);
	backed = pages_nr_backed();
	pfn = alloc_pages_exact(MOVABLE, nr, 0);
	if (nr > 8192) {
		assert_null(fake.touched);
		return nr_huge();
	}
	/* What was touched is dirty, and the first to be used. */
	assert_ptr_equal(fake.touched, pfn_to_addr(pfn));
	assert_int_equal(pages_nr_backed(), backed + nr);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_HUGE);
	return pfn_to_block(pfn + PAGEBLOCK_PAGES)->thp == THP_HUGE;
}

static void fast_ones_are_used_earlier(void)
{
	assert_true(grows_by_huge_pages(300000, 2048));
}

/* What is free and dirty is poison, so this is too. (The last case: poisoning stays on.) */
static void the_first_one_is_poisoned(void)
{
	start(option_thp_auto, 0, false);
	options.page_poison = true;
	page_detour_update();
	fake.touch_ns = 300000;
	grow_to(64 * MIB);
	assert_int_equal(pfn_to_block(alloc_pages_exact(MOVABLE, 2048, 0))->thp, THP_HUGE);
	assert_string_equal(fake_output(), "");
}

/* Blocks of up to a MiB are buffers, of which much may stay untouched. */
static void buffers_get_none(void)
{
	start(option_thp_auto, 0, false);
	fake.touch_ns = 300000;
	while (zone_table[0]->managed << PAGE_SHIFT < 120 * MIB)
		assert_int_not_equal(alloc_pages_exact(MOVABLE, 256, 0), 0);
	assert_null(fake.touched);
	assert_int_equal(nr_huge(), 0);
	/* Pages for slabs are no buffers. */
	while (!fake.touched)
		assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 16, 0), 0);
	assert_in_range(zone_table[0]->managed << PAGE_SHIFT, 120 * MIB, 160 * MIB);
}

static void slow_ones_are_not(void)
{
	assert_false(grows_by_huge_pages(4000000, 2048));
}

/* Nor where small ones are: page tables are a hypervisor's then. */
static void none_where_small_ones_are_slow(void)
{
	u64 pfn;

	start(option_thp_auto, 0, false);
	fake.touch_ns = 300000;
	fake.small_touch_ns = 13000;
	grow_to(64 * MIB);
	pfn = alloc_pages_exact(MOVABLE, 2048, 0);
	assert_ptr_equal(fake.touched, pfn_to_addr(pfn + 2 * system_page_pages()));
	assert_int_equal(nr_huge(), 0);
	assert_int_equal(fake_calls(FAKE_HUGE), 0);
	/* Another try, not before it is half as large again, finds them fast. */
	fake.small_touch_ns = 500;
	fake.touched = NULL;
	grow_to(90 * MIB);
	assert_null(fake.touched);
	grow_to(160 * MIB);
	assert_true(nr_huge() > 0);
}

/* However large the heap is. */
static void none_where_small_ones_are_slow_in_a_large_heap(void)
{
	start(option_thp_auto, 0, false);
	fake.touch_ns = 300000;
	fake.small_touch_ns = 13000;
	grow_to(1100 * MIB);
	assert_int_equal(nr_huge(), 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
	fake.small_touch_ns = 500;
	grow_to(1200 * MIB);
	assert_true(nr_huge() > 0);
}

/* With such a peak a heap that grows to `to` bytes gets no huge page. */
static void check_none(u64 peak, u64 to)
{
	fake.touch_ns = 100000;
	fake.peak_rss = peak;
	start(option_thp_auto, 0, false);
	grow_to(to);
	assert_int_equal(nr_huge(), 0);
}

/* With such a peak it gets some. */
static void check_some(u64 peak, u64 to)
{
	fake.peak_rss = peak;
	grow_to(to);
	assert_true(nr_huge() > 0);
}

/* What programs are given and do not touch is no reason for huge pages. */
static void sparse_heaps_get_none(void)
{
	check_none(40 * MIB, 1300 * MIB);
	check_some(1000 * MIB, 1600 * MIB);
}

/* A process begins with the peak of the one that started it, which says nothing of its heap. */
static void the_peak_of_another_is_none(void)
{
	check_none(6000 * MIB, 1600 * MIB);
	/* Beyond that it is its own: both grow together. */
	check_some(7700 * MIB, 2000 * MIB);
}

/* A child of fork has its own again. */
static void the_peak_of_a_child_is_its_own(void)
{
	check_none(6000 * MIB, 1600 * MIB);
	fake.peak_rss = 100 * MIB;
	grow_to(1800 * MIB);
	assert_int_equal(nr_huge(), 0);
	check_some(1900 * MIB, 2000 * MIB);
}

static void small_pages_are_no_huge_ones(void)
{
	assert_false(grows_by_huge_pages(3000, 2048));
}

/* Only the program knows how densely it will use them. */
static void larger_blocks_get_none(void)
{
	assert_false(grows_by_huge_pages(300000, 20000));
}

/* A heap that was large once, and is not. */
static void what_was_given_back_does_not_count(void)
{
	u64 pfn;

	start(option_thp_auto, 0, false);
	pfn = alloc_pages_exact(MOVABLE, (u64)1 << 18, 0);
	free_pages(pfn);
	assert_true(reclaim_trim(0) > 0);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, (u64)1 << 18 | 1 << 16, 0), 0);
	assert_int_equal(nr_huge(), 0);
	/* Now it is. */
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 1 << 16, 0), 0);
	assert_true(nr_huge() > 0);
}

static void heaps_with_a_limit_do_not(void)
{
	start(option_thp_auto, (u64)1 << 40, false);
	grow_to(1300 * MIB);
	assert_int_equal(nr_huge(), 0);
}

/* The thp of what the heap grows by at first, and when it has 32 MiB. */
static void check_growth(enum thp first, enum thp later)
{
	u64 pfn = alloc_pages_exact(MOVABLE, 1, 0);

	assert_int_equal(pfn_to_block(pfn)->thp, first);
	grow_to(32 * MIB);
	pfn = alloc_pages_exact(MOVABLE, 2048, 0);
	assert_int_equal(pfn_to_block(pfn)->thp, later);
	assert_int_equal(nr_huge(), 0);
}

/* Where the system uses them unasked, small heaps and limited ones are kept from them. */
static void unasked_for_larger_heaps(void)
{
	start(option_thp_auto, 0, true);
	check_growth(THP_SMALL, THP_OWN);
}

static void unasked_for_the_first_large_block(void)
{
	u64 pfn;

	start(option_thp_auto, 0, true);
	pfn = alloc_pages_exact(MOVABLE, 4096, 0);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_OWN);
	assert_int_equal(fake_calls(FAKE_SMALL) + nr_huge(), 0);
}

static void unasked_but_limited(void)
{
	start(option_thp_auto, (u64)1 << 40, true);
	check_growth(THP_SMALL, THP_SMALL);
}

static void unasked_but_never(void)
{
	start(option_thp_never, 0, true);
	check_growth(THP_SMALL, THP_SMALL);
}

static void always(void)
{
	start(option_thp_always, (u64)1 << 40, false);
	grow_to(1300 * MIB);
	assert_true(nr_huge() > 0);
	assert_int_equal(fake_calls(FAKE_SMALL), 0);
}

static void never(void)
{
	start(option_thp_never, 0, false);
	grow_to(1300 * MIB);
	assert_int_equal(nr_huge(), 0);
	assert_true(fake_calls(FAKE_SMALL) > 0);
}

/* What is mapped anew is told again, each pageblock what it was told before. */
static void told_again_when_renewed(void)
{
	u64 pfn, before;

	start(option_thp_always, 0, false);
	pfn = alloc_pages_exact(MOVABLE, 3 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	pfn_to_block(pfn + PAGEBLOCK_PAGES)->thp = THP_SMALL;
	before = nr_huge();
	assert_true(pages_renew(pfn + 96, 3 * PAGEBLOCK_PAGES - 96));
	assert_int_equal(nr_huge(), before + 1);
	/* Of the first, part is there still. */
	assert_int_equal(pfn_to_block(pfn)->thp, THP_SPLIT);
	assert_int_equal(fake_calls(FAKE_SMALL), 3);
}

/* So is what was moved, where the system was told something else of the place it came from. */
static void told_again_when_moved(void)
{
	u64 to, from, before;

	start(option_thp_always, 0, false);
	to = alloc_pages_exact(MOVABLE, 2 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	from = alloc_pages_exact(MOVABLE, 2 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	before = nr_huge();
	pages_moved_to(to, from, 2 * PAGEBLOCK_PAGES);
	assert_int_equal(nr_huge(), before);
	/* The last page alone lies in a pageblock that is not like the others. */
	pfn_to_block(from + PAGEBLOCK_PAGES)->thp = THP_SMALL;
	pages_moved_to(to + 5, from + 5, PAGEBLOCK_PAGES - 4);
	assert_int_equal(nr_huge(), before + 1);
	assert_int_equal(fake_calls(FAKE_SMALL), 0);
}

/* A place that the system was told nothing of becomes what it was told of the pages moved there. */
static void what_was_told_moves_along(void)
{
	u64 to, from;

	start(option_thp_auto, 0, false);
	to = alloc_pages_exact(MOVABLE, 3 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	from = alloc_pages_exact(MOVABLE, 3 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	assert_int_equal(pfn_to_block(to)->thp, THP_DEFAULT);
	pfn_to_block(from)->thp = THP_HUGE;
	pages_moved_to(to + 5, from + 2, 2 * PAGEBLOCK_PAGES);
	/* It was told so of the first two, by the end of the first they came from. */
	assert_int_equal(pfn_to_block(to)->thp, THP_HUGE);
	assert_int_equal(pfn_to_block(to + PAGEBLOCK_PAGES)->thp, THP_HUGE);
	assert_int_equal(pfn_to_block(to + 2 * PAGEBLOCK_PAGES)->thp, THP_DEFAULT);
}

/* Blocks of 64 pages of 16 pageblocks; `nr` of each pageblock's eight are free for long. */
static u64 dirty_after_ageing(unsigned nr)
{
	u64 block[128];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(block); i++)
		block[i] = alloc_pages_exact(MOVABLE, 64, 6);
	pass_ms(500);
	for (i = 0; i < ARRAY_SIZE(block); i++)
		if (block[i] % PAGEBLOCK_PAGES / 64 < nr)
			free_pages(block[i]);
	pass_ms(3000);
	return reclaim_nr_dirty();
}

static void hot_huge_pages_stay_whole(void)
{
	start(option_thp_always, 0, false);
	assert_int_equal(dirty_after_ageing(3), 16 * 3 * 64);
	/* Whoever asks for memory gets it all the same. */
	assert_int_equal(reclaim_purge(UINT64_MAX), 16 * 3 * 64);
}

static void hot_ones_of_the_system_too(void)
{
	start(option_thp_auto, 0, true);
	grow_to(32 * MIB);
	assert_int_equal(dirty_after_ageing(3), 16 * 3 * 64);
}

static void cold_ones_are_broken_up(void)
{
	start(option_thp_always, 0, false);
	assert_int_equal(dirty_after_ageing(5), 0);
}

static void small_pages_age_one_by_one(void)
{
	start(option_thp_never, 0, false);
	assert_int_equal(dirty_after_ageing(3), 0);
}

UNIT_MAIN(CASE(large_heaps_get_them), CASE(fast_ones_are_used_earlier), CASE(slow_ones_are_not),
	  CASE(none_where_small_ones_are_slow),
	  CASE(none_where_small_ones_are_slow_in_a_large_heap), CASE(buffers_get_none),
	  CASE(sparse_heaps_get_none), CASE(the_peak_of_another_is_none),
	  CASE(the_peak_of_a_child_is_its_own), CASE(small_pages_are_no_huge_ones),
	  CASE(larger_blocks_get_none), CASE(what_was_given_back_does_not_count),
	  CASE(heaps_with_a_limit_do_not), CASE(unasked_for_larger_heaps),
	  CASE(unasked_for_the_first_large_block), CASE(unasked_but_limited),
	  CASE(unasked_but_never), CASE(always), CASE(never), CASE(told_again_when_renewed),
	  CASE(told_again_when_moved), CASE(what_was_told_moves_along),
	  CASE(hot_huge_pages_stay_whole), CASE(hot_ones_of_the_system_too),
	  CASE(cold_ones_are_broken_up), CASE(small_pages_age_one_by_one),
	  CASE(the_first_one_is_poisoned))
