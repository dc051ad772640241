/* rank 3: the lists of pageblocks with dirty free pages; see lru.h. */
#include "buddy/lru.h"

static struct lru_list *list_of(struct zone *zone, const struct pageblock *block)
{
	return &zone->lru[block->lru - LRU_AGES];
}

void lru_remove(struct zone *zone, struct pageblock *block)
{
	struct lru_list *list = list_of(zone, block);
	u32 *next = block->lru_prev ? &window.blocks[block->lru_prev].lru_next : &list->first;
	u32 *prev = block->lru_next ? &window.blocks[block->lru_next].lru_prev : &list->last;

	*next = block->lru_next;
	*prev = block->lru_prev;
	block->lru = LRU_NONE;
}

void lru_append(struct zone *zone, struct pageblock *block, enum lru which)
{
	u32 number = (u32)(block - window.blocks);
	struct lru_list *list;

	if (block->lru)
		lru_remove(zone, block);
	block->lru = (u8)which;
	block->stamp = zone->tick;
	list = list_of(zone, block);
	block->lru_next = 0;
	block->lru_prev = list->last;
	if (list->last)
		window.blocks[list->last].lru_next = number;
	else
		list->first = number;
	list->last = number;
}

struct pageblock *lru_oldest(const struct zone *zone, u32 before)
{
	u32 number = zone->lru[0].first;
	struct pageblock *block = &window.blocks[number];

	return number && (int)(block->stamp - before) < 0 ? block : NULL;
}

void lru_rotate(struct zone *zone, struct pageblock *block)
{
	if (block->lru)
		lru_append(zone, block, LRU_AGES);
}

void lru_set_aside(struct zone *zone, struct pageblock *block)
{
	if (block->lru)
		lru_append(zone, block, LRU_ASIDE);
}

void lru_take_back(struct zone *zone)
{
	struct lru_list *aside = &zone->lru[LRU_ASIDE - LRU_AGES];

	while (aside->first)
		lru_append(zone, &window.blocks[aside->first], LRU_AGES);
}
