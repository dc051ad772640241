/* The walks over the invariants of a zone, and of a shard's slabs; see invariants.h. */
#include "invariants.h"

#include "base/report.h"
#include "buddy/run.h"

/* -------------------------------------------------------------------- zones */

/* Pageblocks by number, then those below 4 GiB; 0: no more. */
static u64 next_pageblock(u64 pfn)
{
	pfn = pfn ? pfn + PAGEBLOCK_PAGES : window.first >> PAGE_SHIFT;
	if (pfn < window.low && !pfn_has_block(pfn))
		pfn = window.low;
	return pfn_has_block(pfn) ? pfn : 0;
}

static void check_block(const struct zone *zone, u64 pfn, unsigned order, unsigned mt)
{
	const struct page *page = pfn_to_page(pfn);
	u64 buddy = pfn ^ (u64)1 << order;
	const struct page *other;
	u64 i;

	if (page->kind != PAGE_BUDDY || page->order != order || page->migratetype != mt)
		report_fatal("zone %s: block %#lx on list %u/%u has kind %u, order %u, type %u",
			     zone->name, (unsigned long)pfn, order, mt, page->kind, page->order,
			     page->migratetype);
	if (pfn & (((u64)1 << order) - 1))
		report_fatal("zone %s: block %#lx of order %u is not aligned", zone->name,
			     (unsigned long)pfn, order);
	if (order < PAGEBLOCK_ORDER && pfn_to_block(pfn)->migratetype != mt)
		report_fatal("zone %s: block %#lx of order %u is listed as type %u, its pageblock is of type %u",
			     zone->name, (unsigned long)pfn, order, mt,
			     pfn_to_block(pfn)->migratetype);
	for (i = pfn; i < pfn + ((u64)1 << order); i++)
		if (!(pfn_to_block(i)->free[i % PAGEBLOCK_PAGES / 64] >> i % 64 & 1))
			report_fatal("zone %s: page %#lx of a free block has no free bit",
				     zone->name, (unsigned long)i);
	if (order == MAX_ORDER || !pfn_has_block(buddy) ||
	    pfn_to_block(buddy)->state != BLOCK_PRESENT ||
	    pfn_to_block(buddy)->zone != zone->index)
		return;
	other = pfn_to_page(buddy);
	if (other->kind == PAGE_BUDDY && other->order == order)
		report_fatal("zone %s: buddies %#lx and %#lx of order %u are both free",
			     zone->name, (unsigned long)pfn, (unsigned long)buddy, order);
}

/* Whether the page is of a run that is listed if it is long enough. */
static bool is_of_run(const struct zone *zone, u64 pfn)
{
	return block_fits_in_part(zone, pfn, MIGRATE_MOVABLE) && free_word(pfn) >> pfn % 64 & 1;
}

/* A run as told page by page, which begins at pfn: its length, 0 if none begins there. */
static u64 run_length(const struct zone *zone, u64 pfn)
{
	u64 nr = 0;

	while (!is_of_run(zone, pfn - 1) && is_of_run(zone, pfn + nr))
		nr++;
	return nr;
}

static u64 check_run_list(const struct zone *zone, unsigned warm, unsigned list)
{
	const struct run_lists *lists = &zone->runs[warm];
	u64 nr = 0, pfn;
	u32 prev = 0;

	if ((lists->first[list] != 0) != (lists->filled[list / 64] >> list % 64 & 1))
		report_fatal("zone %s: runs of list %u/%u are told wrong", zone->name, warm, list);
	for (pfn = lists->first[list]; pfn; pfn = pfn_to_page(pfn)->run_next) {
		const struct page *page = pfn_to_page(pfn);

		if (page->run_prev != prev || page->kind != PAGE_BUDDY || page->run_warm != warm ||
		    page_is_dirty(pfn) != warm || run_list_of(page->run_nr) != list ||
		    run_length(zone, pfn) != page->run_nr)
			report_fatal("zone %s: run %#lx of list %u/%u has %u pages, not %lu", zone->name,
				     (unsigned long)pfn, warm, list, page->run_nr,
				     (unsigned long)run_length(zone, pfn));
		prev = (u32)pfn;
		nr++;
	}
	return nr;
}

static void check_runs(const struct zone *zone)
{
	u64 nr = 0, listed = 0, pfn, i;
	unsigned list;

	for (list = 0; list < 2 * NR_RUN_LISTS; list++)
		listed += check_run_list(zone, list / NR_RUN_LISTS, list % NR_RUN_LISTS);
	for (pfn = next_pageblock(0); pfn; pfn = next_pageblock(pfn))
		for (i = pfn; i < pfn + PAGEBLOCK_PAGES; i++)
			nr += run_length(zone, i) >= RUN_LEAST;
	if (nr != listed)
		report_fatal("zone %s: %lu runs are listed, there are %lu", zone->name,
			     (unsigned long)listed, (unsigned long)nr);
}

void zone_check_locked(struct zone *zone)
{
	u64 nr_free = 0, nr_bits = 0, nr_dirty = 0, pfn, nr;
	unsigned o, mt, i;

	for (o = 0; o <= MAX_ORDER; o++) {
		for (mt = 0; mt < MIGRATE_PCPTYPES; mt++) {
			u32 prev = 0;

			nr = 0;
			for (pfn = zone->area[o].list[mt].first; pfn; pfn = pfn_to_page(pfn)->next) {
				check_block(zone, pfn, o, mt);
				if (pfn_to_page(pfn)->prev != prev)
					report_fatal("zone %s: broken list %u/%u", zone->name, o, mt);
				prev = (u32)pfn;
				nr++;
			}
			if (zone->area[o].list[mt].last != prev)
				report_fatal("zone %s: list %u/%u ends elsewhere", zone->name, o, mt);
			if (nr != zone->area[o].nr_free[mt])
				report_fatal("zone %s: list %u/%u counts %u blocks, has %lu",
					     zone->name, o, mt, zone->area[o].nr_free[mt],
					     (unsigned long)nr);
			nr_free += nr << o;
		}
	}
	for (pfn = next_pageblock(0); pfn; pfn = next_pageblock(pfn)) {
		const struct pageblock *block = pfn_to_block(pfn);
		u64 dirty = 0;

		if (!block_is_of(block, zone->index))
			continue;
		for (i = 0; i < ARRAY_SIZE(block->free); i++) {
			nr_bits += (u64)__builtin_popcountll(block->free[i]);
			dirty += (u64)__builtin_popcountll(block->free[i] & block->dirty[i]);
		}
		if (dirty && !block->lru)
			report_fatal("zone %s: pageblock %#lx has dirty free pages and is not aged",
				     zone->name, (unsigned long)(pfn >> PAGEBLOCK_ORDER));
		nr_dirty += dirty;
	}
	check_runs(zone);
	if (nr_free != zone->nr_free || nr_bits != zone->nr_free || nr_dirty != zone->nr_dirty)
		report_fatal("zone %s: nr_free %lu, listed %lu, bits %lu; nr_dirty %lu, bits %lu",
			     zone->name, (unsigned long)zone->nr_free, (unsigned long)nr_free,
			     (unsigned long)nr_bits, (unsigned long)zone->nr_dirty,
			     (unsigned long)nr_dirty);
}

/* -------------------------------------------------------------------- slabs */

static void check_node(const struct shard *shard, unsigned class)
{
	const struct cache_node *node = &shard->nodes[class];
	const struct size_class *sc = &size_classes[class];
	u64 nr_free = 0, nr_empty = 0, pfn;
	unsigned i;

	for (pfn = node->partial.first; pfn; pfn = pfn_to_page(pfn)->next) {
		const struct page *page = pfn_to_page(pfn);
		unsigned bits = 0;

		for (i = 0; i < ARRAY_SIZE(page->map); i++)
			bits += (unsigned)__builtin_popcountll(page->map[i]);
		if (page->kind != PAGE_SLAB || bits != page->nr_free || !bits ||
		    bits > sc->nr_objects || tag_read(pfn) != shard->tag_base + class)
			report_fatal("slab %#lx: kind %u, %u bits, nr_free %u, tag %u",
				     (unsigned long)pfn, page->kind, bits, page->nr_free,
				     tag_read(pfn));
		nr_free += bits;
		nr_empty += bits == sc->nr_objects;
	}
	if (nr_free != node->nr_free || nr_empty != node->nr_empty)
		report_fatal("shard %u class %u: free %lu, counted %lu; empty %u, counted %lu",
			     shard->id, class, (unsigned long)node->nr_free,
			     (unsigned long)nr_free, node->nr_empty, (unsigned long)nr_empty);
}

void slab_check(struct shard *shard)
{
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++) {
		lock(&shard->nodes[class].lock, LOCK_NODE);
		check_node(shard, class);
		unlock(&shard->nodes[class].lock, LOCK_NODE);
	}
}
