/* rank 4: blocks that grow and shrink where they are. */
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"
#include "page_alloc/watch.h"

static bool resize_block(u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	u64 old = page->nr_pages, end, need;
	struct zone *zone;
	bool done, may_map;

	if (page->kind == PAGE_HIGHMEM)
		return highmem_resize(pfn, nr);
	zone = pfn_zone(pfn);
	if (nr < old) {
		page->nr_pages = nr;
		pages_poison(pfn + nr, old - nr);
		zone_free_range(zone, pfn + nr, old - nr);
		age_for_free();
		return true;
	}
	if (nr == old)
		return true;
	end = round_up(pfn + old, (u64)PAGEBLOCK_PAGES);
	need = round_up(pfn + nr, (u64)PAGEBLOCK_PAGES) - end;
	lock(&zone->lock, LOCK_ZONE);
	done = zone_take_range_locked(zone, pfn + old, nr - old);
	/*
	 * At the end of the heap, the heap itself can grow behind us: not for what a limit
	 * will refuse, nor for what is large enough to be mapped, and unmapped, for itself.
	 */
	may_map = !done && need && scope_may_map() && nr <= MIN(limit_most(), (u64)1 << MAX_ORDER) &&
		  zone_range_is_free_locked(zone, pfn + old, end - pfn - old);
	unlock(&zone->lock, LOCK_ZONE);
	if (!done) {
		if (!may_map || !section_map_at(end, need >> PAGEBLOCK_ORDER, BLOCK_PRESENT,
						zone->index))
			return false;
		zone_bind(zone, end, need >> PAGEBLOCK_ORDER);
		zone_add_blocks(zone, end, need >> PAGEBLOCK_ORDER,
				pfn_to_block(pfn)->migratetype);
		zones_set_reserves();
		lock(&zone->lock, LOCK_ZONE);
		done = zone_take_range_locked(zone, pfn + old, nr - old);
		unlock(&zone->lock, LOCK_ZONE);
		if (!done)
			return false;
	}
	if (!limit_allows_pages(pfn + old, nr - old, scope_gfp(BM_GFP_KERNEL))) {
		zone_free_range(zone, pfn + old, nr - old);
		return false;
	}
	pages_check_poison(pfn + old, nr - old);
	pages_set_dirty(pfn + old, nr - old);
	page->nr_pages = nr;
	return true;
}

bool resize_pages(u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;
	u16 owner = pfn_to_page(pfn)->owner;

	if (likely(!owner))
		return resize_block(pfn, nr);
	if (nr > old && !owner_charge(owner, nr - old))
		return false;
	if (!resize_block(pfn, nr)) {
		owner_uncharge(owner, nr > old ? nr - old : 0);
		return false;
	}
	owner_uncharge(owner, nr < old ? old - nr : 0);
	return true;
}
