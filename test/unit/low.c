/* Zones below 4 GiB, and the one whose pages are locked: where they lie, what a child has of them. */
#include "pages.h"

#include <errno.h>
#include <string.h>

#include "buddy/pcp.h"

static void low_zones_are_where_they_say(void)
{
	u64 dma32, dma;

	pages_start();
	dma32 = alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, 3);
	dma = alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA, 3);
	assert_true((u64)(uintptr_t)pfn_to_addr(dma32) >> 32 == 0);
	assert_true((u64)(uintptr_t)pfn_to_addr(dma) >> 32 == 0);
	assert_int_equal(addr_to_pfn(pfn_to_addr(dma32)), dma32);
	assert_false(fake_is_locked(pfn_to_addr(dma32)));
	assert_true(fake_is_locked(pfn_to_addr(dma)));
	memset(pfn_to_addr(dma), 1, 8 * PAGE_SIZE);
	memset(pfn_to_addr(dma32), 1, 8 * PAGE_SIZE);
	free_pages(dma);
	free_pages(dma32);
	reclaim_trim(0);
	/* What is locked is never given back; the rest is. */
	assert_int_equal(*pfn_to_addr(dma), 1);
	assert_int_equal(*pfn_to_addr(dma32), 0);
	pages_check_zone(zone_table[1]);
	pages_check_zone(zone_table[2]);
}

static void refusal_to_lock_fails_the_request(void)
{
	u64 heap;

	pages_start();
	fake_fail(FAKE_LOCK, 1, 1);
	heap = memmap_heap_bytes();
	assert_int_equal(alloc_pages(BM_GFP_DMA | BM_GFP_NORETRY, 0), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(memmap_heap_bytes(), heap);
	assert_int_not_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA, 0), 0);
}

/* Each mapping of the low mem_map refused: nothing half done. */
static void low_mappings_fail_one_by_one(void)
{
	u64 n, pfn;

	pages_start();
	alloc_pages(BM_GFP_KERNEL, 0);
	for (n = 1; n < 20; n++) {
		u64 heap = memmap_heap_bytes();

		fake_fail(FAKE_MAP, n, 1);
		pfn = alloc_pages(BM_GFP_DMA32 | BM_GFP_NORETRY, PAGEBLOCK_ORDER);
		if (!fake_failed(FAKE_MAP))
			break;
		if (!pfn)
			assert_int_equal(memmap_heap_bytes(), heap);
		pages_check_zone(zone_table[1]);
	}
	fake_fail(FAKE_MAP, 1, 0);
	assert_int_not_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, PAGEBLOCK_ORDER), 0);
}

/* In the child the locked pages are gone; the zone begins anew. */
static void child_forgets_locked_pages(void)
{
	u64 pfn, again, heap;

	pages_start();
	heap = memmap_heap_bytes();
	pfn = alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA, 5);
	tag_write(pfn, TAG_PAGES);
	page_alloc_lock_all();
	lock_fork_owned();
	fake_unmap(pfn_to_addr(round_down(pfn, PAGEBLOCK_PAGES)), PAGEBLOCK_SIZE);
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	lock_fork_done();
	assert_int_equal(pages_nr_backed(), 0);
	assert_false(addr_is_ours(pfn_to_addr(pfn)));
	assert_int_equal(zone_table[2]->managed, 0);
	assert_int_equal(memmap_heap_bytes(), heap);
	assert_int_equal(tag_read(pfn), TAG_NONE);
	again = alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA | BM_GFP_ZERO, 5);
	assert_int_not_equal(again, 0);
	pages_check_zone(zone_table[2]);
}

/* Nobody pays for what is not here any more. */
static void child_pays_for_no_locked_pages(void)
{
	static struct page_group group = { .limit = UINT64_MAX };

	pages_start();
	page_groups[5] = &group;
	assert_int_not_equal(alloc_pages_owned_node(5, NODE_NONE, BM_GFP_KERNEL | BM_GFP_DMA, 3, 0,
						    NODES_ALL), 0);
	assert_int_equal(group.usage, 3);
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	assert_int_equal(group.usage, 0);
}

/* The search below 4 GiB begins in the midst of it: what lies across its beginning is found too. */
static void a_low_place_across_the_start_of_the_search(void)
{
	u64 first, calls, end = LOW_PAGES >> PAGEBLOCK_ORDER;

	pages_start();
	first = section_map_low(1, 1, 1);
	assert_true(section_unmap(first, 1));
	/* All but this pageblock and the one in front of it is somebody else's. */
	first = ((first - window.low) >> PAGEBLOCK_ORDER) - 1;
	fake_foreign(NULL, first * PAGEBLOCK_SIZE);
	fake_foreign((void *)((first + 2) * PAGEBLOCK_SIZE), (end - first - 2) * PAGEBLOCK_SIZE);
	assert_int_equal(section_map_low(2, 1, 1),
			 window.low + (first << PAGEBLOCK_ORDER));
	/* What is taken is noted: the system is not asked again. */
	assert_int_equal(section_map_low(1, 1, 1), 0);
	calls = fake_calls(FAKE_MAP);
	assert_int_equal(section_map_low(1, 1, 1), 0);
	assert_int_equal(fake_calls(FAKE_MAP), calls);
}

/*
 * Behind the window's last page comes none, though the next pfn is of one below 4 GiB: what
 * lies between is not looked at, as the records of pageblocks may end with the heap.
 */
static void ranges_end_with_the_window(void)
{
	u64 pfn, nr, end, mapped;

	pages_start();
	alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, 0);
	alloc_pages(BM_GFP_KERNEL, 0);
	end = mapped = window.span >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	while (fake_is_mapped(&window.blocks[mapped], sizeof(struct pageblock)))
		mapped++;
	pfn = alloc_pages_exact(BM_GFP_KERNEL, (mapped - end) * PAGEBLOCK_PAGES, 0);
	assert_int_equal(window.span >> PAGE_SHIFT >> PAGEBLOCK_ORDER, mapped);
	free_pages(pfn);
	pcp_drain_all(zone_table[0]);
	nr = window.low + (LOW_PAGES / 2) - pfn;
	lock(&zone_table[0]->lock, LOCK_ZONE);
	assert_false(zone_range_is_free_locked(zone_table[0], pfn, nr));
	unlock(&zone_table[0]->lock, LOCK_ZONE);
	assert_false(addr_is_ours(pfn_to_virt(window.low)));
}

UNIT_MAIN(CASE(low_zones_are_where_they_say), CASE(refusal_to_lock_fails_the_request),
	  CASE(low_mappings_fail_one_by_one), CASE(child_forgets_locked_pages),
	  CASE(child_pays_for_no_locked_pages), CASE(a_low_place_across_the_start_of_the_search),
	  CASE(ranges_end_with_the_window))
