/*
 * Every mapping the mem_map asks for is refused once, and every one from there
 * on: the call that needed it fails with ENOMEM or does without, nothing is
 * half done, and the next call works.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "memmap_check.h"

/* A sequence that grows every array several times, leaves gaps and fills them. */
enum { NR_STEPS = 12 };

static u64 done[NR_STEPS], nr_blocks[NR_STEPS];

static u64 map_step(unsigned step)
{
	static const struct {
		u64 nr, align;
		enum pageblock_state state;
	} steps[NR_STEPS] = {
		{ 1, 1, BLOCK_PRESENT },   { 2, 4, BLOCK_PRESENT },   { 40, 1, BLOCK_PRESENT },
		{ 1, 1, BLOCK_HIGHMEM },   { 600, 1, BLOCK_HIGHMEM }, { 3, 512, BLOCK_PRESENT },
		{ 100, 1, BLOCK_PRESENT }, { 7, 1, BLOCK_HIGHMEM },   { 30, 1, BLOCK_PRESENT },
		{ 2000, 1, BLOCK_HIGHMEM }, { 1, 1, BLOCK_PRESENT },  { 64, 64, BLOCK_PRESENT },
	};

	nr_blocks[step] = steps[step].nr;
	return section_map(steps[step].nr, steps[step].align, steps[step].state, 0);
}

static uint64_t nth, times;

static void describe(void)
{
	fprintf(stderr, "the mapping refused was number %llu of %llu\n", (unsigned long long)nth,
		(unsigned long long)times);
}

/* Extending behind the last section, which is sometimes possible. */
static void extend(unsigned step)
{
	u64 at = done[step] + (nr_blocks[step] << PAGEBLOCK_ORDER);

	errno = 0;
	if (section_map_at(at, 3, BLOCK_PRESENT, 0))
		assert_int_equal(window.blocks[at >> PAGEBLOCK_ORDER].state, BLOCK_PRESENT);
	check_memmap();
}

static void run_once(void)
{
	unsigned step;

	unit_on_failure(describe);
	fake_fail(FAKE_MAP, nth, times);
	if (!memmap_init()) {
		assert_true(fake_failed(FAKE_MAP));
		assert_int_equal(errno, ENOMEM);
		assert_int_equal(fake_mapped_bytes(), 0);
		/* Sections map what is missing; or it begins anew. */
		if (times == FAKE_ALWAYS) {
			assert_int_equal(map_step(0), 0);
			assert_int_equal(errno, ENOMEM);
			fake_fail(FAKE_MAP, 1, 0);
		} else {
			fake_fail(FAKE_MAP, 1, 0);
			assert_true(memmap_init());
		}
	}
	for (step = 0; step < NR_STEPS; step++) {
		done[step] = map_step(step);
		check_memmap();
		if (!done[step]) {
			assert_int_equal(errno, ENOMEM);
			fake_fail(FAKE_MAP, 1, 0);
			done[step] = map_step(step);
			assert_int_not_equal(done[step], 0);
			check_memmap();
		}
		if (step % 3 == 2)
			extend(step);
		if (step == 7) {
			section_unmap(done[4], nr_blocks[4]);
			check_memmap();
		}
	}
}

/* More than the sequence makes. */
#define MOST_MAPPINGS 60

static void each_refusal_is_survived(uint64_t how_often)
{
	times = how_often;
	for (nth = 1; nth <= MOST_MAPPINGS; nth++)
		unit_in_child(run_once);
	run_once();
	assert_false(fake_failed(FAKE_MAP));
	assert_in_range(fake_calls(FAKE_MAP), NR_STEPS, MOST_MAPPINGS);
}

static void one_refusal(void)
{
	each_refusal_is_survived(1);
}

static void two_refusals(void)
{
	each_refusal_is_survived(2);
}

static void refusals_from_there_on(void)
{
	each_refusal_is_survived(FAKE_ALWAYS);
}

/* A foreign mapping anywhere in the first 32 pageblocks: only it is left out. */
static void each_hole_is_found(void)
{
	u64 hole, len, nr, got;

	for (hole = 0; hole < 32; hole++)
		for (len = 1; len <= 5; len += 2)
			for (nr = 1; nr <= 9; nr += 4) {
				fake_unmap_all();
				fake_reset();
				assert_true(memmap_init());
				fake_foreign(block_virt(FIRST_BLOCK + hole), len * PAGEBLOCK_SIZE);
				for (got = 0; got < 40; got += nr)
					assert_int_not_equal(
						section_map(nr, 1, BLOCK_HIGHMEM, 0), 0);
				/* The gaps before the hole, one by one. */
				for (; SPAN_BLOCKS - FIRST_BLOCK > got + len; got++)
					assert_int_not_equal(
						section_map(1, 1, BLOCK_HIGHMEM, 0), 0);
				assert_int_equal(SPAN_BLOCKS - FIRST_BLOCK, got + len);
				for (got = 0; got < SPAN_BLOCKS - FIRST_BLOCK; got++)
					assert_int_equal(
						window.blocks[FIRST_BLOCK + got].state,
						got >= hole && got < hole + len ? BLOCK_FOREIGN :
										  BLOCK_HIGHMEM);
			}
}

/* What was mapped to see whether a place is free cannot be unmapped: the search goes on behind. */
static void what_cannot_be_unmapped_is_in_the_way_once(void)
{
	u64 calls;

	assert_true(memmap_init());
	assert_int_not_equal(section_map(1, 1, BLOCK_HIGHMEM, 0), 0);
	fake_foreign(block_virt(SPAN_BLOCKS + 50), PAGEBLOCK_SIZE);
	fake_fail(FAKE_UNMAP, 1, FAKE_ALWAYS);
	calls = fake_calls(FAKE_MAP);
	assert_int_not_equal(section_map(100, 1, BLOCK_HIGHMEM, 0), 0);
	assert_true(fake_calls(FAKE_MAP) - calls < 300);
}

UNIT_MAIN(CASE(what_cannot_be_unmapped_is_in_the_way_once),
	  CASE(one_refusal),
	  CASE(two_refusals),
	  CASE(refusals_from_there_on),
	  CASE(each_hole_is_found))
