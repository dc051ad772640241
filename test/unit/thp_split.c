/* Huge pages of which part was given back: what the system is told of them, and when no more. */
#include "pages.h"

#include "page_alloc/internal.h"

#define MOVABLE (BM_GFP_KERNEL | BM_GFP_MOVABLE)

static void start(void)
{
	options.thp = option_thp_always;
	options.decay_ms = 1000;
	pages_start();
}

/* Two pageblocks of which every other of 16 parts went to the system. */
static void give_every_other(u64 *block)
{
	unsigned i;

	for (i = 0; i < 16; i++)
		block[i] = alloc_pages_exact(MOVABLE, 64, 6);
	for (i = 0; i < 16; i += 2)
		free_pages(block[i]);
	reclaim_trim(0);
}

/* Of a pageblock given back in part the system is told to use no huge page, until all was given. */
static void what_was_given_in_part_is_small(void)
{
	u64 block[16], small;
	unsigned i;

	start();
	give_every_other(block);
	assert_int_equal(pfn_to_block(block[0])->thp, THP_SPLIT);
	assert_int_equal(pfn_to_block(block[15])->thp, THP_SPLIT);
	small = fake_calls(FAKE_SMALL);
	assert_int_equal(small, 2);
	/* What is left of them is no huge page in use. */
	assert_false(thp_is_huge(block[1]));
	for (i = 1; i < 16; i += 2)
		free_pages(block[i]);
	reclaim_trim(0);
	assert_int_equal(pfn_to_block(block[0])->thp, THP_HUGE);
	assert_int_equal(pfn_to_block(block[15])->thp, THP_HUGE);
	assert_int_equal(fake_calls(FAKE_SMALL), small);
}

/* Whatever is mapped there next was never given back in part. */
static void parts_that_are_unmapped_count_no_more(void)
{
	u64 block[16];
	unsigned i;

	start();
	give_every_other(block);
	assert_int_equal(zone_table[0]->nr_split, 2);
	for (i = 1; i < 16; i += 2)
		free_pages(block[i]);
	shrink_all();
	assert_true(zones_unmap_free() >= 2 * PAGEBLOCK_PAGES);
	assert_int_equal(zone_table[0]->nr_split, 0);
}

/* Each is a mapping of its own, perhaps: of many the whole heap is told. */
static void many_parts_are_told_together(void)
{
	static u64 block[8 * 100];
	unsigned i, once = 0, former = 0;

	start();
	for (i = 0; i < ARRAY_SIZE(block); i++)
		block[i] = alloc_pages_exact(MOVABLE, 64, 6);
	for (i = 0; i < ARRAY_SIZE(block); i += 8)
		if (i < 8 * 80)
			free_pages(block[i]);
	reclaim_trim(0);
	assert_in_range(fake_calls(FAKE_SMALL), 8, 20);
	for (i = 0; i < ARRAY_SIZE(block); i += 8) {
		once += pfn_to_block(block[i])->thp == THP_ONCE;
		former += pfn_to_block(block[i])->thp == THP_FORMER;
	}
	/* Those that are huge still count as such. */
	assert_int_equal(once, 80);
	assert_int_equal(former, 20);
	assert_true(thp_is_huge(block[8 * 99]));
	free_pages(block[8 * 99]);
	reclaim_trim(0);
	assert_false(thp_is_huge(block[8 * 99]));
	/* Until few hold anything: of those the system is told one by one again. */
	for (i = 0; i < ARRAY_SIZE(block); i++)
		if (i >= 8 * 3 && i != 8 * 99 && (i >= 8 * 80 || i % 8))
			free_pages(block[i]);
	assert_int_equal(pfn_to_block(block[8 * 50])->thp, THP_ONCE);
	reclaim_trim(0);
	assert_int_equal(pfn_to_block(block[8 * 50])->thp, THP_HUGE);
	assert_int_equal(pfn_to_block(block[8 * 99])->thp, THP_HUGE);
	assert_int_equal(pfn_to_block(block[8 * 2])->thp, THP_SPLIT);
}

/* Each zone has a count of its own, and is told for itself. */
static void a_zone_below_is_told_too(void)
{
	static u64 block[8 * 20];
	unsigned i;

	start();
	for (i = 0; i < ARRAY_SIZE(block); i++)
		block[i] = alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, 6);
	assert_true(pfn_is_low(block[0]));
	for (i = 0; i < ARRAY_SIZE(block); i += 8)
		free_pages(block[i]);
	reclaim_trim(0);
	for (i = 0; i < ARRAY_SIZE(block); i += 8)
		assert_int_equal(pfn_to_block(block[i])->thp, THP_ONCE);
	assert_in_range(fake_calls(FAKE_SMALL), 8, 12);
}

/* The place that pages were moved away from is given back as well. */
static void what_was_moved_away_is_small(void)
{
	u64 pfn;

	start();
	pfn = alloc_pages_exact(MOVABLE, PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	pages_set_dirty(pfn, PAGEBLOCK_PAGES);
	pages_moved(pfn + 100, 300);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_SPLIT);
	assert_int_equal(fake_calls(FAKE_SMALL), 1);
	pages_moved(pfn, 100);
	pages_moved(pfn + 400, PAGEBLOCK_PAGES - 400);
	assert_int_equal(pfn_to_block(pfn)->thp, THP_HUGE);
}

UNIT_MAIN(CASE(what_was_given_in_part_is_small), CASE(parts_that_are_unmapped_count_no_more),
	  CASE(many_parts_are_told_together), CASE(a_zone_below_is_told_too),
	  CASE(what_was_moved_away_is_small))
