/*
 * What is given back without a time to age: of much that is freed with nothing taken between,
 * and in exchange for large blocks that are not warm.
 */
#include "pages.h"

#include <errno.h>

#include "base/stats.h"
#include "page_alloc/scope.h"

#define MIB ((u64)256) /* in pages */
#define BLOCKS 300

static u64 block[BLOCKS];

static u64 nr_dirty(void)
{
	struct page_totals t;

	page_alloc_totals(&t);
	return t.dirty + t.pcp;
}

/* What waits at first, and what comes between two looks. */
#define LEAST (64 * MIB)
#define BATCH (8 * MIB)

/* What goes are whole pageblocks, as a rule. */
static void assert_dirty_about(u64 nr)
{
	assert_in_range(nr_dirty(), nr - 6 * MIB, nr + BATCH + 6 * MIB);
}

static void start(long decay_ms)
{
	options.decay_ms = decay_ms;
	pages_start();
}

static void take(u64 nr)
{
	unsigned i;

	for (i = 0; i < BLOCKS; i++) {
		block[i] = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, nr, 0);
		assert_int_not_equal(block[i], 0);
	}
}

static void drop(void)
{
	unsigned i;

	errno = 77;
	for (i = 0; i < BLOCKS; i++)
		free_pages(block[i]);
	assert_int_equal(errno, 77);
}

/* Of blocks of any size as much stays. */
static void what_is_dropped_goes(void)
{
	static const u64 sizes[] = { 2 * MIB, 3 * MIB + 5, 4 * MIB };
	size_t i;

	start(1000);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		take(sizes[i]);
		drop();
		assert_dirty_about(LEAST);
		reclaim_trim(0);
		assert_int_equal(nr_dirty(), 0);
		fake.now_ms += 5000;
	}
	pages_check(0);
}

/* Nothing goes in a scope that allows no system call; it does with the next block outside. */
static void what_waited_for_a_scope_goes(void)
{
	u64 last;

	start(1000);
	take(2 * MIB);
	last = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, MIB, 0);
	this_scope.flags = SCOPE_NOSYSCALL;
	drop();
	assert_in_range(nr_dirty(), BLOCKS * 2 * MIB, BLOCKS * 2 * MIB + MIB);
	this_scope.flags = 0;
	free_pages(last);
	assert_dirty_about(LEAST);
	reclaim_trim(0);
	pages_check(0);
}

/* The same in small pieces; and one of all of it. */
static void however_large_the_pieces(void)
{
	static u64 page[400 * 256];
	size_t i;

	start(1000);
	for (i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = alloc_pages(BM_GFP_KERNEL, 0);
	for (i = 0; i < ARRAY_SIZE(page); i++)
		free_pages(page[i]);
	assert_dirty_about(LEAST);
	reclaim_trim(0);
	fake.now_ms += 5000;
	free_pages(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 700 * MIB, 0));
	assert_dirty_about(LEAST);
}

/* A hole is not worth a system call: what lies in many goes when they have become one. */
static unsigned nr_calls;

static void count_call(void *addr, size_t len)
{
	(void)addr;
	(void)len;
	nr_calls++;
}

static void what_lies_in_holes_waits(void)
{
	static u64 page[200 * MIB];
	size_t i;
	u32 ticks;

	start(1000);
	ticks = zone_table[0]->tick;
	for (i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = alloc_pages(BM_GFP_KERNEL, 0);
	fake_on_give_back = count_call;
	for (i = 0; i < ARRAY_SIZE(page); i += 2)
		free_pages(page[i]);
	assert_in_range(nr_dirty(), 99 * MIB, 101 * MIB);
	assert_int_equal(nr_calls, 0);
	/* Nor is it looked at with each free. */
	assert_in_range(zone_table[0]->tick - ticks, 1, 36 * MIB / BATCH + 1);
	for (i = 1; i < ARRAY_SIZE(page); i += 2)
		free_pages(page[i]);
	assert_dirty_about(LEAST);
	assert_in_range(nr_calls, 1, 200);
}

/* Who builds anew what went, soon, keeps as much from then on; who does so later does not. */
static void what_comes_again_stays(void)
{
	start(1000);
	take(2 * MIB);
	drop();
	assert_dirty_about(LEAST);
	fake.now_ms += 5000;
	take(2 * MIB);
	drop();
	/* The rest has aged meanwhile, and the pause was too long. */
	assert_dirty_about(LEAST);
	fake.now_ms += 10;
	take(2 * MIB);
	drop();
	assert_in_range(nr_dirty(), 599 * MIB, 700 * MIB);
}

/* What was refused is not taken, and says nothing of what comes again. */
static void what_is_refused_is_not_taken(void)
{
	start(1000);
	take(2 * MIB);
	drop();
	fake.now_ms += 10;
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_NORETRY, 3000 * MIB, 0), 0);
	fake_fail(FAKE_MAP, 1, 0);
	fake.now_ms += 5000;
	reclaim_trim(0);
	take(2 * MIB);
	drop();
	assert_dirty_about(LEAST);
}

/* However much went long before. */
static void what_went_long_ago_does_not_count(void)
{
	start(1000);
	take(12 * MIB);
	drop();
	fake.now_ms += 5000;
	take(2 * MIB);
	drop();
	fake.now_ms += 10;
	take(2 * MIB);
	drop();
	/* Not all that is warm lies where the blocks come from this time. */
	assert_in_range(nr_dirty(), 506 * MIB, 700 * MIB);
}

/* Nor does it matter that a block is cut, or grows, rather than freed and taken. */
static void cut_is_dropped_and_grown_is_taken(void)
{
	u64 pfn;

	start(1000);
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 700 * MIB, 0);
	assert_true(resize_pages(pfn, MIB));
	assert_dirty_about(LEAST);
	fake.now_ms += 10;
	assert_true(resize_pages(pfn, 700 * MIB));
	assert_true(resize_pages(pfn, MIB));
	assert_dirty_about(699 * MIB);
}

/* What aged meanwhile does not wait. */
static void what_aged_waits_no_more(void)
{
	unsigned i, ms;

	start(1000);
	take(2 * MIB);
	for (i = 0; i < BLOCKS; i++) {
		free_pages(block[i]);
		for (ms = 0; ms < 25; ms++) {
			fake.now_ms++;
			reclaim_age();
		}
	}
	/* Of the 80 MiB of the last second half, about; not what is left of 256. */
	assert_in_range(nr_dirty(), 30 * MIB, 60 * MIB);
}

/* Who builds anew no more keeps half of what it kept. */
static void what_comes_no_more_goes_again(void)
{
	unsigned i;

	start(1000);
	for (i = 0; i < 3; i++) {
		take(4 * MIB);
		drop();
		fake.now_ms += 10;
	}
	assert_in_range(nr_dirty(), 1199 * MIB, 1210 * MIB);
	/* Whether somebody gives it back meanwhile or not. */
	for (i = 0; i < 6; i++) {
		fake.now_ms += 5000;
		if (i % 2)
			reclaim_trim(0);
		take(4 * MIB);
		drop();
	}
	assert_dirty_about(LEAST);
}

/* The background thread gives back in its time, however much waits. */
static void what_is_dropped_waits_for_the_thread(void)
{
	options.background_thread = true;
	start(1000);
	kswapd_start();
	take(2 * MIB);
	drop();
	assert_in_range(nr_dirty(), 599 * MIB, 601 * MIB);
}

/* One thread at a time gives; a child has not the one that did when it was forked. */
static void drop_in_the_child(void)
{
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	reclaim_trim(0);
	take(2 * MIB);
	drop();
	assert_dirty_about(LEAST);
}

static void a_child_gives_what_it_drops(void)
{
	start(1000);
	take(2 * MIB);
	unit_fork_at_give_back(drop_in_the_child);
	drop();
	assert_null(fake_on_give_back);
}

/* 1200 MiB are dropped and come again soon: so much stays, the third time, in 300 blocks. */
#define MUCH (1200 * MIB)

static void keep_much(void)
{
	unsigned i;

	start(1000);
	for (i = 0; i < 3; i++) {
		take(MUCH / BLOCKS);
		drop();
		fake.now_ms += 10;
	}
	assert_in_range(nr_dirty(), MUCH - MIB, MUCH + 10 * MIB);
}

/* What waited long, and was given back then, was too much. */
static void half_waits_when_it_was_given_later(void)
{
	keep_much();
	fake.now_ms += 5000;
	reclaim_trim(0);
	take(MUCH / BLOCKS);
	drop();
	assert_dirty_about(MUCH / 2);
}

/* Or was taken again, late. */
static void half_waits_when_it_was_taken_later(void)
{
	keep_much();
	reclaim_set_floor(UINT64_MAX);
	fake.now_ms += 5000;
	take(MUCH / BLOCKS);
	reclaim_set_floor(0);
	drop();
	assert_dirty_about(MUCH / 2);
}

/* So it is with what went at once: when half of that comes again it is told whether that was soon. */
static void half_waits_when_what_went_comes_late(void)
{
	u64 last;

	keep_much();
	last = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, MIB, 0);
	take(2 * MUCH / BLOCKS);
	drop();
	reclaim_set_floor(UINT64_MAX);
	fake.now_ms += 5000;
	/* What waits is as good as new. */
	free_pages(last);
	take(MUCH / BLOCKS);
	reclaim_set_floor(0);
	/* No more than waited before: it is looked at for what waits now. */
	drop();
	/* With what is warm beside them. */
	assert_in_range(nr_dirty(), MUCH / 2 - 6 * MIB, MUCH * 2 / 3);
}

static void half_of_it_is_enough(void)
{
	unsigned i;

	start(1000);
	take(MUCH / BLOCKS);
	drop();
	fake.now_ms += 10;
	for (i = 0; i < BLOCKS * 6 / 10; i++)
		block[i] = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, MUCH / BLOCKS, 0);
	fake.now_ms += 5000;
	for (; i < BLOCKS; i++)
		block[i] = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, MUCH / BLOCKS, 0);
	drop();
	assert_in_range(nr_dirty(), MUCH - MIB, MUCH + 10 * MIB);
}

/* What came again of the last time does not count for the next. */
static void each_time_is_judged_for_itself(void)
{
	u64 one;

	keep_much();
	take(MUCH * 8 / 5 / BLOCKS);
	drop();
	fake.now_ms += 10;
	one = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, MIB, 0);
	fake.now_ms += 5000;
	reclaim_trim(0);
	take(MUCH * 8 / 5 / BLOCKS);
	free_pages(one);
	drop();
	assert_true(nr_dirty() < MUCH * 3 / 4);
}

/* Who goes on to allocate, or has another way, finds all of it. */
static void what_may_be_of_use_stays(void)
{
	unsigned i;

	start(1000);
	take(2 * MIB);
	for (i = 0; i < BLOCKS; i++) {
		free_pages(block[i]);
		if (i % 25 == 24)
			free_pages(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 3, 0));
	}
	assert_in_range(nr_dirty(), 599 * MIB, 601 * MIB);
	reclaim_trim(0);
	reclaim_set_floor(500 << 20);
	take(2 * MIB);
	drop();
	assert_in_range(nr_dirty(), 500 * MIB, 512 * MIB);
}

static void never_is_never(void)
{
	start(-1);
	take(2 * MIB);
	drop();
	assert_in_range(nr_dirty(), 600 * MIB, 601 * MIB);
}

/* 60 MiB that are free and warm, and 130 free and clean, with a page in use between. */
static void warm_and_clean(void)
{
	u64 warm, clean;

	start(1000);
	warm = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 60 * MIB, 0);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 300, 0), 0);
	clean = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 130 * MIB, 0);
	free_pages(clean);
	reclaim_trim(0);
	free_pages(warm);
	assert_in_range(nr_dirty(), 60 * MIB, 61 * MIB);
}

/* What is free and warm is of no use to a block that is larger: so as much of it goes. */
static void large_blocks_are_exchanged(void)
{
	warm_and_clean();
	errno = 77;
	assert_int_not_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 120 * MIB, 0), 0);
	assert_int_equal(errno, 77);
	assert_in_range(nr_dirty(), 0, MIB);
}

/* Not for who may not reclaim, nor for smaller ones. */
static void others_are_not(void)
{
	u64 purged;

	warm_and_clean();
	purged = stats_shared.purged_pages;
	assert_int_not_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE | BM_GFP_NORETRY, 120 * MIB, 0), 0);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 60 * MIB, 0), 0);
	assert_int_equal(stats_shared.purged_pages, purged);
}

UNIT_MAIN(CASE(what_is_dropped_goes), CASE(what_waited_for_a_scope_goes), CASE(however_large_the_pieces),
	  CASE(what_lies_in_holes_waits),
	  CASE(what_is_dropped_waits_for_the_thread), CASE(a_child_gives_what_it_drops),
	  CASE(what_comes_again_stays), CASE(what_is_refused_is_not_taken),
	  CASE(what_went_long_ago_does_not_count),
	  CASE(what_aged_waits_no_more), CASE(what_comes_no_more_goes_again),
	  CASE(half_waits_when_it_was_given_later), CASE(half_waits_when_it_was_taken_later),
	  CASE(half_waits_when_what_went_comes_late), CASE(half_of_it_is_enough),
	  CASE(each_time_is_judged_for_itself),
	  CASE(cut_is_dropped_and_grown_is_taken),
	  CASE(what_may_be_of_use_stays), CASE(never_is_never), CASE(large_blocks_are_exchanged),
	  CASE(others_are_not))
