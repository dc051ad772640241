/* hard_limit, soft_limit and the control group's: backed pages count, address space does not. */
#include "pages.h"

#include <errno.h>

#include "base/options.h"
#include "base/stats.h"
#include "os/os.h"

#define BLOCK 256	/* pages */
#define MOST 256

static u64 block[MOST];
static unsigned nr_blocks;

static void start(u64 hard, u64 soft, u64 cgroup)
{
	options.decay_ms = -1;
	options.hard_limit = hard;
	options.soft_limit = soft;
	pages_start();
	fake.cgroup_bytes = cgroup;
	limit_init();
}

static bool take(bm_gfp_t gfp)
{
	u64 pfn = alloc_pages_exact(gfp | BM_GFP_NOWARN, BLOCK, 0);

	if (!pfn)
		return false;
	block[nr_blocks++] = pfn;
	return true;
}

/* Single pages until there are no more; how many. */
static u64 take_singles(bm_gfp_t gfp)
{
	u64 nr = 0;

	while (alloc_pages(gfp | BM_GFP_NOWARN, 0))
		nr++;
	return nr;
}

static void give(unsigned nr)
{
	while (nr--)
		free_pages(block[--nr_blocks]);
}

static u64 limit_pages(u64 mib)
{
	return mib << 20 >> PAGE_SHIFT;
}

static void beyond_hard_limit_is_enomem(void)
{
	unsigned normal;

	start(32 << 20, 0, UINT64_MAX);
	while (take(BM_GFP_KERNEL))
		assert_true(pages_nr_backed() <= limit_pages(32));
	assert_int_equal(errno, ENOMEM);
	normal = nr_blocks;
	assert_true((normal + 1) * BLOCK > limit_pages(32) - limit_pages(32) / 64);
	assert_int_equal(pages_nr_backed(), normal * BLOCK);
	pages_check(normal * BLOCK);
	/* Smaller ones still come; what is freed serves again. */
	give(5);
	while (take(BM_GFP_KERNEL))
		;
	assert_int_equal(nr_blocks, normal);
	pages_check(normal * BLOCK);
}

/* Each kind of urgency gets to its own mark within the reserve, and no further. */
static void a_reserve_is_left_for_the_urgent(void)
{
	const u64 hard = limit_pages(32), reserve = hard / 64;

	start(32 << 20, 0, UINT64_MAX);
	while (take(BM_GFP_KERNEL))
		;
	take_singles(BM_GFP_KERNEL);
	assert_int_equal(pages_nr_backed(), hard - reserve);
	assert_int_equal(take_singles(BM_GFP_ATOMIC | BM_GFP_MEMALLOC | BM_GFP_NOMEMALLOC), 0);
	assert_int_equal(take_singles(BM_GFP_KERNEL | BM_GFP_HIGH), reserve / 2);
	assert_int_equal(take_singles(BM_GFP_ATOMIC), reserve / 4);
	assert_int_equal(take_singles(BM_GFP_KERNEL | BM_GFP_HIGH), 0);
	assert_int_equal(take_singles(BM_GFP_KERNEL | BM_GFP_MEMALLOC), reserve / 4);
	assert_int_equal(pages_nr_backed(), hard);
	assert_int_equal(take_singles(BM_GFP_ATOMIC | BM_GFP_MEMALLOC), 0);
}

/* As in rank 0: where the thread finds on which CPU it runs, if the C library tells. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* Clean pages that wait in the list of a CPU's ask the limit one by one, as they are handed out. */
static void pages_of_a_cpus_list_are_limited_too(void)
{
	if (&__rseq_size && __rseq_size)
		os_rseq_offset = __rseq_offset;
	fake.nr_cpus = 1;
	start(32 << 20, 0, UINT64_MAX);
	/* The mark lies in the midst of what such a list is filled with. */
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 9, 0), 0);
	while (take(BM_GFP_KERNEL))
		;
	take_singles(BM_GFP_KERNEL);
	assert_int_equal(pages_nr_backed(), limit_pages(32) - limit_pages(32) / 64);
}

/* Near the limit who may not reclaim makes no system call for it: others shall. */
static void the_urgent_do_not_reclaim(void)
{
	u64 small[20], calls;
	unsigned i;

	unit_needs_pages_of(4096);
	start(32 << 20, 0, UINT64_MAX);
	while (nr_blocks < 30)
		assert_true(take(BM_GFP_KERNEL));
	for (i = 0; i < 20; i++)
		small[i] = alloc_pages_exact(BM_GFP_KERNEL, 10, 0);
	for (i = 0; i < 20; i += 2)
		free_pages(small[i]);
	/* More than the gaps hold, and above the low mark. */
	calls = fake_calls(FAKE_GIVE_BACK);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_ATOMIC, 90, 0), 0);
	assert_true(pages_nr_backed() > limit_pages(32) - limit_pages(32) / 32);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), calls);
	/* Who may reclaim does. */
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 20, 0), 0);
	assert_true(fake_calls(FAKE_GIVE_BACK) > calls);
}

/* What is free and backed makes room for what is wanted elsewhere. */
static void free_memory_is_given_for_it(void)
{
	u64 pfn;
	unsigned i;

	start(32 << 20, 0, UINT64_MAX);
	while (take(BM_GFP_KERNEL))
		;
	/* Every other one: no run of free memory is long enough. */
	for (i = 0; i < nr_blocks; i += 2)
		free_pages(block[i]);
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 10 * BLOCK, 0);
	assert_int_not_equal(pfn, 0);
	assert_true(pages_nr_backed() <= limit_pages(32));
	assert_true(stats_shared.purged_pages > 0);
	free_pages(pfn);
}

/* Another thread takes some of it just when it is to be given, and frees it after that. */
static unsigned nr_calls;

static void take_and_give(void *addr, size_t len)
{
	unsigned i;

	(void)addr;
	(void)len;
	if (!nr_calls++)
		for (i = 0; i < 6; i++)
			assert_true(take(BM_GFP_KERNEL));
	else if (nr_calls <= 7)
		give(1);
}

static void what_others_free_meanwhile_is_given_too(void)
{
	unsigned i;

	start(32 << 20, 0, UINT64_MAX);
	while (take(BM_GFP_KERNEL))
		;
	for (i = 0; i < 12; i++) {
		/* Every other one: no run of free memory is long enough. */
		free_pages(block[2 * i]);
		block[2 * i] = 0;
	}
	for (i = nr_blocks = 0; i < 31; i++)
		if (block[i])
			block[nr_blocks++] = block[i];
	fake_on_give_back = take_and_give;
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 10 * BLOCK, 0), 0);
	assert_true(nr_calls >= 7);
	assert_true(pages_nr_backed() <= limit_pages(32));
}

static void above_soft_limit_all_is_given_back(u64 soft, u64 cgroup)
{
	unsigned i;

	start(0, soft, cgroup);
	while (nr_blocks < 31)
		assert_true(take(BM_GFP_KERNEL));
	give(30);
	assert_int_equal(pages_nr_backed(), 31 * BLOCK);
	/* Too long for what is there: fresh memory, above the limit. */
	block[nr_blocks++] = alloc_pages_exact(BM_GFP_KERNEL, 40 * BLOCK, 0);
	assert_int_equal(stats_shared.direct_reclaims, 1);
	assert_int_equal(pages_nr_backed(), 41 * BLOCK);
	/* All is in use: nothing is refused, and it is not tried each time. */
	for (i = 0; i < 64; i++)
		assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 24, 0), 0);
	assert_true(stats_shared.direct_reclaims <= 12);
	pages_check(41 * BLOCK + 64 * 24);
}

static void soft_limit(void)
{
	above_soft_limit_all_is_given_back(32 << 20, UINT64_MAX);
}

/* One thread at a time gives back for it; a child has not the one that did when it was forked. */
static void take_above_the_soft_limit(void)
{
	u64 tries = stats_shared.direct_reclaims;

	page_alloc_reinit_locks();
	page_alloc_after_fork();
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 60 * BLOCK, 0), 0);
	assert_int_equal(stats_shared.direct_reclaims, tries + 1);
}

static void a_child_gives_back_for_the_soft_limit(void)
{
	start(0, 32 << 20, UINT64_MAX);
	while (nr_blocks < 31)
		assert_true(take(BM_GFP_KERNEL));
	give(30);
	unit_fork_at_give_back(take_above_the_soft_limit);
	assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 40 * BLOCK, 0), 0);
	assert_null(fake_on_give_back);
}

/* Of the option's and the group's the smaller one counts. */
static void soft_limit_below_the_groups(void)
{
	above_soft_limit_all_is_given_back(32 << 20, (u64)1 << 30);
}

static void soft_limit_above_the_groups(void)
{
	above_soft_limit_all_is_given_back((u64)1 << 30, 42 << 20);
}

/* A peak at which nothing could be given back is no reason to try no more below it. */
static void soft_limit_after_a_peak(void)
{
	unsigned i;

	start(0, 32 << 20, UINT64_MAX);
	for (i = 0; i < MOST; i++)
		assert_true(take(BM_GFP_KERNEL));
	while (nr_blocks)
		free_pages(block[--nr_blocks]);
	reclaim_trim(0);
	zones_unmap_free();
	assert_int_equal(pages_nr_backed(), 0);
	for (i = 0; i < 60; i++)
		assert_true(take(BM_GFP_KERNEL));
	for (i = 0; i < 60; i += 2)
		free_pages(block[i]);
	for (i = 0; i < 20; i++)
		assert_int_not_equal(alloc_pages_exact(BM_GFP_KERNEL, 2 * BLOCK, 0), 0);
	/* All that is free was given back for what is above the limit. */
	assert_int_equal(pages_nr_backed(), 70 * BLOCK);
}

/* What will be refused in any case costs others no warm memory. */
static void what_exceeds_the_limit_alone(void)
{
	unsigned i;

	start(128 << 20, 0, UINT64_MAX);
	for (i = 0; i < 60; i++)
		assert_true(take(BM_GFP_KERNEL));
	for (i = 0; i < 60; i++)
		free_pages(block[i]);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, 200 * BLOCK, 0), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 2048 * BLOCK, 0), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK) + fake_calls(FAKE_UNMAP), 0);
	assert_int_equal(pages_nr_backed(), 60 * BLOCK);
}

static void soft_limit_of_a_control_group(void)
{
	above_soft_limit_all_is_given_back(0, 42 << 20);
}

static void a_limit_below_what_is_used_is_reported(void)
{
	start(0, 0, UINT64_MAX);
	while (nr_blocks < 32)
		assert_true(take(BM_GFP_KERNEL));
	options.hard_limit = 16 << 20;
	limit_init();
	unit_said("buddymalloc: hard_limit: %u bytes are in use already, more than the limit of %u\n",
		  32 << 20, 16 << 20);
	assert_false(take(BM_GFP_KERNEL));
	give(20);
	assert_true(take(BM_GFP_KERNEL));
}

/* The same of a soft limit, which refuses nothing. */
static void a_soft_limit_below_it_too(void)
{
	start(0, 0, UINT64_MAX);
	while (nr_blocks < 32)
		assert_true(take(BM_GFP_KERNEL));
	options.soft_limit = 16 << 20;
	limit_init();
	unit_said("buddymalloc: soft_limit: %u bytes are in use already, more than the limit of %u\n",
		  32 << 20, 16 << 20);
	assert_true(take(BM_GFP_KERNEL));
}

/* How many MiB of blocks there are room for. */
static void check_room(u64 mib)
{
	while (take(BM_GFP_KERNEL))
		;
	assert_in_range(pages_nr_backed(), limit_pages(mib) * 31 / 32 - BLOCK, limit_pages(mib));
}

static void a_percentage_is_of_physical_memory(void)
{
	fake.memory_bytes = (u64)200 << 20;
	start(OPTION_PERCENT | 25, 0, UINT64_MAX);
	assert_string_equal(fake_output(), "");
	check_room(50);
}

static void or_of_what_the_control_group_may_have(void)
{
	fake.memory_bytes = (u64)200 << 20;
	options.verbose = true;
	start(OPTION_PERCENT | 80, 0, 40 << 20);
	unit_said("buddymalloc: hard_limit: 80%% of 41943040 bytes are 33554400\n"
		  "buddymalloc: the control group's limit is 41943040 bytes\n");
	options.verbose = false;
	check_room(32);
}

static void of_the_smaller_of_both(void)
{
	fake.memory_bytes = (u64)64 << 20;
	start(OPTION_PERCENT | 50, 0, (u64)1 << 40);
	check_room(32);
}

static void a_soft_limit_in_percent(void)
{
	fake.memory_bytes = (u64)64 << 20;
	above_soft_limit_all_is_given_back(OPTION_PERCENT | 50, UINT64_MAX);
}

static void unknown_memory_is_no_limit(void)
{
	fake.memory_bytes = 0;
	start(OPTION_PERCENT | 50, OPTION_PERCENT | 40, UINT64_MAX);
	unit_said("buddymalloc: hard_limit: there is no limit, how much memory 100%% is cannot be read\n"
		  "buddymalloc: soft_limit: there is no limit, how much memory 100%% is cannot be read\n");
	while (nr_blocks < 128)
		assert_true(take(BM_GFP_KERNEL));
}

/* Each word of the option asks what it says, and no more. */
static void which_group_is_asked(void)
{
	start(0, 0, UINT64_MAX);
	assert_int_equal(fake_calls(FAKE_CONTAINER), 1);
	options.cgroup = option_cgroup_off;
	limit_init();
	assert_int_equal(fake_calls(FAKE_CONTAINER) + fake_calls(FAKE_CGROUP), 1);
	options.cgroup = option_cgroup_any;
	limit_init();
	assert_int_equal(fake_calls(FAKE_CONTAINER), 1);
	assert_int_equal(fake_calls(FAKE_CGROUP), 1);
	assert_string_equal(fake_output(), "");
}

/* Only who asked for the group's limit is told that there is none to be read. */
static void an_unreadable_group(void)
{
	static const char said[] =
		"buddymalloc: cgroup: no limit is taken from /fake/memory.max: Permission denied\n";

	fake.cgroup_error = EACCES;
	start(0, 0, UINT64_MAX);
	assert_string_equal(fake_output(), "");
	options.verbose = true;
	limit_init();
	unit_said("%s", said);
	options.verbose = false;
	options.cgroup = option_cgroup_any;
	limit_init();
	unit_said("%s", said);
	fake.cgroup_error = EINVAL;
	limit_init();
	unit_said("buddymalloc: cgroup: no limit is taken from /fake/memory.max: none is in it\n");
	options.cgroup = option_cgroup_off;
	limit_init();
	assert_string_equal(fake_output(), "");
	/* No limit means none. */
	while (nr_blocks < 128)
		assert_true(take(BM_GFP_KERNEL));
}

static void resizing_is_limited_too(void)
{
	start(32 << 20, 0, UINT64_MAX);
	assert_true(take(BM_GFP_KERNEL));
	assert_true(resize_pages(block[0], 20 * BLOCK));
	assert_false(resize_pages(block[0], 40 * BLOCK));
	assert_int_equal(pages_nr_backed(), 20 * BLOCK);
	pages_check(20 * BLOCK);
	give(1);
}

/* What was taken behind the block before a limit refused it is free again. */
static void what_a_refused_growth_took_is_free(void)
{
	u64 pfn;

	start(0, 0, UINT64_MAX);
	pfn = alloc_pages_exact(BM_GFP_KERNEL, 4 * BLOCK, 0);
	assert_true(resize_pages(pfn, BLOCK));
	reclaim_purge(UINT64_MAX);
	options.hard_limit = 2 * BLOCK << PAGE_SHIFT;
	limit_init();
	assert_false(resize_pages(pfn, 2 * BLOCK));
	assert_int_equal(pages_nr_backed(), BLOCK);
	pages_check(BLOCK);
	assert_true(resize_pages(pfn, BLOCK + BLOCK / 2));
	pages_check(BLOCK + BLOCK / 2);
}

/* So is what is mapped for itself. */
static void resizing_of_highmem_is_limited_too(void)
{
	u64 nr = ((u64)1 << MAX_ORDER) + 10, pfn;

	start((u64)2 << 30, 0, UINT64_MAX);
	pfn = alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, nr, 0);
	assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_HIGHMEM);
	assert_false(resize_pages(pfn, 2 * nr));
	assert_int_equal(pages_nr_backed(), nr);
	assert_true(resize_pages(pfn, nr + nr / 2));
	assert_int_equal(pages_nr_backed(), nr + nr / 2);
	free_pages(pfn);
	assert_int_equal(pages_nr_backed(), 0);
}

/* What can never be had maps nothing, neither as a new block nor by growing. */
static void what_is_refused_leaves_no_room(void)
{
	u64 pfn, heap;

	start(32 << 20, 0, UINT64_MAX);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 1000, 0);
	heap = memmap_heap_bytes();
	assert_int_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, 100000, 0), 0);
	assert_int_equal(alloc_pages_exact(BM_GFP_HIGHUSER_MOVABLE, (u64)1 << 20, 0), 0);
	assert_false(resize_pages(pfn, 100000));
	assert_int_equal(memmap_heap_bytes(), heap);
}

UNIT_MAIN(CASE(beyond_hard_limit_is_enomem), CASE(what_is_refused_leaves_no_room),
	  CASE(what_a_refused_growth_took_is_free), CASE(resizing_of_highmem_is_limited_too),
	  CASE(a_child_gives_back_for_the_soft_limit), CASE(a_reserve_is_left_for_the_urgent),
	  CASE(pages_of_a_cpus_list_are_limited_too), CASE(the_urgent_do_not_reclaim),
	  CASE(free_memory_is_given_for_it), CASE(what_others_free_meanwhile_is_given_too),
	  CASE(soft_limit), CASE(soft_limit_below_the_groups), CASE(soft_limit_above_the_groups),
	  CASE(soft_limit_after_a_peak), CASE(what_exceeds_the_limit_alone),
	  CASE(soft_limit_of_a_control_group), CASE(a_limit_below_what_is_used_is_reported),
	  CASE(a_soft_limit_below_it_too), CASE(a_percentage_is_of_physical_memory),
	  CASE(or_of_what_the_control_group_may_have), CASE(of_the_smaller_of_both),
	  CASE(a_soft_limit_in_percent), CASE(unknown_memory_is_no_limit),
	  CASE(which_group_is_asked), CASE(an_unreadable_group), CASE(resizing_is_limited_too))
