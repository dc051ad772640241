/* Blocks mapped for themselves, beyond what the buddy has; they grow, shrink and go. */
#include "pages.h"

#include <string.h>

#include "base/stats.h"

#define HUGE_PAGES (((u64)1 << MAX_ORDER) + 1)

/* Beyond the largest buddy block: mapped for itself, unmapped when freed. */
static void highmem_blocks(void)
{
	u64 pfn, other, heap, before = 0;

	pages_start();
	before = stats_shared.highmem_mapped;
	other = alloc_pages_exact(BM_GFP_KERNEL, 1, 0);
	heap = memmap_heap_bytes();
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE | BM_GFP_ZERO, HUGE_PAGES, 0);
	assert_int_not_equal(pfn, 0);
	assert_int_equal(stats_shared.highmem_mapped, before + 1);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_HIGHMEM);
	assert_int_equal(pfn_to_page(pfn)->nr_pages, HUGE_PAGES);
	assert_int_equal(memmap_heap_bytes(),
			 heap + (round_up(HUGE_PAGES, PAGEBLOCK_PAGES) << PAGE_SHIFT));
	assert_int_equal(*pfn_to_virt(pfn), 0);
	assert_int_equal(pfn_to_virt(pfn + HUGE_PAGES)[-1], 0);
	pages_mark(pfn, HUGE_PAGES, 1);
	pages_check(1);
	free_pages(pfn);
	assert_int_equal(memmap_heap_bytes(), heap);
	assert_false(fake_is_mapped(pfn_to_virt(pfn), PAGEBLOCK_SIZE));
	assert_true(is_zero(pfn_to_page(pfn), sizeof(struct page)));
	/* The place serves again, as anything. */
	assert_int_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, HUGE_PAGES, 0), pfn);
	free_pages(pfn);
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 5000, 0);
	pages_check_block(pfn, 5000, 0);
	free_pages(pfn);
	free_pages(other);
	pages_check(0);
}

/* The backing of a block that grows and shrinks follows, and so do the counts. */
static void check_highmem(u64 pfn, u64 nr, u64 heap)
{
	assert_int_equal(pfn_to_page(pfn)->nr_pages, nr);
	assert_int_equal(memmap_heap_bytes(), heap + (round_up(nr, PAGEBLOCK_PAGES) << PAGE_SHIFT));
	assert_int_equal(pages_nr_backed(), nr);
	assert_true(fake_is_mapped(pfn_to_virt(pfn), (size_t)nr << PAGE_SHIFT));
	assert_false(fake_is_mapped(pfn_to_virt(pfn) + (round_up(nr, PAGEBLOCK_PAGES) << PAGE_SHIFT),
				    PAGEBLOCK_SIZE));
}

static void highmem_blocks_are_resized(void)
{
	u64 pfn, heap;

	pages_start();
	heap = memmap_heap_bytes();
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, HUGE_PAGES, 0);
	assert_true(resize_pages(pfn, HUGE_PAGES + PAGEBLOCK_PAGES - 1));
	check_highmem(pfn, HUGE_PAGES + PAGEBLOCK_PAGES - 1, heap);
	assert_true(resize_pages(pfn, HUGE_PAGES + 5 * PAGEBLOCK_PAGES));
	check_highmem(pfn, HUGE_PAGES + 5 * PAGEBLOCK_PAGES, heap);
	fake_fail(FAKE_MAP, 1, 3);
	assert_false(resize_pages(pfn, 2 * HUGE_PAGES));
	fake_fail(FAKE_MAP, 0, 0);
	check_highmem(pfn, HUGE_PAGES + 5 * PAGEBLOCK_PAGES, heap);
	assert_true(resize_pages(pfn, 1000));
	check_highmem(pfn, 1000, heap);
	/* At the limit of mappings the tail stays, empty. */
	fake_fail(FAKE_UNMAP, 1, 1);
	assert_true(resize_pages(pfn, 100));
	assert_int_equal(pages_nr_backed(), 100);
	assert_true(fake_is_mapped(pfn_to_virt(pfn), 1000 << PAGE_SHIFT));
	free_pages(pfn);
	assert_int_equal(memmap_heap_bytes(), heap);
	assert_int_equal(pages_nr_backed(), 0);
}

/* What cannot be unmapped is not lost: the zone has it. */
static void highmem_blocks_that_cannot_go(void)
{
	u64 pfn;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, HUGE_PAGES, 0);
	memset(pfn_to_virt(pfn), 1, 100 << PAGE_SHIFT);
	fake_fail(FAKE_UNMAP, 1, 1);
	free_pages(pfn);
	pages_check(0);
	assert_int_equal(pages_nr_backed(), 0);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO,
					   (u64)1 << MAX_ORDER, 0), pfn);
	assert_true(is_zero(pfn_to_virt(pfn), 512 << PAGE_SHIFT));
}

/* Nor given back, as where it is locked: then it is not taken for zero. */
static void highmem_blocks_that_cannot_go_and_hold_data(void)
{
	u64 pfn;

	options.decay_ms = -1;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, HUGE_PAGES, 0);
	memset(pfn_to_virt(pfn), 1, 100 << PAGE_SHIFT);
	fake_fail(FAKE_UNMAP, 1, 1);
	fake_fail(FAKE_GIVE_BACK, 1, 100);
	free_pages(pfn);
	fake_fail(FAKE_GIVE_BACK, 0, 0);
	pages_check(0);
	assert_int_equal(pages_nr_dirty(pfn, 100), 100);
}

/* Without the flag the zone itself grows; an aligned one is aligned. */
static void huge_blocks_of_the_zone_and_aligned_ones(void)
{
	u64 pfn;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL, HUGE_PAGES, 0);
	pages_check_block(pfn, HUGE_PAGES, 0);
	pages_check(HUGE_PAGES);
	free_pages(pfn);
	pages_check(0);
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, HUGE_PAGES, 16);
	assert_int_equal(pfn % 65536, 0);
	free_pages(pfn);
}

UNIT_MAIN(CASE(highmem_blocks), CASE(highmem_blocks_are_resized),
	  CASE(highmem_blocks_that_cannot_go), CASE(highmem_blocks_that_cannot_go_and_hold_data),
	  CASE(huge_blocks_of_the_zone_and_aligned_ones))
