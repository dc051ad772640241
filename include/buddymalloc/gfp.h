/*
 * Allocation flags ("get free page" flags), named as the Linux kernel names
 * its own, see the kernel's Documentation/core-api/memory-allocation.rst. What
 * each means in user space stands beside it; bm_gfp(7) has the kernel's
 * meaning beside ours.
 *
 * A combination that contradicts itself, or a bit that is not here, is refused
 * with EINVAL. bm_gfp(7) says where a flag has no effect.
 */
#ifndef BUDDYMALLOC_GFP_H
#define BUDDYMALLOC_GFP_H

typedef unsigned int bm_gfp_t;

/*
 * Zone modifiers, at most one: where the pages may come from. None: the Normal
 * zone. When a zone has nothing left, those below it serve: HighMem, Normal,
 * DMA32, DMA.
 */
#define BM_GFP_DMA 0x01u	 /* locked in memory, below 4 GiB, not inherited by fork,
				  * does not age */
#define BM_GFP_HIGHMEM 0x02u	 /* may be mapped for this allocation alone */
#define BM_GFP_DMA32 0x04u	 /* address below 4 GiB */

/* Mobility, at most one: how long the pages live, for grouping by pageblock. */
#define BM_GFP_MOVABLE 0x08u
#define BM_GFP_RECLAIMABLE 0x10u

/* Watermark modifiers. */
#define BM_GFP_HIGH 0x20u	 /* may use part of the reserve */
#define BM_GFP_MEMALLOC 0x20000u /* may use all of it: the caller frees memory */
#define BM_GFP_NOMEMALLOC 0x80000u /* may use none of it, even so */

/* Reclaim modifiers. */
#define BM_GFP_DIRECT_RECLAIM 0x400u /* may drain, shrink and purge to succeed */
#define BM_GFP_KSWAPD_RECLAIM 0x800u /* may trigger ageing: by the background thread, or
					* the next thread allowed to reclaim */
#define BM_GFP_RECLAIM (BM_GFP_DIRECT_RECLAIM | BM_GFP_KSWAPD_RECLAIM)
#define BM_GFP_NOFAIL 0x8000u	 /* waits until there is memory, goes beyond a group's limit;
				  * needs DIRECT_RECLAIM */
#define BM_GFP_NORETRY 0x10000u	 /* no reclaim: what is free, then a larger heap */

/* Action modifiers. */
#define BM_GFP_ZERO 0x100u	 /* zeroed; pages known to be zero are not cleared again */
#define BM_GFP_COLD 0x200u	 /* prefers pages without memory behind them,
				  * leaving warm pages to others */
#define BM_GFP_WRITE 0x1000u	 /* will be written at once: backed before the call returns */
#define BM_GFP_NOWARN 0x2000u	 /* no message: order above 18, or, with verbose, any failure */
#define BM_GFP_THISNODE 0x200000u /* no other node */
#define BM_GFP_ACCOUNT 0x400000u /* the thread's group pays, see group.h */

/* The usual combinations. */
#define BM_GFP_KERNEL BM_GFP_RECLAIM
#define BM_GFP_KERNEL_ACCOUNT (BM_GFP_KERNEL | BM_GFP_ACCOUNT)
#define BM_GFP_ATOMIC (BM_GFP_HIGH | BM_GFP_KSWAPD_RECLAIM)
#define BM_GFP_NOWAIT (BM_GFP_KSWAPD_RECLAIM | BM_GFP_NOWARN)
#define BM_GFP_HIGHUSER_MOVABLE (BM_GFP_KERNEL | BM_GFP_HIGHMEM | BM_GFP_MOVABLE)

#endif
