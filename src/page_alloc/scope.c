/* rank 4: scopes and the accounting of pages; see scope.h. */
#include "page_alloc/scope.h"

#include <errno.h>

#include "page_alloc/internal.h"

__thread struct scope this_scope __attribute__((tls_model("initial-exec")));

struct page_group *page_groups[MAX_OWNERS] BULKY;

/* `must`: beyond the limit if need be. */
static bool try_charge(struct page_group *g, u64 nr, bool must)
{
	u64 old = __atomic_load_n(&g->usage, __ATOMIC_RELAXED), peak;

	do {
		if (old + nr > __atomic_load_n(&g->limit, __ATOMIC_RELAXED) && !must)
			return false;
	} while (!__atomic_compare_exchange_n(&g->usage, &old, old + nr, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	peak = __atomic_load_n(&g->peak, __ATOMIC_RELAXED);
	while (old + nr > peak &&
	       !__atomic_compare_exchange_n(&g->peak, &peak, old + nr, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
	return true;
}

bool owner_charge(u16 owner, u64 nr, bm_gfp_t gfp)
{
	struct page_group *g = __atomic_load_n(&page_groups[owner], __ATOMIC_ACQUIRE);

	if (!g || try_charge(g, nr, false))
		return true;
	if (!(gfp & GFP_MORE)) {
		if (gfp_may_reclaim(gfp))
			owner_reclaim(owner);
		if (try_charge(g, nr, gfp & BM_GFP_NOFAIL))
			return true;
		__atomic_fetch_add(&g->failures, !(gfp & GFP_INSTEAD), __ATOMIC_RELAXED);
	}
	errno = ENOMEM;
	return false;
}

void owner_uncharge(u16 owner, u64 nr)
{
	struct page_group *g = __atomic_load_n(&page_groups[owner], __ATOMIC_ACQUIRE);

	/* Release: who sees 0 may make it another group. */
	if (g)
		__atomic_fetch_sub(&g->usage, nr, __ATOMIC_RELEASE);
}

u64 alloc_pages_owned_node(u16 owner, int nid, bm_gfp_t gfp, u64 nr, unsigned align_order,
			   u64 nodemask)
{
	u64 pfn;

	if (!owner)
		return alloc_pages_nodemask(nid, gfp, nr, align_order, nodemask);
	if (!owner_charge(owner, nr, scope_gfp(gfp)))
		return 0;
	pfn = alloc_pages_nodemask(nid, gfp, nr, align_order, nodemask);
	if (pfn)
		pfn_to_page(pfn)->owner = owner;
	else
		owner_uncharge(owner, nr);
	return pfn;
}

/*
 * pfns have 32 bits, so that none but 0 is a multiple of more; and up to here sums with such
 * numbers do not overflow.
 */
#define ALIGN_ORDER_MOST 36

u64 alloc_pages_owned(u16 owner, bm_gfp_t gfp, u64 nr, unsigned align_order)
{
	if (nr > window.limit >> PAGE_SHIFT || align_order > ALIGN_ORDER_MOST) {
		errno = ENOMEM;
		return 0;
	}
	return alloc_pages_owned_node(owner, NODE_NONE, gfp | GFP_WINDOW, nr, align_order,
				      NODES_ALL);
}
