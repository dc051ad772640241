/* rank 4: blocks that grow and shrink where they are. */
#include "base/trace.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

static void shrink_block(u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;

	pfn_to_page(pfn)->nr_pages = nr;
	pages_poison(pfn + nr, old - nr);
	free_range(pfn + nr, old - nr);
	drop_pages_came(old - nr);
}

/* The pageblocks behind the one that the block ends in, if the block is to have nr pages. */
struct beyond {
	u64 pfn, nr; /* pages */
};

static struct beyond blocks_beyond(u64 pfn, u64 nr)
{
	u64 end = round_up(pfn + pfn_to_page(pfn)->nr_pages, (u64)PAGEBLOCK_PAGES);
	u64 need = round_up(pfn + nr, (u64)PAGEBLOCK_PAGES);

	return (struct beyond){ end, need - end };
}

/*
 * Under the zone's lock: so many may be taken. The reserve is there for when the heap can grow no
 * more.
 */
static bool reserve_stays(const struct zone *zone, u64 nr)
{
	return !__atomic_load_n(&zone->refused, __ATOMIC_RELAXED) ||
	       zone->nr_free >= nr + __atomic_load_n(&zone->watermark[WMARK_MIN], __ATOMIC_RELAXED);
}

/*
 * Takes the pages up to nr behind the block, if they are free. Else whether the heap may
 * grow there: not for what a limit will refuse, nor for what is large enough to be mapped,
 * and unmapped, for itself.
 */
static bool take_behind(struct zone *zone, u64 pfn, u64 nr, bool *may_map)
{
	u64 old = pfn_to_page(pfn)->nr_pages;
	struct beyond b = blocks_beyond(pfn, nr);
	bool done;

	lock(&zone->lock, LOCK_ZONE);
	done = reserve_stays(zone, nr - old) &&
	       zone_take_range_locked(zone, pfn + old, nr - old);
	*may_map = !done && b.nr && scope_may_map() &&
		   nr <= MIN(limit_most(), (u64)1 << MAX_ORDER) &&
		   zone_range_is_free_locked(zone, pfn + old, b.pfn - pfn - old);
	unlock(&zone->lock, LOCK_ZONE);
	return done;
}

/* The block ends where the heap does. */
static bool grow_heap_behind(struct zone *zone, u64 pfn, u64 nr)
{
	struct beyond b = blocks_beyond(pfn, nr);
	u64 blocks = b.nr >> PAGEBLOCK_ORDER;
	bool grown;

	in_flight_begin();
	grown = zone_grow_at(zone, b.pfn, blocks, pfn_to_block(pfn)->migratetype);
	in_flight_end(grown);
	if (grown)
		zones_set_reserves();
	return grown;
}

static bool grow_block(struct zone *zone, u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;
	bool may_map;

	if (!take_behind(zone, pfn, nr, &may_map) &&
	    !(may_map && grow_heap_behind(zone, pfn, nr) && take_behind(zone, pfn, nr, &may_map)))
		return false;
	if (!limit_allows_pages(pfn + old, nr - old, scope_gfp(BM_GFP_KERNEL))) {
		zone_free_range(zone, pfn + old, nr - old);
		return false;
	}
	pages_check_poison(pfn + old, nr - old);
	pages_back(pfn + old, nr - old);
	pfn_to_page(pfn)->nr_pages = nr;
	drop_pages_taken(nr - old);
	return true;
}

static bool resize_block(u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;

	if (page_kind(pfn_to_page(pfn)) == PAGE_HIGHMEM)
		return highmem_resize(pfn, nr);
	if (nr > old)
		return grow_block(pfn_zone(pfn), pfn, nr);
	if (nr < old)
		shrink_block(pfn, nr);
	return true;
}

bool resize_pages(u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;
	u16 owner = pfn_to_page(pfn)->owner;

	if (unlikely(owner) && nr > old &&
	    !owner_charge(owner, nr - old, scope_gfp(BM_GFP_KERNEL) | GFP_INSTEAD))
		return false;
	if (!resize_block(pfn, nr)) {
		if (unlikely(owner) && nr > old)
			owner_uncharge(owner, nr - old);
		return false;
	}
	if (unlikely(owner) && nr < old)
		owner_uncharge(owner, old - nr);
	/* As if it were another block, so that what came and what went add up. */
	TRACE(MM_PAGE_FREE, mm_page_free, pfn, old, owner, 0);
	TRACE(MM_PAGE_ALLOC, mm_page_alloc, pfn, nr, 0, page_node(pfn));
	return true;
}
