/*
 * rank 3: the buddy proper: free areas, split, merge, fallback between
 * migratetypes. State, locks and invariants are in zone.h.
 */
#include "buddy/zone.h"

#include <string.h>

#include "base/report.h"
#include "base/trace.h"
#include "buddy/lru.h"
#include "buddy/run.h"

/*
 * The three mutators of the free lists: a block's kind, order and list change
 * here and nowhere else.
 */
static void add_to_free_list(struct zone *zone, u64 pfn, unsigned order, enum migratetype mt)
{
	struct free_area *area = &zone->area[order];
	struct page *page = pfn_to_page(pfn);

	bm_assert(mt < MIGRATE_PCPTYPES);
	page->order = (u8)order;
	page->migratetype = (u8)mt;
	page_set_kind(page, PAGE_BUDDY);
	/* The first page stands for all: where a block goes is no more than a hint. */
	if (page_is_dirty(pfn))
		pfn_list_add_head(&area->list[mt], page, pfn);
	else
		pfn_list_add_tail(&area->list[mt], page, pfn);
	count_add(&area->nr_free[mt], 1);
}

static void del_page_from_free_list(struct zone *zone, u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	struct free_area *area = &zone->area[page->order];
	u32 *nr_free = &area->nr_free[page->migratetype];

	bm_assert(page_kind(page) == PAGE_BUDDY);
	pfn_list_del(&area->list[page->migratetype], pfn);
	page_set_kind(page, PAGE_NONE);
	count_sub(nr_free, 1);
}

static void move_to_free_list(struct zone *zone, u64 pfn, enum migratetype mt)
{
	unsigned order = pfn_to_page(pfn)->order;

	del_page_from_free_list(zone, pfn);
	add_to_free_list(zone, pfn, order, mt);
}

/* Turns the free bits of a whole pageblock, all alike; of its pages, how many are dirty. */
static u64 turn_whole_block(struct pageblock *block, bool free)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		bm_assert(block->free[i] == (free ? 0 : ~(u64)0));
	memset(block->free, free ? 0xff : 0, sizeof(block->free));
	return pages_nr_dirty(block_to_pfn(block), PAGEBLOCK_PAGES);
}

/* Turns those of [pfn, end), within the pageblock; of these pages, how many are dirty. */
static inline u64 turn_free_bits(struct pageblock *block, u64 pfn, u64 end, bool free)
{
	u64 dirty = 0;

	if (begins_whole_block(pfn, end - pfn))
		return turn_whole_block(block, free);
	while (pfn < end) {
		struct piece p = first_piece(pfn, end - pfn);

		bm_assert((block->free[p.word] & p.mask) == (free ? 0 : p.mask));
		block->free[p.word] ^= p.mask;
		dirty += count_bits(bitmap_word(block->dirty, p.word), p.mask, p.nr);
		pfn += p.nr;
	}
	return dirty;
}

/* Sets or clears the free bits of [pfn, pfn + nr), with what goes by them: runs, lru, counts. */
static void account_free(struct zone *zone, u64 pfn, u64 nr, bool free)
{
	u64 end = pfn + nr, stop;
	u64 dirty_total = 0;

	for (; pfn < end; pfn = stop) {
		struct pageblock *block = pfn_to_block(pfn);
		u64 dirty;

		stop = MIN(end, pageblock_end(pfn));
		if (block->migratetype == MIGRATE_MOVABLE)
			(free ? runs_join : runs_part)(zone, pfn, stop);
		dirty = turn_free_bits(block, pfn, stop, free);
		if (dirty && free)
			lru_touch(zone, block);
		else if (dirty)
			lru_drop_if_clean(zone, block);
		dirty_total += dirty;
	}
	if (free) {
		count_add(&zone->nr_free, nr);
		count_add(&zone->nr_dirty, dirty_total);
	} else {
		count_sub(&zone->nr_free, nr);
		count_sub(&zone->nr_dirty, dirty_total);
		zone->least_dirty = MIN(zone->least_dirty, zone->nr_dirty);
	}
}

/*
 * The block at pfn can merge with one of this order only if (a) it is a
 * present pageblock's, (b) of the same zone, (c) it heads a free block, (d) of
 * exactly this order.
 */
static bool page_is_buddy(const struct zone *zone, u64 pfn, unsigned order)
{
	const struct page *page = pfn_to_page(pfn);

	/* Within a pageblock the first two hold of themselves. */
	if (order >= PAGEBLOCK_ORDER &&
	    (!pfn_has_block(pfn) || !block_is_of(pfn_to_block(pfn), zone->index)))
		return false;
	return page_kind(page) == PAGE_BUDDY && page->order == order;
}

/* Puts a block whose free bits are set already on its list, merging upward. */
static void merge_and_add(struct zone *zone, u64 pfn, unsigned order, enum migratetype mt)
{
	while (order < MAX_ORDER) {
		u64 buddy = pfn ^ (u64)1 << order;

		if (!page_is_buddy(zone, buddy, order))
			break;
		del_page_from_free_list(zone, buddy);
		pfn &= buddy;
		order++;
	}
	add_to_free_list(zone, pfn, order, mt);
}

/* The largest order of a naturally aligned block at pfn within nr pages. */
static unsigned fitting_order(u64 pfn, u64 nr)
{
	unsigned aligned = (unsigned)__builtin_ctzll(pfn | (u64)1 << MAX_ORDER);

	return MIN(aligned, ilog2(nr));
}

void zone_free_range_locked(struct zone *zone, u64 pfn, u64 nr)
{
	account_free(zone, pfn, nr, true);
	while (nr) {
		unsigned order = fitting_order(pfn, nr);

		merge_and_add(zone, pfn, order, pfn_to_block(pfn)->migratetype);
		pfn += (u64)1 << order;
		nr -= (u64)1 << order;
	}
}

void zone_free_range(struct zone *zone, u64 pfn, u64 nr)
{
	lock(&zone->lock, LOCK_ZONE);
	zone_free_range_locked(zone, pfn, nr);
	unlock(&zone->lock, LOCK_ZONE);
}

/*
 * Lists [pfn, pfn + nr), the rest of a block of type mt just taken, as maximal
 * blocks. What is smaller than a pageblock is of its pageblock's type.
 */
static void add_rest(struct zone *zone, u64 pfn, u64 nr, enum migratetype mt)
{
	while (nr) {
		unsigned order = fitting_order(pfn, nr);

		add_to_free_list(zone, pfn, order,
				 order < PAGEBLOCK_ORDER ? pfn_to_block(pfn)->migratetype : mt);
		pfn += (u64)1 << order;
		nr -= (u64)1 << order;
	}
}

/* Splits a block of order `high`, off its list, until its first part has order `low`. */
static void expand(struct zone *zone, u64 pfn, unsigned low, unsigned high, enum migratetype mt)
{
	while (high > low) {
		high--;
		add_to_free_list(zone, pfn + ((u64)1 << high), high, mt);
	}
}

/* Pageblocks that are wholly free, or not free at all. */
static void set_migratetype(u64 pfn, u64 nr, enum migratetype mt)
{
	u64 end = round_up(pfn + nr, (u64)PAGEBLOCK_PAGES);

	for (pfn = pageblock_start(pfn); pfn < end; pfn += PAGEBLOCK_PAGES)
		pfn_to_block(pfn)->migratetype = (u8)mt;
}

/*
 * The smallest sufficient block that begins warm, or else the smallest: to cut up
 * a larger block costs less than a page fault for each page of a clean one.
 */
static u64 rmqueue_smallest(struct zone *zone, unsigned order, enum migratetype mt)
{
	unsigned o, smallest = 0;
	u64 pfn = 0;

	for (o = order; o <= MAX_ORDER; o++) {
		/* Warm blocks stand first in their list. */
		u64 first = zone->area[o].list[mt].first;

		if (!first)
			continue;
		if (!pfn || page_is_dirty(first)) {
			pfn = first;
			smallest = o;
		}
		if (page_is_dirty(first) || !zone->nr_dirty)
			break;
	}
	if (!pfn)
		return 0;
	del_page_from_free_list(zone, pfn);
	/* Merging does not look at types: a pageblock in a larger block
	 * may be another's still, and gets what is freed in it. */
	if (smallest >= PAGEBLOCK_ORDER)
		set_migratetype(pfn, (u64)1 << order, mt);
	expand(zone, pfn, order, smallest, mt);
	return pfn;
}

u64 zone_rmqueue_cold_locked(struct zone *zone, unsigned order, enum migratetype mt)
{
	unsigned o;

	for (o = order; o <= MAX_ORDER; o++) {
		u64 pfn = zone->area[o].list[mt].last;

		/* Clean blocks stand at the end of the list. */
		if (!pfn || page_is_dirty(pfn))
			continue;
		del_page_from_free_list(zone, pfn);
		if (o >= PAGEBLOCK_ORDER)
			set_migratetype(pfn, (u64)1 << order, mt);
		expand(zone, pfn, order, o, mt);
		account_free(zone, pfn, (u64)1 << order, false);
		return pfn;
	}
	return 0;
}

/* Moves every free block of the pageblock to the lists of mt. */
static void move_freepages_block(struct zone *zone, u64 pfn, enum migratetype mt)
{
	struct pageblock *block = pfn_to_block(pfn);
	u64 start = pageblock_start(pfn), i = 0;

	while (i < PAGEBLOCK_PAGES) {
		u64 bits = block->free[i / 64] >> i % 64;

		if (!bits) {
			i = round_up(i + 1, (u64)64);
			continue;
		}
		i += (u64)__builtin_ctzll(bits);
		/* Blocks stay below the pageblock order here, so the first free
		 * page after an allocated one heads its block. */
		move_to_free_list(zone, start + i, mt);
		i += (u64)1 << pfn_to_page(start + i)->order;
	}
}

/* A pageblock of which others use parts becomes mt's, with what is free there. */
static void change_type(struct zone *zone, u64 pfn, enum migratetype mt)
{
	if (pfn_to_block(pfn)->migratetype == mt)
		return;
	runs_set_type(zone, pfn, mt);
	move_freepages_block(zone, pfn, mt);
}

static u64 nr_free_in_block(const struct pageblock *block)
{
	u64 n = 0;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(block->free); i++)
		n += (u64)__builtin_popcountll(block->free[i]);
	return n;
}

/* The head of the free block that holds pfn, whose free bit is set. */
static u64 free_block_head(u64 pfn)
{
	unsigned o;

	for (o = 0; o <= MAX_ORDER; o++) {
		u64 head = round_down(pfn, (u64)1 << o);
		const struct page *page = pfn_to_page(head);

		if (page_kind(page) == PAGE_BUDDY && page->order >= o)
			return head;
	}
	report_fatal("free page %#lx lies in no free block", (unsigned long)pfn);
}

/* Takes free pages off the lists, whatever blocks they lie in. */
static void take_off_lists(struct zone *zone, u64 pfn, u64 nr)
{
	u64 end = pfn + nr, at = pfn;

	while (at < end) {
		u64 head = free_block_head(at);
		const struct page *page = pfn_to_page(head);
		u64 next = head + ((u64)1 << page->order);
		enum migratetype mt = page->migratetype;

		del_page_from_free_list(zone, head);
		if (head < pfn)
			add_rest(zone, head, pfn - head, mt);
		if (next > end)
			add_rest(zone, end, next - end, mt);
		at = next;
	}
}

static const u8 fallbacks[MIGRATE_PCPTYPES][MIGRATE_PCPTYPES - 1] = {
	[MIGRATE_UNMOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE },
	[MIGRATE_MOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE },
	[MIGRATE_RECLAIMABLE] = { MIGRATE_UNMOVABLE, MIGRATE_MOVABLE },
};

#define CLAIM_TRIES 32	/* blocks of a list that a claim looks at for the lowest */
#define CLAIM_REACH 128	/* pageblocks that it looks back over for the start of a run */

/* The lowest of a list's first blocks, of those as warm as the very first. */
static u64 lowest_of_list(const struct pfn_list *list)
{
	u64 lowest = list->first, pfn = lowest;
	unsigned tries;

	for (tries = CLAIM_TRIES; pfn && tries; pfn = pfn_to_page(pfn)->next, tries--)
		if (pfn < lowest && page_is_dirty(pfn) == page_is_dirty(list->first))
			lowest = pfn;
	return lowest;
}

/*
 * Whole pageblocks of another migratetype, out of the smallest sufficient block, the lowest of
 * several, and from the start of a run of them: large ones stay whole, for the next large block.
 * Only what we take changes its type.
 */
static u64 claim_pageblocks(struct zone *zone, unsigned order, enum migratetype mt)
{
	unsigned least = MAX(order, (unsigned)PAGEBLOCK_ORDER), o, i;

	for (o = least; o <= MAX_ORDER; o++) {
		for (i = 0; i < MIGRATE_PCPTYPES - 1; i++) {
			enum migratetype from = fallbacks[mt][i];
			u64 pfn = lowest_of_list(&zone->area[o].list[from]);

			if (!pfn)
				continue;
			if (least == PAGEBLOCK_ORDER)
				pfn -= zone_free_blocks_below_locked(zone, pfn, CLAIM_REACH)
				       << PAGEBLOCK_ORDER;
			TRACE(MM_PAGE_ALLOC_EXTFRAG, mm_page_alloc_extfrag, pfn, order, mt, from);
			take_off_lists(zone, pfn, (u64)1 << least);
			set_migratetype(pfn, (u64)1 << least, mt);
			expand(zone, pfn, order, least, mt);
			return pfn;
		}
	}
	return 0;
}

/*
 * Part of another migratetype's pageblock, out of the largest block: it leaves the
 * most for those who come after us. A pageblock of which we get at least half becomes
 * ours altogether.
 */
static u64 steal_pages(struct zone *zone, unsigned order, enum migratetype mt)
{
	unsigned o, i;

	for (o = PAGEBLOCK_ORDER; o-- > order;) {
		for (i = 0; i < MIGRATE_PCPTYPES - 1; i++) {
			enum migratetype from = fallbacks[mt][i];
			u64 pfn = zone->area[o].list[from].first;

			if (!pfn)
				continue;
			TRACE(MM_PAGE_ALLOC_EXTFRAG, mm_page_alloc_extfrag, pfn, order, mt, from);
			if (nr_free_in_block(pfn_to_block(pfn)) >= PAGEBLOCK_PAGES / 2) {
				change_type(zone, pfn, mt);
				return rmqueue_smallest(zone, order, mt);
			}
			del_page_from_free_list(zone, pfn);
			expand(zone, pfn, order, o, from);
			return pfn;
		}
	}
	return 0;
}

u64 zone_rmqueue_locked(struct zone *zone, unsigned order, enum migratetype mt, bool nofragment)
{
	u64 pfn = rmqueue_smallest(zone, order, mt);

	if (!pfn)
		pfn = claim_pageblocks(zone, order, mt);
	if (!pfn && !nofragment)
		pfn = steal_pages(zone, order, mt);
	if (pfn) {
		account_free(zone, pfn, (u64)1 << order, false);
		TRACE(MM_PAGE_ALLOC_ZONE_LOCKED, mm_page_alloc_zone_locked, pfn, order, mt,
		      zone->index);
	}
	return pfn;
}

void zone_take_free_range_locked(struct zone *zone, u64 pfn, u64 nr)
{
	take_off_lists(zone, pfn, nr);
	account_free(zone, pfn, nr, false);
}

void zone_retype_locked(struct zone *zone, u64 pfn, u64 nr, enum migratetype mt)
{
	u64 end = pfn + nr;

	for (pfn = pageblock_start(pfn); pfn < end; pfn += PAGEBLOCK_PAGES)
		change_type(zone, pfn, mt);
}

void zone_add_blocks(struct zone *zone, u64 pfn, u64 nr_blocks, enum migratetype mt)
{
	lock(&zone->lock, LOCK_ZONE);
	set_migratetype(pfn, nr_blocks << PAGEBLOCK_ORDER, mt);
	count_add(&zone->managed, nr_blocks << PAGEBLOCK_ORDER);
	zone_free_range_locked(zone, pfn, nr_blocks << PAGEBLOCK_ORDER);
	unlock(&zone->lock, LOCK_ZONE);
}
