/* When huge pages are a gain: by how long pages take, and by how much of the heap is touched. */
#include "pages.h"

#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

#define MIB ((u64)1 << 20)
#define MOVABLE (BM_GFP_KERNEL | BM_GFP_MOVABLE)

static void start(void)
{
	options.thp = option_thp_auto;
	options.decay_ms = -1;
	fake.nr_faults = 250; /* of the program itself */
	pages_start();
	limit_init();
	thp_init();
}

/* Where small pages are slow. */
static void start_slow(void)
{
	fake.small_page_ns = 13000;
	start();
}

static u64 grown(void)
{
	return zone_table[0]->managed << PAGE_SHIFT;
}

static bool is_huge(u64 pfn)
{
	return pfn_to_block(pfn)->thp == THP_HUGE;
}

/* Pages of [pfn, pfn + nr) in pageblocks that may be huge. */
static u64 nr_huge(u64 pfn, u64 nr)
{
	u64 end = pfn + nr, huge = 0;

	for (; pfn < end; pfn++)
		huge += is_huge(pfn);
	return huge;
}

/* A block of which `touched` pages are written: of small ones each is a fault. */
static u64 take(u64 nr, u64 touched)
{
	u64 pfn = alloc_pages_exact(MOVABLE, nr, 0), at;

	assert_int_not_equal(pfn, 0);
	for (at = pfn; at < pfn + touched; at++)
		fake.nr_faults += !is_huge(at) || at == pfn || at % PAGEBLOCK_PAGES == 0;
	return pfn;
}

/* Blocks of `nr` pages, each of them touched so far, until the zone has so many bytes. */
static void grow_to(u64 bytes, u64 nr, u64 touched)
{
	while (grown() < bytes)
		take(nr, touched);
}

static u64 all_huge(void)
{
	return nr_huge(window.first >> PAGE_SHIFT, grown() >> PAGE_SHIFT);
}

/* ------------------------------------------------------------------ by time */

static void large_heaps_get_them(void)
{
	start();
	/* No huge page is to be had before: one more try each time the heap is half as large again. */
	grow_to((u64)1 << 30, 2048, 2048);
	assert_in_range(fake_calls(FAKE_HUGE), 10, 16);
	grow_to(1300 * MIB, 2048, 2048);
	assert_true(all_huge() << PAGE_SHIFT > 200 * MIB);
}

/* Whether a heap of 64 MiB grows by huge pages when one takes so long. */
static bool grows_by_huge_pages(u64 ns)
{
	u64 pfn, backed;

	start();
	fake.touch_ns = ns;
	grow_to(64 * MIB, 2048, 2048);
	assert_null(fake.touched);
	backed = pages_nr_backed();
	pfn = take(2048, 2048);
	/* What was touched is dirty, and the first to be used. */
	assert_ptr_equal(fake.touched, pfn_to_addr(pfn));
	assert_int_equal(pages_nr_backed(), backed + 2048);
	assert_true(is_huge(pfn));
	return is_huge(pfn + PAGEBLOCK_PAGES);
}

static void fast_ones_are_used_earlier(void)
{
	assert_true(grows_by_huge_pages(300000));
}

static void slow_ones_are_not(void)
{
	assert_false(grows_by_huge_pages(4000000));
}

static void small_pages_are_no_huge_ones(void)
{
	assert_false(grows_by_huge_pages(3000));
}

/* What is free and dirty is poison, so this is too. (The last case: poisoning stays on.) */
static void the_first_one_is_poisoned(void)
{
	start();
	options.page_poison = true;
	page_detour_update();
	fake.touch_ns = 300000;
	grow_to(64 * MIB, 2048, 2048);
	assert_true(is_huge(take(2048, 2048)));
	assert_string_equal(fake_output(), "");
}

/* Then any huge one is worth its time, and none is taken to find out. */
static void where_small_ones_are_slow_a_small_heap_gets_them(void)
{
	u64 pfn;

	start_slow();
	grow_to(8 * MIB, 512, 512);
	assert_int_equal(all_huge(), 0);
	pfn = take(512, 512);
	assert_true(is_huge(pfn));
	assert_null(fake.touched);
}

/* ------------------------------------------------------------- by density */

/* What programs are given and do not touch is no reason for huge pages. */
static void sparse_heaps_get_none(void)
{
	start_slow();
	grow_to(200 * MIB, 512, 100);
	assert_int_equal(all_huge(), 0);
	/* But what begins to be used is. */
	grow_to(300 * MIB, 512, 512);
	assert_true(all_huge() << PAGE_SHIFT > 50 * MIB);
}

/* However large the heap is, and however fast they come. */
static void large_sparse_heaps_get_none(void)
{
	start();
	fake.touch_ns = 100000;
	grow_to(1300 * MIB, 512, 300);
	assert_int_equal(all_huge(), 0);
}

/* A heap of 40 MiB, all of it used; of its pages those that are huge. */
static u64 start_dense(void)
{
	start_slow();
	grow_to(40 * MIB, 512, 512);
	return all_huge();
}

/* A dense heap that turns sparse has as much again in huge pages at most. */
static void what_turns_sparse_is_bounded(void)
{
	u64 before = start_dense();

	assert_true(before << PAGE_SHIFT > 20 * MIB);
	grow_to(600 * MIB, 512, 1);
	assert_in_range(all_huge() - before, 0, 44 * MIB >> PAGE_SHIFT);
}

/* Few pages stay small in a heap that is used: some for each time that it is half as large again. */
static void samples_are_few(void)
{
	start_slow();
	grow_to(400 * MIB, 512, 512);
	assert_true((grown() >> PAGE_SHIFT) - all_huge() < 50 * MIB >> PAGE_SHIFT);
}

/* Blocks that are larger each time are sampled each time. */
static void vectors_that_double_get_them(void)
{
	u64 nr, pfn = 0, huge = 0;

	start_slow();
	for (nr = 256; nr <= 32768; nr *= 2) {
		pfn = take(nr, nr);
		huge = nr_huge(pfn, nr);
	}
	assert_in_range(huge, 32768 - 1024, 32768);
}

/* What is more than there is evidence for gets as many as that is for. */
static void a_larger_block_gets_some(void)
{
	u64 pfn;

	start_slow();
	grow_to(16 * MIB, 512, 512);
	pfn = take(65536, 65536);
	assert_in_range(nr_huge(pfn, 65536) << PAGE_SHIFT, 4 * MIB, 18 * MIB);
}

/* Pages that come along with a huge one are no sign of what is touched. */
static void parts_of_huge_pages_are_no_evidence(void)
{
	u64 before;

	start_slow();
	grow_to(30 * MIB, 16, 16);
	before = all_huge();
	assert_true(before << PAGE_SHIFT > 8 * MIB);
	grow_to(60 * MIB, 16, 16);
	assert_true(all_huge() << PAGE_SHIFT > 30 * MIB);
}

/* A child of fork has had fewer faults: that is no evidence at all. */
static void a_child_begins_anew(void)
{
	u64 before = start_dense();

	fake.nr_faults = 0;
	grow_to(120 * MIB, 512, 0);
	assert_in_range(all_huge() - before, 0, 44 * MIB >> PAGE_SHIFT);
	grow_to(200 * MIB, 512, 512);
	assert_true((all_huge() - before) << PAGE_SHIFT > 30 * MIB);
}

/* A heap that was large once, and is not. */
static void what_was_given_back_does_not_count(void)
{
	u64 pfn;

	start();
	pfn = take((u64)1 << 18, (u64)1 << 18);
	free_pages(pfn);
	assert_true(reclaim_trim(0) > 0);
	take((u64)1 << 18 | 1 << 16, (u64)1 << 18 | 1 << 16);
	assert_int_equal(fake_calls(FAKE_HUGE), 0);
	/* Now it is. */
	take(1 << 16, 1 << 16);
	assert_true(fake_calls(FAKE_HUGE) > 0);
}

UNIT_MAIN(CASE(large_heaps_get_them), CASE(fast_ones_are_used_earlier), CASE(slow_ones_are_not),
	  CASE(small_pages_are_no_huge_ones),
	  CASE(where_small_ones_are_slow_a_small_heap_gets_them), CASE(sparse_heaps_get_none),
	  CASE(large_sparse_heaps_get_none), CASE(what_turns_sparse_is_bounded),
	  CASE(samples_are_few), CASE(vectors_that_double_get_them),
	  CASE(a_larger_block_gets_some), CASE(parts_of_huge_pages_are_no_evidence),
	  CASE(a_child_begins_anew), CASE(what_was_given_back_does_not_count),
	  CASE(the_first_one_is_poisoned))
