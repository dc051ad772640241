/*
 * rank 4: allocation of pages: one try of get_page_from_freelist over the
 * zonelist, then the slowpath; and reclaim.
 *
 * A block is named by the pfn of its first page; 0 is "none". All functions
 * are thread-safe and take their locks themselves; the caller may hold a lock
 * of rank LOCK_NODE or lower only where that is said. A returned block's head
 * has kind PAGE_PAGES and nr_pages; the owner may set another kind.
 */
#ifndef BM_PAGE_ALLOC_PAGE_ALLOC_H
#define BM_PAGE_ALLOC_PAGE_ALLOC_H

#include <buddymalloc/gfp.h>

#include "base/types.h"
#include "memmap/memmap.h"

struct report_sink; /* base/report.h */

#define NODE_NONE (-1) /* the node of the running CPU */

/*
 * Beside the public flags. GFP_WINDOW: window pages only; malloc finds the owner of what it
 * frees in the window, and its objects must survive a fork.
 * GFP_ROOMY: for a block that has grown and will again: with half as many free pages behind it,
 * if such a place costs nothing (not aligned).
 * GFP_MORE: the caller has what it needs, so nothing is given back for this.
 * GFP_INSTEAD: the caller has another way, so that this fails is no failure.
 */
#define GFP_WINDOW 0x80000000u
#define GFP_ROOMY 0x40000000u
#define GFP_MORE 0x20000000u
#define GFP_INSTEAD 0x10000000u

/* Nodes, zones and zonelists. */
void page_alloc_init(void);
/* Says so where the option numa_node names none of them. */
void nodes_check_option(void);

/*
 * The heart, to which all ways lead: exactly nr pages, the first at a multiple of
 * 1 << align_order pages, from the nodes of nodemask, from node nid (or NODE_NONE) rather than
 * from others. Any nr: blocks of more than 1 << MAX_ORDER pages are pageblocks in a row, or,
 * with BM_GFP_HIGHMEM, mapped for themselves. Zones below the window may serve, unless
 * GFP_WINDOW is there. 0 with errno ENOMEM when there is no memory.
 */
u64 alloc_pages_nodemask(int nid, bm_gfp_t gfp, u64 nr, unsigned align_order, u64 nodemask);
#define NODES_ALL (~(u64)0)

/* Watermarks and reserves for the zones' present sizes: after growth, or a change of options. */
void zones_set_reserves(void);

/* gfp.c: false for unknown flags and for such that contradict each other. */
bool gfp_is_valid_slow(bm_gfp_t gfp);
static inline bool gfp_is_valid(bm_gfp_t gfp)
{
	return likely(!(gfp & ~(BM_GFP_KERNEL | BM_GFP_ZERO))) || gfp_is_valid_slow(gfp);
}
/* Says once that an order is above MAX_ORDER. */
void warn_order(bm_gfp_t gfp, unsigned order);

/* Makes an allocated block of the zones one block for each of its pages. */
void split_pages(u64 pfn);

/* The node of an allocated block's pages; whether there is such a node. */
unsigned page_node(u64 pfn);
bool node_exists(unsigned nid);

/* Gives back a block with the nr_pages its head says. */
void free_pages(u64 pfn);

/*
 * Resizes an allocated block where it is. Growing succeeds when the pages
 * behind are free or unmapped; new pages are not cleared. Shrinking always
 * succeeds. The head's nr_pages follows.
 */
bool resize_pages(u64 pfn, u64 nr);

/*
 * backing.c. dirty_give_back (buddy/zone.h), after which the system is told not to bring the
 * pages back as part of a huge page. No lock is held.
 */
u64 pages_give_back(u64 pfn, u64 nr, enum give how);

/*
 * clear.c. An allocated block that came as zeroes is about to be freed: if hardly any of its pages
 * were ever touched they are given back. System calls as the scope allows; no lock is held.
 */
void pages_forget_untouched(u64 pfn, u64 nr);

/* The owner moved the pages' content elsewhere by page tables: they are zero now. */
void pages_moved(u64 pfn, u64 nr);
/* The same for where they are now: what the system was told of the old place is told of the new. */
void pages_moved_to(u64 to, u64 from, u64 nr);

/*
 * Gives the owner's pages [pfn, pfn + nr) back and makes them one mapping with
 * their neighbours again, as pages_moved to them had parted them. False when
 * nothing was done.
 */
bool pages_renew(u64 pfn, u64 nr);

/*
 * in_flight.c: between these two a thread has free pages in its hands that others do not see; who
 * is refused memory waits for it. Not `found`: there were none, or the system refused.
 */
void in_flight_begin(void);
void in_flight_end(bool found);

/* reclaim.c */

/* How a layer above that hoards memory gives it back. Called with no lock held. */
struct shrinker {
	/* To the zones: GIVE_ALL, or GIVE_IDLE. */
	void (*shrink)(enum give how);
	/* It costs little, and no other thread what it caches. */
	bool cheap;
	/*
	 * Gives pages it keeps straight to the system, `most` or little more; pages given. May be
	 * NULL.
	 */
	u64 (*give)(enum give how, u64 most);
};

/* Those there are, in the order that they run in. At start, while there is one thread. */
void set_shrinkers(const struct shrinker *list, unsigned nr);

/* Runs the shrinkers, drains the pcp lists. */
void shrink_all(void);

/* The same with those that are cheap. */
void shrink_cheaply(void);

/*
 * unmap.c: record_take (memmap.h), as the thread's scope allows; where address space is
 * limited free pageblocks make room. No lock is held.
 */
void *alloc_record(size_t bytes);

/* Gives up to nr dirty free pages back to the system, oldest first; pages given. */
u64 reclaim_purge(u64 nr);

/* Steps of ageing in a decay time. */
#define DECAY_STEPS 10

/*
 * Ageing: returns what has been free and dirty longer than decay_ms, smoothly.
 * Cheap when nothing is due; errno stays. Called from slow paths: of requests for pages, of
 * frees, of refills.
 */
void reclaim_age(void);
/*
 * drop.c: whether much came to the zones since some was taken: a program that rests makes few
 * calls on which ageing could ride, so that none of them is to be left out.
 */
bool drop_is_much(void);

/*
 * Takes soft_limit and hard_limit from the options, and the control group's limit
 * as the option cgroup says. Once, when the library is up and the options are known.
 */
cold_path void limit_init(void);

/* Whether more is backed than a mark below a limit: who keeps memory for later keeps little. */
bool limit_is_near(void);

/*
 * Whether nr pages that were given back may be backed again. Reclaims nothing, so locks
 * up to LOCK_NODE may be held.
 */
bool limit_has_room(u64 nr);

/* thp.c. As limit_init: how the system uses huge pages. */
cold_path void thp_init(void);
/* Whether the page's pageblock may be a huge page. */
bool thp_is_huge(u64 pfn);

/*
 * The background thread. Start does nothing unless background_thread is on;
 * may allocate, so no lock may be held. In a child after fork it is not there.
 */
void kswapd_start(void);
cold_path void kswapd_stop(void);
/*
 * Starts or ends it while the program runs, as if the option had said so; to end it may take a
 * second. False when it cannot be started, or when another thread does this just now.
 */
cold_path bool kswapd_set(bool on);
/* Slow paths may leave ageing to it. */
bool kswapd_is_running(void);
void kswapd_after_fork(void);

/* For requests that may not reclaim: ageing is due now, for the next thread that may. */
void reclaim_wake(void);

/*
 * Unmaps every pageblock that is wholly free; the number of pages. Makes room within
 * a limit for another zone, or for a block that no run of them could serve.
 */
u64 zones_unmap_free(void);

/* Bytes of dirty free memory that ageing leaves alone. */
void reclaim_set_floor(u64 bytes);

/* Gives back all that can be, but for `pad` bytes of free memory; bytes given to the system. */
u64 reclaim_trim(u64 pad);

/* At least `bytes` to the system, as bm_reclaim says; bytes given. */
u64 reclaim_give(u64 bytes);

/* Totals over all zones, in pages. */
struct page_totals {
	u64 managed, free, dirty, pcp;
};
void page_alloc_totals(struct page_totals *t);
/* A line for each zone, and for each migratetype that has free blocks in it (zoneinfo.c). */
void page_alloc_report(const struct report_sink *to);

/* fork */
void page_alloc_lock_all(void);
void page_alloc_unlock_all(void);
void page_alloc_reinit_locks(void);
/* In the child, after that: what the system did not give to it is forgotten. */
void page_alloc_after_fork(void);

#endif
