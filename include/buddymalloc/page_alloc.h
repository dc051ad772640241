/*
 * The page allocator: blocks of 4096-byte pages, straight from the zones that
 * malloc's own memory comes from. Names and semantics are those of the Linux
 * kernel's <linux/gfp.h>; each comment names the call it follows.
 *
 * An order is the binary logarithm of a number of pages: order 3 is 8 pages,
 * 32 KiB. A block of order n is aligned to its size. Flags are in gfp.h; the
 * usual ones are BM_GFP_KERNEL.
 *
 * Every function is thread-safe. None is async-signal-safe. Pages that are not
 * zeroed on request hold anything. free(3) and realloc(3) refuse these blocks
 * as they refuse any pointer malloc did not give out, and the functions here
 * refuse malloc's: a report, and abort unless abort_on_corruption is off.
 */
#ifndef BUDDYMALLOC_PAGE_ALLOC_H
#define BUDDYMALLOC_PAGE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include <buddymalloc/gfp.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BM_PAGE_SHIFT 12
#define BM_PAGE_SIZE ((size_t)1 << BM_PAGE_SHIFT)

/* The largest order: 1 GiB. */
#define BM_MAX_ORDER 18

/* As nid: the node of the running CPU, or what numa_node and numa_interleave say. */
#define BM_NO_NODE (-1)
/* As nodemask: any node the process has. */
#define BM_ALL_NODES (~(uint64_t)0)

/* What the allocator keeps of one page, beside the page. Opaque. */
struct bm_page;

/*
 * A block of 1 << order pages, from the nodes whose bits are set in nodemask,
 * from node nid (or BM_NO_NODE) rather than from others. NULL with errno
 * EINVAL: the flags contradict each other, there is no node nid, or the order
 * is above BM_MAX_ORDER (with a warning, once, unless BM_GFP_NOWARN); ENOMEM:
 * no memory, or no node in the mask. All but bm_alloc_pages_exact is this call.
 * Kernel: __alloc_pages(), formerly __alloc_pages_nodemask().
 */
struct bm_page *bm_alloc_pages_nodemask(bm_gfp_t gfp, unsigned int order, int nid,
					uint64_t nodemask);

/* The same from nid, and from any node if it must. Kernel: alloc_pages_node(). */
struct bm_page *bm_alloc_pages_node(int nid, bm_gfp_t gfp, unsigned int order);

/* The same with the node left open. Kernel: alloc_pages(). */
struct bm_page *bm_alloc_pages(bm_gfp_t gfp, unsigned int order);

/* One page. Kernel: alloc_page(). */
struct bm_page *bm_alloc_page(bm_gfp_t gfp);

/*
 * Fills array[0] to array[nr - 1] with single pages, as far as they are NULL
 * now; the number of entries, from the first on, that hold a page then. Fewer
 * than nr with errno ENOMEM when memory ran out, EINVAL for bad flags; these are
 * looked at only when an entry is NULL.
 * Kernel: alloc_pages_bulk().
 */
size_t bm_alloc_pages_bulk(bm_gfp_t gfp, size_t nr, struct bm_page **array);

/* As bm_alloc_pages, giving the address. Kernel: __get_free_pages(). */
void *bm_get_free_pages(bm_gfp_t gfp, unsigned int order);

/* One page. Kernel: __get_free_page(). */
void *bm_get_free_page(bm_gfp_t gfp);

/* One page of zeroes. Kernel: get_zeroed_page(). */
void *bm_get_zeroed_page(bm_gfp_t gfp);

/* Pages of the DMA zone. Kernel: __get_dma_pages(). */
void *bm_get_dma_pages(bm_gfp_t gfp, unsigned int order);

/*
 * `size` bytes, rounded up to pages; the block is aligned as one of the next
 * power of two (to 1 GiB at most), and what that would have beyond is given back at
 * once. NULL with EINVAL (flags, size 0) or ENOMEM. Kernel: alloc_pages_exact().
 */
void *bm_alloc_pages_exact(size_t size, bm_gfp_t gfp);

/*
 * Give a block back by its address, with the order or size it was allocated
 * with; NULL is ignored. errno is preserved. An address that heads no block, or
 * another order or size, is reported as corruption. Kernel: free_pages(),
 * free_page(), free_pages_exact().
 */
void bm_free_pages(void *addr, unsigned int order);
void bm_free_page(void *addr);
void bm_free_pages_exact(void *addr, size_t size);

/*
 * Makes 1 << order single pages of a block, each to be freed with bm_free_page.
 * The page must head a block of exactly that many pages, 1 GiB at most; anything else is
 * reported as corruption. Kernel: split_page().
 */
void bm_split_page(struct bm_page *page, unsigned int order);

/* The address of a page. Kernel: page_address(). */
void *bm_page_address(const struct bm_page *page);

/* The page that holds an address; NULL when no zone does. Kernel: virt_to_page(). */
struct bm_page *bm_virt_to_page(const void *addr);

/*
 * The page's frame number: adjacent pages have adjacent ones. Constant while the
 * process lives; says nothing of physical memory. Kernel: page_to_pfn().
 */
uint64_t bm_page_to_pfn(const struct bm_page *page);

/*
 * The order of the block that the page heads, that of the next power of two for
 * an exact one, which may be above BM_MAX_ORDER; -1 for a page that heads no block of
 * this interface. Kernel: compound_order().
 */
int bm_page_order(const struct bm_page *page);

/* The NUMA node whose zone the page belongs to. Kernel: page_to_nid(). */
int bm_page_node(const struct bm_page *page);

#ifdef __cplusplus
}
#endif

#endif
