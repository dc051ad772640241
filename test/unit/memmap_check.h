/* Whether the mem_map and what the fake system has mapped tell the same story. */
#ifndef BM_TEST_MEMMAP_CHECK_H
#define BM_TEST_MEMMAP_CHECK_H

#include "unit.h"

#include "memmap/memmap.h"

#define FIRST_BLOCK (window.first >> PAGE_SHIFT >> PAGEBLOCK_ORDER)
#define SPAN_BLOCKS (window.span >> PAGE_SHIFT >> PAGEBLOCK_ORDER)

static inline char *block_virt(u64 block)
{
	return pfn_to_virt(block << PAGEBLOCK_ORDER);
}

/*
 * A pageblock is mapped exactly when it is present or for itself; the sums are
 * those of the blocks; nothing is mapped beside the heap and its mem_map.
 */
static inline void check_memmap(void)
{
	u64 heap = 0, block;

	for (block = FIRST_BLOCK; block < SPAN_BLOCKS; block++) {
		unsigned state = window.blocks[block].state;
		bool is_mapped = fake_is_mapped(block_virt(block), PAGEBLOCK_SIZE);

		assert_in_range(state, BLOCK_ABSENT, BLOCK_HIGHMEM);
		assert_int_equal(is_mapped, state == BLOCK_PRESENT || state == BLOCK_HIGHMEM);
		heap += is_mapped * PAGEBLOCK_SIZE;
		if (!is_mapped)
			continue;
		assert_true(fake_is_mapped(pfn_to_page(block << PAGEBLOCK_ORDER),
					   PAGEBLOCK_PAGES * sizeof(struct page)));
		assert_true(fake_is_mapped(tag_of(block << PAGEBLOCK_ORDER),
					   PAGEBLOCK_PAGES * sizeof(u16)));
		assert_true(fake_is_mapped(&window.blocks[block], sizeof(struct pageblock)));
	}
	assert_int_equal(memmap_heap_bytes(), heap);
	assert_int_equal(memmap_heap_bytes() + memmap_meta_bytes(), fake_mapped_bytes());
	assert_true(memmap_peak_bytes() >= heap);
}

#endif
