/* Ageing: what it gave back and was wanted again soon stays, until it was not wanted for long. */
#include "pages.h"

#include "base/options.h"
#include "base/stats.h"

#define DECAY_MS 1000
#define LOAD 4096u /* pages */

static void start(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(100);
}

static u64 take(u64 nr)
{
	return alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, 0);
}

/* Uses the load for a moment, then lets it lie idle; pages given back meanwhile. */
static u64 round_of(u64 nr, u64 idle_ms)
{
	u64 before = stats_shared.purged_pages, pfn = take(nr);

	pass_ms(10);
	free_pages(pfn);
	pass_ms(idle_ms);
	return stats_shared.purged_pages - before;
}

static u64 round_of_load(u64 idle_ms)
{
	return round_of(LOAD, idle_ms);
}

/* What a load left is idle, and stays for the next one. */
static void start_with_refaults(void)
{
	unsigned round;

	start();
	for (round = 0; round < 5; round++)
		round_of_load(2 * DECAY_MS);
	assert_true(pages_dirty() >= LOAD / 2);
}

/* Idle for longer than decay_ms each time, and wanted again each time. */
static void what_is_wanted_again_stays(void)
{
	u64 round, given = 0;

	start();
	assert_int_equal(round_of_load(2 * DECAY_MS), LOAD);
	assert_int_equal(pages_dirty(), 0);
	for (round = 0; round < 10; round++) {
		given += round_of_load(2 * DECAY_MS);
		assert_true(pages_dirty() >= LOAD / 2);
	}
	/* The trial: a quarter of KEEP_STEPS passes in each round. */
	assert_in_range(given, LOAD, round * LOAD / 3);
	pages_check(0);
}

static void not_for_ever(void)
{
	start_with_refaults();
	pass_ms(7 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
	/* Then all is as in the beginning. */
	pass_ms(30 * DECAY_MS);
	assert_int_equal(round_of_load(2 * DECAY_MS), LOAD);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* A smaller load than was wanted long ago stays as long as that did. */
static void nor_any_less(void)
{
	unsigned round;

	start_with_refaults();
	pass_ms(40 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
	for (round = 0; round < 5; round++)
		round_of(LOAD / 4, 2 * DECAY_MS);
	assert_true(pages_dirty() >= LOAD / 8);
	pages_check(0);
}

/* What was given back once is wanted again once: what is taken beyond it is growth. */
static void each_page_is_wanted_once(void)
{
	u64 again, more;

	start();
	round_of_load(DECAY_MS * 12 / 10);
	assert_int_equal(pages_dirty(), 0);
	again = take(LOAD);
	pass_ms(DECAY_MS / 5);
	more = take(LOAD);
	pass_ms(DECAY_MS / 5);
	free_pages(again);
	free_pages(more);
	pass_ms(DECAY_MS * 12 / 10);
	assert_in_range(pages_dirty(), LOAD / 2, LOAD);
	pages_check(0);
}

/* Who makes no call for decay_ms does not want it. */
static void not_beyond_a_pause(void)
{
	start_with_refaults();
	fake.now_ms += 2 * DECAY_MS;
	pass_ms(1);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* Nor does a pause in the midst of it leave anything behind. */
static void a_pause_ends_it(void)
{
	start();
	free_pages(take(LOAD));
	pass_ms(DECAY_MS / 2);
	assert_in_range(pages_dirty(), 1, LOAD - 1);
	fake.now_ms += 120 * DECAY_MS;
	pass_ms(1);
	assert_int_equal(pages_dirty(), 0);
	free_pages(take(2 * LOAD));
	pass_ms(DECAY_MS * 12 / 10);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* A heap that only grows wants nothing again: a peak beside it melts in its time. */
static void growth_is_no_refault(void)
{
	u64 peak, i;

	start();
	peak = take(LOAD);
	for (i = 0; i < 20; i++) {
		take(LOAD / 4);
		pass_ms(DECAY_MS / 10);
	}
	free_pages(peak);
	pass_ms(DECAY_MS * 12 / 10);
	assert_int_equal(pages_dirty(), 0);
	pages_check(20 * (LOAD / 4));
}

/* Blocks mapped for themselves could never have had what was given back. */
static void nor_are_mapped_blocks(void)
{
	u64 pfn;

	start();
	free_pages(take(LOAD));
	pass_ms(DECAY_MS * 6 / 10);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_HIGHMEM,
				((u64)1 << MAX_ORDER) + 1, 0);
	assert_int_not_equal(pfn, 0);
	pass_ms(DECAY_MS);
	free_pages(pfn);
	pass_ms(DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* A little that is taken at each step does not hold back what was wanted long ago. */
static void not_because_of_others(void)
{
	unsigned round;

	start_with_refaults();
	for (round = 0; round < 80; round++) {
		alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_COLD, 1, 0);
		pass_ms(DECAY_MS / 10);
	}
	assert_in_range(pages_dirty(), 0, PAGEBLOCK_PAGES);
	pages_check(80);
}

/* What the program asked for to be given back is none of ageing's faults. */
static void trimmed_is_no_refault(void)
{
	u64 pfn;

	start();
	free_pages(take(LOAD));
	assert_int_equal(reclaim_trim(0), (u64)LOAD << PAGE_SHIFT);
	pfn = take(LOAD);
	pass_ms(DECAY_MS);
	free_pages(pfn);
	pass_ms(DECAY_MS * 12 / 10);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

UNIT_MAIN(CASE(what_is_wanted_again_stays), CASE(not_for_ever), CASE(nor_any_less),
	  CASE(each_page_is_wanted_once), CASE(not_beyond_a_pause),
	  CASE(a_pause_ends_it), CASE(growth_is_no_refault),
	  CASE(nor_are_mapped_blocks), CASE(not_because_of_others), CASE(trimmed_is_no_refault))
