/*
 * Pages whose data may still be there: given back lazily, given back in vain, or not to be
 * unmapped. They count for nothing, but are not taken for zero.
 */
#include "pages.h"

#include <string.h>

#include "base/options.h"

#define DECAY_MS 1000
#define NR_LAZY ((u64)5008) /* whole pages of the system, of any size */

static bool is_zeroed(u64 pfn, u64 nr)
{
	return is_zero(pfn_to_virt(pfn), (size_t)nr << PAGE_SHIFT);
}

/* Fills pages, frees them and lets them age. */
static void age_lazily(void)
{
	u64 pfn;

	options.decay_ms = DECAY_MS;
	options.free = option_free_lazy;
	pages_start();
	pass_ms(100);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, NR_LAZY, 0);
	pages_fill(pfn, NR_LAZY, 0x5a);
	free_pages(pfn);
	pass_ms(2 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
}

/* What the system may take counts for nothing, but is not taken for zero. */
static void given_lazily(void)
{
	u64 pfn, i, nr_stale = 0, unit = fake.page_size >> PAGE_SHIFT;

	age_lazily();
	assert_int_equal(pages_nr_backed(), 0);
	assert_true(fake_calls(FAKE_GIVE_BACK_LAZILY) > 0);
	pages_check(0);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, NR_LAZY, 0);
	assert_int_equal(pages_nr_backed(), NR_LAZY);
	for (i = 0; i < NR_LAZY; i++)
		nr_stale += !is_zeroed(pfn + i, 1);
	assert_in_range(nr_stale, NR_LAZY / 2 - unit / 2, NR_LAZY / 2 + unit / 2 + 1);
	free_pages(pfn);
	pass_ms(2 * DECAY_MS);
	assert_int_equal(pages_nr_backed(), 0);
	/* Some of it as one block, some page by page through the lists. */
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO, NR_LAZY / 2, 0);
	assert_true(is_zeroed(pfn, NR_LAZY / 2));
	for (i = 0; i < NR_LAZY; i++) {
		pfn = alloc_pages(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO, 0);
		assert_true(is_zeroed(pfn, 1));
	}
	pages_check(NR_LAZY / 2 + NR_LAZY);
}

/* A kernel without it gives the pages back at once. */
static void lazily_refused(void)
{
	fake_fail(FAKE_GIVE_BACK_LAZILY, 1, FAKE_ALWAYS);
	age_lazily();
	assert_true(fake_given_bytes() >= NR_LAZY << PAGE_SHIFT);
	assert_int_equal(pages_nr_backed(), 0);
	assert_true(is_zeroed(alloc_pages_exact(BM_GFP_KERNEL, NR_LAZY, 0), NR_LAZY));
}

/* An emulator that only pretends: nothing is taken for zero that is not. */
static void given_in_vain(void)
{
	u64 pfn;

	fake.leaves_data = true;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, NR_LAZY, 0);
	pages_fill(pfn, NR_LAZY, 0x5a);
	free_pages(pfn);
	reclaim_purge(UINT64_MAX);
	assert_int_equal(pages_nr_backed(), 0);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, NR_LAZY, 0);
	assert_false(is_zeroed(pfn, NR_LAZY));
	free_pages(pfn);
	reclaim_purge(UINT64_MAX);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO, NR_LAZY, 0);
	assert_true(is_zeroed(pfn, NR_LAZY));
}

/* Whoever needs the memory now gets it now. */
static void what_is_asked_for_is_not_lazy(void)
{
	u64 lazy;

	age_lazily();
	lazy = fake_calls(FAKE_GIVE_BACK_LAZILY);
	free_nr(NR_LAZY);
	assert_int_equal(reclaim_trim(0), NR_LAZY << PAGE_SHIFT);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK_LAZILY), lazy);
	assert_int_equal(pages_dirty(), 0);
}

/* Address space that went and came again is as new. */
static void mapped_anew_it_is_zero(void)
{
	u64 pfn;

	age_lazily();
	assert_true(zones_unmap_free() > 0);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, NR_LAZY, 0);
	assert_true(is_zeroed(pfn, NR_LAZY));
	assert_int_equal(pfn_to_block(pfn)->stale, 0);
}

/* Neither unmapped nor given back (they are locked, at the limit of mappings): not zero. */
static void what_cannot_go_is_dirty(void)
{
	u64 pfn;

	options.decay_ms = -1;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 4 * PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	memset(pfn_to_virt(pfn), 0x55, 4 * PAGEBLOCK_SIZE);
	free_pages(pfn);
	fake_fail(FAKE_UNMAP, 1, 100);
	fake_fail(FAKE_GIVE_BACK, 1, 100);
	zones_unmap_free();
	fake_fail(FAKE_UNMAP, 0, 0);
	fake_fail(FAKE_GIVE_BACK, 0, 0);
	pages_check(0);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO, 4 * PAGEBLOCK_PAGES, 0);
	assert_true(is_zeroed(pfn, 4 * PAGEBLOCK_PAGES));
}

UNIT_MAIN(CASE(what_cannot_go_is_dirty), CASE(given_lazily), CASE(lazily_refused),
	  CASE(given_in_vain), CASE(what_is_asked_for_is_not_lazy), CASE(mapped_anew_it_is_zero))
