/* Page allocation: exact sizes, alignment, zeroing, pages given back and made anew. */
#include "pages.h"

#include <errno.h>
#include <string.h>

#include "buddy/pcp.h"
#include "os/os.h"

/* Each size leaves exactly its pages used; four generations live at a time. */
static void every_size_is_exact(void)
{
	u64 live[4] = { 0 }, nr[4] = { 0 }, used = 0, n;

	pages_start();
	for (n = 1; n <= 2100; n++) {
		unsigned i = n % 4;

		if (live[i]) {
			assert_true(pages_are_marked(live[i], nr[i], n - 4));
			free_pages(live[i]);
			used -= nr[i];
		}
		live[i] = alloc_pages_exact(pages_of_kind(n), n, 0);
		nr[i] = n;
		used += n;
		pages_check_block(live[i], n, 0);
		pages_mark(live[i], n, n);
		if (n < 600 || n % 16 == 0)
			pages_check(used);
	}
	for (n = 0; n < 4; n++)
		free_pages(live[n]);
	pages_check(0);
}

static void every_alignment(void)
{
	static const u64 sizes[] = { 1, 2, 3, 8, 9, 100, 128, 255, 256, 511, 512, 513, 1500, 4096 };
	unsigned order, most;
	u64 used = 0;
	size_t i;

	pages_start();
	/* Address spaces of 39 bits have no place for half a dozen blocks of each. */
	most = fake.address_bits < 47 ? 12 : MAX_ORDER;
	for (order = 0; order <= most; order++)
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			u64 pfn = alloc_pages_exact(pages_of_kind(i), sizes[i], order);

			pages_check_block(pfn, sizes[i], order);
			used += sizes[i];
			if (i % 2) {
				free_pages(pfn);
				used -= sizes[i];
			}
			pages_check(used);
		}
}

/* Larger than the window itself is aligned: mapped for themselves, or not at all. */
static void alignments_beyond_the_zones(void)
{
	unsigned order;

	pages_start();
	if (fake.address_bits < 47)
		return;
	for (order = MAX_ORDER + 1; order <= MAX_ORDER + 6; order++) {
		u64 pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 1, order);

		assert_int_not_equal(pfn, 0);
		assert_int_equal((uintptr_t)pfn_to_virt(pfn) & (((u64)PAGE_SIZE << order) - 1), 0);
		free_pages(pfn);
		assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, 1, order), 0);
		assert_int_equal(errno, ENOMEM);
	}
	pages_check(0);
}

static void every_order(void)
{
	unsigned order;

	pages_start();
	for (order = 0; order <= MAX_ORDER; order++) {
		u64 pfn = alloc_pages(BM_GFP_KERNEL, order);

		pages_check_block(pfn, (u64)1 << order, order);
		free_pages(pfn);
		pages_check(0);
	}
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, window.limit >> PAGE_SHIFT, 0), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, UINT64_MAX, 0), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, 1, 60), 0);
	assert_int_equal(errno, ENOMEM);
	pages_check(0);
}

/* What was allocated and freed is used again: the heap does not grow under a steady load. */
static void freed_pages_are_reused(void)
{
	u64 pfn[50], bytes = 0, used = 0;
	unsigned round, i;

	pages_start();
	for (i = 0; i < 50; i++)
		used += (1 + i * 17) * PAGE_SIZE;
	for (round = 0; round < 60; round++) {
		for (i = 0; i < 50; i++)
			pfn[i] = alloc_pages_exact(BM_GFP_KERNEL, 1 + i * 17, 0);
		for (i = 0; i < 50; i++)
			free_pages(pfn[(i * 7 + round) % 50]);
		if (round == 20)
			bytes = memmap_heap_bytes();
	}
	assert_int_equal(memmap_heap_bytes(), bytes);
	assert_true(bytes < used * 3 / 2);
	pages_check(0);
}

static void errno_is_left_alone(void)
{
	u64 pfn[30];
	unsigned i;

	pages_start();
	errno = EDOM;
	for (i = 0; i < 30; i++)
		pfn[i] = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 100 * i + 1, 0);
	for (i = 0; i < 30; i++)
		free_pages(pfn[i]);
	assert_int_equal(errno, EDOM);
}

/* Whatever lay there before, a block asked for as zero is zero. */
static void zero_means_zero(void)
{
	uint64_t seed = unit_seed();
	u64 pfn[40] = { 0 };
	unsigned round;

	pages_start();
	for (round = 0; round < 1500; round++) {
		unsigned i = (unsigned)random_below(&seed, 40);
		u64 nr = 1 + random_below(&seed, random_below(&seed, 4) ? 20 : 700);

		if (pfn[i])
			free_pages(pfn[i]);
		if (random_below(&seed, 20) == 0)
			reclaim_trim(0);
		if (random_below(&seed, 2)) {
			pfn[i] = alloc_pages_exact(pages_of_kind(round) | BM_GFP_ZERO, nr, 0);
			assert_true(is_zero(pfn_to_virt(pfn[i]), nr << PAGE_SHIFT));
		} else {
			pfn[i] = alloc_pages_exact(pages_of_kind(round), nr, 0);
		}
		pages_fill(pfn[i], nr, 0xa5);
	}
}

/*
 * Pages known to be zero are not written: a mark that was put there behind
 * the allocator's back is still there.
 */
static void known_zero_pages_are_not_cleared(void)
{
	u64 pfn, i;

	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 100, 0);
	free_pages(pfn);
	/* The first 100 pages are dirty, those behind were never used. */
	for (i = 0; i < 200; i++)
		*pfn_to_virt(pfn + i) = 1;
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_ZERO, 200, 0), pfn);
	for (i = 0; i < 200; i++)
		assert_int_equal(*pfn_to_virt(pfn + i), i >= 100);
	free_pages(pfn);
	reclaim_trim(0);
	for (i = 0; i < 200; i++) {
		assert_int_equal(*pfn_to_virt(pfn + i), 0);
		*pfn_to_virt(pfn + i) = 1;
	}
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_ZERO, 200, 0), pfn);
	for (i = 0; i < 200; i++)
		assert_int_equal(*pfn_to_virt(pfn + i), 1);
}

/* Of a used block, from page `from` to page `to` nothing is there when it is to be zero. */
static u64 zero_block_with_missing(bm_gfp_t more, u64 nr, u64 from, u64 to)
{
	u64 pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, PAGEBLOCK_ORDER);

	assert_int_not_equal(pfn, 0);
	/* But for its first word, as programs begin pages of theirs with a zero too. */
	memset(pfn_to_virt(pfn), 0xa5, (size_t)nr << PAGE_SHIFT);
	*(u64 *)(void *)pfn_to_virt(pfn) = 0;
	free_pages(pfn);
	fake.missing_from = (uintptr_t)pfn_to_addr(pfn + from);
	fake.missing_to = (uintptr_t)pfn_to_addr(pfn + to);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE | BM_GFP_ZERO | more,
					   nr, PAGEBLOCK_ORDER), pfn);
	assert_true(is_zero(pfn_to_virt(pfn), (size_t)nr << PAGE_SHIFT));
	assert_int_equal(pages_nr_dirty(pfn, nr), nr);
	free_pages(pfn);
	return pfn;
}

/* What was handed out and never touched is not cleared, but given back. */
static void missing_pages_are_given_back(void)
{
	const u64 nr = 4 * PAGEBLOCK_PAGES;

	options.decay_ms = -1;
	pages_start();
	zero_block_with_missing(0, nr, 0, 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
	/* Together, and of a pageblock that is there in part only the parts that are not. */
	zero_block_with_missing(0, nr, PAGEBLOCK_PAGES / 2, nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
	assert_int_equal(fake_given_bytes(), (nr - PAGEBLOCK_PAGES / 2) << PAGE_SHIFT);
	/* Where nobody may be called all is cleared. */
	this_scope.flags = SCOPE_NOSYSCALL;
	zero_block_with_missing(0, nr, 0, nr);
	this_scope.flags = 0;
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
	/* And what is to be there for who writes at once. */
	zero_block_with_missing(BM_GFP_WRITE, nr, 0, nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
	/* So is what the system does not take back. */
	fake_fail(FAKE_GIVE_BACK, 1, 1);
	zero_block_with_missing(0, nr, 0, nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 2);
}

/* What came as zeroes and goes, all of it missing when it is read but `there` pages of it. */
static u64 forget_with_there(u64 pfn, u64 nr, u64 there)
{
	memset(pfn_to_virt(pfn), 0xa5, (size_t)nr << PAGE_SHIFT);
	pages_set_dirty(pfn, nr);
	fake.missing_from = (uintptr_t)pfn_to_addr(pfn + there);
	fake.missing_to = (uintptr_t)pfn_to_addr(pfn + nr);
	pages_forget_untouched(pfn, nr);
	return pages_nr_dirty(pfn, nr);
}

/* A large block of which hardly anything was touched is given back, but for parts of pageblocks. */
static void what_was_hardly_touched_is_given_back(void)
{
	const u64 nr = 8 * PAGEBLOCK_PAGES;
	u64 pfn;

	options.decay_ms = -1;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, PAGEBLOCK_ORDER);
	assert_int_equal(forget_with_there(pfn, nr, nr), nr);
	assert_int_equal(forget_with_there(pfn, nr, nr / 8), nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
	assert_int_equal(forget_with_there(pfn, nr, 10), 0);
	assert_int_equal(forget_with_there(pfn + 1, nr - 2, 0), 2 * (PAGEBLOCK_PAGES - 1));
	assert_true(is_zero(pfn_to_virt(pfn + PAGEBLOCK_PAGES), 6 * PAGEBLOCK_SIZE));
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 2);
	/* Too little; nobody may be called; what was stale is not known to be zero. */
	assert_int_equal(forget_with_there(pfn, nr / 4, 0), nr / 4);
	this_scope.flags = SCOPE_NOSYSCALL;
	assert_int_equal(forget_with_there(pfn, nr, 0), nr);
	this_scope.flags = 0;
	pfn_to_block(pfn + nr / 2)->stale = 1;
	assert_int_equal(forget_with_there(pfn, nr, 0), nr);
	pfn_to_block(pfn + nr / 2)->stale = 0;
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 2);
	free_pages(pfn);
}

/* Mapped anew they cost nothing and are zero; refused, all is as before. */
static void renewed_pages_are_given_back(void)
{
	u64 pfn;

	unit_needs_pages_of(16384);
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 1024, 0);
	memset(pfn_to_virt(pfn), 1, 1024 << PAGE_SHIFT);
	fake_fail(FAKE_RENEW, 1, 1);
	assert_false(pages_renew(pfn + 100, 900));
	assert_int_equal(pages_nr_backed(), 1024);
	assert_true(pages_renew(pfn + 100, 900));
	assert_int_equal(pages_nr_backed(), 124);
	assert_int_equal(pages_nr_dirty(pfn, 1024), 124);
	assert_true(is_zero(pfn_to_virt(pfn + 100), 900 << PAGE_SHIFT));
	assert_int_equal(*pfn_to_virt(pfn + 99), 1);
	assert_int_equal(*pfn_to_virt(pfn + 1000), 1);
	free_pages(pfn);
	pages_check(0);
}

/* With several nodes a mapping has its node, which a new one must be told. */
static void with_nodes_what_is_renewed_is_bound_again(void)
{
	u64 pfn, before;

	unit_needs_pages_of(16384);
	fake.node_mask = 3;
	fake_node = 1;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 1024, 0);
	before = fake_calls(FAKE_PREFER);
	assert_true(pages_renew(pfn + 24, 1000));
	assert_int_equal(fake_calls(FAKE_PREFER), before + 1);
	assert_int_equal(fake_bound_node(pfn_to_virt(pfn + 24)), 1);
	assert_int_equal(fake_bound_node(pfn_to_virt(pfn + 1023)), 1);
	free_pages(pfn);
}

/* What is moved to another node's pages brings its own node's mapping along. */
static void with_nodes_what_is_moved_is_bound_again(void)
{
	u64 from, to, near, before;

	fake.node_mask = 3;
	pages_start();
	to = alloc_pages_node(0, BM_GFP_KERNEL, 8);
	near = alloc_pages_node(0, BM_GFP_KERNEL, 8);
	from = alloc_pages_node(1, BM_GFP_KERNEL, 8);
	before = fake_calls(FAKE_PREFER);
	pages_moved_to(to, near, 256);
	assert_int_equal(fake_calls(FAKE_PREFER), before);
	pages_moved_to(to + 16, from + 16, 240);
	assert_int_equal(fake_calls(FAKE_PREFER), before + 1);
	assert_int_equal(fake_bound_node(pfn_to_virt(to + 16)), 0);
}

/* Pages whose content was moved away are zero and known to be. */
static void moved_pages_are_known_to_be_zero(void)
{
	u64 from, to;

	pages_start();
	from = alloc_pages_exact(BM_GFP_KERNEL, 1024, PAGEBLOCK_ORDER);
	to = alloc_pages_exact(BM_GFP_KERNEL, 1024, PAGEBLOCK_ORDER);
	pages_fill(from, 1024, 3);
	assert_int_equal(os_move_pages(pfn_to_virt(to), pfn_to_virt(from), 1024 << PAGE_SHIFT),
			 OS_MOVED);
	pages_moved(from, 1024);
	assert_int_equal(pages_nr_dirty(from, 1024), 0);
	assert_int_equal(pages_nr_dirty(to, 1024), 1024);
	assert_int_equal(*pfn_to_virt(to + 1023), 3);
	free_pages(from);
	pages_check(1024);
	from = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_ZERO, 1024, 0);
	assert_true(is_zero(pfn_to_virt(from), 1024 << PAGE_SHIFT));
}

/* Small blocks of all kinds share the first pageblock; from the second on each kind has its own. */
static void one_pageblock_is_shared(void)
{
	u64 pfn[3], other;
	unsigned i;

	pages_start();
	for (i = 0; i < 3; i++)
		pfn[i] = alloc_pages_exact(pages_of_kind(i), 9, 0);
	for (i = 1; i < 3; i++)
		assert_int_equal(pfn[i] / PAGEBLOCK_PAGES, pfn[0] / PAGEBLOCK_PAGES);
	assert_int_equal(pfn_zone(pfn[0])->managed, PAGEBLOCK_PAGES);
	alloc_pages_exact(pages_of_kind(0), PAGEBLOCK_PAGES - 32, 0);
	for (i = 0; i < 3; i++)
		pfn[i] = alloc_pages_exact(pages_of_kind(i), 20, 0);
	other = pfn[1] / PAGEBLOCK_PAGES;
	assert_int_not_equal(pfn[0] / PAGEBLOCK_PAGES, other);
	assert_int_not_equal(pfn[2] / PAGEBLOCK_PAGES, other);
	assert_int_equal(pfn_to_block(pfn[1])->migratetype, MIGRATE_MOVABLE);
}

/* Of every order, and of any number of pages, clean ones while there are such. */
static void cold_pages_are_clean(void)
{
	u64 warm[4], cold, backed, nr;
	unsigned i;

	options.decay_ms = -1;
	pages_start();
	for (nr = 1; nr <= 2 * PAGEBLOCK_PAGES; nr += nr / 3 + 1) {
		for (i = 0; i < 4; i++)
			warm[i] = alloc_pages_exact(BM_GFP_KERNEL, nr, 0);
		/* Not one with the clean ones, whose block would begin with a warm page. */
		alloc_pages(BM_GFP_KERNEL, 0);
		free_pages(alloc_pages(BM_GFP_KERNEL, 12));
		reclaim_trim(0);
		for (i = 0; i < 4; i++)
			free_pages(warm[i]);
		pcp_drain_all(zone_table[0]);
		backed = pages_nr_backed();
		cold = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_COLD, nr, 0);
		assert_int_equal(pages_nr_backed() - backed, nr);
		free_pages(cold);
		reclaim_trim(0);
	}
}

/* BM_GFP_WRITE has the pages there at once, but where no system call may be made. */
static void pages_for_writing_are_populated(void)
{
	u64 pfn;

	options.decay_ms = -1;
	pages_start();
	pfn = alloc_pages(BM_GFP_KERNEL | BM_GFP_WRITE, 5);
	assert_int_equal(fake_calls(FAKE_POPULATE), 1);
	free_pages(pfn);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE | BM_GFP_WRITE,
					       ((u64)1 << MAX_ORDER) + 1, 0), 0);
	assert_int_equal(fake_calls(FAKE_POPULATE), 2);
	this_scope.flags = SCOPE_NOSYSCALL;
	assert_int_not_equal(alloc_pages(BM_GFP_KERNEL | BM_GFP_WRITE, 6), 0);
	assert_int_equal(fake_calls(FAKE_POPULATE), 2);
	this_scope.flags = 0;
}

/* The further the gap reaches, the more is looked at together, but never as much as it is long. */
static void what_is_there_is_not_given(void)
{
	const u64 whole = 7 * PAGEBLOCK_PAGES, nr = whole + PAGEBLOCK_PAGES;

	options.decay_ms = -1;
	pages_start();
	/* The end of it lies in the middle of a part. */
	zero_block_with_missing(0, nr, 0, whole + 307);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
	assert_int_equal(fake_given_bytes(), (whole + 256) << PAGE_SHIFT);
}

/* An emulator may say that it takes what is missing, and leave it. */
static void what_is_given_in_vain_is_cleared(void)
{
	const u64 nr = 4 * PAGEBLOCK_PAGES;
	u64 pfn;

	options.decay_ms = -1;
	pages_start();
	fake.leaves_data = true;
	pfn = zero_block_with_missing(0, nr, 0, nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
	/* Nor does it tell where what went lazily is. */
	__atomic_store_n(&pfn_to_block(pfn)->stale, 1, __ATOMIC_RELAXED);
	zero_block_with_missing(0, PAGEBLOCK_PAGES, 0, nr);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 1);
}

UNIT_MAIN(CASE(every_size_is_exact), CASE(missing_pages_are_given_back),
	  CASE(what_was_hardly_touched_is_given_back), CASE(what_is_there_is_not_given),
	  CASE(what_is_given_in_vain_is_cleared), CASE(cold_pages_are_clean),
	  CASE(pages_for_writing_are_populated), CASE(every_alignment),
	  CASE(alignments_beyond_the_zones), CASE(every_order), CASE(freed_pages_are_reused),
	  CASE(errno_is_left_alone), CASE(zero_means_zero), CASE(known_zero_pages_are_not_cleared),
	  CASE(with_nodes_what_is_moved_is_bound_again), CASE(moved_pages_are_known_to_be_zero),
	  CASE(renewed_pages_are_given_back), CASE(with_nodes_what_is_renewed_is_bound_again),
	  CASE(one_pageblock_is_shared))
