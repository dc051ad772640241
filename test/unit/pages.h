/* What the tests of page allocation share. */
#ifndef BM_TEST_PAGES_H
#define BM_TEST_PAGES_H

#include <string.h>

#include "invariants.h"
#include "unit.h"

#include "base/options.h"
#include "buddy/zone.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/scope.h"

/* The kernel's short forms, which programs have as bm_alloc_pages and so on, and malloc's own. */
static inline u64 alloc_pages_node(int nid, bm_gfp_t gfp, unsigned order)
{
	return alloc_pages_nodemask(nid, gfp, (u64)1 << order, order, NODES_ALL);
}

static inline u64 alloc_pages(bm_gfp_t gfp, unsigned order)
{
	return alloc_pages_node(NODE_NONE, gfp, order);
}

static inline u64 alloc_pages_exact(bm_gfp_t gfp, u64 nr, unsigned align_order)
{
	return alloc_pages_owned(0, gfp, nr, align_order);
}

/* Brings up ranks 2 to 4. */
static inline void pages_start(void)
{
	/* Every page can be used: tests of the reserve set one. */
	options.min_free = 0;
	assert_true(memmap_init());
	page_alloc_init();
	thp_init();
}

static inline void pages_check_zone(struct zone *zone)
{
	lock(&zone->lock, LOCK_ZONE);
	zone_check_locked(zone);
	unlock(&zone->lock, LOCK_ZONE);
}

/* Every page of the Normal zone is free, in a list, or one of the `used`. */
static inline void pages_check(u64 used)
{
	struct page_totals t;

	pages_check_zone(zone_table[0]);
	page_alloc_totals(&t);
	assert_int_equal(t.free + t.pcp + used, t.managed);
	assert_true(t.dirty <= t.free);
}

/* Free pages that hold data, but for those in per-CPU lists. */
static inline u64 pages_dirty(void)
{
	struct page_totals t;

	page_alloc_totals(&t);
	return t.dirty;
}

/* So many pages that hold data are free then, beside those that were. */
static inline void free_nr(u64 nr)
{
	free_pages(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, 0));
}

/* Lets the time pass in small steps, each looking at the clock. */
static inline void pass_ms(u64 ms)
{
	while (ms--) {
		fake.now_ms++;
		reclaim_age();
	}
}

/* Flags of requests of each mobility, in turns. */
static inline bm_gfp_t pages_of_kind(u64 i)
{
	static const bm_gfp_t kinds[] = { BM_GFP_KERNEL, BM_GFP_KERNEL | BM_GFP_MOVABLE,
					  BM_GFP_KERNEL | BM_GFP_RECLAIMABLE };

	return kinds[i % ARRAY_SIZE(kinds)];
}

/* A block just handed out, of exactly so many pages. */
static inline void pages_check_block(u64 pfn, u64 nr, unsigned align_order)
{
	assert_int_not_equal(pfn, 0);
	assert_int_equal(pfn & (((u64)1 << align_order) - 1), 0);
	assert_int_equal(pfn_to_page(pfn)->nr_pages, nr);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_PAGES);
	assert_int_equal(pages_nr_dirty(pfn, nr), nr);
}

static inline void pages_fill(u64 pfn, u64 nr, int byte)
{
	memset(pfn_to_virt(pfn), byte, (size_t)nr << PAGE_SHIFT);
}

/* A word at the start of each of the block's first and last pages tells its owner. */
static inline void pages_mark(u64 pfn, u64 nr, u64 mark)
{
	*(u64 *)(void *)pfn_to_virt(pfn) = mark;
	*(u64 *)(void *)pfn_to_virt(pfn + nr - 1) = mark;
}

static inline bool pages_are_marked(u64 pfn, u64 nr, u64 mark)
{
	return *(u64 *)(void *)pfn_to_virt(pfn) == mark &&
	       *(u64 *)(void *)pfn_to_virt(pfn + nr - 1) == mark;
}

#endif
