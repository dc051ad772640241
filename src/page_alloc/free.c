/* rank 4: blocks of pages back to their zone, and what becomes of their pages. */
#include "base/options.h"
#include "base/trace.h"
#include "buddy/pcp.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

void split_pages(u64 pfn)
{
	u64 nr = pfn_to_page(pfn)->nr_pages, i;

	for (i = 0; i < nr; i++) {
		pfn_to_page(pfn + i)->nr_pages = 1;
		pfn_to_page(pfn + i)->owner = pfn_to_page(pfn)->owner;
		page_set_kind(pfn_to_page(pfn + i), PAGE_PAGES);
	}
}

/*
 * Ages first, by what lay idle until now. The background thread is woken afterwards: it
 * goes back to sleep when it finds nothing new.
 */
void free_range(u64 pfn, u64 nr)
{
	if (likely(options.decay_ms && !kswapd_is_running())) {
		reclaim_age();
		zone_free_range(pfn_zone(pfn), pfn, nr);
	} else {
		zone_free_range(pfn_zone(pfn), pfn, nr);
		reclaim_age();
	}
}

/* decay_ms:0: what waits in a list of a CPU's would not be given back. */
static void free_at_once(u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);

	page_disown(page, nr);
	page_set_kind(page, PAGE_NONE);
	free_range(pfn, nr);
}

/* True when the block has been freed already. */
static cold_path bool free_by_detour(u64 pfn, u64 nr)
{
	bm_trace_fn hook = __atomic_load_n(&trace_hook, __ATOMIC_ACQUIRE);

	if (hook)
		hook(BM_TRACE_MM_PAGE_FREE, pfn, nr, pfn_to_page(pfn)->owner, 0);
	if (page_kind(pfn_to_page(pfn)) == PAGE_HIGHMEM)
		return false;
	pages_poison(pfn, nr);
	if (options.decay_ms)
		return false;
	free_at_once(pfn, nr);
	return true;
}

void free_pages(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	u64 nr = page->nr_pages;
	unsigned order;

	PROBE(mm_page_free, pfn, nr, page->owner, 0);
	if (unlikely(__atomic_load_n(&page_detour, __ATOMIC_RELAXED)) && free_by_detour(pfn, nr))
		return;
	page_disown(page, nr);
	if (unlikely(page_kind(page) == PAGE_HIGHMEM)) {
		highmem_free(pfn);
		return;
	}
	page_set_kind(page, PAGE_NONE);
	order = ilog2(nr);
	if (nr != (u64)1 << order || pcp_order_index(order) < 0 || pfn & (nr - 1)) {
		free_range(pfn, nr);
		drop_pages_came(nr);
	} else if (unlikely(pcp_free(pfn_zone(pfn), pfn, order, pfn_to_block(pfn)->migratetype))) {
		reclaim_age();
		drop_pages_came(pcp_nr_drained(order));
	}
}
