/*
 * rank 4: the HighMem zone: blocks beyond what the buddy serves, each mapped for
 * itself and unmapped when it is freed. The head's `private` counts its pageblocks.
 */
#include "base/stats.h"
#include "base/trace.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

u64 highmem_alloc(const struct alloc_context *ac)
{
	u64 blocks = round_up(ac->nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER;
	u64 align = ac->align_order > PAGEBLOCK_ORDER ?
			    (u64)1 << (ac->align_order - PAGEBLOCK_ORDER) : 1;
	struct zone *zone = ac->preferred;
	struct page *page;
	u64 pfn;

	if (!limit_allows(ac->nr, ac->gfp))
		return 0;
	pfn = section_map(blocks, align, BLOCK_HIGHMEM, zone->index);
	if (!pfn)
		return 0;
	pages_count_backed((long)ac->nr);
	zone_bind(zone, pfn, blocks);
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

	pages_count_backed(-(long)page->nr_pages);
	/* The struct page must be zero again before the range can be reused. */
	page->nr_pages = 0;
	page->private = 0;
	page_set_kind(page, PAGE_NONE);
	section_unmap(pfn, blocks);
}

bool highmem_resize(u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	u64 old = page->nr_pages;

	if (round_up(nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER != page->private)
		return false;
	if (nr > old && !limit_allows(nr - old, scope_gfp(BM_GFP_KERNEL)))
		return false;
	pages_count_backed((long)(nr - old));
	page->nr_pages = nr;
	return true;
}
