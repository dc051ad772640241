/*
 * rank 7: the public page interface, the kernel's alloc_pages family. Each call
 * adds its defaults and calls the next:
 *
 *   bm_get_zeroed_page -> bm_get_free_page -> bm_get_free_pages -+
 *                                                 bm_alloc_page -+-> bm_alloc_pages
 *   -> bm_alloc_pages_node -> bm_alloc_pages_nodemask -> alloc_pages_nodemask
 *
 * and the last, of rank 4, is what malloc's own requests come to as well.
 *
 * The tag of a block's first page is TAG_PAGES from the moment it is handed out until it is
 * freed, which exchanges it, so that of two who free it at once one finds nothing: the funnel
 * (head_of) accepts nothing else, and free() does not accept that. A struct bm_page is the struct
 * page.
 */
#include <buddymalloc/page_alloc.h>

#include "base/report.h"
#include "malloc/internal.h"
#include "page_alloc/scope.h"

static_assert(BM_PAGE_SIZE == PAGE_SIZE && BM_MAX_ORDER == MAX_ORDER && BM_NO_NODE == NODE_NONE &&
		      BM_ALL_NODES == NODES_ALL,
	      "the header repeats these");

static inline const struct page *page_of(const struct bm_page *page)
{
	return (const struct page *)(const void *)page;
}

static inline struct bm_page *public_page(u64 pfn)
{
	return (struct bm_page *)(void *)pfn_to_page(pfn);
}

static inline u64 hand_out(u64 pfn)
{
	if (likely(pfn))
		tag_write(pfn, TAG_PAGES);
	else
		stat_add_shared(failed, 1);
	return pfn;
}

/* The one way to pages. nr pages, aligned to 1 << order of them. */
static inline u64 get_pages(bm_gfp_t gfp, u64 nr, unsigned order, int nid, u64 nodemask)
{
	ensure_up();
	if (unlikely(!gfp_is_valid(gfp) || (nid != NODE_NONE && !node_exists((unsigned)nid)))) {
		errno = EINVAL;
		return 0;
	}
	if (unlikely(gfp & BM_GFP_ACCOUNT && owner_has_budget(this_scope.owner)))
		return hand_out(alloc_pages_owned_node(this_scope.owner, nid, gfp, nr, order,
						       nodemask));
	return hand_out(alloc_pages_nodemask(nid, gfp, nr, order, nodemask));
}

BM_EXPORT struct bm_page *bm_alloc_pages_nodemask(bm_gfp_t gfp, unsigned order, int nid,
						  uint64_t nodemask)
{
	u64 pfn;

	if (unlikely(order > MAX_ORDER)) {
		warn_order(gfp, order);
		errno = EINVAL;
		return NULL;
	}
	pfn = get_pages(gfp, (u64)1 << order, order, nid, nodemask);
	return likely(pfn) ? public_page(pfn) : NULL;
}

BM_EXPORT struct bm_page *bm_alloc_pages_node(int nid, bm_gfp_t gfp, unsigned order)
{
	return bm_alloc_pages_nodemask(gfp, order, nid, NODES_ALL);
}

BM_EXPORT struct bm_page *bm_alloc_pages(bm_gfp_t gfp, unsigned order)
{
	return bm_alloc_pages_node(NODE_NONE, gfp, order);
}

BM_EXPORT struct bm_page *bm_alloc_page(bm_gfp_t gfp)
{
	return bm_alloc_pages(gfp, 0);
}

BM_EXPORT size_t bm_alloc_pages_bulk(bm_gfp_t gfp, size_t nr, struct bm_page **array)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		if (!array[i])
			array[i] = bm_alloc_page(gfp);
		if (!array[i])
			break;
	}
	return i;
}

BM_EXPORT void *bm_page_address(const struct bm_page *page)
{
	return pfn_to_addr(page_to_pfn(page_of(page)));
}

BM_EXPORT void *bm_get_free_pages(bm_gfp_t gfp, unsigned order)
{
	struct bm_page *page = bm_alloc_pages(gfp, order);

	return likely(page) ? bm_page_address(page) : NULL;
}

BM_EXPORT void *bm_get_free_page(bm_gfp_t gfp)
{
	return bm_get_free_pages(gfp, 0);
}

BM_EXPORT void *bm_get_zeroed_page(bm_gfp_t gfp)
{
	return bm_get_free_page(gfp | BM_GFP_ZERO);
}

BM_EXPORT void *bm_get_dma_pages(bm_gfp_t gfp, unsigned order)
{
	return bm_get_free_pages(gfp | BM_GFP_DMA, order);
}

BM_EXPORT void *bm_alloc_pages_exact(size_t size, bm_gfp_t gfp)
{
	u64 nr, pfn;

	ensure_up();
	if (unlikely(!size || size > MAX_REQUEST)) {
		errno = size ? ENOMEM : EINVAL;
		return NULL;
	}
	nr = round_up(size, PAGE_SIZE) >> PAGE_SHIFT;
	if (unlikely(nr > window.limit >> PAGE_SHIFT)) {
		errno = ENOMEM;
		return NULL;
	}
	/* Beyond the largest block there is no natural alignment to keep. */
	pfn = get_pages(gfp, nr, MIN(order_for_pages(nr), (unsigned)MAX_ORDER), NODE_NONE,
			NODES_ALL);
	return likely(pfn) ? pfn_to_addr(pfn) : NULL;
}

/* The pfn of the block of this interface that begins at addr; 0 after a report. */
static u64 head_of(const char *call, const void *addr)
{
	u64 pfn = virt_to_pfn(addr);

	if (unlikely(!in_window(addr))) {
		pfn = addr_is_ours(addr) ? addr_to_pfn(addr) : 0;
		if (!pfn)
			goto bad;
	}
	if (likely(!((uintptr_t)addr & (PAGE_SIZE - 1)) && tag_read(pfn) == TAG_PAGES))
		return pfn;
bad:
	report_bad_pointer(call, addr);
	return 0;
}

static void put_pages(const char *call, u64 pfn)
{
	if (likely(tag_claim(pfn, TAG_PAGES)))
		free_pages(pfn);
	else
		report_corruption("double free of %p: %s, while another thread frees it",
				  (void *)pfn_to_addr(pfn), call);
}

static inline void free_order(const char *call, void *addr, unsigned order)
{
	u64 pfn, nr;

	if (!addr)
		return;
	pfn = head_of(call, addr);
	if (unlikely(!pfn))
		return;
	nr = pfn_to_page(pfn)->nr_pages;
	if (unlikely(order > MAX_ORDER || nr != (u64)1 << order)) {
		report_corruption("invalid %s of %p: a block of %lu pages freed with order %u",
				  call, addr, (unsigned long)nr, order);
		return;
	}
	put_pages(call, pfn);
}

BM_EXPORT void bm_free_pages(void *addr, unsigned order)
{
	free_order("bm_free_pages", addr, order);
}

BM_EXPORT void bm_free_page(void *addr)
{
	free_order("bm_free_page", addr, 0);
}

BM_EXPORT void bm_free_pages_exact(void *addr, size_t size)
{
	u64 pfn, nr;

	if (!addr)
		return;
	pfn = head_of("bm_free_pages_exact", addr);
	if (unlikely(!pfn))
		return;
	nr = pfn_to_page(pfn)->nr_pages;
	if (unlikely(round_up(size, PAGE_SIZE) >> PAGE_SHIFT != nr)) {
		report_corruption("invalid bm_free_pages_exact of %p: a block of %lu pages freed with %lu bytes",
				  addr, (unsigned long)nr, (unsigned long)size);
		return;
	}
	put_pages("bm_free_pages_exact", pfn);
}

BM_EXPORT void bm_split_page(struct bm_page *page, unsigned order)
{
	u64 pfn = page_to_pfn(page_of(page)), i;

	if (unlikely(order > MAX_ORDER || bm_page_order(page) != (int)order ||
		     page_of(page)->nr_pages != (u64)1 << order ||
		     page_kind(page_of(page)) == PAGE_HIGHMEM)) {
		report_corruption("invalid bm_split_page of %p: no block of order %u",
				  (void *)pfn_to_addr(pfn), order);
		return;
	}
	split_pages(pfn);
	for (i = 1; i < (u64)1 << order; i++)
		tag_write(pfn + i, TAG_PAGES);
}

BM_EXPORT struct bm_page *bm_virt_to_page(const void *addr)
{
	return addr_is_ours(addr) ? public_page(addr_to_pfn(addr)) : NULL;
}

BM_EXPORT uint64_t bm_page_to_pfn(const struct bm_page *page)
{
	return page_to_pfn(page_of(page));
}

BM_EXPORT int bm_page_order(const struct bm_page *page)
{
	if (tag_read(page_to_pfn(page_of(page))) != TAG_PAGES)
		return -1;
	return (int)order_for_pages(page_of(page)->nr_pages);
}

BM_EXPORT int bm_page_node(const struct bm_page *page)
{
	return (int)page_node(page_to_pfn(page_of(page)));
}
