/* rank 2: what the files of the folder share: the arrays beside the heap, and what is mapped. */
#ifndef BM_MEMMAP_INTERNAL_H
#define BM_MEMMAP_INTERNAL_H

#include "base/lock.h"
#include "memmap/memmap.h"

/* An array of the mem_map: of its bytes [from, end) are mapped. */
struct array {
	char *start;
	u64 from, end;
};

struct mem_map {
	struct lock lock;
	struct array tags, pages, blocks, records;
	u64 record_bytes, record_room; /* handed out, and the most that there can be */
	u64 hint;	/* no absent pageblock below this one, in pageblocks */
	u64 end;	/* first pageblock never mapped */
	u64 heap_bytes, meta_bytes, peak_bytes; /* reports read them, relaxed */
	u64 budget;
	char *blocked;	/* where an array met another's mapping; told once, without the lock */
	bool told;
};

extern struct mem_map mem_map HIDDEN; /* the lock's, but for the budget */

/*
 * Makes the mem_map describe every pageblock below `end`, leaving room in the budget for
 * `bytes` of heap.
 */
bool mem_map_grow(u64 end, u64 bytes);

/* Counts bytes of heap and of mem_map; false with ENOMEM beyond the budget. */
bool memmap_charge_locked(u64 heap, u64 meta);
void memmap_uncharge_locked(u64 heap, u64 meta);

#endif
