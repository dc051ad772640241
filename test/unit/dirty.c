/* The dirty bits of pages: exact for every start and length, beside others' bits. */
#include "unit.h"

#include <pthread.h>
#include <string.h>

#include "base/options.h"
#include "buddy/zone.h"

/* Starts around word borders, and around the border between two pageblocks. */
static const u32 starts[] = { 0,   1,	2,   31,  62,  63,  64,	 65,  126, 127, 128,
			      130, 383, 447, 448, 449, 510, 511, 512, 513, 575, 576 };
#define NR_STARTS ARRAY_SIZE(starts)
#define MOST 200
#define NR_BLOCKS 4
#define NR_PAGES (NR_BLOCKS * (u32)PAGEBLOCK_PAGES)

static u64 first;

static void start(void)
{
	assert_true(memmap_init());
	first = section_map(NR_BLOCKS, 1, BLOCK_PRESENT, 0);
	assert_int_not_equal(first, 0);
}

static bool is_dirty(u32 page)
{
	const struct pageblock *block = pfn_to_block(first + page);

	return block->dirty[page % PAGEBLOCK_PAGES / 64] >> page % 64 & 1;
}

/* A pattern of bits, so that what must stay can be seen to stay. */
static void set_pattern(unsigned kind)
{
	static const u64 patterns[] = { 0, ~(u64)0, 0x5555555555555555, 0x00ff00f0f03c0001 };
	unsigned block, word;

	for (block = 0; block < NR_BLOCKS; block++)
		for (word = 0; word < PAGEBLOCK_PAGES / 64; word++)
			window.blocks[(first >> PAGEBLOCK_ORDER) + block].dirty[word] =
				patterns[kind];
}

static void check_range(u32 at, u32 len, unsigned kind)
{
	static bool before[NR_PAGES];
	u64 count = 0;
	u32 i;

	set_pattern(kind);
	for (i = 0; i < NR_PAGES; i++)
		before[i] = is_dirty(i);
	for (i = at; i < at + len; i++)
		count += before[i];
	assert_true(pages_nr_dirty(first + at, len) == count);
	pages_set_dirty(first + at, len);
	for (i = 0; i < NR_PAGES; i++)
		if (is_dirty(i) != (before[i] || (i >= at && i < at + len)))
			fail_msg("set(%u, %u): page %u", at, len, i);
	assert_true(pages_nr_dirty(first + at, len) == len);
	set_pattern(kind);
	pages_clear_dirty(first + at, len);
	for (i = 0; i < NR_PAGES; i++)
		if (is_dirty(i) != (before[i] && !(i >= at && i < at + len)))
			fail_msg("clear(%u, %u): page %u", at, len, i);
	assert_true(pages_nr_dirty(first + at, len) == 0);
}

static void every_range_is_exact(void)
{
	unsigned kind;
	size_t s;
	u32 len;

	start();
	for (s = 0; s < NR_STARTS; s++)
		for (len = 0; len <= MOST; len++)
			for (kind = 0; kind < 4; kind++)
				check_range(starts[s], len, kind);
	/* And with whole pageblocks within. */
	for (s = 0; s < NR_STARTS; s++)
		for (len = (u32)PAGEBLOCK_PAGES - 2; len <= 2 * PAGEBLOCK_PAGES + 2;
		     len += len == PAGEBLOCK_PAGES + 2 ? (u32)PAGEBLOCK_PAGES - 4 : 1)
			for (kind = 0; kind < 4; kind++)
				check_range(starts[s], len, kind);
	check_range(0, NR_PAGES, 3);
	check_range(0, NR_PAGES - 1, 2);
}

/* The first and the last word of a page stand for it. */
static void mark_page(u32 page, u64 value)
{
	u64 *at = (u64 *)(void *)pfn_to_virt(first + page);

	at[0] = at[PAGE_SIZE / sizeof(u64) - 1] = value;
}

static u64 page_mark(u32 page)
{
	const u64 *at = (const u64 *)(void *)pfn_to_virt(first + page);

	assert_true(at[0] == at[PAGE_SIZE / sizeof(u64) - 1]);
	return at[0];
}

/* pages_zero_dirty() zeroes the dirty pages of its range and touches nothing else. */
static void check_clear(u32 at, u32 len, unsigned kind)
{
	u32 i, from = at > 2 ? at - 2 : 0, to = MIN(at + len + 2, NR_PAGES);

	set_pattern(kind);
	for (i = from; i < to; i++)
		mark_page(i, i + 1);
	pages_zero_dirty(first + at, len);
	for (i = from; i < to; i++) {
		bool cleared = i >= at && i < at + len && is_dirty(i);

		if (page_mark(i) != (cleared ? 0 : i + 1))
			fail_msg("pages_zero_dirty(%u, %u), pattern %u: page %u", at, len, kind, i);
	}
}

static void only_dirty_pages_are_cleared(void)
{
	unsigned kind;
	size_t s;
	u32 len;

	start();
	for (s = 0; s < NR_STARTS; s++)
		for (len = 0; len <= MOST; len += len < 70 ? 1 : 13)
			for (kind = 0; kind < 4; kind++)
				check_clear(starts[s], len, kind);
}

/*
 * What is given back lazily may still hold its data: every pageblock that the range touches
 * says so, also one of which it has only the first pages, and no other does.
 */
static void what_goes_lazily_is_not_taken_for_zero(void)
{
	const u32 at = (u32)PAGEBLOCK_PAGES - 16, len = 32; /* of any size of the system's pages */
	const struct pageblock *block;
	u32 i;

	options.free = option_free_lazy;
	start();
	block = pfn_to_block(first);
	for (i = at; i < at + len; i++)
		mark_page(i, i);
	pages_set_dirty(first + at, len);
	assert_int_equal(dirty_give_back(first + at, len, GIVE_AGED), len);
	assert_int_equal(pages_nr_dirty(first, NR_PAGES), 0);
	assert_true(block[0].stale && block[1].stale && !block[2].stale);
	pages_zero_dirty(first + at, len);
	for (i = at; i < at + len; i++)
		assert_int_equal(page_mark(i), 0);
}

/* Two threads own every other page: neither may lose the other's bits. */
static void *set_and_clear(void *arg)
{
	u32 parity = *(u32 *)arg, round, i;

	for (round = 0; round < 3000; round++) {
		for (i = parity; i < 128; i += 2)
			pages_set_dirty(first + i, 1);
		for (i = parity; i < 128; i += 2)
			if (pages_nr_dirty(first + i, 1) != 1)
				return "a bit was lost";
		for (i = parity; i < 128; i += 2)
			pages_clear_dirty(first + i, 1);
		for (i = parity; i < 128; i += 2)
			if (pages_nr_dirty(first + i, 1) != 0)
				return "a bit came back";
	}
	return NULL;
}

static void neighbours_do_not_disturb_each_other(void)
{
	u32 parity[2] = { 0, 1 };
	pthread_t threads[2];
	void *result;
	int i;

	start();
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, set_and_clear, &parity[i]), 0);
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], &result);
		if (result)
			fail_msg("%s", (char *)result);
	}
}

UNIT_MAIN(CASE(every_range_is_exact),
	  CASE(only_dirty_pages_are_cleared),
	  CASE(what_goes_lazily_is_not_taken_for_zero),
	  CASE(neighbours_do_not_disturb_each_other))
