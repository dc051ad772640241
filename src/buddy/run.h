/*
 * rank 3: runs of free pages, whatever blocks they belong to: their ends, and the lists
 * of them.
 *
 * Movable runs are listed by their length, so that a request finds one that is just
 * long enough without looking at many. A listed run is a maximal stretch of free pages in
 * movable pageblocks that are partly in use; a wholly free pageblock ends it, as the free
 * areas find those. So it touches two pageblocks at most, and a few words of the free bits
 * tell its ends. Its first page, which heads a block, is on the list if the run has RUN_LEAST
 * pages; the run counts as warm when that page is dirty. Zone lock.
 *
 * Of other types the runs are not listed: slabs of small objects take and give small blocks
 * there all the time, which would pay for it.
 */
#ifndef BM_BUDDY_RUN_H
#define BM_BUDDY_RUN_H

#include "buddy/zone.h"

/* A pageblock whose free pages a run of type mt may use. */
static inline bool block_fits(const struct zone *zone, u64 pfn, enum migratetype mt)
{
	const struct pageblock *block;

	if (!pfn_has_block(pfn))
		return false;
	block = pfn_to_block(pfn);
	return block_is_of(block, zone->index) && block->migratetype == mt;
}

/* The same, and that does not bound listed runs. */
static inline bool block_fits_in_part(const struct zone *zone, u64 pfn, enum migratetype mt)
{
	return block_fits(zone, pfn, mt) && !all_bits_set(pfn_to_block(pfn)->free);
}

typedef bool (*fits_fn)(const struct zone *zone, u64 pfn, enum migratetype mt);

static fast_inline u64 free_word(u64 pfn)
{
	return pfn_to_block(pfn)->free[pfn % PAGEBLOCK_PAGES / 64];
}

/* Free pages from pfn upward, at most `most`, in pageblocks that fit. */
static fast_inline u64 free_above(const struct zone *zone, u64 pfn, u64 most, enum migratetype mt,
				  fits_fn fits)
{
	u64 from = pfn;

	while (pfn - from < most) {
		u64 used, n;

		if (pfn % PAGEBLOCK_PAGES == 0 && !fits(zone, pfn, mt))
			break;
		used = ~free_word(pfn) >> pfn % 64;
		n = used ? (u64)__builtin_ctzll(used) : 64 - pfn % 64;
		pfn += n;
		if (used)
			break;
	}
	return MIN(pfn - from, most);
}

/* Free pages just below pfn, likewise. */
static fast_inline u64 free_below(const struct zone *zone, u64 pfn, u64 most, enum migratetype mt,
				  fits_fn fits)
{
	u64 from = pfn;

	while (from - pfn < most) {
		u64 used;

		if (pfn % PAGEBLOCK_PAGES == 0 && !fits(zone, pfn - 1, mt))
			break;
		/* The page below as the highest bit. */
		used = ~free_word(pfn - 1) << (63 - (pfn - 1) % 64);
		pfn -= used ? (u64)__builtin_clzll(used) : (pfn - 1) % 64 + 1;
		if (used)
			break;
	}
	return MIN(from - pfn, most);
}

/* The list of runs of so many pages: up to 63 each its own, then sixteen to a doubling. */
static inline unsigned run_list_of(u64 nr)
{
	unsigned log;

	if (nr < 64)
		return (unsigned)nr;
	log = ilog2(nr);
	return (log - 3) * 16 + (unsigned)(nr >> (log - 4));
}

/*
 * [pfn, end), within one movable pageblock, became free, or is free no more. May be called
 * before or after its free bits change: they are not read.
 */
void runs_join(struct zone *zone, u64 pfn, u64 end);
void runs_part(struct zone *zone, u64 pfn, u64 end);

/* The pageblock of pfn becomes mt's. The free areas are the caller's business. */
void runs_set_type(struct zone *zone, u64 pfn, enum migratetype mt);

/* The first list from `list` on that has a run; NR_RUN_LISTS: none has. */
unsigned runs_next_list(const struct run_lists *lists, unsigned list);

#endif
