/*
 * rank 7: large blocks, each a block of pages of its own; and every pointer
 * that is no slab object's: the one place where foreign and invalid ones are
 * reported.
 *
 * The tag of a large block's first page is TAG_LARGE. Whoever frees the block
 * claims it by exchanging the tag, so of two frees one finds nothing.
 */
#include <errno.h>

#include "base/report.h"
#include "base/stats.h"
#include "base/trace.h"
#include "buddy/zone.h"
#include "malloc/internal.h"
#include "os/os.h"
#include "page_alloc/scope.h"

static u64 bytes_live, count_live; /* relaxed atomics */

static void large_account(u64 bytes, int blocks)
{
	__atomic_fetch_add(&bytes_live, bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&count_live, (u64)blocks, __ATOMIC_RELAXED);
}

u64 large_bytes(void)
{
	return __atomic_load_n(&bytes_live, __ATOMIC_RELAXED);
}

u64 large_count(void)
{
	return __atomic_load_n(&count_live, __ATOMIC_RELAXED);
}

static u64 pages_for(size_t size)
{
	return round_up(size, os_page_size()) >> PAGE_SHIFT;
}

void *large_alloc(size_t size)
{
	return large_alloc_owned(this_scope.owner, size, 0, 0);
}

void *large_alloc_owned(u16 owner, size_t size, unsigned align_order, bm_gfp_t more)
{
	u64 pfn;

	tcache_get(); /* brings up, and unseals: in need what the thread keeps goes too */
	tcache_late_in_child();
	/* No search is made for what cannot be. */
	if (unlikely(size > MAX_REQUEST || size > window.limit)) {
		errno = ENOMEM;
		return NULL;
	}
	pfn = alloc_pages_owned(owner, BM_GFP_HIGHUSER_MOVABLE | more, pages_for(size),
				align_order);
	if (unlikely(!pfn)) {
		stat_add_shared(failed, 1);
		return NULL;
	}
	if (page_kind(pfn_to_page(pfn)) != PAGE_HIGHMEM)
		page_set_kind(pfn_to_page(pfn), PAGE_LARGE);
	pfn_to_page(pfn)->flags = more & BM_GFP_ZERO ? LARGE_ZEROED : 0;
	large_never_moved(pfn);
	/* Who looks for a heap's blocks reads the tag, then the owner. */
	__atomic_store_n(tag_of(pfn), TAG_LARGE, __ATOMIC_RELEASE);
	large_account(pfn_to_page(pfn)->nr_pages << PAGE_SHIFT, 1);
	stat_add_shared(large_allocated, 1);
	TRACE(MALLOC_LARGE, malloc_large, pfn_to_virt(pfn),
	      pfn_to_page(pfn)->nr_pages << PAGE_SHIFT, 0, 0);
	return pfn_to_virt(pfn);
}

static void large_free(u64 pfn)
{
	const struct page *page = pfn_to_page(pfn);

	large_forget_move(pfn);
	large_account(-(page->nr_pages << PAGE_SHIFT), -1);
	stat_add_shared(large_freed, 1);
	TRACE(FREE_LARGE, free_large, pfn_to_virt(pfn), page->nr_pages << PAGE_SHIFT, 0, 0);
	if (page->flags & LARGE_ZEROED && page_kind(page) == PAGE_LARGE)
		pages_forget_untouched(pfn, page->nr_pages);
	free_pages(pfn);
}

void large_release(u64 pfn)
{
	tag_write(pfn, TAG_NONE);
	large_free(pfn);
}

/* The head of the live block that covers pfn, looking back over its own pages; 0: none. */
static u64 covering_block(u64 pfn)
{
	u64 at;

	for (at = pfn; addr_is_ours(pfn_to_addr(at)); at--) {
		u16 tag = tag_read(at);

		if (tag == TAG_NONE)
			continue;
		/* Of such a slab all pages have the tag. */
		if (tag_is_slab(tag) && size_classes[tag_class(tag)].nr_objects > 1)
			return 0;
		return at + pfn_to_page(at)->nr_pages > pfn ? at : 0;
	}
	return 0;
}

void report_bad_pointer(const char *call, const void *p)
{
	u64 head;
	u16 tag;

	if (!addr_is_ours(p) && (!in_window(p) || virt_to_pfn(p) < window.first >> PAGE_SHIFT)) {
		stat_add_shared(foreign_freed, 1);
		report_corruption("invalid %s of %p: not memory of this allocator", call, p);
		return;
	}
	tag = tag_read(addr_to_pfn(p));
	if (tag_is_slab(tag)) {
		slab_report_object(call, p, tag_class(tag));
		return;
	}
	head = covering_block(addr_to_pfn(p));
	if (head && pfn_to_addr(head) == p)
		report_corruption("invalid %s of %p: %s, of %lu bytes", call, p,
				  tag_read(head) == TAG_PAGES ? "a block of the page interface" :
								"memory that malloc gave out",
				  (unsigned long)pfn_to_page(head)->nr_pages << PAGE_SHIFT);
	else if (head)
		report_corruption("invalid %s of %p: %lu bytes inside the block of %lu bytes at %p",
				  call, p, (unsigned long)((const char *)p - pfn_to_addr(head)),
				  (unsigned long)pfn_to_page(head)->nr_pages << PAGE_SHIFT,
				  (void *)pfn_to_addr(head));
	else
		report_corruption("invalid %s of %p: in free memory; freed before, or never allocated",
				  call, p);
}

void free_other(void *p)
{
	u64 pfn;

	if (!p)
		return;
	pfn = virt_to_pfn(p);
	if (likely(in_window(p) && !((uintptr_t)p & (PAGE_SIZE - 1)) && tag_claim(pfn, TAG_LARGE)))
		large_free(pfn);
	else
		report_bad_pointer("free", p);
}

/* Grows or shrinks without moving. */
static bool resize_in_place(u64 pfn, u64 nr)
{
	u64 old = pfn_to_page(pfn)->nr_pages;

	if (nr == old)
		return true;
	large_cut_move(pfn, nr);
	if (!resize_pages(pfn, nr))
		return false;
	large_account((nr - old) << PAGE_SHIFT, 0);
	/* As if it were another block, so that what came and what went add up. */
	TRACE(FREE_LARGE, free_large, pfn_to_virt(pfn), old << PAGE_SHIFT, 0, 0);
	TRACE(MALLOC_LARGE, malloc_large, pfn_to_virt(pfn), nr << PAGE_SHIFT, 0, 0);
	return true;
}

bool large_expand(u64 pfn, size_t size)
{
	u64 old = pfn_to_page(pfn)->nr_pages;

	if (unlikely(size > MAX_REQUEST) || !resize_in_place(pfn, pages_for(MAX(size, (size_t)1))))
		return false;
	stat_add_shared(large_realloc_in_place, pfn_to_page(pfn)->nr_pages != old);
	return true;
}

size_t large_good_size(size_t size)
{
	bringup(); /* or the size of a page is not known yet */
	return size > MAX_REQUEST || size > window.limit - window.first ? 0 : pages_for(size) << PAGE_SHIFT;
}

/* Nothing is mapped at the new block any more: it is nobody's, for good. */
static cold_path void large_abandon(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	u64 nr = page->nr_pages;

	report_verbose("%lu bytes at %p are lost: mremap unmapped them and failed",
		       (unsigned long)nr << PAGE_SHIFT, (void *)pfn_to_addr(pfn));
	tag_write(pfn, TAG_NONE);
	large_account(-(nr << PAGE_SHIFT), -1);
	page_disown(page, nr);
	if (page_kind(page) == PAGE_HIGHMEM)
		pages_count_backed(-(long)nr);
	else
		pages_moved(pfn, nr);
}

/* What the large block p holds goes to q, a larger one that is new. */
static void *large_move_into(void *q, void *p, u64 pfn)
{
	if (unlikely(!large_move(virt_to_pfn(q), pfn, pfn_to_page(pfn)->nr_pages))) {
		large_abandon(virt_to_pfn(q));
		errno = ENOMEM;
		return NULL;
	}
	do_free(p);
	return q;
}

/* Huge pages are moved whole to where a huge one may be, and else one by one, in small pages. */
static unsigned align_to_move(u64 pfn, size_t size)
{
	return size >= PAGEBLOCK_SIZE && thp_is_huge(pfn) ? PAGEBLOCK_ORDER : 0;
}

void *large_realloc(u16 owner, void *p, u64 pfn, size_t size)
{
	int saved = errno;
	void *q;

	/* To become smaller never fails. */
	if (likely(large_expand(pfn, size)))
		return p;
	errno = saved;
	q = large_alloc_owned(owner, size, align_to_move(pfn, size), GFP_ROOMY);
	if (likely(q))
		q = large_move_into(q, p, pfn);
	if (likely(q))
		errno = saved;
	return q;
}
