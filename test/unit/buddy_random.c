/*
 * Long random runs on a zone with holes and a neighbour: mixed orders, runs of
 * pageblocks, ranges, resizing, purging, all migratetypes. $BM_SEED repeats one.
 */
#include "buddy_model.h"

#include <stdio.h>

#define NR_OPS 120000
#define CHECK_EVERY 50

static struct zone zone, other_zone;
static struct model model;
static uint64_t seed;
static unsigned long nr_done;

static void describe(void)
{
	fprintf(stderr, "after %lu operations\n", nr_done);
}

static u32 below(u32 limit)
{
	return (u32)random_below(&seed, limit);
}

/*
 * 7 pageblocks, a foreign one, 5, two of another zone, 10: of single pages, so
 * that orders from 0 up are used, or in units of 32 pages, for larger blocks.
 */
static void start(unsigned granule)
{
	u64 pfn;
	u32 per_block = (u32)(PAGEBLOCK_PAGES >> granule);

	seed = unit_seed();
	unit_on_failure(describe);
	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, 1);
	zone_init(&other_zone, 1, ZONE_DMA32, 0, 1);
	pfn = model_section(&zone, 7, 16, MIGRATE_MOVABLE);
	fake_foreign(pfn_to_virt(pfn + 7 * PAGEBLOCK_PAGES), PAGEBLOCK_SIZE);
	model_section(&zone, 5, 1, MIGRATE_UNMOVABLE);
	model_section(&other_zone, 2, 1, MIGRATE_MOVABLE);
	model_section(&zone, 10, 1, MIGRATE_MOVABLE);
	model_init(&model, &zone, pfn, granule, 25 * per_block);
	model_hole(&model, 7 * per_block, per_block);
	model_hole(&model, 13 * per_block, 2 * per_block);
	model_check(&model);
}

/* A small number more often than a large one. */
static u32 some_units(u32 most)
{
	return 1 + below(1 + below(most));
}

static unsigned some_order(unsigned most)
{
	return below(3) ? below(4) : below(most + 1);
}

static void allocate(void)
{
	enum migratetype mt = (enum migratetype)below(MIGRATE_PCPTYPES);
	u32 per_block = (u32)(PAGEBLOCK_PAGES >> model.granule);
	unsigned block_order = PAGEBLOCK_ORDER - model.granule;

	switch (below(9)) {
	case 2:
		model_run(&model, some_units(3 * per_block), below(block_order + 2), mt, below(2));
		break;
	case 0:
		model_contig(&model, some_units(4 * per_block), block_order + below(3), mt,
			     below(2));
		break;
	case 1:
		model_take(&model, below(model.nr_units), some_units(per_block), below(2));
		break;
	default:
		model_alloc(&model, some_order(block_order + 3), mt, below(2), below(2));
	}
}

static void resize(void)
{
	int block = model_live(&model, below(model.nr_live));
	u32 len = model.blocks[block].len;

	if (below(2))
		model_grow(&model, block, some_units(64));
	else if (len > 1)
		model_shrink(&model, block, 1 + below(len - 1));
}

static void one_op(unsigned target)
{
	bool many = model.nr_live * 2 > MODEL_BLOCKS;
	bool full = model.nr_free < model.nr_units * target / 100;

	switch (below(10)) {
	case 0:
		if (model.nr_live)
			resize();
		break;
	case 1:
		model_purge(&model, below(model.nr_units), some_units(512));
		break;
	default:
		if (model.nr_live && (many || below(4) < (full ? 3 : 1)))
			model_free(&model, model_live(&model, below(model.nr_live)));
		else
			allocate();
	}
}

static void run(unsigned granule)
{
	static const unsigned targets[] = { 50, 5, 90, 0, 70, 20 };

	start(granule);
	for (nr_done = 0; nr_done < NR_OPS; nr_done++) {
		one_op(targets[nr_done / (NR_OPS / ARRAY_SIZE(targets)) % ARRAY_SIZE(targets)]);
		if (nr_done % CHECK_EVERY == 0)
			model_check(&model);
	}
	model_check(&model);
	zone_check_locked(&other_zone);
	assert_int_equal(other_zone.nr_free, 2 * PAGEBLOCK_PAGES);
	while (model.nr_live)
		model_free(&model, model_live(&model, below(model.nr_live)));
	model_check(&model);
}

static void single_pages(void)
{
	run(0);
}

static void larger_units(void)
{
	run(5);
}

UNIT_MAIN(CASE(single_pages), CASE(larger_units))
