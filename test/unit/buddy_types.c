/* Migratetypes: which pageblocks a request may take from, and what changes type. */
#include "buddy_model.h"

#include <stdio.h>
#include <string.h>

static struct zone zone;
static uint64_t seed;

static u64 start(u64 nr_blocks, enum migratetype mt)
{
	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, 1);
	return model_section(&zone, nr_blocks, 16, mt);
}

static unsigned type_of(u64 pfn)
{
	return pfn_to_block(pfn)->migratetype;
}

static u64 take(unsigned order, enum migratetype mt, bool nofragment)
{
	u64 pfn = zone_rmqueue_locked(&zone, order, mt, nofragment);

	zone_check_locked(&zone);
	return pfn;
}

static void fallback_takes_a_whole_pageblock(void)
{
	u64 first = start(4, MIGRATE_MOVABLE);
	u64 slab = take(0, MIGRATE_UNMOVABLE, true);
	u64 large = take(0, MIGRATE_MOVABLE, true);

	assert_int_not_equal(slab, 0);
	assert_int_not_equal(large, 0);
	assert_true(slab >= first && large >= first);
	assert_int_not_equal(slab >> PAGEBLOCK_ORDER, large >> PAGEBLOCK_ORDER);
	assert_int_equal(type_of(slab), MIGRATE_UNMOVABLE);
	assert_int_equal(type_of(large), MIGRATE_MOVABLE);
	/* The rest of the pageblock is for the same type. */
	assert_int_equal(take(0, MIGRATE_UNMOVABLE, true) >> PAGEBLOCK_ORDER,
			 slab >> PAGEBLOCK_ORDER);
}

/* Of those that are warm, whichever was freed last. */
static void fallback_takes_the_lowest_pageblock(void)
{
	u64 first = start(6, MIGRATE_MOVABLE), block;

	assert_true(zone_take_range_locked(&zone, first, 6 * PAGEBLOCK_PAGES));
	pages_set_dirty(first + PAGEBLOCK_PAGES, 5 * PAGEBLOCK_PAGES);
	for (block = 0; block < 6; block += 2)
		zone_free_range_locked(&zone, first + block * PAGEBLOCK_PAGES, PAGEBLOCK_PAGES);
	assert_int_equal(take(0, MIGRATE_UNMOVABLE, true), first + 2 * PAGEBLOCK_PAGES);
}

static void nofragment_refuses_to_mix(void)
{
	u64 half, other;

	start(1, MIGRATE_MOVABLE);
	half = take(PAGEBLOCK_ORDER - 1, MIGRATE_MOVABLE, true);
	assert_int_not_equal(half, 0);
	assert_int_equal(take(0, MIGRATE_UNMOVABLE, true), 0);
	assert_int_equal(take(0, MIGRATE_RECLAIMABLE, true), 0);
	/* Half is free: who may mix gets the rest of the pageblock with it. */
	other = take(0, MIGRATE_RECLAIMABLE, false);
	assert_int_not_equal(other, 0);
	assert_int_equal(type_of(other), MIGRATE_RECLAIMABLE);
	assert_int_equal(take(0, MIGRATE_MOVABLE, true), 0);
	assert_int_not_equal(take(0, MIGRATE_RECLAIMABLE, true), 0);
}

static void less_than_half_is_not_stolen(void)
{
	u64 first = start(1, MIGRATE_MOVABLE), page;

	assert_true(zone_take_range_locked(&zone, first + 100, 300));
	page = take(0, MIGRATE_UNMOVABLE, false);
	assert_int_not_equal(page, 0);
	assert_int_equal(type_of(page), MIGRATE_MOVABLE);
	assert_int_not_equal(take(0, MIGRATE_MOVABLE, true), 0);
}

/* The largest block is broken, so that more of the small ones can merge. */
static void fallback_breaks_the_largest_block(void)
{
	u64 first = start(1, MIGRATE_MOVABLE), page;

	/* What is free: 64 pages at 0 and 128 pages at 256. */
	assert_true(zone_take_range_locked(&zone, first + 64, 192));
	assert_true(zone_take_range_locked(&zone, first + 384, 128));
	page = take(0, MIGRATE_UNMOVABLE, false);
	assert_int_equal(page, first + 256);
	assert_int_equal(zone.area[6].nr_free[MIGRATE_MOVABLE], 2);
}

/* Of the other types the one that is nearer in life is asked first. */
static void fallback_order(void)
{
	static const enum migratetype wanted[3][3] = {
		{ MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE },
		{ MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE },
		{ MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, MIGRATE_MOVABLE },
	};
	u64 first = start(6, MIGRATE_UNMOVABLE);
	unsigned i, type;

	for (i = 0; i < 3; i++) {
		u64 block[3];

		/* One free pageblock of each type but the wanted one, apart. */
		assert_true(zone_take_range_locked(&zone, first, 6 * PAGEBLOCK_PAGES));
		for (type = 0; type < 3; type++) {
			block[type] = first + 2 * type * PAGEBLOCK_PAGES;
			pfn_to_block(block[type])->migratetype = (u8)type;
			if (type != wanted[i][0])
				zone_free_range_locked(&zone, block[type], PAGEBLOCK_PAGES);
		}
		assert_int_equal(take(0, wanted[i][0], true) & ~(PAGEBLOCK_PAGES - 1),
				 block[wanted[i][1]]);
		assert_true(zone_take_range_locked(&zone, block[wanted[i][1]] + 1,
						   PAGEBLOCK_PAGES - 1));
		assert_int_equal(take(0, wanted[i][0], true) & ~(PAGEBLOCK_PAGES - 1),
				 block[wanted[i][2]]);
		assert_true(zone_take_range_locked(&zone, block[wanted[i][2]] + 1,
						   PAGEBLOCK_PAGES - 1));
		zone_free_range_locked(&zone, first, 6 * PAGEBLOCK_PAGES);
	}
}

/* Dirty memory is handed out before clean memory: it is warm, the other costs faults. */
static void warm_memory_first(void)
{
	u64 first = start(8, MIGRATE_MOVABLE), i;
	unsigned order;

	for (order = 0; order <= PAGEBLOCK_ORDER; order++) {
		u64 dirty = first + 5 * PAGEBLOCK_PAGES;

		assert_true(zone_take_range_locked(&zone, first, 8 * PAGEBLOCK_PAGES));
		pages_clear_dirty(first, 8 * PAGEBLOCK_PAGES);
		pages_set_dirty(dirty, (u64)1 << order);
		/* One block in every second pageblock; the dirty one is the second but last. */
		for (i = 1; i < 8; i += 2)
			zone_free_range_locked(&zone, first + i * PAGEBLOCK_PAGES, (u64)1 << order);
		assert_int_equal(take(order, MIGRATE_MOVABLE, true), dirty);
		zone_free_range_locked(&zone, dirty, (u64)1 << order);
		for (i = 1; i < 8; i += 2)
			assert_true(zone_take_range_locked(&zone, first + i * PAGEBLOCK_PAGES,
							   (u64)1 << order));
		zone_free_range_locked(&zone, first, 8 * PAGEBLOCK_PAGES);
		zone_check_locked(&zone);
	}
}

#define PURE_BLOCKS 24
#define PURE_LIVE 600

static struct {
	u64 pfn, nr;
	enum migratetype mt;
} live[PURE_LIVE];
static unsigned nr_live;
/* Live pages of each type in each pageblock. */
static unsigned used[PURE_BLOCKS][MIGRATE_PCPTYPES];
static unsigned long nr_done;
static u64 pure_first;

static void describe(void)
{
	fprintf(stderr, "after %lu operations\n", nr_done);
}

static void count(u64 pfn, u64 nr, enum migratetype mt, int sign)
{
	for (; nr; nr--, pfn++)
		used[(pfn - pure_first) >> PAGEBLOCK_ORDER][mt] += (unsigned)sign;
}

static void check_pure(u64 pfn, u64 nr)
{
	u64 block = (pfn - pure_first) >> PAGEBLOCK_ORDER;
	u64 last = (pfn + nr - 1 - pure_first) >> PAGEBLOCK_ORDER;

	for (; block <= last; block++) {
		unsigned types = !!used[block][0] + !!used[block][1] + !!used[block][2];

		if (types > 1)
			fail_msg("pageblock %lu holds %u, %u and %u pages of the three types",
				 (unsigned long)block, used[block][0], used[block][1],
				 used[block][2]);
	}
}

static void allocate_pure(void)
{
	enum migratetype mt = (enum migratetype)random_below(&seed, MIGRATE_PCPTYPES);
	u64 pfn, nr;

	if (random_below(&seed, 4) == 0) {
		nr = 1 + random_below(&seed, random_below(&seed, 3) ? 500 : 2000);
		pfn = zone_rmqueue_run_locked(&zone, nr, (unsigned)random_below(&seed, 10), mt);
	} else if (random_below(&seed, 6)) {
		unsigned order = (unsigned)random_below(&seed, PAGEBLOCK_ORDER + 2);

		nr = (u64)1 << order;
		pfn = random_below(&seed, 4) ? zone_rmqueue_locked(&zone, order, mt, true) :
					       zone_rmqueue_cold_locked(&zone, order, mt);
	} else {
		nr = 1 + random_below(&seed, 3 * PAGEBLOCK_PAGES);
		pfn = zone_rmqueue_contig_locked(&zone, nr, PAGEBLOCK_ORDER, mt);
	}
	if (!pfn)
		return;
	live[nr_live].pfn = pfn;
	live[nr_live].nr = nr;
	live[nr_live++].mt = mt;
	count(pfn, nr, mt, 1);
	check_pure(pfn, nr);
}

/* As long as every request says nofragment, no pageblock holds pages of two types. */
static void nofragment_keeps_pageblocks_pure(void)
{
	unsigned i;

	seed = unit_seed();
	unit_on_failure(describe);
	pure_first = start(PURE_BLOCKS, MIGRATE_MOVABLE);
	for (nr_done = 0; nr_done < 20000; nr_done++) {
		if (nr_live == PURE_LIVE || (nr_live && random_below(&seed, 2))) {
			i = (unsigned)random_below(&seed, nr_live);
			count(live[i].pfn, live[i].nr, live[i].mt, -1);
			zone_free_range_locked(&zone, live[i].pfn, live[i].nr);
			live[i] = live[--nr_live];
		} else {
			allocate_pure();
		}
	}
	zone_check_locked(&zone);
}

/* That holds across orders: a large warm block is cut up before a small clean one is touched. */
static void warm_memory_first_of_any_order(void)
{
	u64 first = start(4, MIGRATE_MOVABLE), warm = first + 2 * PAGEBLOCK_PAGES, i;

	/* A clean page and a clean block of 8 in the first pageblock, all of the third warm. */
	assert_true(zone_take_range_locked(&zone, first, 4 * PAGEBLOCK_PAGES));
	pages_clear_dirty(first, 4 * PAGEBLOCK_PAGES);
	zone_free_range_locked(&zone, first + 1, 1);
	zone_free_range_locked(&zone, first + 8, 8);
	pages_set_dirty(warm, PAGEBLOCK_PAGES);
	zone_free_range_locked(&zone, warm, PAGEBLOCK_PAGES);
	for (i = 0; i < PAGEBLOCK_PAGES; i++)
		assert_in_range(take(0, MIGRATE_MOVABLE, true), warm, warm + PAGEBLOCK_PAGES - 1);
	/* With nothing warm left the smallest serves. */
	assert_int_equal(take(0, MIGRATE_MOVABLE, true), first + 1);
	assert_int_equal(take(0, MIGRATE_MOVABLE, true), first + 8);
}

UNIT_MAIN(CASE(fallback_takes_a_whole_pageblock), CASE(fallback_takes_the_lowest_pageblock),
	  CASE(nofragment_refuses_to_mix),
	  CASE(less_than_half_is_not_stolen),
	  CASE(fallback_breaks_the_largest_block),
	  CASE(fallback_order),
	  CASE(warm_memory_first),
	  CASE(warm_memory_first_of_any_order),
	  CASE(nofragment_keeps_pageblocks_pure))
