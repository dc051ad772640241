/*
 * rank 3: requests for runs: adjacent free pages across the borders of buddy blocks.
 *
 * A block of 300 pages from the buddy proper breaks an aligned block of 512 and
 * leaves 212 behind; among random sizes that wastes a third of the heap. So
 * larger requests look for a run that is just long enough: movable ones up to a pageblock in
 * the lists of runs (run.h), others, or where these have none, among the free areas. Every
 * run of n pages holds a naturally aligned free block of at least a quarter of n, so the
 * areas of these orders lead to every run; the free bits of the pageblocks tell how far
 * it reaches.
 */
#include "buddy/run.h"

#define LISTED_TRIES 8		/* runs of one list, for one with an aligned place */
#define RUN_TRIES 32		/* of all lists, for a warm one; blocks of one free area */
#define LOOK_LEAST ((u64)1 << 14) /* pages on each side of a block, for the ends of its run, */
#define LOOK_LEAST_FOR 1024	/* by requests of so many; larger ones look as far as they reach */
#define PAGEBLOCK_TRIES 512	/* free pageblocks that may begin a run of them */

/* Within a pageblock: the neighbour alone tells most often that a run ends here. */
static inline bool ends_before(u64 pfn, u64 neighbour)
{
	return pfn / PAGEBLOCK_PAGES == neighbour / PAGEBLOCK_PAGES &&
	       !(free_word(neighbour) >> neighbour % 64 & 1);
}

struct search {
	const struct zone *zone;
	u64 nr, align;
	enum migratetype mt;
	u64 start, end;	/* the run looked at last, as far as it was looked at */
	u64 block;	/* in it: by which it was found */
	bool goes_on, goes_on_below; /* beyond the end, before the start */
	/* The best of them: */
	u64 at;		/* where the request would begin; 0: none yet */
	u64 length;	/* of the whole run, likewise */
	bool warm;	/* most pages of the request are dirty */
};

/* What is left of such a run is hardly worth another look. */
static bool fits_well(const struct search *s)
{
	return s->warm && s->length - s->nr <= s->nr / 16;
}

/*
 * Where in the run the request would lie, 0 if it does not fit: at its start, or else its end,
 * beside what is in use, lest a gap is left there that is too short for the next; where neither
 * is in reach, at the start of the block. But rather on warm pages: the warmest of these places is
 * taken, or, if it is warmer still, the place down to which was looked.
 */
static u64 place_in_run(const struct search *s, u64 *nr_dirty)
{
	const u64 start = round_up(s->start, s->align), block = round_up(s->block, s->align);
	const u64 places[] = {
		s->goes_on_below ? block : start,
		s->goes_on ? block : round_down(s->end - s->nr, s->align),
		block,
		start,
	};
	u64 at = 0;
	unsigned i;

	*nr_dirty = 0;
	for (i = 0; i < ARRAY_SIZE(places) && *nr_dirty < s->nr; i++) {
		u64 dirty;

		if (places[i] == at || places[i] < s->start || places[i] + s->nr > s->end)
			continue;
		dirty = pages_nr_dirty(places[i], s->nr);
		if (!at || dirty > *nr_dirty) {
			at = places[i];
			*nr_dirty = dirty;
		}
	}
	return at;
}

/*
 * Keeps the run looked at last if it serves better: warm pages rather than such that
 * fault, then the shorter run. Whether it would serve.
 */
static bool consider_run(struct search *s)
{
	u64 length = s->end - s->start, nr_dirty, at;
	bool warm;

	if (s->warm && length >= s->length)
		return true;
	at = place_in_run(s, &nr_dirty);
	if (!at)
		return false;
	warm = nr_dirty > s->nr / 2;
	if (s->at && (warm == s->warm ? length >= s->length : s->warm))
		return true;
	s->at = at;
	s->length = length;
	s->warm = warm;
	return true;
}

/* The shortest listed run that serves; of those that begin dirty a warm one, if soon found. */
static void search_lists(struct search *s, bool warm)
{
	const struct run_lists *lists = &s->zone->runs[warm];
	unsigned list = runs_next_list(lists, run_list_of(s->nr)), tries, cold = RUN_TRIES;

	for (; list < NR_RUN_LISTS; list = runs_next_list(lists, list + 1)) {
		u64 pfn = lists->first[list];

		tries = LISTED_TRIES;
		for (; pfn && tries; pfn = pfn_to_page(pfn)->run_next, tries--) {
			s->start = s->block = pfn;
			s->end = pfn + pfn_to_page(pfn)->run_nr;
			s->goes_on = s->goes_on_below = false;
			if (consider_run(s) && (s->warm || !warm || !--cold))
				return;
		}
	}
}

/* The run around a free block. */
static void look_around(struct search *s, u64 pfn, unsigned order)
{
	u64 most = s->nr + s->align, above;

	if (s->nr <= LOOK_LEAST_FOR)
		most = MAX(most, LOOK_LEAST);
	s->start = s->block = pfn;
	s->end = pfn + ((u64)1 << order);
	if (!ends_before(pfn, pfn - 1))
		s->start -= free_below(s->zone, pfn, most, s->mt, block_fits);
	s->goes_on_below = pfn - s->start == most;
	above = ends_before(s->end - 1, s->end) ?
			0 : free_above(s->zone, s->end, most, s->mt, block_fits);
	s->goes_on = above == most;
	s->end += above;
}

/* The block lies in the run that was looked at last, by way of a smaller block. */
static bool was_seen(const struct search *s, u64 pfn, unsigned order)
{
	return pfn >= s->start && pfn < s->end &&
	       (s->goes_on || pfn + ((u64)1 << order) <= s->end);
}

static void search_areas(struct search *s, unsigned order)
{
	for (; order <= MAX_ORDER && !s->warm; order++) {
		u64 pfn = s->zone->area[order].list[s->mt].first;
		unsigned tries;

		/* Warm blocks stand first in their list. */
		for (tries = RUN_TRIES; pfn && tries && !fits_well(s);
		     pfn = pfn_to_page(pfn)->next, tries--) {
			if (was_seen(s, pfn, order))
				continue;
			/* So large a block, listed as mt, may lie in a pageblock that is not. */
			if (order >= PAGEBLOCK_ORDER && !block_fits(s->zone, pfn, s->mt))
				continue;
			look_around(s, pfn, order);
			consider_run(s);
		}
	}
}

/* Takes pages that are free; all pageblocks they lie in become mt's, with what is free there. */
static void take_run(struct zone *zone, u64 pfn, u64 nr, enum migratetype mt)
{
	zone_take_free_range_locked(zone, pfn, nr);
	zone_retype_locked(zone, pfn, nr, mt);
}

u64 zone_rmqueue_run_locked(struct zone *zone, u64 nr, unsigned align_order,
			    enum migratetype mt)
{
	struct search s = { .zone = zone, .nr = nr, .align = (u64)1 << align_order, .mt = mt };

	if (mt == MIGRATE_MOVABLE && nr <= PAGEBLOCK_PAGES) {
		search_lists(&s, true);
		if (!s.warm)
			search_areas(&s, PAGEBLOCK_ORDER);
		if (!s.warm)
			search_lists(&s, false);
	} else {
		search_areas(&s, ilog2(nr) - 1);
	}
	if (!s.at)
		return 0;
	/* Within a block of several pageblocks some may be another type's still. */
	take_run(zone, s.at, nr, mt);
	return s.at;
}

/* Pages below a block that are looked at for the start of its run: a GiB. */
#define ROOM_BELOW ((u64)1 << 18)

u64 zone_rmqueue_roomy_locked(struct zone *zone, u64 nr, unsigned align_order,
			      enum migratetype mt)
{
	/* Where a page of the system's begins, or it could not be moved. */
	u64 align = MAX((u64)1 << align_order, system_page_pages());
	unsigned least = order_for_pages(nr) + 1, order;

	for (order = MAX_ORDER + 1; order-- > least;) {
		u64 pfn = zone->area[order].list[mt].first, at;

		if (!pfn || !block_fits(zone, pfn, mt) || !pages_nr_dirty(pfn, nr))
			continue;
		at = round_up(pfn - free_below(zone, pfn, ROOM_BELOW, mt, block_fits), align);
		if (!zone_take_range_locked(zone, at, nr))
			return 0;
		zone_retype_locked(zone, at, nr, mt);
		return at;
	}
	return 0;
}

u64 zone_rmqueue_contig_locked(struct zone *zone, u64 nr, unsigned align_order,
			       enum migratetype mt)
{
	u64 want = round_up(nr, (u64)PAGEBLOCK_PAGES);
	unsigned enough = MAX(order_for_pages(want), align_order);
	unsigned tries = PAGEBLOCK_TRIES, order, t;

	/* The smallest sufficient block first, then runs that smaller ones begin. */
	for (order = enough; order <= MAX_ORDER; order++)
		for (t = 0; t < MIGRATE_PCPTYPES; t++) {
			u64 pfn = zone->area[order].list[(mt + t) % MIGRATE_PCPTYPES].first;

			if (pfn) {
				take_run(zone, pfn, nr, mt);
				return pfn;
			}
		}
	for (order = MIN(enough, (unsigned)NR_ORDERS); order-- > PAGEBLOCK_ORDER;)
		for (t = 0; t < MIGRATE_PCPTYPES; t++) {
			u64 pfn = zone->area[order].list[t].first;

			for (; pfn && tries; pfn = pfn_to_page(pfn)->next, tries--) {
				u64 at = round_up(pfn, (u64)1 << align_order);

				if (at < pfn + ((u64)1 << order) &&
				    zone_range_is_free_locked(zone, at, want)) {
					take_run(zone, at, nr, mt);
					return at;
				}
			}
		}
	return 0;
}
