/*
 * Zones and watermarks: which zone serves a request, against a model that knows nothing
 * but the counts; every combination of flags on tiny zones.
 */
#include "pages.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "buddy/pcp.h"
#include "page_alloc/internal.h"

enum { NORMAL, DMA32, DMA, NR_MODEL };
static const enum zone_type types[NR_MODEL] = { ZONE_NORMAL, ZONE_DMA32, ZONE_DMA };
static const u64 block = PAGEBLOCK_PAGES;

/* Maps nr pageblocks into the zone, as growth does. */
static void fill_zone(struct zone *zone, u64 nr)
{
	u64 pfn = zone_map(zone, nr, 1);

	assert_int_not_equal(pfn, 0);
	zone_add_blocks(zone, pfn, nr, MIGRATE_UNMOVABLE);
	zones_set_reserves();
}

static u64 zone_pages(enum zone_type type)
{
	u64 nr = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_table[i]->type == type)
			nr += zone_table[i]->managed;
	return nr;
}

/* What the manual says: the model. A zone's type for the request, or -1. */
static int model_zone(bm_gfp_t gfp, u64 nr, u64 reserve)
{
	int first = gfp & BM_GFP_DMA ? DMA : gfp & BM_GFP_DMA32 ? DMA32 : NORMAL, z;

	for (z = first; z < NR_MODEL; z++) {
		struct zone *zone = zone_table[z];
		u64 keep = MIN(reserve, zone->managed / 32);
		u64 above = 0;
		int t;

		if (gfp & BM_GFP_HIGH && !(gfp & BM_GFP_NOMEMALLOC)) {
			keep -= keep / 2;
			if (!(gfp & BM_GFP_DIRECT_RECLAIM))
				keep -= keep / 2;
		}
		for (t = first; t < z; t++)
			above += zone_pages(types[t]);
		keep += above / 32;
		if (gfp & BM_GFP_MEMALLOC && !(gfp & BM_GFP_NOMEMALLOC))
			keep = 0;
		if (zone->nr_free >= nr + keep && nr <= zone->nr_free)
			return z;
	}
	return -1;
}

static const bm_gfp_t watermark_flags[] = {
	0, BM_GFP_HIGH, BM_GFP_MEMALLOC, BM_GFP_NOMEMALLOC, BM_GFP_HIGH | BM_GFP_NOMEMALLOC,
	BM_GFP_MEMALLOC | BM_GFP_NOMEMALLOC, BM_GFP_DIRECT_RECLAIM,
	BM_GFP_HIGH | BM_GFP_DIRECT_RECLAIM, BM_GFP_MEMALLOC | BM_GFP_DIRECT_RECLAIM,
};
static const bm_gfp_t zone_flags[] = { 0, BM_GFP_DMA32, BM_GFP_DMA, BM_GFP_HIGHMEM };

/*
 * Order 8 has no per-CPU list, so the model sees every page. From full zones
 * to the last page, in steps that every mark lies between.
 */
static void every_flag_until_nothing_is_left(void)
{
	u64 reserve;
	size_t w, z;

	for (reserve = 0; reserve <= 256; reserve += 64) {
		for (w = 0; w < ARRAY_SIZE(watermark_flags); w++)
			for (z = 0; z < ARRAY_SIZE(zone_flags); z++) {
				bm_gfp_t gfp = watermark_flags[w] | zone_flags[z] | BM_GFP_NORETRY;
				u64 got[200], nr = 3 + (w * 7 + z * 13 + reserve) % 90;
				unsigned n = 0;

				for (;;) {
					int expected = model_zone(gfp, nr, reserve);

					errno = 0;
					got[n] = alloc_pages_nodemask(NODE_NONE, gfp, nr, 8, NODES_ALL);
					if (expected < 0) {
						assert_int_equal(got[n], 0);
						assert_int_equal(errno, ENOMEM);
						break;
					}
					/* Alignment may leave no block where pages are left. */
					if (!got[n])
						break;
					n++;
					assert_true(n < ARRAY_SIZE(got));
				}
				while (n)
					free_pages(got[--n]);
			}
		options.min_free = (reserve + 64) << PAGE_SHIFT;
		zones_set_reserves();
	}
}

static void start_full(u64 normal, u64 dma32, u64 dma)
{
	pages_start();
	fill_zone(zone_table[0], normal);
	fill_zone(zone_table[1], dma32);
	fill_zone(zone_table[2], dma);
	/* No more memory: what is there is all. */
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
}

static void fallback_with_watermarks(void)
{
	start_full(2, 1, 1);
	every_flag_until_nothing_is_left();
}

static void fallback_with_larger_reserves(void)
{
	start_full(24, 2, 1);
	every_flag_until_nothing_is_left();
}

/* Single pages, one by one: the zone of each is the model's, exactly. */
static void single_pages_follow_the_model(void)
{
	static u64 got[8 * 512];
	size_t w, z;

	options.decay_ms = -1;
	start_full(3, 2, 1);
	options.min_free = 40 << PAGE_SHIFT;
	zones_set_reserves();
	for (w = 0; w < ARRAY_SIZE(watermark_flags); w++)
		for (z = 0; z < ARRAY_SIZE(zone_flags); z++) {
			/* Cold pages go past the per-CPU lists. */
			bm_gfp_t gfp = watermark_flags[w] | zone_flags[z] | BM_GFP_NORETRY |
				       BM_GFP_COLD;
			unsigned n = 0, i;

			for (i = 0; i < 3; i++)
				pcp_drain_all(zone_table[i]);
			for (;;) {
				int expected = model_zone(gfp, 1, 40);

				got[n] = alloc_pages_nodemask(NODE_NONE, gfp, 1, 0, NODES_ALL);
				if (expected < 0) {
					assert_int_equal(got[n], 0);
					break;
				}
				assert_int_not_equal(got[n], 0);
				assert_int_equal(pfn_zone(got[n])->type, types[expected]);
				n++;
			}
			while (n)
				free_pages(got[--n]);
			for (i = 0; i < 3; i++)
				pages_check_zone(zone_table[i]);
		}
}

/* Pages in a per-CPU list are nobody's reserve: urgent requests make no system call. */
static void cached_pages_need_no_system(void)
{
	u64 pfn, calls;
	unsigned i;

	pages_start();
	pfn = alloc_pages(BM_GFP_KERNEL, 2);
	free_pages(pfn);
	calls = fake_calls(FAKE_MAP) + fake_calls(FAKE_GIVE_BACK);
	for (i = 0; i < 1000; i++) {
		pfn = alloc_pages(BM_GFP_ATOMIC, 2);
		assert_int_not_equal(pfn, 0);
		free_pages(pfn);
	}
	assert_int_equal(fake_calls(FAKE_MAP) + fake_calls(FAKE_GIVE_BACK), calls);
}

/* Nor does a block that grows where it is take of the reserve: that is for who is urgent. */
static void growth_in_place_leaves_the_reserve(void)
{
	u64 pfn, nr = 100;

	options.decay_ms = -1;
	start_full(3, 1, 1);
	options.min_free = 40 << PAGE_SHIFT;
	zones_set_reserves();
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_NORETRY, 4 * block, 0), 0);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, 0);
	while (resize_pages(pfn, nr + 1))
		nr++;
	assert_int_equal(zone_table[0]->nr_free, 40);
	assert_true(resize_pages(pfn, nr - 1));
	pages_check_zone(zone_table[0]);
}

/* malloc's own requests never leave the window. */
static void windows_pages_only(void)
{
	start_full(1, 1, 1);
	while (alloc_pages_exact(BM_GFP_MEMALLOC, 1, 0))
		;
	assert_int_equal(zone_table[1]->nr_free, block);
	assert_int_equal(zone_table[2]->nr_free, block);
	assert_int_not_equal(alloc_pages_node(NODE_NONE, BM_GFP_KERNEL, 0), 0);
}

/* Who must not fail waits until somebody frees. */
static u64 held[64];
static unsigned nr_held, nr_sleeps;

static void somebody_frees(void)
{
	if (++nr_sleeps == 5)
		while (nr_held)
			free_pages(held[--nr_held]);
}

/* Takes blocks until there are none left, then asks for one that must not fail. */
static void take_all_and_wait(bm_gfp_t all, unsigned order, unsigned wanted)
{
	while ((held[nr_held] = alloc_pages(all, order)))
		nr_held++;
	fake_on_sleep = somebody_frees;
	errno = 0;
	assert_int_not_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_NOFAIL, wanted), 0);
	assert_int_equal(nr_sleeps, 5);
	assert_int_equal(errno, 0);
}

static void nofail_waits(void)
{
	start_full(1, 1, 1);
	take_all_and_wait(BM_GFP_KERNEL | BM_GFP_MEMALLOC, 8, 3);
}

/* At hard_limit too, where it is pages that are missing and not address space. */
static void nofail_waits_at_the_limit(void)
{
	options.hard_limit = 8 << 20;
	pages_start();
	limit_init();
	take_all_and_wait(BM_GFP_KERNEL, 6, 6);
}

/* Room within the limit goes from a zone with free pageblocks to another. */
static void pageblocks_are_returned(void)
{
	const u64 limit = 32 << 20;
	u64 pfn[12], n;

	fake.rlimit_bytes = limit;
	options.decay_ms = -1;
	pages_start();
	for (n = 0; n < 12; n++)
		pfn[n] = alloc_pages(BM_GFP_KERNEL, PAGEBLOCK_ORDER);
	assert_int_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, PAGEBLOCK_ORDER + 2), 0);
	for (n = 0; n < 12; n += 2)
		free_pages(pfn[n]);
	assert_int_not_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_DMA32, PAGEBLOCK_ORDER + 1), 0);
	/* And from scattered pageblocks to one run. */
	for (n = 1; n < 12; n += 4)
		free_pages(pfn[n]);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 3 * block, 0), 0);
	pages_check_zone(zone_table[0]);
	pages_check_zone(zone_table[1]);
	assert_true(memmap_heap_bytes() + memmap_meta_bytes() <= limit);
}

/* ---------------------------------------------------------------- mobility */

/* Long-lived single pages among short-lived larger blocks; wholly free pageblocks after. */
static u64 free_blocks_after_mixed_load(bool mobility)
{
	static u64 large[300];
	uint64_t seed = 4711;
	u64 n, whole = 0, total = 0, pfn;

	options.mobility = mobility;
	options.decay_ms = -1;
	pages_start();
	for (n = 0; n < 2000; n++) {
		unsigned k = (unsigned)random_below(&seed, 300);

		alloc_pages_exact(BM_GFP_KERNEL, 1 + random_below(&seed, 4), 0);
		if (large[k])
			free_pages(large[k]);
		large[k] = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE,
					     8 + random_below(&seed, 120), 0);
	}
	for (n = 0; n < 300; n++)
		if (large[n])
			free_pages(large[n]);
	shrink_all();
	for (pfn = window.first >> PAGE_SHIFT; pfn_has_block(pfn); pfn += block) {
		if (pfn_to_block(pfn)->state != BLOCK_PRESENT)
			continue;
		total++;
		lock(&zone_table[0]->lock, LOCK_ZONE);
		whole += zone_range_is_free_locked(zone_table[0], pfn, block);
		unlock(&zone_table[0]->lock, LOCK_ZONE);
	}
	return whole * 100 / total;
}

static u64 *share;

/* A block larger than the one before it takes that one's pages, and the heap grows by the rest. */
static void heap_grows_behind_its_free_end(void)
{
	const bm_gfp_t gfp = BM_GFP_KERNEL | BM_GFP_MOVABLE;
	u64 pfn, managed;

	pages_start();
	pfn = alloc_pages_exact(gfp, 20 * block, 0);
	managed = zone_pages(ZONE_NORMAL);
	free_pages(pfn);
	assert_int_equal(alloc_pages_exact(gfp, 23 * block, 0), pfn);
	assert_int_equal(zone_pages(ZONE_NORMAL), managed + 3 * block);
	pages_check(23 * block);
}

/* Small blocks take a pageblock at the start of a large free run, so that the rest stays whole. */
static void claims_begin_at_the_edge(void)
{
	struct zone *zone;
	u64 pfn, at;

	pages_start();
	zone = zone_table[0];
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 40 * block, 0);
	lock(&zone->lock, LOCK_ZONE);
	while (zone->nr_free)
		assert_int_not_equal(zone_rmqueue_locked(zone, 0, MIGRATE_UNMOVABLE, false), 0);
	unlock(&zone->lock, LOCK_ZONE);
	/* Off the alignment of large blocks, so that the run is several of them. */
	pfn = round_up(pfn + block, 16 * block) - block;
	lock(&zone->lock, LOCK_ZONE);
	zone_free_range_locked(zone, pfn, 21 * block);
	at = zone_rmqueue_locked(zone, 0, MIGRATE_UNMOVABLE, true);
	assert_in_range(at, pfn, pfn + block - 1);
	assert_true(zone_range_is_free_locked(zone, pfn + block, 20 * block));
	zone_check_locked(zone);
	unlock(&zone->lock, LOCK_ZONE);
}

static void grouped(void)
{
	share[0] = free_blocks_after_mixed_load(true);
}

static void mixed(void)
{
	share[1] = free_blocks_after_mixed_load(false);
}

static void grouping_frees_whole_pageblocks(void)
{
	share = mmap(NULL, 2 * sizeof(*share), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	assert_true(share != MAP_FAILED);
	unit_in_child(grouped);
	unit_in_child(mixed);
	printf("wholly free pageblocks: %lu %% grouped by mobility, %lu %% mixed\n",
	       (unsigned long)share[0], (unsigned long)share[1]);
	assert_true(share[0] >= share[1] + 20);
}

UNIT_MAIN(CASE(fallback_with_watermarks), CASE(fallback_with_larger_reserves),
	  CASE(single_pages_follow_the_model), CASE(cached_pages_need_no_system),
	  CASE(growth_in_place_leaves_the_reserve), CASE(windows_pages_only), CASE(nofail_waits),
	  CASE(nofail_waits_at_the_limit), CASE(pageblocks_are_returned),
	  CASE(heap_grows_behind_its_free_end), CASE(claims_begin_at_the_edge),
	  CASE(grouping_frees_whole_pageblocks))
