/*
 * rank 4: nodes and zones: which there are, in which order they are tried, how
 * they grow, and how much of each is kept back.
 *
 * Every NUMA node has a pgdat with a Normal zone in the window. Addresses below
 * 4 GiB are few, so the DMA32 zone, and the DMA zone of locked pages, exist once,
 * with the first node. All zones begin empty and grow when a request prefers
 * them; a request that merely falls back to a zone does not grow it.
 *
 * A zonelist has the Normal zones by distance from its node, then DMA32, then
 * DMA: the small zones come last, and lowmem_reserve keeps part of them from
 * requests that could have been served above.
 *
 * State: nodes, nr_nodes and zone lists are written at start only. Watermarks and
 * reserves are relaxed atomics, renewed after growth by whoever grew.
 */
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "buddy/pcp.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

/* A zone below keeps this fraction of the memory above it from requests for that. */
#define LOWMEM_RATIO 32

/* The reserve is at most this fraction of a zone, so that a young one is of use. */
#define RESERVE_FRACTION 32

static struct zone normal_zone BULKY, dma32_zone BULKY, dma_zone BULKY;
static struct pgdat first_pgdat;

struct pgdat *nodes[MAX_NODES];
unsigned nr_nodes, first_node, nr_zones;
static unsigned next_node; /* relaxed atomic */

/* Appends the Normal zones in the order of their distance from nid; the end. */
static struct zone **append_by_distance(struct zone **to, unsigned nid, u64 mask)
{
	unsigned distance[OS_NODES], n;

	static_assert(MAX_NODES <= OS_NODES, "each has a distance");
	if (nr_nodes > 1)
		os_node_distances(nid, distance);
	while (mask) {
		unsigned best = (unsigned)__builtin_ctzll(mask);

		for (n = best + 1; n < MAX_NODES; n++)
			/* Equal distances: onward from nid, so that not all fall on one. */
			if (mask >> n & 1 &&
			    (distance[n] < distance[best] ||
			     (distance[n] == distance[best] &&
			      (n - nid) % MAX_NODES < (best - nid) % MAX_NODES)))
				best = n;
		*to++ = nodes[best]->zones[ZONE_NORMAL];
		mask &= ~((u64)1 << best);
	}
	return to;
}

static void build_zonelist(unsigned nid)
{
	struct zone **to = nodes[nid]->zonelist;
	u64 mask = 0;
	unsigned n;

	for (n = 0; n < MAX_NODES; n++)
		if (nodes[n])
			mask |= (u64)1 << n;
	to = append_by_distance(to, nid, mask);
	*to++ = &dma32_zone;
	*to++ = &dma_zone;
	*to = NULL;
}

static bool add_node(unsigned nid, unsigned nr_cpus)
{
	struct {
		struct pgdat pgdat;
		struct zone zone;
	} *node = record_take(sizeof(*node), true);

	if (!node) {
		report_verbose("no memory for node %u: it and those above are not used", nid);
		return false;
	}
	zone_init(&node->zone, (u8)nr_zones++, ZONE_NORMAL, (u8)nid, nr_cpus);
	node->pgdat.zones[ZONE_NORMAL] = &node->zone;
	nodes[nid] = &node->pgdat;
	return true;
}

void page_alloc_init(void)
{
	unsigned nr_cpus = os_nr_cpus(), n;
	u64 mask = os_node_mask();

	first_node = (unsigned)__builtin_ctzll(mask);
	zone_init(&normal_zone, 0, ZONE_NORMAL, (u8)first_node, nr_cpus);
	zone_init(&dma32_zone, 1, ZONE_DMA32, (u8)first_node, nr_cpus);
	zone_init(&dma_zone, 2, ZONE_DMA, (u8)first_node, nr_cpus);
	nr_zones = 3;
	first_pgdat.zones[ZONE_NORMAL] = &normal_zone;
	first_pgdat.zones[ZONE_DMA32] = &dma32_zone;
	first_pgdat.zones[ZONE_DMA] = &dma_zone;
	nodes[first_node] = &first_pgdat;
	for (n = first_node + 1; n < MAX_NODES; n++)
		if (mask >> n & 1 && !add_node(n, nr_cpus))
			break;
	for (n = 0, nr_nodes = 0; n < MAX_NODES; n++)
		nr_nodes += nodes[n] != NULL;
	for (n = first_node; n < MAX_NODES; n++)
		if (nodes[n])
			build_zonelist(n);
}

void nodes_check_option(void)
{
	u64 mask = 0;
	unsigned n;

	if (options.numa_node < 0 || nodes[options.numa_node])
		return;
	for (n = 0; n < MAX_NODES; n++)
		mask |= (u64)(nodes[n] != NULL) << n;
	report("numa_node: this process has no node %ld, its nodes are the bits of %#lx; "
	       "memory comes from that of the running CPU",
	       (long)options.numa_node, (unsigned long)mask);
}

unsigned choose_node_slow(void)
{
	unsigned n;

	if (options.numa_node >= 0 && nodes[options.numa_node])
		return (unsigned)options.numa_node;
	if (options.numa_interleave) {
		n = __atomic_fetch_add(&next_node, 1, __ATOMIC_RELAXED) % MAX_NODES;
		while (!nodes[n])
			n = (n + 1) % MAX_NODES;
		__atomic_store_n(&next_node, n + 1, __ATOMIC_RELAXED);
		return n;
	}
	n = os_node();
	return n < MAX_NODES && nodes[n] ? n : first_node;
}

/* Pages of all zones whose type is above `least` and at most `most`. */
static u64 managed_between(unsigned least, unsigned most)
{
	u64 nr = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_table[i]->type > least && zone_table[i]->type <= most)
			nr += zone_managed(zone_table[i]);
	return nr;
}

void zones_set_reserves(void)
{
	unsigned i, type;

	for (i = 0; i < nr_zones; i++) {
		struct zone *zone = zone_table[i];
		u64 least = MIN(options.min_free >> PAGE_SHIFT,
				zone_managed(zone) / RESERVE_FRACTION);

		__atomic_store_n(&zone->watermark[WMARK_MIN], least, __ATOMIC_RELAXED);
		__atomic_store_n(&zone->watermark[WMARK_LOW], least + least / 4, __ATOMIC_RELAXED);
		for (type = zone->type + 1u; type < NR_ZONES && zone->type < ZONE_NORMAL; type++)
			__atomic_store_n(&zone->lowmem_reserve[type],
					 managed_between(zone->type, type) / LOWMEM_RATIO,
					 __ATOMIC_RELAXED);
	}
}

u64 zone_map(struct zone *zone, u64 nr_blocks, u64 align)
{
	size_t bytes = blocks_bytes(nr_blocks);
	u64 pfn;

	if (zone->type == ZONE_NORMAL) {
		pfn = section_map(nr_blocks, align, BLOCK_PRESENT, zone->index);
		if (pfn)
			zone_advise(zone, pfn, nr_blocks);
		return pfn;
	}
	pfn = section_map_low(nr_blocks, align, zone->index);
	if (pfn && zone->type == ZONE_DMA && !os_lock_pages(pfn_to_addr(pfn), bytes)) {
		report_verbose("%lu bytes could not be locked in memory", (unsigned long)bytes);
		section_unmap(pfn, nr_blocks);
		return 0;
	}
	if (pfn)
		zone_advise(zone, pfn, nr_blocks);
	return pfn;
}

void pages_bind(u64 pfn, u64 nr)
{
	if (unlikely(nr_nodes > 1))
		os_prefer_node(pfn_to_addr(pfn), (size_t)nr << PAGE_SHIFT, pfn_zone(pfn)->node);
}

void zone_advise(const struct zone *zone, u64 pfn, u64 nr_blocks)
{
	/* First, as thp_choose may touch it. */
	pages_bind(pfn, nr_blocks << PAGEBLOCK_ORDER);
	thp_choose(zone, pfn, nr_blocks);
}

bool zone_grow_at(struct zone *zone, u64 pfn, u64 nr_blocks, enum migratetype mt)
{
	if (!section_map_at(pfn, nr_blocks, BLOCK_PRESENT, zone->index))
		return false;
	zone_advise(zone, pfn, nr_blocks);
	zone_add_blocks(zone, pfn, nr_blocks, mt);
	return true;
}

/* Blocks of the pageblock that were somebody's are paid for no more. */
static void disown_lost(u64 pfn)
{
	u64 end = pfn + PAGEBLOCK_PAGES;

	for (; pfn < end; pfn++)
		if (page_kind(pfn_to_page(pfn)) == PAGE_PAGES)
			page_disown(pfn_to_page(pfn), pfn_to_page(pfn)->nr_pages);
}

/* The parent's locked pages are not here: no page of the zone is. */
void page_alloc_after_fork(void)
{
	bool any = false;
	u64 pfn;

	purge_after_fork();
	/* By what pageblocks say: the zone does not count one that a thread was about to hand to it. */
	for (pfn = window.low; pfn < window.low + LOW_PAGES && pfn_has_block(pfn);
	     pfn += PAGEBLOCK_PAGES)
		if (block_is_of(pfn_to_block(pfn), dma_zone.index)) {
			disown_lost(pfn);
			pages_clear_dirty(pfn, PAGEBLOCK_PAGES);
			section_forget(pfn, 1);
			any = true;
		}
	if (!any)
		return;
	memset(&dma_zone, 0, sizeof(dma_zone));
	zone_init(&dma_zone, 2, ZONE_DMA, (u8)first_node, os_nr_cpus());
	zones_set_reserves();
}

unsigned page_node(u64 pfn)
{
	return pfn_zone(pfn)->node;
}

bool node_exists(unsigned nid)
{
	return nid < MAX_NODES && nodes[nid];
}

void page_alloc_totals(struct page_totals *t)
{
	unsigned i;

	*t = (struct page_totals){ 0 };
	for (i = 0; i < nr_zones; i++) {
		t->managed += zone_managed(zone_table[i]);
		t->free += zone_nr_free(zone_table[i]);
		t->dirty += zone_nr_dirty(zone_table[i]);
		t->pcp += pcp_nr_pages(zone_table[i]);
	}
}

void page_alloc_lock_all(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		zone_lock_all(zone_table[i]);
	memmap_lock_all();
}

void page_alloc_unlock_all(void)
{
	unsigned i;

	memmap_unlock_all();
	for (i = nr_zones; i-- > 0;)
		zone_unlock_all(zone_table[i]);
}

void page_alloc_reinit_locks(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		zone_reinit_locks(zone_table[i]);
	reclaim_reinit();
	thp_gain_reinit();
	in_flight_reinit();
	limit_reinit();
	memmap_reinit_lock();
}
