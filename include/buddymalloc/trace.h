/*
 * Tracing: static probes for systemtap, perf and bpftrace where the library was
 * built with <sys/sdt.h> (provider "buddymalloc", `readelf -n` lists them), and
 * the same events for a function of the program's.
 */
#ifndef BUDDYMALLOC_TRACE_H
#define BUDDYMALLOC_TRACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Each event with the meaning of its four arguments. Names of the first five: the kernel's.
 *
 * owner: a number that all pages of one heap or group have, 0 for those of none.
 * migratetype: 0 unmovable, 1 movable, 2 reclaimable, see gfp.h.
 * zone: 0 Normal, 1 DMA32, 2 DMA; 3 and more Normal of further NUMA nodes.
 * shard: a number that threads have in common which share slabs.
 * gfp flags: as in gfp.h; the four highest bits are the library's own.
 * object size: that of the size class. bytes: whole pages, all of the block, whatever was
 * asked for. A large block that is resized is told as freed with its old size and allocated
 * with its new one; so are its pages, or those of a block of pages, with 0 as gfp flags.
 */
enum bm_trace_event {
	BM_TRACE_MM_PAGE_ALLOC,	/* pfn, pages, gfp flags, NUMA node */
	BM_TRACE_MM_PAGE_FREE,	/* pfn, pages, owner, 0 */
	/*
	 * pfn, order, migratetype, zone: a block left the buddy's lists, for a per-CPU list
	 * or past those. Not told of what other searches find: runs of 9 pages and more,
	 * whole pageblocks in a row, pages asked for with BM_GFP_COLD.
	 */
	BM_TRACE_MM_PAGE_ALLOC_ZONE_LOCKED,
	BM_TRACE_MM_PAGE_PCPU_DRAIN, /* pages, order, zone, 0: back from a per-CPU list */
	BM_TRACE_MM_PAGE_ALLOC_EXTFRAG, /* pfn, order, migratetype wanted, migratetype taken */
	/* Of these two, not told of what threads free for one another. */
	BM_TRACE_MALLOC_REFILL,	/* object size, objects, shard, 0: a sheaf was empty */
	BM_TRACE_MALLOC_FLUSH,	/* object size, objects, shard, 0: a sheaf was full, or emptied */
	BM_TRACE_MALLOC_LARGE,	/* address, bytes, 0, 0: a large block was allocated */
	BM_TRACE_FREE_LARGE,	/* address, bytes, 0, 0 */
	BM_NR_TRACE_EVENTS
};

typedef void (*bm_trace_fn)(enum bm_trace_event event, uint64_t a, uint64_t b, uint64_t c,
			    uint64_t d);

/*
 * Calls fn from now on for every event of every thread; NULL: no more. Returns
 * the function before. It may be called with the allocator's locks held: it
 * must not allocate or free, nor wait for a thread that does. While one is set
 * blocks of pages take a longer way; else nothing is slower than without.
 * Thread-safe; a thread may still be in the old function when this returns.
 */
bm_trace_fn bm_trace_set(bm_trace_fn fn);

#ifdef __cplusplus
}
#endif

#endif
