/* Records: where they lie, how they go round what others mapped, and their limits. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "memmap_check.h"

static void start(void)
{
	assert_true(memmap_init());
}

static void records_lie_apart(void)
{
	u64 before, bytes = 0;
	char *last = NULL, *record;
	size_t size;

	start();
	assert_int_not_equal(section_map(1, 1, BLOCK_PRESENT, 0), 0);
	before = memmap_meta_bytes();
	assert_null(record_take(1, false));
	assert_int_equal(errno, ENOMEM);
	for (size = 1; size < 3 << 20; size = size * 3 / 2 + 1) {
		record = record_take(size, true);
		check_record(record, size);
		memset(record, 1, size);
		assert_true(!last || record >= last);
		last = record + size;
		bytes += round_up(size, PAGE_SIZE);
	}
	assert_true(memmap_meta_bytes() >= before + bytes);
	assert_true(memmap_meta_bytes() <= before + bytes + (1 << 20));
	/* Of what is mapped already there is some without a system call, but not more. */
	fake_fail(FAKE_MAP, 1, 2); /* a step, and what is needed of it */
	while ((record = record_take(1, false)))
		check_record(record, 1);
	assert_false(fake_failed(FAKE_MAP));
	assert_null(record_take(1, true));
	assert_true(fake_failed(FAKE_MAP));
	assert_int_equal(errno, ENOMEM);
	check_record(record_take(1, true), 1);
}

/* What another one has mapped in their way they go round. */
static void records_go_round_obstacles(void)
{
	char *first, *second;

	start();
	first = record_take(100, true);
	check_record(first, 100);
	fake_foreign(first + (4 << 20), 5 << 20);
	while ((second = record_take(100 << 10, true)) && second < first + (4 << 20))
		check_record(second, 100 << 10);
	check_record(second, 100 << 10);
	assert_true(second >= first + (9 << 20));
	check_record(record_take(10 << 20, true), 10 << 20);
	assert_string_equal(fake_output(), "");
}

/* Then there is as much less room for them: it ends where it did. */
static void records_behind_an_obstacle_keep_to_their_room(void)
{
	const size_t size = 100 << 10;
	u64 room;
	char *first, *record;

	pretend_47_bits();
	start();
	room = window.limit / 16;
	first = record_take(size, true);
	fake_foreign(first + (1 << 20), 4096);
	do
		record = record_take(size, true);
	while (record && record < first + (1 << 20));
	assert_non_null(record);
	assert_null(record_take((size_t)(first + room - record), true));
	assert_int_equal(errno, ENOMEM);
	assert_ptr_equal(record_take((size_t)(first + room - record) - size, true), record + size);
}

static void records_keep_to_the_limit(void)
{
	fake.rlimit_bytes = 20 << 20;
	start();
	while (record_take(100 << 10, true))
		assert_true(memmap_heap_bytes() + memmap_meta_bytes() <= fake.rlimit_bytes);
	assert_int_equal(errno, ENOMEM);
	assert_true(memmap_meta_bytes() > fake.rlimit_bytes - (1 << 20));
	fake.rlimit_bytes = UINT64_MAX;
	memmap_set_budget();
	/* Nor do they leave their room. */
	assert_null(record_take(window.limit / 8, true));
	check_record(record_take(100 << 10, true), 100 << 10);
}

UNIT_MAIN(CASE(records_lie_apart), CASE(records_go_round_obstacles),
	  CASE(records_behind_an_obstacle_keep_to_their_room), CASE(records_keep_to_the_limit))
