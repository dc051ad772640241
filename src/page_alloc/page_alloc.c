/*
 * rank 4: the heart: from a request to a block of pages. The shape is the
 * kernel's: prepare_alloc_pages states the request, get_page_from_freelist
 * tries the zonelist once, alloc_pages_slowpath does the rest,
 * prep_new_page hands the block over.
 */
#include "page_alloc/page_alloc.h"

#include <errno.h>

#include "base/report.h"
#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"

static struct zone zone_normal0;
static struct pgdat node0;

struct pgdat *nodes[MAX_NODES];
unsigned nr_nodes;
unsigned nr_zones;

bool page_alloc_init(void)
{
	zone_init(&zone_normal0, 0, ZONE_NORMAL, 0, os_nr_cpus());
	node0.zones[ZONE_NORMAL] = &zone_normal0;
	node0.zonelist[0] = &zone_normal0;
	nodes[0] = &node0;
	nr_nodes = 1;
	nr_zones = 1;
	return true;
}

static enum migratetype gfp_migratetype(bm_gfp_t gfp)
{
	if (gfp & BM_GFP_MOVABLE)
		return MIGRATE_MOVABLE;
	if (gfp & BM_GFP_RECLAIMABLE)
		return MIGRATE_RECLAIMABLE;
	return MIGRATE_UNMOVABLE;
}

static enum zone_type gfp_zone(bm_gfp_t gfp)
{
	if (gfp & BM_GFP_DMA)
		return ZONE_DMA;
	if (gfp & BM_GFP_DMA32)
		return ZONE_DMA32;
	return gfp & BM_GFP_HIGHMEM ? ZONE_HIGHMEM : ZONE_NORMAL;
}

static void prepare_alloc_pages(struct alloc_context *ac, int nid, bm_gfp_t gfp, u64 nr,
				unsigned align_order)
{
	ac->gfp = gfp;
	ac->nr = nr;
	ac->align_order = align_order;
	ac->order = MAX(order_for_pages(nr), align_order);
	ac->mt = gfp_migratetype(gfp);
	ac->pgdat = nodes[nid == NODE_NONE ? 0 : nid];
	ac->zonelist = ac->pgdat->zonelist;
	ac->highest_zone = gfp_zone(gfp);
}

bool zone_watermark_ok(struct zone *zone, const struct alloc_context *ac, unsigned alloc_flags)
{
	u64 mark, free;

	if (alloc_flags & ALLOC_NO_WATERMARKS)
		return true;
	mark = zone->watermark[alloc_flags & ALLOC_WMARK_MASK];
	if (!mark)
		return true;
	if (alloc_flags & ALLOC_HARDER)
		mark /= 2;
	free = __atomic_load_n(&zone->nr_free, __ATOMIC_RELAXED);
	return free >= ac->nr + mark + zone->lowmem_reserve[ac->highest_zone];
}

/*
 * From here on the tail that a buddy block leaves behind is worth a search for
 * a run that is just long enough.
 */
#define RUN_LEAST 16

/*
 * Takes the block from the zone. Sizes the pcp lists keep come from there; what
 * is smaller than a run is cut from the next order and the tail given back.
 */
static u64 rmqueue(struct zone *zone, const struct alloc_context *ac, unsigned alloc_flags)
{
	bool nofragment = alloc_flags & ALLOC_NOFRAGMENT;
	u64 pfn = 0;

	if (ac->nr == (u64)1 << ac->order && pcp_order_index(ac->order) >= 0)
		return pcp_alloc(zone, ac->order, ac->mt, nofragment);

	lock(&zone->lock, LOCK_ZONE);
	if (ac->nr >= RUN_LEAST) {
		/* Even numbers of pages at even places: what is freed fits again. */
		unsigned even = MIN((unsigned)__builtin_ctzll(ac->nr), (unsigned)PAGEBLOCK_ORDER);

		pfn = zone_rmqueue_run_locked(zone, ac->nr, MAX(ac->align_order, even), ac->mt);
	}
	if (!pfn && (ac->nr >= PAGEBLOCK_PAGES || ac->order > PAGEBLOCK_ORDER)) {
		pfn = zone_rmqueue_contig_locked(zone, ac->nr,
						 MAX(ac->align_order, (unsigned)PAGEBLOCK_ORDER),
						 ac->mt);
	} else if (!pfn) {
		pfn = zone_rmqueue_locked(zone, ac->order, ac->mt, nofragment);
		if (pfn && ac->nr < (u64)1 << ac->order)
			zone_free_range_locked(zone, pfn + ac->nr,
					       ((u64)1 << ac->order) - ac->nr);
	}
	unlock(&zone->lock, LOCK_ZONE);
	return pfn;
}

u64 get_page_from_freelist(const struct alloc_context *ac, unsigned alloc_flags)
{
	struct zone *const *z;

	for (z = ac->zonelist; *z; z++) {
		u64 pfn;

		if ((*z)->type > ac->highest_zone)
			continue;
		if (!zone_watermark_ok(*z, ac, alloc_flags))
			continue;
		pfn = rmqueue(*z, ac, alloc_flags);
		if (pfn)
			return pfn;
	}
	return 0;
}

static void prep_new_page(u64 pfn, const struct alloc_context *ac)
{
	struct page *page = pfn_to_page(pfn);

	if (ac->gfp & BM_GFP_ZERO)
		pages_clear(pfn, ac->nr);
	if (ac->nr >= PAGEBLOCK_PAGES / 2)
		page->private = pages_nr_dirty(pfn, ac->nr);
	pages_set_dirty(pfn, ac->nr);
	page->nr_pages = ac->nr;
	page_set_kind(page, PAGE_PAGES);
}

/* A block beyond what the buddy serves: mapped for this allocation alone. */
static u64 alloc_highmem(const struct alloc_context *ac)
{
	u64 blocks = round_up(ac->nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER;
	u64 align = ac->align_order > PAGEBLOCK_ORDER ?
			    (u64)1 << (ac->align_order - PAGEBLOCK_ORDER) : 1;
	struct page *page;
	u64 pfn;

	if (!limit_allows(ac->nr, ac->gfp)) {
		errno = ENOMEM;
		return 0;
	}
	pfn = section_map(blocks, align, BLOCK_HIGHMEM, 0);
	if (!pfn)
		return 0;
	pages_count_backed((long)ac->nr);
	page = pfn_to_page(pfn);
	page->nr_pages = ac->nr;
	page->private = blocks;
	page_set_kind(page, PAGE_HIGHMEM);
	stat_add_shared(highmem_mapped, 1);
	return pfn;
}

/* Blocks from here on cost so much that the look at the clock does not count. */
#define AGE_PAGES 16

static u64 alloc_pages_heart(const struct alloc_context *ac)
{
	u64 pfn;

	if (ac->nr > (u64)1 << MAX_ORDER && ac->gfp & BM_GFP_HIGHMEM) {
		pfn = alloc_highmem(ac);
		if (pfn)
			return pfn;
	}
	pfn = get_page_from_freelist(ac, ALLOC_WMARK_LOW | ALLOC_NOFRAGMENT);
	if (unlikely(!pfn))
		pfn = alloc_pages_slowpath(ac);
	if (unlikely(pfn && !limit_allows(ac->nr - pages_nr_dirty(pfn, ac->nr), ac->gfp))) {
		zone_free_range(pfn_zone(pfn), pfn, ac->nr);
		errno = ENOMEM;
		return 0;
	}
	if (likely(pfn))
		prep_new_page(pfn, ac);
	/* A program that only allocates now may have had a peak before. */
	if (ac->nr >= AGE_PAGES && ac->gfp & BM_GFP_KSWAPD_RECLAIM)
		reclaim_age();
	return pfn;
}

u64 alloc_pages_node(int nid, bm_gfp_t gfp, unsigned order)
{
	struct alloc_context ac;

	if (order > MAX_ORDER) {
		errno = EINVAL;
		return 0;
	}
	prepare_alloc_pages(&ac, nid, gfp, (u64)1 << order, order);
	return alloc_pages_heart(&ac);
}

u64 alloc_pages_exact(bm_gfp_t gfp, u64 nr, unsigned align_order)
{
	struct alloc_context ac;

	if (nr > window.limit >> PAGE_SHIFT || align_order > 2 * MAX_ORDER) {
		errno = ENOMEM;
		return 0;
	}
	prepare_alloc_pages(&ac, NODE_NONE, gfp, nr, align_order);
	return alloc_pages_heart(&ac);
}

static void free_highmem(u64 pfn, struct page *page)
{
	u64 blocks = page->private;

	pages_count_backed(-(long)page->nr_pages);
	/* The struct page must be zero again before the range can be reused. */
	page->nr_pages = 0;
	page->private = 0;
	page_set_kind(page, PAGE_NONE);
	section_unmap(pfn, blocks);
}

void free_pages(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	u64 nr = page->nr_pages;
	struct zone *zone;
	unsigned order;

	if (page->kind == PAGE_HIGHMEM) {
		free_highmem(pfn, page);
		return;
	}
	page_set_kind(page, PAGE_NONE);
	zone = pfn_zone(pfn);
	order = ilog2(nr);
	if (nr == (u64)1 << order && pcp_order_index(order) >= 0 &&
	    !(pfn & (nr - 1))) {
		if (!pcp_free(zone, pfn, order, pfn_to_block(pfn)->migratetype))
			return;
	} else {
		zone_free_range(zone, pfn, nr);
	}
	reclaim_age();
}

bool resize_pages(u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	u64 old = page->nr_pages, end, need;
	struct zone *zone;
	bool done, may_map;

	if (page->kind == PAGE_HIGHMEM) {
		if (round_up(nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER != page->private)
			return false;
		if (nr > old && !limit_allows(nr - old, BM_GFP_KERNEL))
			return false;
		pages_count_backed((long)(nr - old));
		page->nr_pages = nr;
		return true;
	}
	zone = pfn_zone(pfn);
	if (nr < old) {
		page->nr_pages = nr;
		zone_free_range(zone, pfn + nr, old - nr);
		reclaim_age();
		return true;
	}
	if (nr == old)
		return true;
	end = round_up(pfn + old, (u64)PAGEBLOCK_PAGES);
	need = round_up(pfn + nr, (u64)PAGEBLOCK_PAGES) - end;
	lock(&zone->lock, LOCK_ZONE);
	done = zone_take_range_locked(zone, pfn + old, nr - old);
	/* At the end of the heap, the heap itself can grow behind us. */
	may_map = !done && need && zone_range_is_free_locked(zone, pfn + old, end - pfn - old);
	unlock(&zone->lock, LOCK_ZONE);
	if (!done) {
		if (!may_map || !section_map_at(end, need >> PAGEBLOCK_ORDER, BLOCK_PRESENT,
						zone->index))
			return false;
		zone_add_blocks(zone, end, need >> PAGEBLOCK_ORDER, MIGRATE_MOVABLE);
		lock(&zone->lock, LOCK_ZONE);
		done = zone_take_range_locked(zone, pfn + old, nr - old);
		unlock(&zone->lock, LOCK_ZONE);
		if (!done)
			return false;
	}
	if (!limit_allows(nr - old - pages_nr_dirty(pfn + old, nr - old), BM_GFP_KERNEL)) {
		zone_free_range(zone, pfn + old, nr - old);
		return false;
	}
	pages_set_dirty(pfn + old, nr - old);
	page->nr_pages = nr;
	return true;
}

void pages_moved(u64 pfn, u64 nr)
{
	pages_clear_dirty(pfn, nr);
}

void page_alloc_totals(struct page_totals *t)
{
	unsigned i;

	*t = (struct page_totals){ 0 };
	for (i = 0; i < nr_zones; i++) {
		t->managed += __atomic_load_n(&zone_table[i]->managed, __ATOMIC_RELAXED);
		t->free += __atomic_load_n(&zone_table[i]->nr_free, __ATOMIC_RELAXED);
		t->dirty += __atomic_load_n(&zone_table[i]->nr_dirty, __ATOMIC_RELAXED);
		t->pcp += pcp_nr_pages(zone_table[i]);
	}
}

void page_alloc_lock_all(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		zone_lock_all(zone_table[i]);
	memmap_lock();
}

void page_alloc_unlock_all(void)
{
	unsigned i;

	memmap_unlock();
	for (i = nr_zones; i-- > 0;)
		zone_unlock_all(zone_table[i]);
}

void page_alloc_reinit_locks(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		zone_reinit_locks(zone_table[i]);
	reclaim_reinit();
	memmap_reinit_lock();
}
