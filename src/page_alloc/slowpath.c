/*
 * rank 4: what is tried when the first walk over the zonelist found nothing.
 *
 * In user space a zone can grow, and growing costs address space only until
 * the pages are touched. So the order of means differs from the kernel's: age,
 * reuse warm memory of another migratetype when there is plenty, grow the
 * zone, and only when the system refuses drain, shrink and purge.
 */
#include <errno.h>

#include "base/stats.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

/*
 * A zone grows by an eighth of itself, so that the number of system calls
 * stays logarithmic; at most 64 MiB at once, because mlockall(MCL_FUTURE)
 * populates what is mapped.
 */
#define GROW_FRACTION 8
#define GROW_MOST (((u64)64 << 20) >> PAGE_SHIFT >> PAGEBLOCK_ORDER)

/*
 * Mixing two migratetypes in a pageblock costs later, growing costs fresh
 * page faults now. Mix when this share of the zone is free and warm.
 */
#define MIX_FRACTION 8

static bool has_plenty_warm(const struct zone *zone)
{
	return zone_nr_dirty(zone) > zone_managed(zone) / MIX_FRACTION;
}

/* Pageblocks at the end of the heap that are free, as far as a request for `need` can use them. */
static u64 free_tail(struct zone *zone, u64 end, u64 need)
{
	u64 nr;

	lock(&zone->lock, LOCK_ZONE);
	nr = zone_free_blocks_below_locked(zone, end, need - 1);
	unlock(&zone->lock, LOCK_ZONE);
	return nr;
}

/* Of how many a request must be, in pageblocks: smaller blocks fit in elsewhere later. */
#define TAIL_LEAST 4

/*
 * A large block that is a little larger than the one before takes that one's pages, if they
 * are the heap's last, and what is missing is mapped behind them.
 */
static bool grow_behind_tail(const struct alloc_context *ac, u64 need, u64 share)
{
	u64 end = __atomic_load_n(&window.span, __ATOMIC_ACQUIRE) >> PAGE_SHIFT, tail;
	struct zone *zone = ac->preferred;

	if (zone->type != ZONE_NORMAL || need < TAIL_LEAST || need <= share ||
	    align_blocks(ac) > 1)
		return false;
	tail = free_tail(zone, end, need);
	return tail && zone_grow_at(zone, end, MAX(need - tail, share), ac->mt);
}

/* Maps a section for the request; false when the system or a limit refuses. */
static bool try_grow(const struct alloc_context *ac)
{
	struct zone *zone = ac->preferred;
	u64 managed = zone_managed(zone) >> PAGEBLOCK_ORDER;
	u64 need = blocks_for(ac->nr), align = align_blocks(ac);
	u64 pfn, share, want;

	/* Locked memory is dear: no more of it than needed. */
	share = zone->type == ZONE_DMA ? 0 : MIN(managed / GROW_FRACTION, GROW_MOST);
	if (grow_behind_tail(ac, need, share))
		return true;
	want = MAX(need, share);
	pfn = zone_map(zone, want, align);
	if (!pfn && want > need) {
		want = need;
		pfn = zone_map(zone, want, align);
	}
	if (!pfn)
		return false;
	zone_add_blocks(zone, pfn, want, ac->mt);
	return true;
}

/* Requests up to here are served by what another thread grew by for itself, as a rule. */
#define SHARE_MOST (PAGEBLOCK_PAGES / 2)

/*
 * True when the zone has grown, so that another look is worth while. Of many threads that
 * found nothing together one grows it, by an eighth; those that waited for that look first,
 * and such a wait is none of their tries.
 */
static bool grow_zone(const struct alloc_context *ac, unsigned *tries)
{
	struct zone *zone = ac->preferred;
	u64 before = zone_managed(zone);
	bool grown;

	lock(&zone->grow_lock, LOCK_GROW);
	if (ac->nr <= SHARE_MOST && zone_managed(zone) > before) {
		unlock(&zone->grow_lock, LOCK_GROW);
		return true;
	}
	++*tries;
	in_flight_begin();
	grown = try_grow(ac);
	if (unlikely(grown == zone->refused))
		__atomic_store_n(&zone->refused, !grown, __ATOMIC_RELAXED);
	in_flight_end(grown);
	unlock(&zone->grow_lock, LOCK_GROW);
	if (grown)
		zones_set_reserves();
	return grown;
}

/* A request grows the zone so often: other threads may take what it mapped. */
#define GROW_TRIES 4

/* A block of newly mapped pages: without watermarks, as what was kept back before stays so. */
static u64 grow_and_take(const struct alloc_context *ac)
{
	unsigned tries = 0;
	u64 pfn = 0;

	/* What will be refused in any case needs no room, which would stay mapped. */
	if (!scope_may_map() || ac->nr > limit_most())
		return 0;
	while (!pfn && tries < GROW_TRIES && grow_zone(ac, &tries))
		pfn = get_page_from_freelist(ac, ALLOC_NO_WATERMARKS | ALLOC_NOFRAGMENT);
	return pfn;
}

/* What of the watermarks a request may ignore. */
static unsigned gfp_to_alloc_flags(bm_gfp_t gfp)
{
	unsigned flags = ALLOC_WMARK_MIN;

	if (gfp & BM_GFP_NOMEMALLOC)
		return flags;
	if (gfp & BM_GFP_MEMALLOC)
		return flags | ALLOC_NO_WATERMARKS;
	if (gfp & BM_GFP_HIGH)
		flags |= ALLOC_HIGH;
	if (gfp_is_urgent(gfp))
		flags |= ALLOC_HARDER;
	return flags;
}

/*
 * Makes room and tries once more: caches above, per-CPU lists, the backing of
 * free pages where a limit counts that, and at last whole pageblocks of zones
 * that this request cannot use, or not in one piece.
 */
static u64 direct_reclaim(const struct alloc_context *ac, unsigned alloc_flags)
{
	u32 seen = in_flight_arrivals();
	u64 pfn;
	int tries;

	stat_add_shared(direct_reclaims, 1);
	reclaim_trim(0);
	pfn = get_page_from_freelist(ac, alloc_flags);
	if (!pfn)
		pfn = grow_and_take(ac);
	/* What is free, or what could be mapped, may be in the hands of others. */
	for (tries = 0; !pfn && tries < VAIN_TRIES && in_flight_wait(seen); tries++) {
		seen = in_flight_arrivals();
		pfn = get_page_from_freelist(ac, alloc_flags);
		if (!pfn)
			pfn = grow_and_take(ac);
	}
	/* Here too another thread may take what we made room for. */
	for (tries = 0; !pfn && tries < GROW_TRIES && zones_unmap_free(); tries++)
		pfn = grow_and_take(ac);
	return pfn;
}

/* Pages of a block that is no large one: malloc's objects end there. */
#define SMALL_PAGES_MOST (((u64)1 << 20) >> PAGE_SHIFT)

/*
 * Before the heap grows for a large block: a few objects that nobody uses, kept for later, may lie
 * in the midst of what is free. Not where hardly anything is warm.
 */
static u64 take_what_was_pinned(const struct alloc_context *ac, unsigned alloc_flags)
{
	if (ac->mt != MIGRATE_MOVABLE || ac->nr <= SMALL_PAGES_MOST ||
	    reclaim_nr_dirty() < ac->nr / 4)
		return 0;
	shrink_cheaply();
	return get_page_from_freelist(ac, alloc_flags | ALLOC_NOFRAGMENT);
}

static u64 try_everything(const struct alloc_context *ac)
{
	unsigned alloc_flags = gfp_to_alloc_flags(ac->gfp);
	bool may_reclaim = gfp_may_reclaim(ac->gfp);
	u64 pfn;

	if (ac->gfp & BM_GFP_KSWAPD_RECLAIM) {
		if (may_reclaim)
			reclaim_age();
		else
			reclaim_wake();
	}
	/* What others have warm; and for who is urgent the reserve too, before any system call. */
	if (gfp_is_urgent(ac->gfp) || has_plenty_warm(ac->preferred)) {
		pfn = get_page_from_freelist(ac, alloc_flags);
		if (pfn)
			return pfn;
	}
	pfn = may_reclaim ? take_what_was_pinned(ac, alloc_flags) : 0;
	if (!pfn)
		pfn = grow_and_take(ac);
	if (!pfn)
		pfn = get_page_from_freelist(ac, alloc_flags);
	/* Not for room that may be used some day. */
	if (!pfn && may_reclaim && !ac->roomy)
		pfn = direct_reclaim(ac, alloc_flags);
	return pfn;
}

u64 alloc_pages_slowpath(const struct alloc_context *ac)
{
	int saved = errno;
	u64 pfn;

	stat_add_shared(slowpaths, 1);
	/* No block that is refused in any case is worth what others have warm. */
	pfn = ac->nr > limit_most() ? 0 : try_everything(ac);
	errno = saved;
	return pfn;
}
