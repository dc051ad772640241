/*
 * rank 3: per-CPU page lists: what the common path of page allocation does, inline;
 * see pcp.c.
 */
#ifndef BM_BUDDY_PCP_H
#define BM_BUDDY_PCP_H

#include "buddy/zone.h"
#include "os/os.h"

static inline int pcp_order_index(unsigned order)
{
	return order <= PCP_MAX_ORDER ? (int)order :
	       order == PAGEBLOCK_ORDER ? NR_PCP_ORDERS - 1 : -1;
}

static inline unsigned pcp_index_order(unsigned index)
{
	return index <= PCP_MAX_ORDER ? index : PAGEBLOCK_ORDER;
}

/*
 * Blocks a list holds at most. Bounded in bytes rather than in blocks: 128 KiB
 * of small orders, a few of the larger ones, one spare pageblock.
 */
#define PCP_HIGH_MOST 32u
static inline u32 pcp_high(unsigned order)
{
	return order <= 4 ? PCP_HIGH_MOST >> order : order <= PCP_MAX_ORDER ? 2 : 1;
}

/* Pages that go to the zone when a list is full. */
static inline u64 pcp_nr_drained(unsigned order)
{
	return (u64)(pcp_high(order) + 1 - pcp_high(order) / 2) << order;
}

static inline struct pcp *this_pcp(struct zone *zone)
{
	return &zone->pcps[os_cpu() & (zone->nr_pcps - 1)];
}

static inline void pcp_list_push(struct pcp_list *list, u64 pfn, unsigned order,
				 enum migratetype mt)
{
	struct page *page = pfn_to_page(pfn);

	page->order = (u8)order;
	page->migratetype = (u8)mt;
	page_set_kind(page, PAGE_PCP);
	page->next = list->first;
	list->first = (u32)pfn;
	list->count++;
}

/* 0 from an empty list. */
static inline u64 pcp_list_pop(struct pcp_list *list)
{
	u64 pfn = list->first;

	if (likely(list->count)) {
		list->first = pfn_to_page(pfn)->next;
		list->count--;
		page_set_kind(pfn_to_page(pfn), PAGE_NONE);
	}
	return pfn;
}

/* A block of a pcp order from the list of the running CPU; refilled from the zone. 0: none. */
u64 pcp_alloc(struct zone *zone, unsigned order, enum migratetype mt, bool nofragment);
/*
 * The same if the list has one at hand, and it is known without a system call
 * whose list that is. What lies there has left the zone already, so no watermark is
 * asked.
 */
static inline u64 pcp_take(struct zone *zone, unsigned order, enum migratetype mt)
{
	int cpu = os_cpu_at_hand();
	struct pcp *pcp = &zone->pcps[(unsigned)cpu & (zone->nr_pcps - 1)];
	struct pcp_list *list = &pcp->lists[pcp_order_index(order)][mt];
	u64 pfn;

	if (unlikely(cpu < 0 || !__atomic_load_n(&list->count, __ATOMIC_RELAXED) ||
		     !try_lock(&pcp->lock, LOCK_PCP)))
		return 0;
	pfn = pcp_list_pop(list);
	unlock_tried(&pcp->lock, LOCK_PCP);
	return pfn;
}

/* The way when the list is not known, or is somebody else's just now. */
bool pcp_free_slow(struct zone *zone, u64 pfn, unsigned order, enum migratetype mt);
/* The list is beyond its high mark: drains it and drops the lock. True when pages moved. */
bool pcp_free_full(struct zone *zone, struct pcp *pcp, struct pcp_list *list, unsigned order);

/* Puts the block on the list and drops the lock; true when pages went on to the zone. */
static inline bool pcp_free_locked(struct zone *zone, struct pcp *pcp, u64 pfn, unsigned order,
				   enum migratetype mt)
{
	struct pcp_list *list = &pcp->lists[pcp_order_index(order)][mt];

	pcp_list_push(list, pfn, order, mt);
	if (unlikely(list->count > pcp_high(order)))
		return pcp_free_full(zone, pcp, list, order);
	unlock_tried(&pcp->lock, LOCK_PCP);
	return false;
}

/* Gives a block back to the running CPU's list; true when pages went on to the zone. */
static inline bool pcp_free(struct zone *zone, u64 pfn, unsigned order, enum migratetype mt)
{
	int cpu = os_cpu_at_hand();
	struct pcp *pcp = &zone->pcps[(unsigned)cpu & (zone->nr_pcps - 1)];

	if (unlikely(cpu < 0 || !try_lock(&pcp->lock, LOCK_PCP)))
		return pcp_free_slow(zone, pfn, order, mt);
	return pcp_free_locked(zone, pcp, pfn, order, mt);
}

/* Returns everything in all lists to the zone; the number of pages moved. */
u64 pcp_drain_all(struct zone *zone);
/* Pages in the lists now. */
u64 pcp_nr_pages(const struct zone *zone);

#endif
