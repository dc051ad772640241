/* The window's place, growth by sections, holes, unmapping and reuse, the budget. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "memmap_check.h"

#define GIB ((u64)1 << 30)
#define TIB ((u64)1 << 40)

static void start(void)
{
	assert_true(memmap_init());
}

static void check_place(u64 expected_size)
{
	u64 space = (u64)1 << fake.address_bits;
	u64 base = (u64)(uintptr_t)pfn_to_virt(0);
	u64 nr_window = MIN(expected_size >> PAGE_SHIFT, ((u64)1 << 32) - LOW_PAGES);
	u64 nr_pages = nr_window + LOW_PAGES;

	assert_int_equal(window.limit, nr_window << PAGE_SHIFT);
	assert_int_equal(window.low, nr_window);
	assert_int_equal(base % GIB, 0);
	assert_true(base >= space / 16);
	assert_ptr_equal(window.pages, pfn_to_virt(0) + expected_size);
	assert_ptr_equal(window.blocks, window.pages + nr_pages);
	assert_true((u64)(uintptr_t)(window.blocks + (nr_pages >> PAGEBLOCK_ORDER)) <= space);
	/* The tags of the last page end before the heap begins. */
	assert_int_equal(window.first % PAGEBLOCK_SIZE, 0);
	assert_true(nr_pages * sizeof(u16) <= window.first);
	assert_int_equal(window.span, 0);
	assert_int_equal(memmap_heap_bytes(), 0);
	assert_int_equal(memmap_meta_bytes(), fake_mapped_bytes());
	assert_true(fake_mapped_bytes() <= nr_pages * 2 / 2048 + (4 << 20));
}

static void window_fits_every_address_space(void)
{
	static const struct {
		unsigned bits;
		u64 memory, size;
	} machines[] = {
		{ 47, 8 * GIB, TIB },	    { 47, 0, TIB },	   { 47, 256 * GIB, TIB },
		{ 47, 257 * GIB, 2 * TIB }, { 47, 6 * TIB, 16 * TIB * 2 / 2 },
		{ 47, 100 * TIB, 16 * TIB }, { 48, 8 * GIB, TIB }, { 48, 100 * TIB, 16 * TIB },
		{ 39, 8 * GIB, 64 * GIB },  { 39, 6 * TIB, 64 * GIB }, { 42, TIB, 512 * GIB },
		{ 36, GIB, 8 * GIB },
	};
	u64 seed = unit_seed();
	unsigned bases = 0;
	size_t i;
	int round;

	fake.map_for_real = false;
	for (i = 0; i < ARRAY_SIZE(machines); i++)
		for (round = 0; round < 200; round++) {
			char *last = window_base;

			fake.address_bits = machines[i].bits;
			fake.memory_bytes = machines[i].memory;
			fake.page_size = (size_t)4096 << round % 3 * 2;
			fake.random = next_random(&seed);
			fake_unmap_all();
			start();
			check_place(machines[i].size);
			bases += last != pfn_to_virt(0);
		}
	/* Most of them are at different places. */
	assert_true(bases > ARRAY_SIZE(machines) * 150);
}

static void taken_places_are_avoided(void)
{
	char *first_choice, *arrays[3];
	int i;

	pretend_47_bits();
	start();
	first_choice = pfn_to_virt(0);
	arrays[0] = pfn_to_virt(0);
	arrays[1] = (char *)pfn_to_page(window.first >> PAGE_SHIFT);
	arrays[2] = (char *)pfn_to_block(window.first >> PAGE_SHIFT);
	for (i = 0; i < 3; i++) {
		fake_unmap_all();
		fake_reset();
		pretend_47_bits();
		fake_foreign((char *)round_down((uintptr_t)arrays[i], fake.page_size), 4096);
		start();
		assert_ptr_not_equal(pfn_to_virt(0), first_choice);
		/* What the attempt had mapped already is given back. */
		check_place(TIB);
		/* And forgotten: a heap at another place can grow. */
		assert_false(section_map_at(window.limit >> PAGE_SHIFT, 1, BLOCK_PRESENT, 0));
		assert_string_equal(fake_output(), "");
	}
}

static void init_fails_without_room_or_memory(void)
{
	fake.map_for_real = false;
	fake_foreign(NULL, (size_t)1 << 47);
	assert_false(memmap_init());
	assert_int_equal(errno, EEXIST);
	assert_int_equal(fake_mapped_bytes(), 0);
	fake_reset();
	fake.map_for_real = false;
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	assert_false(memmap_init());
	assert_int_equal(errno, ENOMEM);
	assert_true(fake_calls(FAKE_MAP) <= 2);
}

/* There was no memory at first, and then somebody else is where the tables would be. */
static void a_place_lost_meanwhile_is_told(void)
{
	char *tags;

	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	assert_false(memmap_init());
	fake_fail(FAKE_MAP, 1, 0);
	tags = pfn_to_virt(0);
	fake_foreign(tags, 4096);
	assert_int_equal(section_map(1, 1, BLOCK_PRESENT, 0), 0);
	assert_int_equal(errno, ENOMEM);
	unit_said("buddymalloc: the heap can grow no more: its tables would, from %p, where the program has mapped something\n",
		  (void *)tags);
}

static bool is_zero_page(u64 pfn)
{
	return is_zero(pfn_to_virt(pfn), PAGE_SIZE);
}

/* The new pageblocks are in the given state, zero, and so is all that describes them. */
static void check_section(u64 pfn, u64 nr, enum pageblock_state state, u8 zone)
{
	u64 i;

	assert_int_equal(pfn % PAGEBLOCK_PAGES, 0);
	assert_true(pfn >= window.first >> PAGE_SHIFT);
	assert_true((pfn + (nr << PAGEBLOCK_ORDER)) << PAGE_SHIFT <= window.span);
	for (i = 0; i < nr; i++) {
		const struct pageblock *block = pfn_to_block(pfn + (i << PAGEBLOCK_ORDER));

		assert_int_equal(block->state, state);
		assert_int_equal(block->zone, zone);
		assert_true(is_zero(block->dirty, sizeof(block->dirty)));
		assert_true(is_zero(block->free, sizeof(block->free)));
	}
	assert_true(is_zero(pfn_to_page(pfn), (nr << PAGEBLOCK_ORDER) * sizeof(struct page)));
	assert_true(is_zero(tag_of(pfn), (nr << PAGEBLOCK_ORDER) * sizeof(u16)));
	for (i = 0; i < nr << PAGEBLOCK_ORDER; i += 67)
		assert_true(is_zero_page(pfn + i));
	/* It is writable to the last byte. */
	pfn_to_virt(pfn)[0] = 1;
	pfn_to_virt(pfn + (nr << PAGEBLOCK_ORDER))[-1] = 1;
	check_memmap();
}

static void sections_grow_upward(void)
{
	u64 expected = FIRST_BLOCK, nr, pfn;

	start();
	expected = FIRST_BLOCK;
	for (nr = 1; nr < 100; nr += nr / 3 + 1) {
		assert_false(in_window(block_virt(expected)));
		pfn = section_map(nr, 1, BLOCK_PRESENT, (u8)nr);
		assert_int_equal(pfn, expected << PAGEBLOCK_ORDER);
		check_section(pfn, nr, BLOCK_PRESENT, (u8)nr);
		expected += nr;
		assert_true(in_window(block_virt(expected) - 1));
		assert_int_equal(window.span, expected * PAGEBLOCK_SIZE);
	}
	assert_int_equal(memmap_peak_bytes(), memmap_heap_bytes() + memmap_meta_bytes());
	/* The mem_map costs little: less than 3% and two steps. */
	assert_true(memmap_meta_bytes() < memmap_heap_bytes() * 3 / 100 + (3 << 20));
}

static void aligned_sections_leave_gaps_for_others(void)
{
	u64 first, gap, big, small;

	start();
	first = section_map(1, 1, BLOCK_PRESENT, 0);
	big = section_map(3, 8, BLOCK_PRESENT, 0);
	check_section(big, 3, BLOCK_PRESENT, 0);
	assert_int_equal((big >> PAGEBLOCK_ORDER) % 8, 0);
	gap = big - first - PAGEBLOCK_PAGES;
	assert_true(gap > 0);
	for (; gap; gap -= PAGEBLOCK_PAGES) {
		small = section_map(1, 1, BLOCK_PRESENT, 0);
		check_section(small, 1, BLOCK_PRESENT, 0);
		assert_true(small > first && small < big);
	}
	assert_int_equal(section_map(1, 1, BLOCK_PRESENT, 0), big + 3 * PAGEBLOCK_PAGES);
	big = section_map(1, 512, BLOCK_PRESENT, 0);
	assert_int_equal((big >> PAGEBLOCK_ORDER) % 512, 0);
	/* Addresses are aligned beyond what the window's place is. */
	big = section_map(1, 4096, BLOCK_PRESENT, 0);
	assert_int_equal((uintptr_t)pfn_to_virt(big) % (4096 * PAGEBLOCK_SIZE), 0);
	/* More than the window has. */
	assert_int_equal(section_map(1, (u64)1 << 27, BLOCK_PRESENT, 0), 0);
	assert_int_equal(errno, ENOMEM);
	check_memmap();
}

/* What is in use within an aligned place: the next one is tried, not what lies behind it. */
static void aligned_sections_go_on_at_aligned_places(void)
{
	start();
	assert_true(section_map_at((FIRST_BLOCK + 1) << PAGEBLOCK_ORDER, 1, BLOCK_PRESENT, 0));
	assert_int_equal(section_map(2, 4, BLOCK_PRESENT, 0) >> PAGEBLOCK_ORDER, FIRST_BLOCK + 4);
	check_memmap();
}

static void foreign_mappings_are_holes(void)
{
	u64 a, b, calls;

	start();
	/* The third and the sixth pageblock are taken, the latter by one page only. */
	fake_foreign(block_virt(FIRST_BLOCK + 2), PAGEBLOCK_SIZE);
	fake_foreign(block_virt(FIRST_BLOCK + 6) - PAGE_SIZE, PAGE_SIZE);
	a = section_map(4, 1, BLOCK_PRESENT, 0);
	check_section(a, 4, BLOCK_PRESENT, 0);
	assert_int_equal(a >> PAGEBLOCK_ORDER, FIRST_BLOCK + 6);
	assert_int_equal(window.blocks[FIRST_BLOCK + 2].state, BLOCK_FOREIGN);
	assert_int_equal(window.blocks[FIRST_BLOCK + 5].state, BLOCK_FOREIGN);
	/* What is between them still serves, without asking again. */
	calls = fake_calls(FAKE_MAP);
	b = section_map(2, 1, BLOCK_PRESENT, 0);
	assert_int_equal(b >> PAGEBLOCK_ORDER, FIRST_BLOCK);
	b = section_map(2, 1, BLOCK_PRESENT, 0);
	assert_int_equal(b >> PAGEBLOCK_ORDER, FIRST_BLOCK + 3);
	assert_int_equal(fake_calls(FAKE_MAP), calls + 2);
	assert_int_equal(section_map(1, 1, BLOCK_PRESENT, 0) >> PAGEBLOCK_ORDER,
			 FIRST_BLOCK + 10);
	check_memmap();
}

/* The tables cannot skip anything: growth ends there, with ENOMEM and one line. */
static void a_foreign_mapping_in_the_way_of_the_tables(void)
{
	u64 last = 0, pfn;
	char *taken;

	start();
	taken = (char *)round_down((uintptr_t)pfn_to_page((FIRST_BLOCK + 100) << PAGEBLOCK_ORDER),
				   fake.page_size);
	fake_foreign(taken, 4096);
	while ((pfn = section_map(7, 1, BLOCK_PRESENT, 0)) != 0)
		last = pfn;
	assert_int_equal(errno, ENOMEM);
	assert_in_range(last >> PAGEBLOCK_ORDER, FIRST_BLOCK + 60, FIRST_BLOCK + 100);
	assert_true(strstr(fake_output(), "buddymalloc: the heap can grow no more: its tables would, from 0x") ==
		    fake_output());
	assert_ptr_equal(strchr(fake_output(), '\n'), fake_output() + strlen(fake_output()) - 1);
	fake_clear_output();
	assert_int_equal(section_map(7, 1, BLOCK_PRESENT, 0), 0);
	assert_false(section_map_at(last + 7 * PAGEBLOCK_PAGES, 7, BLOCK_PRESENT, 0));
	assert_int_equal(errno, ENOMEM);
	assert_string_equal(fake_output(), "");
	check_memmap();
}

static void section_map_at_extends_or_refuses(void)
{
	u64 pfn, last;

	start();
	pfn = section_map(2, 1, BLOCK_PRESENT, 5);
	assert_false(section_map_at(pfn, 1, BLOCK_PRESENT, 5));
	assert_false(section_map_at(pfn + PAGEBLOCK_PAGES, 2, BLOCK_PRESENT, 5));
	assert_true(section_map_at(pfn + 2 * PAGEBLOCK_PAGES, 3, BLOCK_PRESENT, 5));
	check_section(pfn + 2 * PAGEBLOCK_PAGES, 3, BLOCK_PRESENT, 5);
	fake_foreign(block_virt(FIRST_BLOCK + 6), PAGEBLOCK_SIZE);
	assert_false(section_map_at(pfn + 5 * PAGEBLOCK_PAGES, 2, BLOCK_PRESENT, 5));
	assert_true(section_map_at(pfn + 5 * PAGEBLOCK_PAGES, 1, BLOCK_PRESENT, 5));
	last = (window.limit >> PAGE_SHIFT) - PAGEBLOCK_PAGES;
	assert_false(section_map_at(last, 2, BLOCK_PRESENT, 5));
	check_memmap();
}

static void unmapped_sections_are_reused(void)
{
	u64 a, b, c, bytes;

	start();
	a = section_map(3, 1, BLOCK_HIGHMEM, 0);
	b = section_map(2, 1, BLOCK_HIGHMEM, 0);
	memset(pfn_to_virt(a), 1, 3 * PAGEBLOCK_SIZE);
	bytes = memmap_heap_bytes();
	section_unmap(a, 3);
	assert_int_equal(memmap_heap_bytes(), bytes - 3 * PAGEBLOCK_SIZE);
	assert_true(memmap_peak_bytes() >= bytes + memmap_meta_bytes());
	assert_int_equal(pfn_to_block(a)->state, BLOCK_ABSENT);
	check_memmap();
	c = section_map(1, 1, BLOCK_PRESENT, 0);
	assert_int_equal(c, a);
	check_section(c, 1, BLOCK_PRESENT, 0);
	c = section_map(3, 1, BLOCK_PRESENT, 0);
	assert_int_equal(c, b + 2 * PAGEBLOCK_PAGES);
	assert_true(section_map_at(a + PAGEBLOCK_PAGES, 2, BLOCK_HIGHMEM, 0));
	check_section(a + PAGEBLOCK_PAGES, 2, BLOCK_HIGHMEM, 0);
}

/* At the limit of mappings munmap can fail: the pages go back, the place stays ours. */
static void failing_unmap_keeps_the_place(void)
{
	u64 a, bytes;

	start();
	options.verbose = true;
	a = section_map(3, 1, BLOCK_HIGHMEM, 0);
	memset(pfn_to_virt(a), 1, 3 * PAGEBLOCK_SIZE);
	bytes = memmap_heap_bytes();
	fake_fail(FAKE_UNMAP, 1, 1);
	section_unmap(a, 3);
	unit_said("buddymalloc: %lu bytes could not be unmapped; their pages were given back\n",
		  3 * PAGEBLOCK_SIZE);
	assert_int_equal(memmap_heap_bytes(), bytes);
	assert_true(is_zero(pfn_to_virt(a), 3 * PAGEBLOCK_SIZE));
	assert_int_not_equal(section_map(1, 1, BLOCK_PRESENT, 0), a);
	check_memmap();
}

/* However the heap grows, with its mem_map it stays within the limit. */
static void grow_to_limit(u64 limit, u64 step)
{
	u64 nr = 0;

	fake_unmap_all();
	fake.rlimit_bytes = limit;
	start();
	while (section_map(step, 1, BLOCK_HIGHMEM, 0)) {
		nr += step;
		assert_true(memmap_heap_bytes() + memmap_meta_bytes() <= limit);
		assert_int_equal(memmap_heap_bytes(), nr * PAGEBLOCK_SIZE);
	}
	assert_int_equal(errno, ENOMEM);
	/* Not more than a step and the mem_map's steps is left. */
	assert_true(memmap_heap_bytes() + memmap_meta_bytes() + step * PAGEBLOCK_SIZE + (4 << 20) >
		    limit);
	check_memmap();
	if (!nr)
		return;
	section_unmap(window.first >> PAGE_SHIFT, step);
	assert_int_equal(section_map(step, 1, BLOCK_HIGHMEM, 0), window.first >> PAGE_SHIFT);
	while (nr) {
		nr -= step;
		section_unmap((window.first >> PAGE_SHIFT) + (nr << PAGEBLOCK_ORDER), step);
	}
	assert_int_equal(memmap_heap_bytes(), 0);
}

static void limit_holds(void)
{
	u64 limit;

	for (limit = 4 << 20; limit < 400 << 20; limit += (3 << 20) + 4096 * 7) {
		grow_to_limit(limit, 1);
		grow_to_limit(limit, 7);
	}
	/* Where two arrays grow at once, and the step of one fits beside its need, not of both. */
	for (limit = 65 << 20; limit < 69 << 20; limit += 4096 * 7)
		grow_to_limit(limit, 1);
	grow_to_limit((u64)40 << 30, 5000);
}

static void budget_is_the_smallest_limit(void)
{
	fake.rlimit_bytes = 100 << 20;
	start();
	assert_int_equal(section_map(50, 1, BLOCK_PRESENT, 0), 0);
	assert_int_not_equal(section_map(10, 1, BLOCK_PRESENT, 0), 0);
	fake.rlimit_bytes = 20 << 20;
	memmap_set_budget();
	assert_int_equal(section_map(1, 1, BLOCK_PRESENT, 0), 0);
	fake.rlimit_bytes = UINT64_MAX;
	memmap_set_budget();
	assert_int_not_equal(section_map(5000, 1, BLOCK_PRESENT, 0), 0);
}

/* A program may raise its own limit: nobody tells us. */
static void a_raised_limit_counts(void)
{
	fake.rlimit_bytes = 100 << 20;
	start();
	assert_int_equal(section_map(100, 1, BLOCK_PRESENT, 0), 0);
	fake.rlimit_bytes = 400 << 20;
	assert_int_not_equal(section_map(100, 1, BLOCK_PRESENT, 0), 0);
	assert_int_equal(section_map(100, 1, BLOCK_PRESENT, 0), 0);
	assert_null(record_take(200 << 20, true));
	fake.rlimit_bytes = UINT64_MAX;
	assert_non_null(record_take(200 << 20, true));
}

static void window_can_be_used_up(void)
{
	u64 blocks, nr = 0;

	fake.address_bits = 36;
	/* The last step of an array may meet the next one; then it takes what it needs. */
	fake.overlap_expected = true;
	start();
	blocks = (window.limit - window.first) / PAGEBLOCK_SIZE;
	assert_int_equal(section_map(blocks + 1, 1, BLOCK_PRESENT, 0), 0);
	assert_int_equal(errno, ENOMEM);
	while (section_map(37, 1, BLOCK_PRESENT, 0))
		nr += 37;
	while (section_map(1, 1, BLOCK_PRESENT, 0))
		nr++;
	assert_int_equal(nr, blocks);
	assert_int_equal(window.span, window.limit);
	check_memmap();
}

static void larger_pages_of_the_system(void)
{
	u64 pfn;

	fake.page_size = 65536;
	start();
	check_record(record_take(1, true), 65536);
	check_record(record_take(65537, true), 2 * 65536);
	pfn = section_map(1, 1, BLOCK_PRESENT, 0);
	check_section(pfn, 1, BLOCK_PRESENT, 0);
	pfn = section_map(1000, 1, BLOCK_HIGHMEM, 0);
	check_memmap();
	section_unmap(pfn, 1000);
	check_memmap();
}

UNIT_MAIN(CASE(window_fits_every_address_space), CASE(taken_places_are_avoided),
	  CASE(init_fails_without_room_or_memory), CASE(a_place_lost_meanwhile_is_told),
	  CASE(sections_grow_upward), CASE(aligned_sections_leave_gaps_for_others),
	  CASE(aligned_sections_go_on_at_aligned_places), CASE(foreign_mappings_are_holes),
	  CASE(a_foreign_mapping_in_the_way_of_the_tables),
	  CASE(section_map_at_extends_or_refuses), CASE(unmapped_sections_are_reused),
	  CASE(failing_unmap_keeps_the_place), CASE(limit_holds),
	  CASE(budget_is_the_smallest_limit), CASE(a_raised_limit_counts),
	  CASE(window_can_be_used_up), CASE(larger_pages_of_the_system))
