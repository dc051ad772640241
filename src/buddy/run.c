/*
 * rank 3: runs: adjacent free pages across the borders of buddy blocks.
 *
 * A block of 300 pages from the buddy proper breaks an aligned block of 512 and
 * leaves 212 behind; among random sizes that wastes a third of the heap. So
 * larger requests look for a run that is just long enough. Every run of n pages
 * holds a naturally aligned free block of at least a quarter of n, so the lists
 * of these orders lead to every run; the free bits of the pageblocks tell how far
 * it reaches.
 */
#include "buddy/zone.h"
#include "os/os.h"

/* Blocks looked at in each list. */
#define RUN_TRIES 32
#define PAGEBLOCK_TRIES 512

/* A pageblock whose free pages a run of type mt may use. */
static bool block_fits(const struct zone *zone, u64 pfn, enum migratetype mt)
{
	const struct pageblock *block;

	if (!pfn_has_block(pfn))
		return false;
	block = pfn_to_block(pfn);
	return block->state == BLOCK_PRESENT && block->zone == zone->index &&
	       block->migratetype == mt;
}

static u64 free_word(u64 pfn)
{
	return pfn_to_block(pfn)->free[pfn % PAGEBLOCK_PAGES / 64];
}

/* Free pages from pfn upward, at most `most`. */
static u64 free_above(const struct zone *zone, u64 pfn, u64 most, enum migratetype mt)
{
	u64 from = pfn;

	while (pfn - from < most) {
		u64 used, n;

		if (pfn % PAGEBLOCK_PAGES == 0 && !block_fits(zone, pfn, mt))
			break;
		used = ~free_word(pfn) >> pfn % 64;
		n = used ? (u64)__builtin_ctzll(used) : 64 - pfn % 64;
		pfn += n;
		if (used)
			break;
	}
	return MIN(pfn - from, most);
}

/* Free pages just below pfn, at most `most`. */
static u64 free_below(const struct zone *zone, u64 pfn, u64 most, enum migratetype mt)
{
	u64 from = pfn;

	while (from - pfn < most) {
		u64 used;

		if (pfn % PAGEBLOCK_PAGES == 0 && !block_fits(zone, pfn - 1, mt))
			break;
		/* The page below as the highest bit. */
		used = ~free_word(pfn - 1) << (63 - (pfn - 1) % 64);
		pfn -= used ? (u64)__builtin_clzll(used) : (pfn - 1) % 64 + 1;
		if (used)
			break;
	}
	return MIN(from - pfn, most);
}

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
 * Looks at the run around the free block, and keeps it if it serves better: warm
 * pages rather than such that fault, then the shorter run.
 */
static void consider(struct search *s, u64 pfn, unsigned order)
{
	u64 most = s->nr + s->align, length, at;
	bool warm;

	s->start = pfn;
	s->end = pfn + ((u64)1 << order);
	if (!ends_before(pfn, pfn - 1))
		s->start -= free_below(s->zone, pfn, most, s->mt);
	if (!ends_before(s->end - 1, s->end))
		s->end += free_above(s->zone, s->end, most, s->mt);
	length = s->end - s->start;
	at = round_up(s->start, s->align);
	if (at + s->nr > s->end || (s->warm && length >= s->length))
		return;
	warm = pages_nr_dirty(at, s->nr) > s->nr / 2;
	if (s->at && (warm == s->warm ? length >= s->length : s->warm))
		return;
	s->at = at;
	s->length = length;
	s->warm = warm;
}

u64 zone_rmqueue_run_locked(struct zone *zone, u64 nr, unsigned align_order,
			    enum migratetype mt)
{
	struct search s = { .zone = zone, .nr = nr, .align = (u64)1 << align_order, .mt = mt };
	unsigned order = ilog2(nr), tries;

	for (order -= order > 0; order <= MAX_ORDER && !s.warm; order++) {
		u64 pfn = zone->area[order].first[mt];

		/* Warm blocks stand first in their list. */
		for (tries = RUN_TRIES; pfn && tries && !fits_well(&s);
		     pfn = pfn_to_page(pfn)->next, tries--) {
			/* Smaller blocks lead to the same run. */
			if (pfn - s.start < s.end - s.start)
				continue;
			/* A block listed as mt may lie in a pageblock that is not, if it is so large. */
			if (order < PAGEBLOCK_ORDER || block_fits(zone, pfn, mt))
				consider(&s, pfn, order);
		}
	}
	if (!s.at || !zone_take_range_locked(zone, s.at, nr))
		return 0;
	/* Within a block of several pageblocks some may be another type's still. */
	zone_claim_pageblocks_locked(zone, s.at, nr, mt);
	return s.at;
}

/* Pages below a block that are looked at for the start of its run: a GiB. */
#define ROOM_BELOW ((u64)1 << 18)

u64 zone_rmqueue_roomy_locked(struct zone *zone, u64 nr, enum migratetype mt)
{
	unsigned least = order_for_pages(nr) + 1, order;

	for (order = MAX_ORDER + 1; order-- > least;) {
		u64 pfn = zone->area[order].first[mt], at;

		if (!pfn || !block_fits(zone, pfn, mt) || !pages_nr_dirty(pfn, nr))
			continue;
		/* Where a page of the system's begins, or it could not be moved. */
		at = round_up(pfn - free_below(zone, pfn, ROOM_BELOW, mt),
			      (u64)os_page_size() >> PAGE_SHIFT);
		if (!zone_take_range_locked(zone, at, nr))
			return 0;
		zone_claim_pageblocks_locked(zone, at, nr, mt);
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
			u64 pfn = zone->area[order].first[(mt + t) % MIGRATE_PCPTYPES];

			if (pfn && zone_take_pageblocks_locked(zone, pfn, nr, mt))
				return pfn;
		}
	for (order = MIN(enough, (unsigned)NR_ORDERS); order-- > PAGEBLOCK_ORDER;)
		for (t = 0; t < MIGRATE_PCPTYPES; t++) {
			u64 pfn = zone->area[order].first[t];

			for (; pfn && tries; pfn = pfn_to_page(pfn)->next, tries--) {
				u64 at = round_up(pfn, (u64)1 << align_order);

				if (at < pfn + ((u64)1 << order) &&
				    zone_range_is_free_locked(zone, at, want) &&
				    zone_take_pageblocks_locked(zone, at, nr, mt))
					return at;
			}
		}
	return 0;
}
