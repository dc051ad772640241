/*
 * Every short sequence of operations on a tiny zone, with all invariants
 * walked after each operation. A tree of sequences is walked depth first; the
 * zone's state is kept before each operation and put back after it.
 */
#include "buddy_model.h"

#include <stdio.h>
#include <string.h>

enum kind { ALLOC, CONTIG, TAKE, PURGE, FREE, GROW, SHRINK, END };

/* An operation; FREE, GROW and SHRINK apply to each live block in turn. */
struct op {
	enum kind kind;
	u32 a, b;		/* order or number of units; alignment, or first unit */
	enum migratetype mt;
	bool nofragment;
};

#define MOST_UNITS 32
#define MOST_BLOCKS 10
#define MOST_DEPTH 8

static struct zone zone, other_zone;
static struct model model;
static const struct op *ops;
static unsigned depth;
static u64 nr_sequences;

/* What an operation can change. */
struct snapshot {
	struct zone zone;
	struct page pages[MOST_UNITS];
	struct pageblock blocks[MOST_BLOCKS];
	struct model_block model_blocks[MOST_DEPTH];
	short owner[MOST_UNITS];
	u32 nr_free, nr_live, nr_blocks;
};

/* The per-CPU lists at the end of struct zone are not used here. */
#define ZONE_BYTES offsetof(struct zone, pcps)

static struct page *unit_page(u32 unit)
{
	return pfn_to_page(model.base + ((u64)unit << model.granule));
}

static unsigned nr_pageblocks(void)
{
	u64 first = model.base >> PAGEBLOCK_ORDER;
	u64 last = (model.base + ((u64)model.nr_units << model.granule) - 1) >> PAGEBLOCK_ORDER;

	return (unsigned)(last - first + 1);
}

static void save(struct snapshot *s)
{
	u32 i;

	memcpy(&s->zone, &zone, ZONE_BYTES);
	for (i = 0; i < model.nr_units; i++)
		s->pages[i] = *unit_page(i);
	memcpy(s->blocks, pfn_to_block(model.base), nr_pageblocks() * sizeof(s->blocks[0]));
	memcpy(s->model_blocks, model.blocks, sizeof(s->model_blocks));
	memcpy(s->owner, model.owner, sizeof(s->owner));
	s->nr_free = model.nr_free;
	s->nr_live = model.nr_live;
	s->nr_blocks = model.nr_blocks;
}

static void restore(const struct snapshot *s)
{
	u32 i;

	memcpy(&zone, &s->zone, ZONE_BYTES);
	for (i = 0; i < model.nr_units; i++)
		*unit_page(i) = s->pages[i];
	memcpy(pfn_to_block(model.base), s->blocks, nr_pageblocks() * sizeof(s->blocks[0]));
	memcpy(model.blocks, s->model_blocks, sizeof(s->model_blocks));
	memcpy(model.owner, s->owner, sizeof(s->owner));
	model.nr_free = s->nr_free;
	model.nr_live = s->nr_live;
	model.nr_blocks = s->nr_blocks;
}

static struct {
	const struct op *op;
	u32 live;
} history[MOST_DEPTH];
static unsigned nr_history;

static void describe(void)
{
	static const char *const names[] = { "alloc", "contig", "take", "purge",
					     "free",  "grow",	"shrink" };
	unsigned i;

	for (i = 0; i < nr_history; i++)
		fprintf(stderr, "%u: %s(%u, %u) type %d%s, live block %u\n", i + 1,
			names[history[i].op->kind], history[i].op->a, history[i].op->b,
			history[i].op->mt, history[i].op->nofragment ? ", nofragment" : "",
			history[i].live);
}

static void apply(const struct op *op, u32 live)
{
	int block = op->kind >= FREE ? model_live(&model, live) : -1;
	bool dirty = (nr_history + op->a) % 2;

	switch (op->kind) {
	case ALLOC:
		model_alloc(&model, op->a, op->mt, op->nofragment, dirty);
		break;
	case CONTIG:
		model_contig(&model, op->a, op->b, op->mt, dirty);
		break;
	case TAKE:
		model_take(&model, op->b, op->a, dirty);
		break;
	case PURGE:
		model_purge(&model, op->b, op->a);
		break;
	case FREE:
		model_free(&model, block);
		break;
	case GROW:
		model_grow(&model, block, op->a);
		break;
	case SHRINK:
		if (model.blocks[block].len > op->a)
			model_shrink(&model, block, op->a);
		break;
	case END:
		break;
	}
}

static void walk(unsigned level)
{
	struct snapshot before;
	const struct op *op;
	u32 live, nr_live = model.nr_live;

	if (level == depth) {
		nr_sequences++;
		return;
	}
	save(&before);
	for (op = ops; op->kind != END; op++) {
		for (live = 0; live < (op->kind >= FREE ? nr_live : 1); live++) {
			history[level].op = op;
			history[level].live = live;
			nr_history = level + 1;
			apply(op, live);
			model_check(&model);
			walk(level + 1);
			restore(&before);
		}
	}
}

static void walk_all(const struct op *which, unsigned how_deep)
{
	ops = which;
	depth = how_deep;
	unit_on_failure(describe);
	model_check(&model);
	walk(0);
	assert_true(nr_sequences > 1000);
}

/* A zone in which all but the nr units at `at` of the first section is taken. */
static void small_zone(u64 nr_blocks, u64 at, unsigned granule, u32 nr)
{
	u64 total = nr_blocks << PAGEBLOCK_ORDER, used = (u64)nr << granule, pfn;

	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, 1);
	pfn = model_section(&zone, nr_blocks, 8, MIGRATE_MOVABLE);
	if (at)
		assert_true(zone_take_range_locked(&zone, pfn, at));
	if (at + used < total)
		assert_true(zone_take_range_locked(&zone, pfn + at + used, total - at - used));
	model_init(&model, &zone, pfn + at, granule, nr);
}

/* Single pages: split, merge, ranges, resizing. */
static void pages_in_a_pageblock(void)
{
	static const struct op some[] = {
		{ ALLOC, 0, 0, MIGRATE_MOVABLE, false }, { ALLOC, 1, 0, MIGRATE_MOVABLE, false },
		{ ALLOC, 2, 0, MIGRATE_MOVABLE, false }, { TAKE, 3, 3, MIGRATE_MOVABLE, false },
		{ PURGE, 3, 6, MIGRATE_MOVABLE, false }, { FREE, 0, 0, MIGRATE_MOVABLE, false },
		{ GROW, 1, 0, MIGRATE_MOVABLE, false },	 { SHRINK, 1, 0, MIGRATE_MOVABLE, false },
		{ END, 0, 0, MIGRATE_MOVABLE, false },
	};

	small_zone(1, 64, 0, 16);
	walk_all(some, 6);
}

/* Pages on both sides of a border between pageblocks: no block crosses it. */
static void pages_across_a_border(void)
{
	static const struct op some[] = {
		{ ALLOC, 0, 0, MIGRATE_MOVABLE, false }, { ALLOC, 2, 0, MIGRATE_UNMOVABLE, true },
		{ ALLOC, 3, 0, MIGRATE_MOVABLE, false }, { TAKE, 5, 5, MIGRATE_MOVABLE, false },
		{ PURGE, 4, 6, MIGRATE_MOVABLE, false }, { FREE, 0, 0, MIGRATE_MOVABLE, false },
		{ GROW, 2, 0, MIGRATE_MOVABLE, false },	 { SHRINK, 3, 0, MIGRATE_MOVABLE, false },
		{ END, 0, 0, MIGRATE_MOVABLE, false },
	};

	small_zone(2, PAGEBLOCK_PAGES - 8, 0, 16);
	walk_all(some, 6);
}

/* Two pageblocks and three migratetypes: fallback and stealing. */
static void migratetypes(void)
{
	static const struct op some[] = {
		{ ALLOC, 0, 0, MIGRATE_UNMOVABLE, true },
		{ ALLOC, 0, 0, MIGRATE_MOVABLE, true },
		{ ALLOC, 0, 0, MIGRATE_RECLAIMABLE, false },
		{ ALLOC, 2, 0, MIGRATE_UNMOVABLE, false },
		{ ALLOC, 2, 0, MIGRATE_MOVABLE, false },
		{ ALLOC, 1, 0, MIGRATE_RECLAIMABLE, true },
		{ ALLOC, 3, 0, MIGRATE_RECLAIMABLE, true },
		{ TAKE, 7, 6, MIGRATE_MOVABLE, false },
		{ FREE, 0, 0, MIGRATE_MOVABLE, false },
		{ END, 0, 0, MIGRATE_MOVABLE, false },
	};

	small_zone(2, 0, 6, 16);
	walk_all(some, 5);
}

/* Whole pageblocks, with a hole and a pageblock of another zone between them. */
static void pageblocks_and_holes(void)
{
	static const struct op some[] = {
		{ ALLOC, 0, 0, MIGRATE_MOVABLE, true },	 { ALLOC, 1, 0, MIGRATE_UNMOVABLE, true },
		{ ALLOC, 2, 0, MIGRATE_MOVABLE, false }, { CONTIG, 3, 1, MIGRATE_UNMOVABLE, false },
		{ CONTIG, 2, 2, MIGRATE_MOVABLE, false }, { CONTIG, 1, 3, MIGRATE_MOVABLE, false },
		{ FREE, 0, 0, MIGRATE_MOVABLE, false },	 { GROW, 2, 0, MIGRATE_MOVABLE, false },
		{ SHRINK, 1, 0, MIGRATE_MOVABLE, false }, { END, 0, 0, MIGRATE_MOVABLE, false },
	};
	u64 pfn;

	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, 1);
	zone_init(&other_zone, 1, ZONE_DMA32, 0, 1);
	pfn = model_section(&zone, 3, 8, MIGRATE_MOVABLE);
	fake_foreign(pfn_to_virt(pfn + 3 * PAGEBLOCK_PAGES), PAGEBLOCK_SIZE);
	assert_int_equal(model_section(&zone, 4, 1, MIGRATE_MOVABLE), pfn + 4 * PAGEBLOCK_PAGES);
	assert_int_equal(model_section(&other_zone, 1, 1, MIGRATE_MOVABLE),
			 pfn + 8 * PAGEBLOCK_PAGES);
	assert_int_equal(model_section(&zone, 1, 1, MIGRATE_UNMOVABLE), pfn + 9 * PAGEBLOCK_PAGES);
	model_init(&model, &zone, pfn, PAGEBLOCK_ORDER - 1, 20);
	model_hole(&model, 6, 2);
	model_hole(&model, 16, 2);
	walk_all(some, 5);
	zone_check_locked(&other_zone);
	assert_int_equal(other_zone.nr_free, PAGEBLOCK_PAGES);
}

UNIT_MAIN(CASE(pages_in_a_pageblock),
	  CASE(pages_across_a_border),
	  CASE(migratetypes),
	  CASE(pageblocks_and_holes))
