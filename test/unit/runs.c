/* Runs of free pages: which of them a request gets, and that it finds each. */
#include "buddy_model.h"

static struct zone zone;
static u64 first;

/* Pageblocks with no page free, all dirty. */
static void start(u64 nr_blocks, enum migratetype mt)
{
	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, 1);
	first = model_section(&zone, nr_blocks, 16, mt);
	assert_true(zone_take_range_locked(&zone, first, nr_blocks * PAGEBLOCK_PAGES));
	pages_set_dirty(first, nr_blocks * PAGEBLOCK_PAGES);
}

static void give(u64 at, u64 nr)
{
	zone_free_range_locked(&zone, first + at, nr);
	zone_check_locked(&zone);
}

/* Where the request is served, in pages from the first; -1: nowhere. */
static long take(u64 nr, unsigned align_order, enum migratetype mt)
{
	u64 pfn = zone_rmqueue_run_locked(&zone, nr, align_order, mt);

	zone_check_locked(&zone);
	return pfn ? (long)(pfn - first) : -1;
}

static void the_shortest_serves(void)
{
	const enum migratetype mt = MIGRATE_MOVABLE;

	start(4, mt);
	give(10, 100);
	give(700, 25);
	give(800, 300); /* across a pageblock's end */
	give(1300, 40);
	give(1500, 30);
	assert_int_equal(take(25, 0, mt), 700);
	assert_int_equal(take(26, 0, mt), 1500);
	assert_int_equal(take(26, 0, mt), 1300);
	assert_int_equal(take(14, 0, mt), 1326);
	assert_int_equal(take(101, 0, mt), 800);
	assert_int_equal(take(199, 0, mt), 901);
	assert_int_equal(take(90, 0, mt), 10);
	assert_int_equal(take(10, 0, mt), 100);
	assert_int_equal(take(9, 0, mt), -1);
	assert_int_equal(zone.nr_free, 4);
}

/* Whose runs are not listed. */
static void other_types(void)
{
	start(4, MIGRATE_UNMOVABLE);
	give(10, 100);
	give(800, 300);
	assert_int_equal(take(100, 0, MIGRATE_MOVABLE), -1);
	assert_int_equal(take(290, 0, MIGRATE_UNMOVABLE), 800);
	assert_int_equal(take(100, 0, MIGRATE_UNMOVABLE), 10);
	assert_int_equal(take(9, 0, MIGRATE_UNMOVABLE), 1090);
}

/* Every length that is listed, and one page more. */
static void each_length_is_found(void)
{
	u64 nr;

	start(3, MIGRATE_MOVABLE);
	for (nr = RUN_LEAST; nr <= PAGEBLOCK_PAGES; nr++) {
		give(300, nr);
		if (nr < PAGEBLOCK_PAGES)
			assert_int_equal(take(nr + 1, 0, MIGRATE_MOVABLE), -1);
		assert_int_equal(take(nr, 0, MIGRATE_MOVABLE), 300);
	}
	/* The longest: all but a page of two pageblocks. */
	give(1, 2 * PAGEBLOCK_PAGES - 2);
	assert_int_equal(take(PAGEBLOCK_PAGES, 0, MIGRATE_MOVABLE), 1);
}

static void places_are_aligned(void)
{
	start(2, MIGRATE_MOVABLE);
	give(33, 62);
	give(129, 94);
	assert_int_equal(take(33, 5, MIGRATE_MOVABLE), 160);
	assert_int_equal(take(31, 5, MIGRATE_MOVABLE), 64);
	assert_int_equal(take(31, 5, MIGRATE_MOVABLE), -1);
	assert_int_equal(take(31, 0, MIGRATE_MOVABLE), 33);
}

static void warm_runs_first(void)
{
	start(3, MIGRATE_MOVABLE);
	pages_clear_dirty(first + 100, 50);
	pages_clear_dirty(first + 1005, 95);
	give(100, 50);
	give(200, 300);
	give(1000, 100); /* begins dirty, but most of it is clean */
	assert_int_equal(take(50, 0, MIGRATE_MOVABLE), 200);
	assert_int_equal(take(250, 0, MIGRATE_MOVABLE), 250);
	assert_int_equal(take(50, 0, MIGRATE_MOVABLE), 100);
	assert_int_equal(take(50, 0, MIGRATE_MOVABLE), 1000);
	assert_int_equal(take(50, 0, MIGRATE_MOVABLE), 1050);
}

/* What is in use in part goes before a pageblock that is free. */
static void free_pageblocks_last(void)
{
	start(4, MIGRATE_MOVABLE);
	give(PAGEBLOCK_PAGES, PAGEBLOCK_PAGES);
	give(PAGEBLOCK_PAGES - 100, 100);
	give(3 * PAGEBLOCK_PAGES + 100, 400);
	assert_int_equal(take(90, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES - 100);
	assert_int_equal(take(90, 0, MIGRATE_MOVABLE), 3 * PAGEBLOCK_PAGES + 100);
	/* With what is left before it. */
	assert_int_equal(take(PAGEBLOCK_PAGES, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES - 10);
	give(PAGEBLOCK_PAGES - 50, 50 + PAGEBLOCK_PAGES - 10);
	assert_int_equal(take(550, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES - 50);
}

static void runs_change_type(void)
{
	u64 half = PAGEBLOCK_PAGES / 2;

	start(3, MIGRATE_MOVABLE);
	give(half, PAGEBLOCK_PAGES); /* one run across two pageblocks */
	assert_int_equal(take(PAGEBLOCK_PAGES, 0, MIGRATE_MOVABLE), half);
	give(half, PAGEBLOCK_PAGES);
	zone_retype_locked(&zone, first, 1, MIGRATE_UNMOVABLE);
	zone_check_locked(&zone);
	assert_int_equal(take(half + 1, 0, MIGRATE_MOVABLE), -1);
	assert_int_equal(take(half, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES);
	assert_int_equal(take(half + 1, 0, MIGRATE_UNMOVABLE), -1);
	assert_int_equal(take(half, 0, MIGRATE_UNMOVABLE), half);
	give(half, PAGEBLOCK_PAGES);
	zone_retype_locked(&zone, first, 1, MIGRATE_MOVABLE);
	zone_check_locked(&zone);
	assert_int_equal(take(PAGEBLOCK_PAGES, 0, MIGRATE_MOVABLE), half);
}

/*
 * A block of two pageblocks of which the second is another type's: from the one before it
 * the run was seen up to there only, from itself to its end.
 */
static void a_block_of_two_types(void)
{
	u64 half = PAGEBLOCK_PAGES / 2;

	start(8, MIGRATE_MOVABLE);
	pfn_to_block(first + 3 * PAGEBLOCK_PAGES)->migratetype = MIGRATE_UNMOVABLE;
	give(3 * PAGEBLOCK_PAGES, PAGEBLOCK_PAGES);
	give(2 * PAGEBLOCK_PAGES, PAGEBLOCK_PAGES);
	give(half, half + PAGEBLOCK_PAGES);
	assert_int_equal(take(1700, 0, MIGRATE_MOVABLE), half);
}

/* However far that is from the block by which the run is found, and on warm pages. */
static void at_an_end_of_a_long_run(void)
{
	const u64 last = 10 * PAGEBLOCK_PAGES;

	start(12, MIGRATE_MOVABLE);
	pages_clear_dirty(first + last + 1, PAGEBLOCK_PAGES - 1);
	give(PAGEBLOCK_PAGES, last);
	assert_int_equal(take(30, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES);
	assert_int_equal(take(last - 30, 0, MIGRATE_MOVABLE), PAGEBLOCK_PAGES + 30);
	pages_clear_dirty(first + PAGEBLOCK_PAGES, last);
	pages_set_dirty(first + last, PAGEBLOCK_PAGES);
	give(PAGEBLOCK_PAGES, last);
	assert_int_equal(take(600, 0, MIGRATE_MOVABLE), last + PAGEBLOCK_PAGES - 600);
}

/* All is taken, given back, and taken again: each time it lies as close. */
static void check_gaps(u64 size)
{
	static long at[16 * PAGEBLOCK_PAGES / 9];
	u64 most = 16 * PAGEBLOCK_PAGES / size;
	unsigned round;
	size_t n, i;

	start(16, MIGRATE_UNMOVABLE);
	give(0, 16 * PAGEBLOCK_PAGES - 1); /* which ends before a page in use, by small blocks */
	for (round = 0; round < 5; round++) {
		for (n = 0; n < most; n++) {
			at[n] = take(size, 1, MIGRATE_UNMOVABLE);
			if (at[n] < 0)
				break;
		}
		assert_in_range(n, most * 9 / 10, most);
		for (i = 0; i < n; i++)
			give((u64)at[round % 2 ? i : n - 1 - i], size);
	}
}

static void no_gaps_between_18_pages(void)
{
	check_gaps(18);
}

static void no_gaps_between_22_pages(void)
{
	check_gaps(22);
}

static void no_gaps_between_36_pages(void)
{
	check_gaps(36);
}

UNIT_MAIN(CASE(the_shortest_serves), CASE(no_gaps_between_18_pages),
	  CASE(no_gaps_between_22_pages), CASE(no_gaps_between_36_pages),
	  CASE(other_types),
	  CASE(each_length_is_found),
	  CASE(places_are_aligned),
	  CASE(warm_runs_first),
	  CASE(free_pageblocks_last),
	  CASE(runs_change_type),
	  CASE(a_block_of_two_types),
	  CASE(at_an_end_of_a_long_run))
