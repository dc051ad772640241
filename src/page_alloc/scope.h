/*
 * rank 4: what a thread's requests are bound to for a while (the kernel's
 * memalloc_*_save), and who pays for pages.
 *
 * An owner is the number of a private shard: a heap, or a group with a budget.
 * A block's owner is in its struct page; 0 is nobody. Groups count whole pages,
 * slabs included, from allocation to free; figures are atomics without a lock.
 */
#ifndef BM_PAGE_ALLOC_SCOPE_H
#define BM_PAGE_ALLOC_SCOPE_H

#include "page_alloc/page_alloc.h"

enum scope_flags {
	SCOPE_NORECLAIM = 1,
	SCOPE_NOSYSCALL = 2,
};

struct scope {
	u8 flags;	/* enum scope_flags; never all bits, so that no scope is BM_SCOPE_FAILED */
	u8 node;	/* NUMA node + 1 to stay on; 0: any */
	u16 owner;	/* of what malloc gives the thread; 0: nobody */
	u32 life;	/* of the owner's shard, as it was when the thread entered */
};

extern __thread struct scope this_scope HIDDEN __attribute__((tls_model("initial-exec")));

/* What the scope leaves of a request's freedom. One that must not fail waits all the same. */
static inline bm_gfp_t scope_gfp(bm_gfp_t gfp)
{
	return this_scope.flags ? gfp & ~BM_GFP_RECLAIM : gfp;
}

/* False: neither mapping, unmapping nor moving; what is at hand has to serve. */
static inline bool scope_may_map(void)
{
	return !(this_scope.flags & SCOPE_NOSYSCALL);
}

/* The whole of it as one word, to keep and to compare. */
static inline u64 scope_word(void)
{
	u64 word;

	__builtin_memcpy(&word, &this_scope, sizeof(word));
	return word;
}
static_assert(sizeof(struct scope) == sizeof(u64), "a scope is one word");

/* An upper bound of the private shards that there can be; group.c asserts it. */
#define MAX_OWNERS 1024

/* A budget, in pages. */
struct page_group {
	u64 limit;	/* UINT64_MAX: none */
	u64 usage, peak, failures;
};

/* NULL: the owner has no budget. Written with release before the owner is used. */
extern struct page_group *page_groups[MAX_OWNERS] HIDDEN;

/* Whether pages of the owner count for a budget. */
static inline bool owner_has_budget(u16 owner)
{
	return owner && __atomic_load_n(&page_groups[owner], __ATOMIC_RELAXED);
}

/* A group is at its limit: gives back what it caches. No lock is held. Defined by rank 7. */
void owner_reclaim(u16 owner);

/*
 * Counts nr pages; false with errno ENOMEM when the limit does not allow them. NOFAIL goes
 * beyond it; who can do without (GFP_MORE), or may not reclaim, asks nobody to give something back.
 */
bool owner_charge(u16 owner, u64 nr, bm_gfp_t gfp);
void owner_uncharge(u16 owner, u64 nr);

/* A block of nr pages is nobody's any more. */
static inline void page_disown(struct page *page, u64 nr)
{
	if (likely(!page->owner))
		return;
	owner_uncharge(page->owner, nr);
	page->owner = 0;
}

/*
 * As alloc_pages_nodemask, charged to the owner and marked as its; the first from any node,
 * within the window, for malloc.
 */
u64 alloc_pages_owned(u16 owner, bm_gfp_t gfp, u64 nr, unsigned align_order);
u64 alloc_pages_owned_node(u16 owner, int nid, bm_gfp_t gfp, u64 nr, unsigned align_order,
			   u64 nodemask);

#endif
