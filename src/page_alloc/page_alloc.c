/*
 * rank 4: the heart: from a request to a block of pages. The shape is the
 * kernel's: prepare_alloc_pages states the request, get_page_from_freelist
 * tries the zonelist once, alloc_pages_slowpath does the rest,
 * prep_new_page hands the block over.
 */
#include "page_alloc/page_alloc.h"

#include <errno.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "base/trace.h"
#include "buddy/pcp.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

static enum migratetype gfp_migratetype(bm_gfp_t gfp)
{
	if (unlikely(!options.mobility))
		return MIGRATE_UNMOVABLE;
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

/* Whether the request may be served from the zone at all. */
static bool zone_allowed(const struct zone *zone, const struct alloc_context *ac)
{
	return zone->type <= ac->highest_zone && zone->type >= ac->lowest_zone &&
	       ac->nodemask >> zone->node & 1;
}

static inline struct zone *preferred_zone(const struct alloc_context *ac)
{
	struct zone *const *z = ac->zonelist;

	while (*z && !zone_allowed(*z, ac))
		z++;
	return *z;
}

/*
 * Memory that is no more than one pageblock is not grouped by mobility, as in the kernel: a small
 * program would touch the struct pages of two. What is larger takes most of one for itself.
 */
#define UNGROUPED_MOST 32

static void prepare_alloc_pages(struct alloc_context *ac, unsigned node, bm_gfp_t gfp, u64 nr,
				unsigned align_order, u64 nodemask)
{
	ac->gfp = gfp;
	ac->nr = nr;
	ac->roomy = false;
	ac->align_order = align_order;
	ac->order = MAX(order_for_pages(nr), align_order);
	ac->mt = gfp_migratetype(gfp);
	ac->zonelist = nodes[node]->zonelist;
	ac->highest_zone = gfp_zone(gfp);
	ac->lowest_zone = gfp & GFP_WINDOW ? ZONE_NORMAL : ZONE_DMA;
	ac->nodemask = gfp & BM_GFP_THISNODE ? nodemask & (u64)1 << node : nodemask;
	ac->preferred = preferred_zone(ac);
	if (nr <= UNGROUPED_MOST && ac->preferred && zone_managed(ac->preferred) <= PAGEBLOCK_PAGES)
		ac->mt = MIGRATE_UNMOVABLE;
}

bool zone_watermark_ok(struct zone *zone, const struct alloc_context *ac, unsigned alloc_flags)
{
	u64 mark;

	if (alloc_flags & ALLOC_NO_WATERMARKS)
		return true;
	mark = __atomic_load_n(&zone->watermark[alloc_flags & ALLOC_WMARK_MASK], __ATOMIC_RELAXED);
	if (alloc_flags & ALLOC_HIGH)
		mark -= mark / 2;
	if (alloc_flags & ALLOC_HARDER)
		mark -= mark / 2;
	mark += __atomic_load_n(&zone->lowmem_reserve[ac->highest_zone], __ATOMIC_RELAXED);
	/* Nothing is kept back: the lists themselves say whether there is a block. */
	return !mark || zone_nr_free(zone) >= ac->nr + mark;
}

/* Gives back what the block at pfn, just taken, has beyond the request. */
static u64 cut_tail(struct zone *zone, const struct alloc_context *ac, u64 pfn)
{
	u64 had = (u64)1 << ac->order;

	if (pfn && ac->nr < had)
		zone_free_range_locked(zone, pfn + ac->nr, had - ac->nr);
	return pfn;
}

/*
 * Takes the block from the zone. Sizes the pcp lists keep come from there; what
 * is smaller than a run is cut from the next order and the tail given back.
 */
static u64 rmqueue(struct zone *zone, const struct alloc_context *ac, unsigned alloc_flags)
{
	bool nofragment = alloc_flags & ALLOC_NOFRAGMENT;
	u64 pfn = 0;

	if (ac->nr == (u64)1 << ac->order && pcp_order_index(ac->order) >= 0 &&
	    likely(!(ac->gfp & BM_GFP_COLD)))
		return pcp_alloc(zone, ac->order, ac->mt, nofragment);

	lock(&zone->lock, LOCK_ZONE);
	if (ac->gfp & BM_GFP_COLD && ac->order <= MAX_ORDER)
		pfn = cut_tail(zone, ac, zone_rmqueue_cold_locked(zone, ac->order, ac->mt));
	else if (ac->roomy)
		pfn = zone_rmqueue_roomy_locked(zone, ac->nr, ac->align_order, ac->mt);
	/* The tail that a buddy block would leave behind is worth the search. */
	if (!pfn && ac->nr >= RUN_LEAST) {
		/* Even numbers of pages at even places: what is freed fits again. */
		unsigned even = MIN((unsigned)__builtin_ctzll(ac->nr), (unsigned)PAGEBLOCK_ORDER);

		pfn = zone_rmqueue_run_locked(zone, ac->nr, MAX(ac->align_order, even), ac->mt);
	}
	if (!pfn && (ac->nr >= PAGEBLOCK_PAGES || ac->order > PAGEBLOCK_ORDER)) {
		pfn = zone_rmqueue_contig_locked(zone, ac->nr,
						 MAX(ac->align_order, (unsigned)PAGEBLOCK_ORDER),
						 ac->mt);
	} else if (!pfn) {
		pfn = cut_tail(zone, ac, zone_rmqueue_locked(zone, ac->order, ac->mt, nofragment));
	}
	unlock(&zone->lock, LOCK_ZONE);
	return pfn;
}

u64 get_page_from_freelist(const struct alloc_context *ac, unsigned alloc_flags)
{
	struct zone *const *z;

	for (z = ac->zonelist; *z; z++) {
		u64 pfn;

		if (!zone_allowed(*z, ac))
			continue;
		if (alloc_flags & ALLOC_NOFRAGMENT && *z != ac->preferred)
			break;
		if (!zone_managed(*z))
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

	if (unlikely(__atomic_load_n(&page_detour, __ATOMIC_RELAXED)))
		pages_check_poison(pfn, ac->nr);
	page->private = pages_nr_dirty(pfn, ac->nr);
	/* What will be written at once is to be there. */
	if (ac->gfp & BM_GFP_ZERO)
		(ac->gfp & BM_GFP_WRITE ? pages_zero_dirty : pages_zero)(pfn, ac->nr);
	if (unlikely(ac->gfp & BM_GFP_WRITE) && scope_may_map() &&
	    pages_nr_dirty(pfn, ac->nr) < ac->nr)
		os_populate(pfn_to_addr(pfn), ac->nr << PAGE_SHIFT);
	pages_back(pfn, ac->nr);
	page->nr_pages = ac->nr;
	page->owner = 0;
	page_set_kind(page, PAGE_PAGES);
}

static u64 find_block(const struct alloc_context *ac)
{
	/* Neither to mix migratetypes nor to leave the preferred zone: as long as that one
	 * can grow, either would cost later and save nothing now. */
	u64 pfn = get_page_from_freelist(ac, ALLOC_WMARK_LOW | ALLOC_NOFRAGMENT);

	return likely(pfn) ? pfn : alloc_pages_slowpath(ac);
}

/* A block with room behind it: what it is to grow into is free again at once. */
static u64 take_with_room(const struct alloc_context *ac)
{
	struct alloc_context both = *ac;
	u64 pfn;

	both.roomy = true;
	both.nr += room_behind(ac->nr);
	both.order = order_for_pages(both.nr);
	pfn = find_block(&both);
	if (pfn)
		zone_free_range(pfn_zone(pfn), pfn + ac->nr, both.nr - ac->nr);
	return pfn;
}

/* A block off the free lists, within the limits; or 0. */
static u64 take_block(const struct alloc_context *ac)
{
	u64 pfn = unlikely(ac->gfp & GFP_ROOMY) ? take_with_room(ac) : 0;

	if (likely(!pfn))
		pfn = find_block(ac);
	if (unlikely(pfn && !limit_allows_pages(pfn, ac->nr, ac->gfp))) {
		zone_free_range(pfn_zone(pfn), pfn, ac->nr);
		return 0;
	}
	return pfn;
}

/*
 * Large blocks that are not warm are exchanged: as much of what else is free and warm goes. An
 * array that grows by copies asks for ever larger ones, which all that it freed before together
 * cannot serve: so those of 8 MiB and more that are by a quarter larger than any before. Of mixed
 * sizes what was freed will be of use again; but what blocks of 64 MiB leave seldom is, and it is
 * as much as the program itself: so all of these.
 */
#define EXCHANGE_LEAST (((u64)8 << 20) >> PAGE_SHIFT)
#define EXCHANGE_ALWAYS (((u64)64 << 20) >> PAGE_SHIFT)

static out_of_line void give_in_exchange(u64 pfn, const struct alloc_context *ac)
{
	static u64 largest; /* relaxed atomic */
	u64 before = __atomic_load_n(&largest, __ATOMIC_RELAXED), clean;

	/* What has grown, and was moved, is no copy. */
	if (ac->gfp & GFP_ROOMY || !gfp_may_reclaim(ac->gfp) ||
	    (ac->nr < EXCHANGE_ALWAYS && ac->nr < before + before / 4))
		return;
	clean = ac->nr - pages_nr_dirty(pfn, ac->nr);
	if (!clean)
		return;
	if (ac->nr > before)
		__atomic_store_n(&largest, ac->nr, __ATOMIC_RELAXED);
	reclaim_for_growth(clean);
}

/* How long who must not fail waits for others to free, growing. */
#define NOFAIL_FIRST_MS 1
#define NOFAIL_MOST_MS 100

/* Nothing could be had: who must not fail tries again, the others are told. */
static cold_path u64 alloc_failed(const struct alloc_context *ac)
{
	unsigned wait = NOFAIL_FIRST_MS;
	int saved = errno;
	u64 pfn = 0;

	if (!(ac->gfp & BM_GFP_NOFAIL)) {
		if (!(ac->gfp & BM_GFP_NOWARN))
			report_verbose("no memory for %lu pages", (unsigned long)ac->nr);
		errno = ENOMEM;
		return 0;
	}
	while (!pfn) {
		stat_add_shared(nofail_waits, 1);
		os_sleep_ms(wait);
		wait = MIN(wait * 2, (unsigned)NOFAIL_MOST_MS);
		pfn = take_block(ac);
	}
	errno = saved;
	return pfn;
}

/* More, with the room behind it, than the largest buddy block has, or aligned to more. */
static bool exceeds_buddy(const struct alloc_context *ac)
{
	u64 nr = ac->nr + (ac->gfp & GFP_ROOMY ? room_behind(ac->nr) : 0);

	return nr > (u64)1 << MAX_ORDER || ac->align_order > MAX_ORDER;
}

/* Blocks from here on cost so much that the look at the clock does not count. */
#define AGE_PAGES 16

static out_of_line u64 alloc_pages_full(unsigned node, bm_gfp_t gfp, u64 nr, unsigned align_order,
				       u64 nodemask)
{
	struct alloc_context request, *ac = &request;
	u64 pfn;

	prepare_alloc_pages(ac, node, gfp, nr, align_order, nodemask);
	if (unlikely(!ac->preferred)) {
		/* No node that may serve has a zone of the kind. */
		errno = ENOMEM;
		return 0;
	}
	if (gfp & BM_GFP_HIGHMEM && exceeds_buddy(ac) && scope_may_map()) {
		pfn = highmem_alloc(ac);
		if (pfn)
			return pfn;
	}
	/* Zones know pfns, which are aligned as addresses are up to the largest order. */
	if (unlikely(align_order > MAX_ORDER)) {
		errno = ENOMEM;
		return 0;
	}
	pfn = take_block(ac);
	if (unlikely(!pfn))
		pfn = alloc_failed(ac);
	if (likely(pfn)) {
		if (unlikely(ac->nr >= EXCHANGE_LEAST))
			give_in_exchange(pfn, ac);
		prep_new_page(pfn, ac);
		TRACE(MM_PAGE_ALLOC, mm_page_alloc, pfn, nr, ac->gfp, page_node(pfn));
		drop_pages_taken(ac->nr);
	}
	/* A program that only allocates now may have had a peak before. */
	if (ac->nr >= AGE_PAGES && (ac->gfp & BM_GFP_RECLAIM) == BM_GFP_RECLAIM)
		reclaim_age();
	return pfn;
}

/* Pages whose dirty bits lie in one word. */
#define ORDER_OF_A_WORD 6

/* True when all of these pages, naturally aligned and of that order at most, are dirty already. */
static inline bool all_dirty(u64 pfn, u64 nr)
{
	u64 word = bitmap_word(pfn_to_block(pfn)->dirty, pfn % PAGEBLOCK_PAGES / 64);

	return !(~(word >> pfn % 64) & (~(u64)0 >> (64 - nr)));
}

/* What is left of prep_new_page for pages that make no detour. */
static inline u64 hand_over(u64 pfn, unsigned node, bm_gfp_t gfp, u64 nr, u64 nr_warm)
{
	struct page *page = pfn_to_page(pfn);

	page->private = nr_warm;
	page->nr_pages = nr;
	page->owner = 0;
	page_set_kind(page, PAGE_PAGES);
	PROBE(mm_page_alloc, pfn, nr, gfp, node);
	(void)gfp;
	(void)node;
	return pfn;
}

/* Its pages are not warm after all: a limit may say no. */
static out_of_line u64 finish_clean(u64 pfn, unsigned node, bm_gfp_t gfp, u64 nr, u64 nodemask)
{
	u64 nr_warm;

	if (!limit_allows_pages(pfn, nr, gfp)) {
		zone_free_range(pfn_zone(pfn), pfn, nr);
		return alloc_pages_full(node, gfp, nr, ilog2(nr), nodemask);
	}
	nr_warm = pages_nr_dirty(pfn, nr);
	pages_back(pfn, nr);
	return hand_over(pfn, node, gfp, nr, nr_warm);
}

/*
 * The common case, ahead of everything: a small block of the Normal zone that
 * lies warm in the running CPU's list. All other ways are tail calls, so that this
 * one has nothing to save.
 */
static inline u64 alloc_on_node(unsigned node, bm_gfp_t gfp, u64 nr, unsigned order, u64 nodemask)
{
	const bm_gfp_t uncommon = BM_GFP_DMA | BM_GFP_DMA32 | BM_GFP_COLD | BM_GFP_WRITE |
				  BM_GFP_ZERO;
	u64 pfn;

	if (unlikely(gfp & uncommon || __atomic_load_n(&page_detour, __ATOMIC_RELAXED) ||
		     order > ORDER_OF_A_WORD || nr != (u64)1 << order || !(nodemask >> node & 1)))
		return alloc_pages_full(node, gfp, nr, order, nodemask);
	pfn = pcp_take(nodes[node]->zones[ZONE_NORMAL], order, gfp_migratetype(gfp));
	if (unlikely(!pfn))
		return alloc_pages_full(node, gfp, nr, order, nodemask);
	if (unlikely(!all_dirty(pfn, nr)))
		return finish_clean(pfn, node, gfp, nr, nodemask);
	return hand_over(pfn, node, gfp, nr, nr);
}

/*
 * A node is to be chosen, or was named, or the thread has bound itself: its
 * scope's constraints come on top of the request's.
 */
static out_of_line u64 alloc_pages_bound(int nid, bm_gfp_t gfp, u64 nr, unsigned align_order,
					 u64 nodemask)
{
	unsigned node = nid == NODE_NONE ? choose_node() : (unsigned)nid;

	if (likely(!(this_scope.flags | this_scope.node)))
		return alloc_on_node(node, gfp, nr, align_order, nodemask);
	gfp = scope_gfp(gfp);
	if (this_scope.node) {
		node = this_scope.node - 1u;
		gfp |= BM_GFP_THISNODE;
	}
	return alloc_pages_full(node, gfp, nr, align_order, nodemask);
}

u64 alloc_pages_nodemask(int nid, bm_gfp_t gfp, u64 nr, unsigned align_order, u64 nodemask)
{
	if (unlikely(nr_nodes > 1 || nid != NODE_NONE || this_scope.flags | this_scope.node))
		return alloc_pages_bound(nid, gfp, nr, align_order, nodemask);
	return alloc_on_node(first_node, gfp, nr, align_order, nodemask);
}
