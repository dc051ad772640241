/*
 * rank 3: per-CPU page lists above the buddy: a page comes and goes with one
 * uncontended trylock and no zone lock. A list is LIFO, warm pages first; when
 * it grows beyond its high mark the older half goes back to the zone, where it
 * can merge.
 *
 * A block in a list has kind PAGE_PCP and belongs to whoever holds pcp->lock.
 * It counts as allocated for the zone.
 */
#include "base/stats.h"
#include "base/trace.h"
#include "buddy/pcp.h"

static u32 pcp_batch(unsigned order)
{
	return MAX(pcp_high(order) / 2, 1u);
}

static void pcp_refill(struct zone *zone, struct pcp_list *list, unsigned order,
		       enum migratetype mt, bool nofragment)
{
	u32 n = pcp_batch(order);
	u64 pfn[PCP_HIGH_MOST / 2];
	u32 i;

	lock(&zone->lock, LOCK_ZONE);
	for (i = 0; i < n; i++) {
		pfn[i] = zone_rmqueue_locked(zone, order, mt, nofragment);
		if (!pfn[i])
			break;
	}
	unlock(&zone->lock, LOCK_ZONE);
	if (i)
		stat_add_shared(pcp_refills, 1);
	/* Pushed in reverse, so that they are handed out as they lie in memory. */
	while (i--)
		pcp_list_push(list, pfn[i], order, mt);
}

/* Returns all but the newest `keep` blocks of the list to the zone; pages moved. */
static u64 pcp_drain_list(struct zone *zone, struct pcp_list *list, unsigned order, u32 keep)
{
	const u64 nr = (u64)1 << order;
	u32 *link = &list->first;
	u64 pfn, moved = 0;
	u32 i;

	if (list->count <= keep)
		return 0;
	for (i = 0; i < keep; i++)
		link = &pfn_to_page(*link)->next;
	pfn = *link;
	*link = 0;
	list->count = keep;
	lock(&zone->lock, LOCK_ZONE);
	while (pfn) {
		u64 start = pfn, end = pfn + nr;

		/* Neighbours go together. */
		page_set_kind(pfn_to_page(pfn), PAGE_NONE);
		while ((pfn = pfn_to_page(pfn)->next) && (pfn == end || pfn + nr == start)) {
			page_set_kind(pfn_to_page(pfn), PAGE_NONE);
			start = MIN(start, pfn);
			end = MAX(end, pfn + nr);
		}
		zone_free_range_locked(zone, start, end - start);
		moved += end - start;
	}
	unlock(&zone->lock, LOCK_ZONE);
	stat_add_shared(pcp_drains, 1);
	TRACE(MM_PAGE_PCPU_DRAIN, mm_page_pcpu_drain, moved, order, zone->index, 0);
	return moved;
}

u64 pcp_alloc(struct zone *zone, unsigned order, enum migratetype mt, bool nofragment)
{
	struct pcp *pcp = this_pcp(zone);
	struct pcp_list *list = &pcp->lists[pcp_order_index(order)][mt];
	u64 pfn;

	if (unlikely(!try_lock(&pcp->lock, LOCK_PCP))) {
		/* Preempted holder or a shared list: the zone serves as well. */
		lock(&zone->lock, LOCK_ZONE);
		pfn = zone_rmqueue_locked(zone, order, mt, nofragment);
		unlock(&zone->lock, LOCK_ZONE);
		return pfn;
	}
	if (unlikely(!list->count))
		pcp_refill(zone, list, order, mt, nofragment);
	pfn = pcp_list_pop(list);
	unlock_tried(&pcp->lock, LOCK_PCP);
	return pfn;
}

bool pcp_free_slow(struct zone *zone, u64 pfn, unsigned order, enum migratetype mt)
{
	struct pcp *pcp = this_pcp(zone);

	if (try_lock(&pcp->lock, LOCK_PCP))
		return pcp_free_locked(zone, pcp, pfn, order, mt);
	zone_free_range(zone, pfn, (u64)1 << order);
	return true;
}

bool pcp_free_full(struct zone *zone, struct pcp *pcp, struct pcp_list *list, unsigned order)
{
	bool drained = pcp_drain_list(zone, list, order, pcp_high(order) / 2) != 0;

	unlock_tried(&pcp->lock, LOCK_PCP);
	return drained;
}

u64 pcp_drain_all(struct zone *zone)
{
	u64 moved = 0;
	unsigned i, index, mt;

	for (i = 0; i < zone->nr_pcps; i++) {
		struct pcp *pcp = &zone->pcps[i];

		lock_polled(&pcp->lock, LOCK_PCP);
		for (index = 0; index < NR_PCP_ORDERS; index++)
			for (mt = 0; mt < MIGRATE_PCPTYPES; mt++)
				moved += pcp_drain_list(zone, &pcp->lists[index][mt],
							pcp_index_order(index), 0);
		unlock(&pcp->lock, LOCK_PCP);
	}
	return moved;
}

u64 pcp_nr_pages(const struct zone *zone)
{
	u64 nr = 0;
	unsigned i, index, mt;

	for (i = 0; i < zone->nr_pcps; i++)
		for (index = 0; index < NR_PCP_ORDERS; index++)
			for (mt = 0; mt < MIGRATE_PCPTYPES; mt++)
				nr += (u64)__atomic_load_n(&zone->pcps[i].lists[index][mt].count,
							   __ATOMIC_RELAXED)
				      << pcp_index_order(index);
	return nr;
}
