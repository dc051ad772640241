/*
 * rank 4: what is tried when the first walk over the zonelist found nothing.
 *
 * In user space a zone can grow, and growing costs address space only until
 * the pages are touched. So the order of means differs from the kernel's: age,
 * reuse warm memory of another migratetype when there is plenty, grow the
 * zone, and only when the system refuses drain, shrink and purge.
 */
#include <errno.h>

#include "base/report.h"
#include "base/stats.h"
#include "page_alloc/internal.h"

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
#define MIX_FRACTION 4

/* Times to wait for other threads that purge: there may be several, one after the other. */
#define PURGE_TRIES 100

static bool has_plenty_warm(struct zone *const *zonelist)
{
	u64 dirty = 0, managed = 0;

	for (; *zonelist; zonelist++) {
		dirty += __atomic_load_n(&(*zonelist)->nr_dirty, __ATOMIC_RELAXED);
		managed += __atomic_load_n(&(*zonelist)->managed, __ATOMIC_RELAXED);
	}
	return dirty > managed / MIX_FRACTION;
}

/* Maps a section for the request; false when the system or a limit refuses. */
static bool grow_zone(const struct alloc_context *ac)
{
	struct zone *zone = ac->pgdat->zones[ZONE_NORMAL];
	u64 managed = __atomic_load_n(&zone->managed, __ATOMIC_RELAXED) >> PAGEBLOCK_ORDER;
	unsigned align_order = MAX(ac->align_order, (unsigned)PAGEBLOCK_ORDER);
	u64 align = (u64)1 << (align_order - PAGEBLOCK_ORDER);
	u64 need = round_up(ac->nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER;
	u64 want = MAX(need, MIN(managed / GROW_FRACTION, GROW_MOST));
	u64 pfn;

	/* Only this zone grows; a request that may not use it gains nothing. */
	if (ac->highest_zone < ZONE_NORMAL)
		return false;
	pfn = section_map(want, align, BLOCK_PRESENT, zone->index);
	if (!pfn && want > need) {
		want = need;
		pfn = section_map(want, align, BLOCK_PRESENT, zone->index);
	}
	if (!pfn)
		return false;
	zone_add_blocks(zone, pfn, want, ac->mt);
	return true;
}

u64 alloc_pages_slowpath(const struct alloc_context *ac)
{
	unsigned alloc_flags = ac->gfp & BM_GFP_HIGH ? ALLOC_WMARK_MIN | ALLOC_HARDER :
						       ALLOC_WMARK_MIN;
	int saved = errno;
	u64 pfn;

	stat_add_shared(slowpaths, 1);
	if (ac->gfp & BM_GFP_KSWAPD_RECLAIM)
		reclaim_age();
	if (has_plenty_warm(ac->zonelist)) {
		pfn = get_page_from_freelist(ac, alloc_flags);
		if (pfn)
			return pfn;
	}
	/* Another thread may take what we mapped, so more than one round. */
	for (int tries = 0; tries < 4 && grow_zone(ac); tries++) {
		pfn = get_page_from_freelist(ac, alloc_flags | ALLOC_NOFRAGMENT);
		if (pfn) {
			errno = saved;
			return pfn;
		}
	}
	pfn = get_page_from_freelist(ac, alloc_flags);
	if (!pfn && ac->gfp & BM_GFP_DIRECT_RECLAIM) {
		u64 freed = shrink_all();

		/* Purging makes room where a limit counts what is backed. */
		shrinkers_give(true);
		reclaim_purge(UINT64_MAX);
		if (freed || !(ac->gfp & BM_GFP_NORETRY))
			pfn = get_page_from_freelist(ac, alloc_flags);
		if (!pfn && grow_zone(ac))
			pfn = get_page_from_freelist(ac, alloc_flags);
		/* What is free may be in the hands of others who purge it. */
		for (int tries = 0; !pfn && tries < PURGE_TRIES && reclaim_wait(); tries++)
			pfn = get_page_from_freelist(ac, alloc_flags);
	}
	if (pfn) {
		errno = saved;
		return pfn;
	}
	if (!(ac->gfp & BM_GFP_NOWARN))
		report_verbose("no memory for %lu pages", (unsigned long)ac->nr);
	errno = ENOMEM;
	return 0;
}
