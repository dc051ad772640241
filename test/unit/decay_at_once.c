/* decay_ms:0: what is freed goes at once, as far as it may. */
#include "pages.h"

#include "page_alloc/poison.h"

static void what_is_free_goes(void)
{
	options.decay_ms = 0;
	pages_start();
	free_nr(5000);
	assert_int_equal(pages_dirty(), 0);
	free_nr(3);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* Nor does it take what mallopt lets stay. */
static void the_floor_stays(void)
{
	options.decay_ms = 0;
	pages_start();
	reclaim_set_floor(2000 * PAGE_SIZE);
	free_nr(5000);
	assert_in_range(pages_dirty(), 2000 - PAGEBLOCK_PAGES, 2000);
	reclaim_set_floor(0);
	free_nr(3);
	assert_int_equal(pages_dirty(), 0);
}

/* Nothing waits in the lists of the CPUs either. */
static void nothing_waits_in_lists(void)
{
	static u64 pfn[100];
	unsigned order, i;

	unit_needs_pages_of(4096);
	options.decay_ms = 0;
	pages_start();
	page_detour_update();
	for (order = 0; order <= MAX_ORDER; order++) {
		free_pages(alloc_pages(BM_GFP_KERNEL, order));
		assert_int_equal(pages_nr_backed(), 0);
	}
	for (i = 0; i < 100; i++)
		pfn[i] = alloc_pages(BM_GFP_KERNEL, i % 4);
	for (i = 0; i < 100; i++)
		free_pages(pfn[i]);
	assert_int_equal(pages_nr_backed(), 0);
	pages_check(0);
}

/* Now and then, not with each free. */
static void what_was_refused_is_tried_again(void)
{
	options.decay_ms = 0;
	pages_start();
	fake_fail(FAKE_GIVE_BACK, 1, FAKE_ALWAYS);
	free_nr(9000);
	assert_int_equal(pages_dirty(), 9000);
	fake_fail(FAKE_GIVE_BACK, 1, 0);
	pass_ms(500);
	assert_int_equal(pages_dirty(), 9000);
	pass_ms(600);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

UNIT_MAIN(CASE(what_is_free_goes), CASE(the_floor_stays), CASE(nothing_waits_in_lists),
	  CASE(what_was_refused_is_tried_again))
