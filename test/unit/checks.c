/*
 * The walks over invariants find what they are there to find: each field that
 * they look at is broken in turn, and the message names it.
 */
#include "slabs.h"

#include <string.h>

#include "page_alloc/internal.h"

static struct zone *zone;
static u64 first; /* a pageblock, of which pages 0 to 3 are in use */

static void start_zone(void)
{
	slabs_start(1);
	zone = zone_table[0];
	first = alloc_pages_exact(BM_GFP_KERNEL, PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	pages_clear_dirty(first, PAGEBLOCK_PAGES);
	zone_free_range(zone, first + 4, PAGEBLOCK_PAGES - 4);
	assert_int_equal(zone->managed, PAGEBLOCK_PAGES);
	zone_check_locked(zone);
}

static void check(void *unused)
{
	(void)unused;
	zone_check_locked(zone);
}

/* Printed as messages print a number of a page. */
static void *as_pointer(u64 value)
{
	return (void *)(uintptr_t)value;
}

/* Free are now the blocks of order 2 at 4, of order 3 at 8, and so on. */
static void blocks_on_lists(void)
{
	struct page *page;

	start_zone();
	page = pfn_to_page(first + 8);
	page->kind = PAGE_PAGES;
	unit_dies(check, NULL, "zone Normal: block %p on list 3/0 has kind %u, order 3, type 0",
		  as_pointer(first + 8), PAGE_PAGES);
	page->kind = PAGE_BUDDY;
	page->order = 2;
	unit_dies(check, NULL, "zone Normal: block %p on list 3/0 has kind %u, order 2, type 0",
		  as_pointer(first + 8), PAGE_BUDDY);
	page->order = 3;
	page->migratetype = MIGRATE_MOVABLE;
	unit_dies(check, NULL, "zone Normal: block %p on list 3/0 has kind %u, order 3, type 1",
		  as_pointer(first + 8), PAGE_BUDDY);
	page->migratetype = MIGRATE_UNMOVABLE;
	zone_check_locked(zone);
	/* The smallest blocks are walked first. */
	pfn_to_block(first)->migratetype = MIGRATE_RECLAIMABLE;
	unit_dies(check, NULL,
		  "zone Normal: block %p of order 2 is listed as type 0, its pageblock is of type 2",
		  as_pointer(first + 4));
	pfn_to_block(first)->migratetype = MIGRATE_UNMOVABLE;
	page->prev = 1;
	unit_dies(check, NULL, "zone Normal: broken list 3/0");
	page->prev = 0;
	zone->area[3].list[0].last = 0;
	unit_dies(check, NULL, "zone Normal: list 3/0 ends elsewhere");
	zone->area[3].list[0].last = (u32)first + 8;
	zone->area[3].nr_free[0]++;
	unit_dies(check, NULL, "zone Normal: list 3/0 counts 2 blocks, has 1");
	zone->area[3].nr_free[0]--;
	zone_check_locked(zone);
}

static void alignment_and_merging(void)
{
	struct page *page;

	start_zone();
	/* A block of order 1 at an odd page, by itself on its list. */
	page = pfn_to_page(first + 1);
	page->kind = PAGE_BUDDY;
	page->order = 1;
	zone->area[1].list[0].first = zone->area[1].list[0].last = (u32)first + 1;
	zone->area[1].nr_free[0]++;
	unit_dies(check, NULL, "zone Normal: block %p of order 1 is not aligned", as_pointer(first + 1));
	zone->area[1].list[0].first = zone->area[1].list[0].last = 0;
	zone->area[1].nr_free[0]--;
	page->kind = PAGE_NONE;
	/* The block of order 2 at 0 looks free, although its buddy at 4 is. */
	page = pfn_to_page(first);
	page->kind = PAGE_BUDDY;
	page->order = 2;
	unit_dies(check, NULL, "zone Normal: buddies %p and %p of order 2 are both free",
		  as_pointer(first + 4), as_pointer(first));
}

static void bits_and_counts(void)
{
	struct pageblock *block;
	u64 managed;

	start_zone();
	managed = zone->managed;
	block = pfn_to_block(first);
	block->free[0] &= ~(u64)0x200;
	unit_dies(check, NULL, "zone Normal: page %p of a free block has no free bit",
		  as_pointer(first + 9));
	block->free[0] |= 0x203;
	unit_dies(check, NULL,
		  "zone Normal: nr_free %lu, listed %lu, bits %lu; nr_dirty 0, bits 0",
		  (unsigned long)managed - 4, (unsigned long)managed - 4,
		  (unsigned long)managed - 2);
	block->free[0] &= ~(u64)3;
	zone->nr_free++;
	unit_dies(check, NULL,
		  "zone Normal: nr_free %lu, listed %lu, bits %lu; nr_dirty 0, bits 0",
		  (unsigned long)managed - 3, (unsigned long)managed - 4,
		  (unsigned long)managed - 4);
	zone->nr_free--;
	block->dirty[1] |= 1;
	unit_dies(check, NULL, "zone Normal: pageblock %p has dirty free pages and is not aged",
		  as_pointer(first >> PAGEBLOCK_ORDER));
	block->lru = LRU_AGES;
	unit_dies(check, NULL,
		  "zone Normal: nr_free %lu, listed %lu, bits %lu; nr_dirty 0, bits 1",
		  (unsigned long)managed - 4, (unsigned long)managed - 4,
		  (unsigned long)managed - 4);
	block->lru = LRU_NONE;
	block->dirty[1] = 0;
	zone_check_locked(zone);
}

static void free_wrongly(void *unused)
{
	(void)unused;
	zone_free_range_locked(zone, first + 2, 4);
}

/* The buddy itself notices pages that are freed twice. */
static void freeing_free_pages(void)
{
	start_zone();
	unit_dies_somehow(free_wrongly, NULL, "assertion failed: ");
}

static void check_shard(void *unused)
{
	(void)unused;
	slab_check(shards[0]);
}

static void slabs_and_nodes(void)
{
	struct cache_node *node;
	struct page *page;
	const unsigned left = size_classes[CLASS_64].nr_objects - 1u;
	void *object;
	u64 pfn;

	start_zone();
	assert_int_equal(slab_alloc(shards[0], CLASS_64, &object, 1), 1);
	pfn = slab_of(object, CLASS_64);
	page = pfn_to_page(pfn);
	node = &shards[0]->nodes[CLASS_64];
	slab_check(shards[0]);
	page->nr_free--;
	unit_dies(check_shard, NULL, "slab %p: kind %u, %u bits, nr_free %u, tag %u", as_pointer(pfn),
		  PAGE_SLAB, left, left - 1, TAG_SLABS + CLASS_64);
	page->nr_free++;
	page->map[0] |= 1;
	unit_dies(check_shard, NULL, "slab %p: kind %u, %u bits, nr_free %u, tag %u", as_pointer(pfn),
		  PAGE_SLAB, left + 1, left, TAG_SLABS + CLASS_64);
	page->map[0] &= ~(u64)1;
	page->map[3] |= 1;
	unit_dies(check_shard, NULL, "slab %p: kind %u, %u bits, nr_free %u, tag %u", as_pointer(pfn),
		  PAGE_SLAB, left + 1, left, TAG_SLABS + CLASS_64);
	page->map[3] = 0;
	tag_write(pfn, TAG_LARGE);
	unit_dies(check_shard, NULL, "slab %p: kind %u, %u bits, nr_free %u, tag 1", as_pointer(pfn),
		  PAGE_SLAB, left, left);
	tag_write(pfn, TAG_SLABS + CLASS_64);
	page->kind = PAGE_LARGE;
	unit_dies(check_shard, NULL, "slab %p: kind %u, %u bits, nr_free %u, tag %u", as_pointer(pfn),
		  PAGE_LARGE, left, left, TAG_SLABS + CLASS_64);
	page->kind = PAGE_SLAB;
	node->nr_free++;
	unit_dies(check_shard, NULL, "shard 0 class %u: free %u, counted %u; empty 0, counted 0",
		  CLASS_64, left + 1, left);
	node->nr_free--;
	node->nr_empty++;
	unit_dies(check_shard, NULL, "shard 0 class %u: free %u, counted %u; empty 1, counted 0",
		  CLASS_64, left, left);
	node->nr_empty--;
	slab_check(shards[0]);
}

/* What a request may leave of a zone, by its flags. */
static bool may_take(u64 nr, unsigned flags, enum zone_type highest)
{
	struct alloc_context ac = { .nr = nr, .highest_zone = highest };

	return zone_watermark_ok(zone, &ac, flags);
}

static void watermarks(void)
{
	u64 free;

	start_zone();
	free = zone->nr_free;
	/* As they are set at start: none. */
	assert_true(may_take(free + 1, ALLOC_WMARK_LOW, ZONE_NORMAL));
	zone->watermark[WMARK_MIN] = 100;
	zone->watermark[WMARK_LOW] = 200;
	zone->lowmem_reserve[ZONE_HIGHMEM] = 50;
	assert_true(may_take(free - 100, ALLOC_WMARK_MIN, ZONE_NORMAL));
	assert_false(may_take(free - 99, ALLOC_WMARK_MIN, ZONE_NORMAL));
	assert_true(may_take(free - 50, ALLOC_WMARK_MIN | ALLOC_HARDER, ZONE_NORMAL));
	assert_false(may_take(free - 49, ALLOC_WMARK_MIN | ALLOC_HARDER, ZONE_NORMAL));
	assert_true(may_take(free - 200, ALLOC_WMARK_LOW, ZONE_NORMAL));
	assert_false(may_take(free - 199, ALLOC_WMARK_LOW, ZONE_NORMAL));
	assert_true(may_take(free - 150, ALLOC_WMARK_MIN, ZONE_HIGHMEM));
	assert_false(may_take(free - 149, ALLOC_WMARK_MIN, ZONE_HIGHMEM));
	assert_true(may_take(free + 1, ALLOC_NO_WATERMARKS, ZONE_HIGHMEM));
}

UNIT_MAIN(CASE(blocks_on_lists),
	  CASE(alignment_and_merging),
	  CASE(bits_and_counts),
	  CASE(freeing_free_pages),
	  CASE(slabs_and_nodes),
	  CASE(watermarks))
