/* A naive model of a zone; see buddy_model.h. */
#include "buddy_model.h"

#include <string.h>

u64 model_section(struct zone *zone, u64 nr, u64 align, enum migratetype mt)
{
	u64 pfn = section_map(nr, align, BLOCK_PRESENT, zone->index);

	assert_int_not_equal(pfn, 0);
	zone_add_blocks(zone, pfn, nr, mt);
	return pfn;
}

void model_init(struct model *m, struct zone *zone, u64 base, unsigned granule, u32 nr)
{
	assert_true(nr <= MODEL_UNITS);
	memset(m, 0, sizeof(*m));
	m->zone = zone;
	m->base = base;
	m->granule = granule;
	m->nr_units = m->nr_free = nr;
}

void model_hole(struct model *m, u32 start, u32 nr)
{
	for (; nr; nr--, start++) {
		assert_int_equal(m->owner[start], UNIT_FREE);
		m->owner[start] = UNIT_HOLE;
		m->nr_free--;
	}
}

static u64 unit_pfn(const struct model *m, u32 unit)
{
	return m->base + ((u64)unit << m->granule);
}

static u64 pages(const struct model *m, u32 units)
{
	return (u64)units << m->granule;
}

static bool is_free(const struct model *m, u32 start, u32 nr)
{
	u32 i;

	if (start >= m->nr_units || nr > m->nr_units - start)
		return false;
	for (i = start; i < start + nr; i++)
		if (m->owner[i] != UNIT_FREE)
			return false;
	return true;
}

/* Whether nr free units begin at a multiple of `align` units, counted from pfn 0. */
static bool has_run(const struct model *m, u32 nr, u64 align)
{
	u64 first = m->base >> m->granule;
	u64 i;

	for (i = round_up(first, align) - first; i + nr <= m->nr_units; i += align)
		if (is_free(m, (u32)i, nr))
			return true;
	return false;
}

static void set_owner(struct model *m, u32 start, u32 nr, short from, short to)
{
	u32 i;

	for (i = start; i < start + nr; i++) {
		assert_int_equal(m->owner[i], from);
		m->owner[i] = to;
	}
	m->nr_free += (to == UNIT_FREE) * nr;
	m->nr_free -= (from == UNIT_FREE) * nr;
}

static int new_block(struct model *m, u64 pfn, u32 nr, bool dirty)
{
	u32 start = (u32)((pfn - m->base) >> m->granule), i;

	assert_true(pfn >= m->base);
	assert_true(start + nr <= m->nr_units);
	assert_int_equal(unit_pfn(m, start), pfn);
	for (i = 0; i < m->nr_blocks && m->blocks[i].len; i++)
		;
	assert_true(i < MODEL_BLOCKS);
	if (i == m->nr_blocks)
		m->nr_blocks++;
	m->blocks[i] = (struct model_block){ start, nr };
	m->nr_live++;
	set_owner(m, start, nr, UNIT_FREE, (short)(i + 1));
	if (dirty)
		pages_set_dirty(pfn, pages(m, nr));
	return (int)i;
}

/*
 * With nofragment a block may be refused although it is there: one that is
 * smaller than a pageblock and another migratetype's.
 */
static void check_refusal(const struct model *m, unsigned order, enum migratetype mt)
{
	unsigned o, t;

	for (o = order; o <= MAX_ORDER; o++)
		for (t = 0; t < MIGRATE_PCPTYPES; t++)
			if (t == mt || o >= PAGEBLOCK_ORDER)
				assert_int_equal(m->zone->area[o].list[t].first, 0);
}

int model_alloc(struct model *m, unsigned order, enum migratetype mt, bool nofragment, bool dirty)
{
	u32 nr = (u32)1 << order;
	bool possible = has_run(m, nr, nr);
	u64 pfn = zone_rmqueue_locked(m->zone, order + m->granule, mt, nofragment);

	if (!pfn) {
		if (nofragment)
			check_refusal(m, order + m->granule, mt);
		else
			assert_false(possible);
		return -1;
	}
	assert_true(possible);
	assert_int_equal(pfn % pages(m, nr), 0);
	return new_block(m, pfn, nr, dirty);
}

int model_contig(struct model *m, u32 nr, unsigned align_order, enum migratetype mt, bool dirty)
{
	u64 per_block = PAGEBLOCK_PAGES >> m->granule;
	u64 align = (u64)1 << align_order;
	bool possible = has_run(m, (u32)round_up((u64)nr, per_block), align);
	u64 pfn = zone_rmqueue_contig_locked(m->zone, pages(m, nr), align_order + m->granule, mt);

	assert_int_equal(pfn != 0, possible);
	if (!pfn)
		return -1;
	assert_int_equal(pfn % pages(m, (u32)align), 0);
	return new_block(m, pfn, nr, dirty);
}

/* The search for a run is bounded, so it may find none; what it finds is of the type. */
int model_run(struct model *m, u32 nr, unsigned align_order, enum migratetype mt, bool dirty)
{
	u64 pfn = zone_rmqueue_run_locked(m->zone, pages(m, nr), align_order + m->granule, mt), at;

	if (!pfn)
		return -1;
	assert_int_equal(pfn % pages(m, (u32)1 << align_order), 0);
	for (at = pfn; at < pfn + pages(m, nr); at = pageblock_end(at))
		assert_int_equal(pfn_to_block(at)->migratetype, mt);
	return new_block(m, pfn, nr, dirty);
}

int model_take(struct model *m, u32 start, u32 nr, bool dirty)
{
	bool possible = is_free(m, start, nr);

	assert_int_equal(zone_range_is_free_locked(m->zone, unit_pfn(m, start), pages(m, nr)),
			 possible);
	assert_int_equal(zone_take_range_locked(m->zone, unit_pfn(m, start), pages(m, nr)),
			 possible);
	return possible ? new_block(m, unit_pfn(m, start), nr, dirty) : -1;
}

bool model_grow(struct model *m, int block, u32 nr)
{
	struct model_block *b = &m->blocks[block];
	u32 end = b->start + b->len;
	bool possible = is_free(m, end, nr);

	assert_int_equal(zone_take_range_locked(m->zone, unit_pfn(m, end), pages(m, nr)),
			 possible);
	if (!possible)
		return false;
	set_owner(m, end, nr, UNIT_FREE, (short)(block + 1));
	b->len += nr;
	return true;
}

void model_shrink(struct model *m, int block, u32 nr)
{
	struct model_block *b = &m->blocks[block];

	assert_true(nr < b->len);
	b->len -= nr;
	set_owner(m, b->start + b->len, nr, (short)(block + 1), UNIT_FREE);
	zone_free_range_locked(m->zone, unit_pfn(m, b->start + b->len), pages(m, nr));
}

void model_free(struct model *m, int block)
{
	struct model_block *b = &m->blocks[block];

	set_owner(m, b->start, b->len, (short)(block + 1), UNIT_FREE);
	zone_free_range_locked(m->zone, unit_pfn(m, b->start), pages(m, b->len));
	b->len = 0;
	m->nr_live--;
}

void model_purge(struct model *m, u32 start, u32 nr)
{
	u64 dirty = m->zone->nr_dirty, in_range;

	/* Beyond the heap there may be no dirty bits to count. */
	nr = MIN(nr, m->nr_units - start);
	in_range = pages_nr_dirty(unit_pfn(m, start), pages(m, nr));
	if (!zone_take_range_locked(m->zone, unit_pfn(m, start), pages(m, nr))) {
		assert_false(is_free(m, start, nr));
		return;
	}
	pages_clear_dirty(unit_pfn(m, start), pages(m, nr));
	zone_free_range_locked(m->zone, unit_pfn(m, start), pages(m, nr));
	assert_int_equal(m->zone->nr_dirty, dirty - in_range);
}

int model_live(const struct model *m, u32 i)
{
	u32 n;

	for (n = 0; n < m->nr_blocks; n++)
		if (m->blocks[n].len && !i--)
			return (int)n;
	return -1;
}

void model_check(const struct model *m)
{
	u32 i;

	zone_check_locked(m->zone);
	assert_int_equal(m->zone->nr_free, pages(m, m->nr_free));
	for (i = 0; i < m->nr_units; i++)
		if (zone_range_is_free_locked(m->zone, unit_pfn(m, i), pages(m, 1)) !=
		    (m->owner[i] == UNIT_FREE))
			fail_msg("unit %u: owner %d", i, m->owner[i]);
}
