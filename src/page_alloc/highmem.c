/*
 * rank 4: the HighMem zone: blocks beyond what the buddy serves, each mapped for
 * itself and unmapped when it is freed. The head's `private` counts its pageblocks.
 */
#include <errno.h>
#include <string.h>

#include "base/stats.h"
#include "base/trace.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

u64 highmem_alloc(const struct alloc_context *ac)
{
	u64 blocks = blocks_for(ac->nr), room = 0;
	u64 align = align_blocks(ac);
	struct zone *zone = ac->preferred;
	struct page *page;
	u64 pfn;

	if (!limit_allows(ac->nr, ac->gfp))
		return 0;
	if (ac->gfp & GFP_ROOMY)
		room = blocks_for(ac->nr + room_behind(ac->nr)) - blocks;
	pfn = section_map_roomy(blocks, room, align, BLOCK_HIGHMEM, zone->index);
	if (!pfn && room)
		pfn = section_map(blocks, align, BLOCK_HIGHMEM, zone->index);
	if (!pfn)
		return 0;
	pages_count_backed((long)ac->nr);
	zone_advise(zone, pfn, blocks);
	if (unlikely(ac->gfp & BM_GFP_WRITE))
		os_populate(pfn_to_addr(pfn), ac->nr << PAGE_SHIFT);
	page = pfn_to_page(pfn);
	page->nr_pages = ac->nr;
	page->owner = 0;
	page->private = blocks;
	page_set_kind(page, PAGE_HIGHMEM);
	TRACE(MM_PAGE_ALLOC, mm_page_alloc, pfn, ac->nr, ac->gfp, zone->node);
	stat_add_shared(highmem_mapped, 1);
	return pfn;
}

void highmem_free(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	u64 blocks = page->private;
	int saved = errno;

	pages_count_backed(-(long)page->nr_pages);
	/* The struct page must be zero again before the range can be reused. */
	page->nr_pages = 0;
	page->private = 0;
	memset(page->map, 0, sizeof(page->map));
	page_set_kind(page, PAGE_NONE);
	if (likely(section_unmap(pfn, blocks)))
		return;
	/* At the limit of mappings: the zone can use them, or unmap them later. */
	pages_keep(pfn, blocks << PAGEBLOCK_ORDER);
	section_adopt(pfn, blocks);
	zone_add_blocks(pfn_zone(pfn), pfn, blocks, MIGRATE_MOVABLE);
	zones_set_reserves();
	errno = saved;
}

/* Maps or unmaps pageblocks at the block's end, so that it has so many; false if refused. */
static bool resize_mapping(u64 pfn, u64 blocks)
{
	u64 had = pfn_to_page(pfn)->private;
	u64 end = pfn + (MIN(blocks, had) << PAGEBLOCK_ORDER);
	struct zone *zone = pfn_zone(pfn);

	if (!scope_may_map())
		return false;
	if (blocks < had)
		return section_unmap(end, had - blocks);
	if (!section_map_at(end, blocks - had, BLOCK_HIGHMEM, zone->index))
		return false;
	zone_advise(zone, end, blocks - had);
	return true;
}

bool highmem_resize(u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	u64 old = page->nr_pages;
	u64 blocks = blocks_for(nr);

	if (nr > old && !limit_allows(nr - old, scope_gfp(BM_GFP_KERNEL)))
		return false;
	if (blocks != page->private) {
		if (resize_mapping(pfn, blocks))
			page->private = blocks;
		else if (blocks > page->private)
			return false;
		/* What is not unmapped stays the block's. The system may refuse when it is empty;
		 * where no system call may be made it holds data, and no limit counts that. */
	}
	pages_count_backed((long)(nr - old));
	page->nr_pages = nr;
	return true;
}
