/* Huge pages: which pageblocks get them, and how ageing treats those that are in use. */
#include "pages.h"

#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

#define MIB ((u64)1 << 20)
#define MOVABLE (BM_GFP_KERNEL | BM_GFP_MOVABLE)

static void start(unsigned thp, u64 hard_limit, bool unasked)
{
	fake.huge_pages = unasked ? OS_HUGE_UNASKED : OS_HUGE_ASKED;
	options.thp = thp;
	options.decay_ms = 1000;
	options.hard_limit = hard_limit;
	/* As soon as it can be a gain. */
	fake.small_page_ns = 13000;
	fake.nr_faults = (u64)1 << 40;
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

static void auto_uses_them_where_they_gain(void)
{
	u64 pfn;

	start(option_thp_auto, 0, false);
	grow_to(8 * MIB);
	/* A system that uses none unasked is told nothing until then. */
	assert_int_equal(nr_huge() + fake_calls(FAKE_SMALL), 0);
	grow_to(64 * MIB);
	assert_int_not_equal(nr_huge(), 0);
	/* For itself alone: the program knows how dense it is. */
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, ((u64)1 << MAX_ORDER) + 1, 0);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_HIGHMEM);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_DEFAULT);
}

/* With one of its pages a huge one comes whole: all it has is there, and is used before others. */
static void they_come_whole(void)
{
	u64 pfn;

	start(option_thp_always, 0, false);
	pfn = alloc_pages_exact(MOVABLE, 100, 0);
	assert_int_equal(pages_nr_dirty(pageblock_start(pfn), PAGEBLOCK_PAGES), PAGEBLOCK_PAGES);
	assert_int_equal(pages_nr_backed(), PAGEBLOCK_PAGES);
	pages_check(100);
	/* All of one and part of the next. */
	pfn = alloc_pages_exact(MOVABLE, PAGEBLOCK_PAGES + 200, PAGEBLOCK_ORDER);
	assert_int_equal(pages_nr_dirty(pfn, 2 * PAGEBLOCK_PAGES), 2 * PAGEBLOCK_PAGES);
	pages_check(100 + PAGEBLOCK_PAGES + 200);
	/* What lies on a per-CPU list is nobody's of these. */
	pfn = alloc_pages_exact(MOVABLE, PAGEBLOCK_PAGES - 32, PAGEBLOCK_ORDER);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 1, 0), 0);
	pages_check(100 + 2 * PAGEBLOCK_PAGES + 169);
}

/* Near a limit each page counts, and no more come than are asked for. */
static void none_comes_whole_near_a_limit(void)
{
	u64 pfn;

	start(option_thp_always, 5 * MIB, false);
	pfn = alloc_pages_exact(MOVABLE, 100, 0);
	assert_int_equal(pages_nr_backed(), PAGEBLOCK_PAGES);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 412, 0), 0);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	assert_int_equal(pages_nr_backed(), 2 * PAGEBLOCK_PAGES);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 412, 0), 0);
	assert_int_equal(fake_calls(FAKE_SMALL), 0);
	/* The limit is 256 pages from here. */
	pfn = alloc_pages_exact(MOVABLE, 100, 0);
	assert_int_equal(pages_nr_backed(), 2 * PAGEBLOCK_PAGES + 100);
	assert_int_equal(fake_calls(FAKE_SMALL), 1);
	assert_int_equal(alloc_pages_exact(MOVABLE, 200, 0), 0);
	pages_check(2 * PAGEBLOCK_PAGES + 100);
	/* When nothing of it is there it may be huge again. */
	free_pages(pfn);
	assert_int_equal(reclaim_purge(UINT64_MAX), 100);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_HUGE);
}

/* With poisoning it is as clean as what was never there. (The last case: poisoning stays on.) */
static void what_came_along_is_no_poison(void)
{
	start(option_thp_always, 0, false);
	options.page_poison = true;
	page_detour_update();
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	assert_int_equal(pages_nr_backed(), 100);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 300, 0), 0);
	assert_string_equal(fake_output(), "");
}

/* What goes as soon as it is free would break each of them up. */
static void with_decay_ms_0_what_came_along_is_not_free(void)
{
	start(option_thp_always, 0, false);
	options.decay_ms = 0;
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	free_nr(100);
	assert_int_equal(pages_nr_backed(), 100);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
}

/* What nobody had of it ages, if it is much of the heap. */
static void what_came_along_ages(void)
{
	start(option_thp_always, 0, false);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	pass_ms(500);
	pass_ms(3000);
	assert_int_equal(pages_nr_backed(), 100);
}

/* But not the rest of the newest in a large one; it goes to whoever is in need. */
static void little_of_a_large_heap_stays_whole(void)
{
	start(option_thp_always, 0, false);
	grow_to(64 * MIB);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	pass_ms(500);
	pass_ms(3000);
	assert_int_equal(reclaim_nr_dirty(), PAGEBLOCK_PAGES - 100);
	assert_int_equal(reclaim_purge(UINT64_MAX), PAGEBLOCK_PAGES - 100);
}

/* A heap is as large as what it holds, not as what it once held. */
static void much_of_what_is_left_ages(void)
{
	start(option_thp_always, 0, false);
	free_nr(30 * PAGEBLOCK_PAGES);
	assert_int_equal(reclaim_purge(UINT64_MAX), 30 * PAGEBLOCK_PAGES);
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	assert_int_equal(pages_nr_backed(), PAGEBLOCK_PAGES);
	pass_ms(500);
	pass_ms(3000);
	assert_int_equal(pages_nr_backed(), 100);
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

static void none_where_the_system_has_none(void)
{
	start(option_thp_auto, 0, false);
	fake.huge_pages = OS_HUGE_NEVER;
	thp_init();
	grow_to(1300 * MIB);
	assert_int_equal(nr_huge() + fake_calls(FAKE_SMALL), 0);
}

/* There calloc need not clear what nobody had. */
static void none_comes_whole_where_the_system_has_none(void)
{
	start(option_thp_always, 0, false);
	fake.huge_pages = OS_HUGE_NEVER;
	thp_init();
	assert_int_not_equal(alloc_pages_exact(MOVABLE, 100, 0), 0);
	assert_int_equal(pages_nr_backed(), 100);
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

UNIT_MAIN(CASE(auto_uses_them_where_they_gain), CASE(they_come_whole),
	  CASE(none_comes_whole_near_a_limit),
	  CASE(with_decay_ms_0_what_came_along_is_not_free), CASE(what_came_along_ages),
	  CASE(little_of_a_large_heap_stays_whole), CASE(much_of_what_is_left_ages),
	  CASE(heaps_with_a_limit_do_not),
	  CASE(unasked_for_larger_heaps), CASE(unasked_for_the_first_large_block),
	  CASE(unasked_but_limited), CASE(none_where_the_system_has_none),
	  CASE(none_comes_whole_where_the_system_has_none), CASE(unasked_but_never), CASE(always),
	  CASE(never), CASE(told_again_when_renewed), CASE(told_again_when_moved),
	  CASE(what_was_told_moves_along), CASE(hot_huge_pages_stay_whole),
	  CASE(hot_ones_of_the_system_too), CASE(cold_ones_are_broken_up),
	  CASE(small_pages_age_one_by_one), CASE(what_came_along_is_no_poison))
