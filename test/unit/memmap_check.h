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

/* A record just taken. */
static inline void check_record(const char *record, size_t bytes)
{
	const char *tables_end = (char *)(window.blocks + (window.low >> PAGEBLOCK_ORDER));

	assert_non_null(record);
	assert_int_equal((uintptr_t)record % PAGE_SIZE, 0);
	assert_true(is_zero(record, bytes));
	/* Behind everything, so that no object of the heap lies in front of it. */
	assert_true(record > tables_end);
	assert_false(in_window(record));
	assert_false(addr_is_ours(record));
}

/* Nothing is mapped, so the machine's own address space may be smaller. */
static inline void pretend_47_bits(void)
{
	fake.map_for_real = false;
	fake.address_bits = 47;
}

#endif
