/* rank 3: the lists of runs, kept as pages come and go; see run.h. */
#include "base/report.h"
#include "buddy/run.h"

static_assert(NR_RUN_LISTS == 2 * 64, "two words say which lists have runs");
static_assert(2 * PAGEBLOCK_PAGES == 64 << (NR_RUN_LISTS / 16 - 4), "the longest run has a list");

static void list_run(struct zone *zone, u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	unsigned list = run_list_of(nr);
	bool warm = page_is_dirty(pfn);
	struct run_lists *lists = &zone->runs[warm];
	u32 next = lists->first[list];

	lists->first[list] = (u32)pfn;
	lists->filled[list / 64] |= (u64)1 << list % 64;
	page->run_next = next;
	page->run_prev = 0;
	page->run_nr = (u16)nr;
	page->run_warm = warm;
	if (next)
		pfn_to_page(next)->run_prev = (u32)pfn;
}

static void unlist_run(struct zone *zone, u64 pfn, u64 nr)
{
	struct page *page = pfn_to_page(pfn);
	u32 next = page->run_next, prev = page->run_prev;
	struct run_lists *lists;
	unsigned list;

	bm_assert(page->run_nr == nr);
	if (next)
		pfn_to_page(next)->run_prev = prev;
	if (prev) {
		pfn_to_page(prev)->run_next = next;
		return;
	}
	lists = &zone->runs[page->run_warm];
	list = run_list_of(nr);
	lists->first[list] = next;
	if (!next)
		lists->filled[list / 64] &= ~((u64)1 << list % 64);
}

/* Those that are long enough are listed. */
static fast_inline void list_long_run(struct zone *zone, u64 pfn, u64 end)
{
	if (end - pfn >= RUN_LEAST)
		list_run(zone, pfn, end - pfn);
}

static fast_inline void unlist_long_run(struct zone *zone, u64 pfn, u64 end)
{
	if (end - pfn >= RUN_LEAST)
		unlist_run(zone, pfn, end - pfn);
}

/* A run with a free part in its midst, which is within one pageblock. */
struct around {
	u64 start, end;			/* of the run */
	u64 block_start, block_end;	/* of the pageblock if it is wholly free, else `end` */
};

static fast_inline struct around surrounding_run(const struct zone *zone, u64 pfn, u64 end)
{
	const enum migratetype mt = MIGRATE_MOVABLE;
	u64 block_start = pageblock_start(pfn);
	u64 block_end = block_start + PAGEBLOCK_PAGES;
	struct around a = {
		.start = pfn - free_below(zone, pfn, 2 * PAGEBLOCK_PAGES, mt, block_fits_in_part),
		.end = end + free_above(zone, end, 2 * PAGEBLOCK_PAGES, mt, block_fits_in_part),
	};
	bool whole = a.start <= block_start && a.end >= block_end;

	a.block_start = whole ? block_start : a.end;
	a.block_end = whole ? block_end : a.end;
	return a;
}

void runs_join(struct zone *zone, u64 pfn, u64 end)
{
	struct around a = surrounding_run(zone, pfn, end);

	unlist_long_run(zone, a.start, pfn);
	unlist_long_run(zone, end, a.end);
	list_long_run(zone, a.start, a.block_start);
	list_long_run(zone, a.block_end, a.end);
}

void runs_part(struct zone *zone, u64 pfn, u64 end)
{
	struct around a = surrounding_run(zone, pfn, end);

	unlist_long_run(zone, a.start, a.block_start);
	unlist_long_run(zone, a.block_end, a.end);
	list_long_run(zone, a.start, pfn);
	list_long_run(zone, end, a.end);
}

/* Does it with all that is free in the pageblock at pfn, piece by piece. */
static void with_pieces(struct zone *zone, u64 pfn,
			void (*what)(struct zone *zone, u64 pfn, u64 end))
{
	u64 end = pfn + PAGEBLOCK_PAGES;

	while (pfn < end) {
		u64 bits = free_word(pfn) >> pfn % 64, nr;

		if (!bits) {
			pfn = round_up(pfn + 1, (u64)64);
			continue;
		}
		pfn += (u64)__builtin_ctzll(bits);
		nr = free_above(zone, pfn, end - pfn, MIGRATE_MOVABLE, block_fits_in_part);
		what(zone, pfn, pfn + nr);
		pfn += nr;
	}
}

void runs_set_type(struct zone *zone, u64 pfn, enum migratetype mt)
{
	struct pageblock *block = pfn_to_block(pfn);

	pfn = pageblock_start(pfn);
	/* One that is wholly free bounds its neighbours whatever its type is. */
	if (block->migratetype == MIGRATE_MOVABLE && !all_bits_set(block->free))
		with_pieces(zone, pfn, runs_part);
	block->migratetype = (u8)mt;
	if (mt == MIGRATE_MOVABLE && !all_bits_set(block->free))
		with_pieces(zone, pfn, runs_join);
}

unsigned runs_next_list(const struct run_lists *lists, unsigned list)
{
	unsigned word;
	u64 bits;

	if (list >= NR_RUN_LISTS)
		return NR_RUN_LISTS;
	word = list / 64;
	bits = lists->filled[word] >> list % 64 << list % 64;
	if (!bits && !word)
		bits = lists->filled[++word];
	return bits ? word * 64 + (unsigned)__builtin_ctzll(bits) : NR_RUN_LISTS;
}
