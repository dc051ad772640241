/*
 * rank 3: the pageblocks with dirty free pages, in the order of the last free of one: what
 * ageing gives back, oldest first. Those that the system refused to take (locked pages) are
 * set aside until something is freed in them, somebody is in need, or ageing tries again.
 *
 * Zone lock.
 */
#ifndef BM_BUDDY_LRU_H
#define BM_BUDDY_LRU_H

#include "buddy/zone.h"

/* Puts the pageblock at the end of a list, off the one it is on; it is stamped with the tick. */
void lru_append(struct zone *zone, struct pageblock *block, enum lru which);
void lru_remove(struct zone *zone, struct pageblock *block);

/* A dirty page of the pageblock is free now. */
static inline void lru_touch(struct zone *zone, struct pageblock *block)
{
	if (block->lru != LRU_AGES || block->stamp != zone->tick)
		lru_append(zone, block, LRU_AGES);
}

/* Dirty pages of the pageblock are free no more. */
static inline void lru_drop_if_clean(struct zone *zone, struct pageblock *block)
{
	unsigned i;

	if (!block->lru)
		return;
	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		if (block->free[i] & bitmap_word(block->dirty, i))
			return;
	lru_remove(zone, block);
}

/* The oldest pageblock whose stamp is older than `before`; NULL: none is. */
struct pageblock *lru_oldest(const struct zone *zone, u32 before);
/* Makes the pageblock the youngest, or sets it aside, if it is on a list still. */
void lru_rotate(struct zone *zone, struct pageblock *block);
void lru_set_aside(struct zone *zone, struct pageblock *block);
/* Those that were set aside are the youngest now. */
void lru_take_back(struct zone *zone);

#endif
