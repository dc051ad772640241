/* rank 4: what combinations of flags mean something. */
#include "base/report.h"
#include "page_alloc/page_alloc.h"

#define GFP_KNOWN                                                                               \
	(BM_GFP_DMA | BM_GFP_HIGHMEM | BM_GFP_DMA32 | BM_GFP_MOVABLE | BM_GFP_RECLAIMABLE |     \
	 BM_GFP_HIGH | BM_GFP_MEMALLOC | BM_GFP_NOMEMALLOC | BM_GFP_RECLAIM | BM_GFP_NOFAIL |   \
	 BM_GFP_NORETRY | BM_GFP_ZERO | BM_GFP_COLD | BM_GFP_WRITE | BM_GFP_NOWARN |            \
	 BM_GFP_THISNODE | BM_GFP_ACCOUNT)

static bool at_most_one(bm_gfp_t bits)
{
	return !(bits & (bits - 1));
}

bool gfp_is_valid_slow(bm_gfp_t gfp)
{
	if (gfp & ~GFP_KNOWN)
		return false;
	if (!at_most_one(gfp & (BM_GFP_DMA | BM_GFP_DMA32 | BM_GFP_HIGHMEM)) ||
	    !at_most_one(gfp & (BM_GFP_MOVABLE | BM_GFP_RECLAIMABLE)))
		return false;
	/* To wait for memory is to reclaim it, as often as it takes. */
	if (gfp & BM_GFP_NOFAIL && (!(gfp & BM_GFP_DIRECT_RECLAIM) || gfp & BM_GFP_NORETRY))
		return false;
	/* Pages that are to lie fallow cannot be backed at once. */
	return !(gfp & BM_GFP_COLD && gfp & BM_GFP_WRITE);
}

/* A mistake of the program's, told once. */
cold_path void warn_order(bm_gfp_t gfp, unsigned order)
{
	static u32 warned; /* a word: no machine needs libatomic to exchange that */

	if (!(gfp & BM_GFP_NOWARN) && !__atomic_exchange_n(&warned, 1, __ATOMIC_RELAXED))
		report("no block has order %u: the largest order is %u", order, MAX_ORDER);
}
