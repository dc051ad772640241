/* Blocks that grow and shrink where they are, and the room they get for it. */
#include "pages.h"

static void shrinking_always_works(void)
{
	u64 pfn, nr;

	pages_start();
	for (nr = 1000; nr > 1; nr -= nr / 7 + 1) {
		u64 less = nr - (nr / 7 + 1);

		pfn = alloc_pages_exact(BM_GFP_KERNEL, nr, 0);
		pages_fill(pfn, nr, 9);
		if (!less)
			break;
		assert_true(resize_pages(pfn, less));
		pages_check_block(pfn, less, 0);
		pages_check(less);
		assert_int_equal(pfn_to_virt(pfn + less)[-1], 9);
		assert_true(resize_pages(pfn, less));
		free_pages(pfn);
		pages_check(0);
	}
}

static void growing_takes_what_is_free_behind(void)
{
	u64 pfn, next, nr;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 10, 0);
	for (nr = 11; nr < 500; nr += nr / 3) {
		pages_fill(pfn, pfn_to_page(pfn)->nr_pages, 7);
		assert_true(resize_pages(pfn, nr));
		pages_check_block(pfn, nr, 0);
		pages_check(nr);
		assert_int_equal(*pfn_to_virt(pfn), 7);
	}
	nr = pfn_to_page(pfn)->nr_pages;
	/* Somebody sits behind: no growth, and nothing changed. */
	lock(&zone_table[0]->lock, LOCK_ZONE);
	assert_true(zone_take_range_locked(zone_table[0], pfn + nr + 5, 1));
	unlock(&zone_table[0]->lock, LOCK_ZONE);
	next = memmap_heap_bytes();
	assert_false(resize_pages(pfn, nr + 6));
	assert_int_equal(pfn_to_page(pfn)->nr_pages, nr);
	pages_check(nr + 1);
	assert_true(resize_pages(pfn, nr + 5));
	pages_check(nr + 6);
	/* Nor does the heap grow for what cannot be had. */
	assert_false(resize_pages(pfn, nr + 5 + 4 * PAGEBLOCK_PAGES));
	assert_int_equal(memmap_heap_bytes(), next);
}

/* The last block of the heap grows with it, until something is in the way. */
static void growing_maps_what_is_behind(void)
{
	u64 pfn, nr = 3 * PAGEBLOCK_PAGES, end;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, 0);
	for (; nr < 40 * PAGEBLOCK_PAGES; nr += nr / 2) {
		assert_true(resize_pages(pfn, nr));
		pages_check_block(pfn, nr, 0);
		pages_check(nr);
		pages_mark(pfn, nr, nr);
	}
	nr = pfn_to_page(pfn)->nr_pages;
	end = window.span;
	fake_foreign(window.span + pfn_to_virt(0), 1);
	assert_false(resize_pages(pfn, nr + 2 * PAGEBLOCK_PAGES));
	assert_int_equal(pfn_to_page(pfn)->nr_pages, nr);
	assert_int_equal(window.span, end);
	pages_check(nr);
	free_pages(pfn);
	pages_check(0);
}

/* Random sizes up and down, with neighbours; contents stay, counts fit. */
/* Within a scope without system calls nothing is mapped for it. */
static void growing_in_a_scope(void)
{
	u64 pfn, calls;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 3 * PAGEBLOCK_PAGES, 0);
	calls = fake_calls(FAKE_MAP);
	this_scope.flags = SCOPE_NOSYSCALL;
	assert_false(resize_pages(pfn, 64 * PAGEBLOCK_PAGES));
	assert_int_equal(fake_calls(FAKE_MAP), calls);
	this_scope.flags = 0;
	assert_true(resize_pages(pfn, 64 * PAGEBLOCK_PAGES));
	assert_int_equal(fake_calls(FAKE_MAP) > calls, 1);
}

/* What is going to grow is put where the most warm memory lies, at its start, and reuses it. */
static void a_growing_block_gets_room(void)
{
	const bm_gfp_t gfp = BM_GFP_KERNEL | BM_GFP_MOVABLE;
	u64 wide, narrow, pfn, nr;

	pages_start();
	options.decay_ms = -1;
	wide = alloc_pages_exact(gfp, 16 * PAGEBLOCK_PAGES + 300, 0);
	alloc_pages_exact(gfp, 20, 0);
	narrow = alloc_pages_exact(gfp, 400, 0);
	alloc_pages_exact(gfp, 20, 0);
	free_pages(wide);
	free_pages(narrow);
	/* The shortest run that is long enough, or the start of the longest. */
	pfn = alloc_pages_exact(gfp, 380, 0);
	assert_int_equal(pfn, narrow);
	free_pages(pfn);
	pfn = alloc_pages_exact(gfp | GFP_ROOMY, 254, 0);
	assert_int_equal(pfn, wide);
	for (nr = 300; nr <= 16 * PAGEBLOCK_PAGES + 300; nr += 100)
		assert_true(resize_pages(pfn, nr));
	assert_int_equal(pages_nr_backed(), 16 * PAGEBLOCK_PAGES + 300 + 20 + 400 + 20);
	/* No run is twice as long: as any other block. */
	assert_int_equal(alloc_pages_exact(gfp | GFP_ROOMY, 254, 0), narrow);
}

/* What it may grow into is not touched, and costs nothing: not a page, nor what a limit leaves. */
static void room_is_free(void)
{
	const u64 large = (u64)1 << MAX_ORDER;
	u64 pfn;

	pages_start();
	options.decay_ms = -1;
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE | GFP_ROOMY, 1000, 0);
	assert_int_equal(pages_nr_backed(), 1000);
	/* A block that is mapped for itself has address space behind it. */
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE | GFP_ROOMY, large - 512, 0);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_HIGHMEM);
	assert_int_equal(pages_nr_backed(), 1000 + large - 512);
	assert_int_equal(pfn_to_page(pfn)->private, (large - 512) / PAGEBLOCK_PAGES);
	assert_true(resize_pages(pfn, large + large / 4));
	free_pages(pfn);
	pages_check(1000);
}

/* What is going to be moved by page tables begins where a page of the system's does. */
static void room_begins_with_a_page_of_the_system(void)
{
	const bm_gfp_t gfp = BM_GFP_KERNEL | BM_GFP_MOVABLE;
	u64 first, wide, pfn;

	fake.page_size = 65536;
	pages_start();
	options.decay_ms = -1;
	first = alloc_pages_exact(gfp, 49, 0);
	wide = alloc_pages_exact(gfp, 4 * PAGEBLOCK_PAGES + 303, 0);
	assert_int_equal(wide, first + 49);
	alloc_pages_exact(gfp, 20, 0);
	free_pages(wide);
	pfn = alloc_pages_exact(gfp | GFP_ROOMY, 256, 0);
	assert_int_equal(pfn, round_up(wide, 16u));
}

/* And where a huge page does, if that is asked for. */
static void room_begins_with_a_huge_page(void)
{
	const bm_gfp_t gfp = BM_GFP_KERNEL | BM_GFP_MOVABLE;
	u64 wide, pfn;

	pages_start();
	options.decay_ms = -1;
	alloc_pages_exact(gfp, 49, 0);
	wide = alloc_pages_exact(gfp, 4 * PAGEBLOCK_PAGES + 303, 0);
	alloc_pages_exact(gfp, 20, 0);
	free_pages(wide);
	pfn = alloc_pages_exact(gfp | GFP_ROOMY, PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
	assert_int_equal(pfn, round_up(wide, PAGEBLOCK_PAGES));
	assert_int_equal(alloc_pages_exact(gfp | GFP_ROOMY, 254, 0), pfn + PAGEBLOCK_PAGES);
}

static void random_resizing(void)
{
	uint64_t seed = unit_seed();
	u64 pfn[30] = { 0 }, used = 0;
	unsigned round, i;

	pages_start();
	for (round = 0; round < 8000; round++) {
		u64 nr = 1 + random_below(&seed, random_below(&seed, 5) ? 60 : 1300);
		u64 old;

		i = (unsigned)random_below(&seed, 30);
		old = pfn[i] ? pfn_to_page(pfn[i])->nr_pages : 0;
		if (!pfn[i]) {
			pfn[i] = alloc_pages_exact(pages_of_kind(i), nr, 0);
			used += nr;
			pages_mark(pfn[i], nr, i);
		} else if (random_below(&seed, 3)) {
			assert_true(pages_are_marked(pfn[i], old, i));
			if (resize_pages(pfn[i], nr)) {
				used += nr - old;
				assert_true(pages_are_marked(pfn[i], MIN(nr, old) == old ? old : 1,
							     i));
			} else {
				assert_true(nr > old);
			}
			pages_mark(pfn[i], pfn_to_page(pfn[i])->nr_pages, i);
		} else {
			assert_true(pages_are_marked(pfn[i], old, i));
			free_pages(pfn[i]);
			used -= old;
			pfn[i] = 0;
		}
		if (round % 50 == 0)
			pages_check(used);
	}
	pages_check(used);
}

UNIT_MAIN(CASE(shrinking_always_works), CASE(growing_takes_what_is_free_behind),
	  CASE(growing_maps_what_is_behind), CASE(growing_in_a_scope),
	  CASE(a_growing_block_gets_room), CASE(room_is_free),
	  CASE(room_begins_with_a_page_of_the_system), CASE(room_begins_with_a_huge_page),
	  CASE(random_resizing))
