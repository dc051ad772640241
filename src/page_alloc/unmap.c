/*
 * rank 4: whole pageblocks go back to the system, address space and all.
 *
 * In user space nothing can be moved under its owner, but what is free can
 * leave one place and come back in another: unmapped here, it makes room within
 * hard_limit, RLIMIT_AS and RLIMIT_DATA for another zone or for one long run.
 *
 * While a pageblock is on its way it belongs to nobody: its pages look
 * allocated, its type is MIGRATE_ISOLATE, and its state BLOCK_LEAVING, so that who holds the
 * zone's lock and looks at a neighbour does not take it for the zone's when it has become
 * another's. No lock is held over munmap. A child of fork that another thread made meanwhile does
 * without it.
 */
#include <errno.h>
#include <string.h>

#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

/* A run of free pageblocks, taken out of use. */
struct isolated {
	u64 pfn, nr; /* pages */
	u8 mt;
};

static bool isolate_free_blocks(struct zone *zone, struct isolated *out)
{
	bool found = false;
	unsigned o, mt;
	u64 at;

	lock(&zone->lock, LOCK_ZONE);
	for (o = MAX_ORDER + 1; o-- > PAGEBLOCK_ORDER && !found;)
		for (mt = 0; mt < MIGRATE_PCPTYPES && !found; mt++) {
			*out = (struct isolated){ zone->area[o].list[mt].first, (u64)1 << o,
						  (u8)mt };
			found = out->pfn && zone_take_range_locked(zone, out->pfn, out->nr);
		}
	if (found) {
		for (at = out->pfn; at < out->pfn + out->nr; at += PAGEBLOCK_PAGES) {
			struct pageblock *block = pfn_to_block(at);

			block->migratetype = MIGRATE_ISOLATE;
			__atomic_store_n(&block->state, BLOCK_LEAVING, __ATOMIC_RELEASE);
		}
		count_sub(&zone->managed, out->nr);
	}
	unlock(&zone->lock, LOCK_ZONE);
	return found;
}

/* Zeroes their struct pages, most of which were never touched: those stay so. */
static void clear_mem_map(u64 pfn, u64 nr)
{
	char *start = (char *)pfn_to_page(pfn), *end = (char *)pfn_to_page(pfn + nr);
	struct whole_pages whole = whole_pages_in(start, end);

	if (!give_back_whole(whole) || !os_give_back_clears()) {
		memset(start, 0, (size_t)(end - start));
		return;
	}
	memset(start, 0, (size_t)(whole.from - start));
	memset(whole.to, 0, (size_t)(end - whole.to));
}

static bool unmap_isolated(const struct isolated *run)
{
	/* Whoever maps here next expects the struct pages to be zero, like the pages. */
	pages_clear_dirty(run->pfn, run->nr);
	thp_forget_split(run->pfn, run->nr);
	clear_mem_map(run->pfn, run->nr);
	if (section_unmap(run->pfn, run->nr >> PAGEBLOCK_ORDER))
		return true;
	pages_keep(run->pfn, run->nr);
	section_adopt(run->pfn, run->nr >> PAGEBLOCK_ORDER);
	return false;
}

u64 zones_unmap_free(void)
{
	struct isolated run;
	u64 returned = 0;
	bool refused = false;
	unsigned i;

	in_flight_begin();
	for (i = 0; i < nr_zones; i++) {
		while (isolate_free_blocks(zone_table[i], &run)) {
			if (!unmap_isolated(&run)) {
				/* At the limit of mappings; the pages are given back at least. */
				zone_add_blocks(zone_table[i], run.pfn,
						run.nr >> PAGEBLOCK_ORDER, run.mt);
				refused = true;
				break;
			}
			returned += run.nr;
		}
	}
	in_flight_end(returned || refused);
	if (returned) {
		stat_add_shared(blocks_returned, returned >> PAGEBLOCK_ORDER);
		zones_set_reserves();
	}
	return returned;
}

void *alloc_record(size_t bytes)
{
	bool may_map = scope_may_map();
	int saved = errno;
	void *record = record_take(bytes, may_map);

	if (unlikely(!record && may_map && zones_unmap_free()))
		record = record_take(bytes, true);
	if (likely(record))
		errno = saved;
	return record;
}
