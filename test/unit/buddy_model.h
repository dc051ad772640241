/*
 * A naive model of a zone: one owner for each unit of 1 << granule pages, and
 * no lists. Every operation is done by the zone and by the model, and what the
 * zone does must be what the model allows.
 */
#ifndef BM_TEST_BUDDY_MODEL_H
#define BM_TEST_BUDDY_MODEL_H

#include "invariants.h"
#include "unit.h"

#include "buddy/zone.h"

#define MODEL_UNITS 16384
#define MODEL_BLOCKS 2048

enum { UNIT_FREE = 0, UNIT_HOLE = -1 }; /* else the number of its block + 1 */

struct model_block {
	u32 start, len; /* units; len 0: this number is not in use */
};

struct model {
	struct zone *zone;
	u64 base;		/* pfn of unit 0 */
	unsigned granule;	/* order of a unit */
	u32 nr_units;
	u32 nr_free;		/* units */
	u32 nr_live;
	u32 nr_blocks;		/* numbers ever used */
	struct model_block blocks[MODEL_BLOCKS];
	short owner[MODEL_UNITS];
};

/*
 * Maps a section of nr pageblocks, the first at a multiple of align, and gives
 * it to the zone; its first pfn.
 */
u64 model_section(struct zone *zone, u64 nr, u64 align, enum migratetype mt);

/* All of [base, base + nr units) is free in the zone, and nothing else of it is. */
void model_init(struct model *m, struct zone *zone, u64 base, unsigned granule, u32 nr);
/* Units that are not the zone's, or that it does not have free. */
void model_hole(struct model *m, u32 start, u32 nr);

/*
 * Operations. Numbers of pages and orders are in units. Those that allocate
 * give the block's number, or -1 where the zone rightly had nothing. `dirty`
 * marks the pages as written.
 */
int model_alloc(struct model *m, unsigned order, enum migratetype mt, bool nofragment, bool dirty);
int model_contig(struct model *m, u32 nr, unsigned align_order, enum migratetype mt, bool dirty);
int model_run(struct model *m, u32 nr, unsigned align_order, enum migratetype mt, bool dirty);
int model_take(struct model *m, u32 start, u32 nr, bool dirty);
bool model_grow(struct model *m, int block, u32 nr);
void model_shrink(struct model *m, int block, u32 nr);
void model_free(struct model *m, int block);
/* What reclaim does: takes the range if it is free, cleans it, gives it back. */
void model_purge(struct model *m, u32 start, u32 nr);

/* The number of the i-th live block. */
int model_live(const struct model *m, u32 i);

/* Everything agrees: the zone's own invariants, its counts, each unit's state. */
void model_check(const struct model *m);

#endif
