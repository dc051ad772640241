/*
 * rank 4: huge pages of which part was given back.
 *
 * The system would bring it back, with a page of zeroes for each, as soon as it looks at what is
 * left (khugepaged): a heap that had shrunk from 300 to 25 MiB was at 114 again a minute later.
 * So of such a pageblock it is told to use none, until all of it was given. Each may be a
 * mapping of its own: of many the whole zone is told, until few are left that hold anything.
 *
 * Whoever gives pages back comes here, with no lock held. Two threads may tell the system different
 * things of one pageblock; whichever is heard last costs at most what this file saves.
 */
#include "page_alloc/internal.h"

/* Pageblocks of the zone that may be told of one by one. */
static u64 split_most(const struct zone *zone)
{
	return 8 + (zone_managed(zone) >> PAGEBLOCK_ORDER) / 64;
}

/* What a pageblock becomes when the whole zone is told: what is huge stays so, none becomes so. */
static enum thp told_none(u64 pfn)
{
	switch (thp_of(pfn)) {
	case THP_HUGE:
	case THP_OWN:
	case THP_FORMER:
		return THP_FORMER;
	case THP_SPLIT:
	case THP_ONCE:
		return THP_ONCE;
	default:
		return THP_SMALL;
	}
}

/* And when it is told anew. */
static enum thp told_anew(u64 pfn)
{
	switch (thp_of(pfn)) {
	case THP_FORMER:
		return THP_HUGE;
	case THP_ONCE:
		return pages_nr_dirty(pfn, PAGEBLOCK_PAGES) ? THP_SPLIT : THP_HUGE;
	default:
		return thp_of(pfn);
	}
}

/* Where the zone's pageblocks are, among those of others: pfns from start up to end. */
static void zone_span(const struct zone *zone, u64 *start, u64 *end)
{
	bool low = zone->type < ZONE_NORMAL;

	*start = low ? window.low : window.first >> PAGE_SHIFT;
	*end = low ? window.low + LOW_PAGES :
		     __atomic_load_n(&window.span, __ATOMIC_ACQUIRE) >> PAGE_SHIFT;
}

/* Whether the pageblock is the zone's, and the system is to be told something else of it now. */
static bool retell_block(const struct zone *zone, u64 pfn, enum thp (*told)(u64 pfn))
{
	enum thp thp;

	if (!block_is_of(pfn_to_block(pfn), zone->index))
		return false;
	thp = told(pfn);
	if (thp == thp_of(pfn))
		return false;
	thp_set(pfn, 1, thp);
	return true;
}

static cold_path void tell_zone(const struct zone *zone, enum thp (*told)(u64 pfn))
{
	u64 pfn, end, from;

	zone_span(zone, &pfn, &end);
	for (; pfn < end; pfn += PAGEBLOCK_PAGES) {
		from = pfn;
		while (pfn < end && retell_block(zone, pfn, told))
			pfn += PAGEBLOCK_PAGES;
		thp_repeat(from, pfn - from);
	}
}

/* Pageblocks once huge that hold something, of those that were told of with the zone. */
static u64 nr_holding(const struct zone *zone)
{
	u64 nr = 0, pfn, end;

	zone_span(zone, &pfn, &end);
	for (; pfn < end; pfn += PAGEBLOCK_PAGES)
		nr += block_is_of(pfn_to_block(pfn), zone->index) && thp_of(pfn) == THP_ONCE &&
		      pages_nr_dirty(pfn, PAGEBLOCK_PAGES);
	return nr;
}

/*
 * A pageblock of a zone that was told as a whole holds nothing any more. All are counted when
 * so many became empty as were too many the last time.
 */
static void maybe_tell_anew(struct zone *zone)
{
	/* Half as many as made it be told, lest that happens again at once. */
	u64 most = split_most(zone) / 2, nr;
	u32 too_many = __atomic_load_n(&zone->too_many_once, __ATOMIC_RELAXED);

	if (too_many > 1) {
		__atomic_store_n(&zone->too_many_once, too_many - 1, __ATOMIC_RELAXED);
		return;
	}
	nr = nr_holding(zone);
	__atomic_store_n(&zone->too_many_once, (u32)(nr - MIN(nr, most)), __ATOMIC_RELAXED);
	if (nr <= most)
		tell_zone(zone, told_anew);
}

void thp_split(u64 pfn)
{
	const struct zone *zone = pfn_zone(pfn);

	thp_set(pfn, 1, THP_SPLIT);
	if (__atomic_load_n(&zone->nr_split, __ATOMIC_RELAXED) > split_most(zone))
		tell_zone(zone, told_none);
	else
		thp_repeat(pfn, PAGEBLOCK_PAGES);
}

static void given_of_block(u64 pfn)
{
	bool part = pages_nr_dirty(pfn, PAGEBLOCK_PAGES);

	switch (thp_of(pfn)) {
	case THP_HUGE:
	case THP_OWN:
		if (part)
			thp_split(pfn);
		break;
	case THP_SPLIT:
		if (!part) {
			thp_set(pfn, 1, THP_HUGE);
			thp_repeat(pfn, PAGEBLOCK_PAGES);
		}
		break;
	case THP_FORMER:
		thp_set(pfn, 1, THP_ONCE);
		__attribute__((fallthrough));
	case THP_ONCE:
		if (!part)
			maybe_tell_anew(pfn_zone(pfn));
		break;
	default:
		break;
	}
}

void thp_given(u64 pfn, u64 nr)
{
	u64 end = pfn + nr;

	for (pfn = pageblock_start(pfn); pfn < end; pfn += PAGEBLOCK_PAGES)
		if (thp_of(pfn) != THP_DEFAULT && pfn_to_block(pfn)->state != BLOCK_HIGHMEM)
			given_of_block(pfn);
}

void thp_forget_split(u64 pfn, u64 nr)
{
	u64 end = pfn + nr;

	for (; pfn < end; pfn += PAGEBLOCK_PAGES)
		if (thp_of(pfn) == THP_SPLIT)
			thp_set(pfn, 1, THP_ONCE);
}
