/* rank 3: ranges of pages that are wanted as they lie. Zone lock. */
#include "buddy/zone.h"

bool zone_range_is_free_locked(struct zone *zone, u64 pfn, u64 nr)
{
	u64 end = pfn + nr;

	/* Both in the window, or both below 4 GiB: then all between have pageblocks. */
	if (nr && (!pfn_has_block(end - 1) || pfn_is_low(pfn) != pfn_is_low(end - 1)))
		return false;
	while (pfn < end) {
		const struct pageblock *block = pfn_to_block(pfn);
		struct piece p;

		if (!block_is_of(block, zone->index))
			return false;
		if (begins_whole_block(pfn, end - pfn)) {
			if (!all_bits_set(block->free))
				return false;
			pfn += PAGEBLOCK_PAGES;
			continue;
		}
		p = first_piece(pfn, end - pfn);
		if ((block->free[p.word] & p.mask) != p.mask)
			return false;
		pfn += p.nr;
	}
	return true;
}

u64 zone_free_blocks_below_locked(struct zone *zone, u64 pfn, u64 most)
{
	u64 nr = 0;

	while (nr < most && zone_range_is_free_locked(zone, pfn - (nr + 1) * PAGEBLOCK_PAGES,
						      PAGEBLOCK_PAGES))
		nr++;
	return nr;
}

bool zone_take_range_locked(struct zone *zone, u64 pfn, u64 nr)
{
	if (!zone_range_is_free_locked(zone, pfn, nr))
		return false;
	zone_take_free_range_locked(zone, pfn, nr);
	return true;
}

void zone_back_block(struct zone *zone, u64 pfn)
{
	struct pageblock *block = pfn_to_block(pfn);
	unsigned i, from, run;

	lock(&zone->lock, LOCK_ZONE);
	for (i = 0; i < ARRAY_SIZE(block->free); i++) {
		u64 clean = block->free[i] & ~bitmap_word(block->dirty, i);

		for (; clean; clean &= ~bit_run(from, run)) {
			u64 at = pfn + i * 64;

			run = first_bit_run(clean, &from);
			/* Off the lists and back: dirty ones stand elsewhere. */
			zone_take_free_range_locked(zone, at + from, run);
			pages_set_dirty(at + from, run);
			zone_free_range_locked(zone, at + from, run);
		}
	}
	unlock(&zone->lock, LOCK_ZONE);
}
