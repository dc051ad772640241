/* Page allocation when memory is short: limits, refusals of the system, shrinkers, flags. */
#include "pages.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/options.h"
#include "base/stats.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

#define NR_LIVE 8192

static u64 live[NR_LIVE];
static unsigned nr_live;
static u64 used;

static u64 get(bm_gfp_t gfp, u64 nr)
{
	u64 pfn;

	errno = 0;
	pfn = alloc_pages_exact(gfp, nr, 0);
	if (!pfn) {
		assert_int_equal(errno, ENOMEM);
		return 0;
	}
	/* Whatever was refused on the way. */
	assert_int_equal(errno, 0);
	used += nr;
	pages_mark(pfn, nr, pfn);
	return pfn;
}

static void put(u64 pfn)
{
	u64 nr = pfn_to_page(pfn)->nr_pages;

	assert_true(pages_are_marked(pfn, nr, pfn));
	used -= nr;
	free_pages(pfn);
}

/* Allocates blocks of nr pages until there is no memory. */
static unsigned use_up(bm_gfp_t gfp, u64 nr)
{
	unsigned before = nr_live;
	u64 pfn;

	while (nr_live < NR_LIVE && (pfn = get(gfp, nr)))
		live[nr_live++] = pfn;
	assert_true(nr_live < NR_LIVE);
	return nr_live - before;
}

static void put_all(void)
{
	while (nr_live)
		put(live[--nr_live]);
	pages_check(used);
}

/* At the limit: ENOMEM, smaller blocks still come, and freed memory serves again. */
static void limit_is_reached_and_left(void)
{
	static const u64 sizes[] = { 256, 1, 7, 512, 100, 2048 };
	u64 limit = 24 << 20;
	unsigned first, again, i;

	fake.rlimit_bytes = limit;
	pages_start();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		first = use_up(BM_GFP_KERNEL, sizes[i]);
		pages_check(used);
		assert_true(memmap_heap_bytes() + memmap_meta_bytes() <= limit);
		/* All of it could be used but what lies behind blocks that are no power of two. */
		assert_true((((u64)first << order_for_pages(sizes[i])) + sizes[i]) * PAGE_SIZE +
				    (4 << 20) > limit);
		use_up(BM_GFP_KERNEL, 1);
		pages_check(used);
		assert_int_equal(memmap_heap_bytes() >> PAGE_SHIFT, used);
		put_all();
		/* Where odd sizes fall depends on what came before. */
		again = use_up(BM_GFP_KERNEL, sizes[i]);
		assert_true(sizes[i] & (sizes[i] - 1) ? again >= first - first / 16 - 1 :
							again == first);
		put_all();
	}
}

/* Pages of one type, or waiting in per-CPU lists, serve any request in need. */
static void nothing_is_out_of_reach(void)
{
	u64 pfn, total;

	fake.rlimit_bytes = 16 << 20;
	fake.nr_cpus = 4;
	pages_start();
	use_up(BM_GFP_KERNEL | BM_GFP_MOVABLE, 1);
	total = used;
	/* Each second page, freed on different CPUs, serves another type. */
	for (unsigned i = 0; i < nr_live; i += 2) {
		fake_cpu = i / 2 % 4;
		put(live[i]);
		live[i] = 0;
	}
	fake_cpu = 0;
	for (unsigned i = 0; i < nr_live; i += 2) {
		live[i] = get(BM_GFP_KERNEL, 1);
		assert_int_not_equal(live[i], 0);
	}
	assert_int_equal(get(BM_GFP_KERNEL, 1), 0);
	assert_int_equal(used, total);
	for (unsigned i = 0; i < nr_live; i++) {
		fake_cpu = i % 4;
		put(live[i]);
	}
	nr_live = 0;
	fake_cpu = 0;
	/* Now everything at once. */
	pfn = get(BM_GFP_KERNEL | BM_GFP_RECLAIMABLE, total);
	assert_int_not_equal(pfn, 0);
	put(pfn);
	pages_check(0);
}

/* A shrinker that holds some blocks. */
static unsigned nr_shrinks;
static bool shrink_all_seen;

static void shrink(enum give how)
{
	nr_shrinks++;
	shrink_all_seen |= how == GIVE_ALL;
	while (how == GIVE_ALL && nr_live)
		put(live[--nr_live]);
}

static const struct shrinker shrinker = { .shrink = shrink };

static void shrinkers_are_asked_in_need(void)
{
	u64 pfn;

	fake.rlimit_bytes = 16 << 20;
	options.decay_ms = -1;
	pages_start();
	set_shrinkers(&shrinker, 1);
	while ((pfn = get(BM_GFP_ATOMIC, 64)))
		live[nr_live++] = pfn;
	/* Those who may not reclaim fail without it. */
	assert_false(shrink_all_seen);
	assert_true(nr_live > 10);
	pfn = get(BM_GFP_KERNEL, 64);
	assert_int_not_equal(pfn, 0);
	assert_true(shrink_all_seen);
	assert_int_equal(nr_live, 0);
	put(pfn);
	pages_check(0);
}

/* Before the heap grows for a large block, what lies in the midst of free pages and is cached. */
static u64 pinned;

static void unpin(enum give how)
{
	assert_int_equal(how, GIVE_ALL);
	put(pinned);
	pinned = 0;
}

static const struct shrinker cheap = { .shrink = unpin, .cheap = true };

#define MOVABLE (BM_GFP_KERNEL | BM_GFP_MOVABLE)

static void what_is_cached_goes_before_growth(void)
{
	struct page_totals before, after;
	u64 below, above;

	options.decay_ms = -1;
	pages_start();
	set_shrinkers(&cheap, 1);
	below = get(MOVABLE, 4 * PAGEBLOCK_PAGES);
	pinned = get(MOVABLE, PAGEBLOCK_PAGES);
	above = get(MOVABLE, 4 * PAGEBLOCK_PAGES);
	put(below);
	put(above);
	page_alloc_totals(&before);
	put(get(MOVABLE, 9 * PAGEBLOCK_PAGES));
	page_alloc_totals(&after);
	assert_int_equal(pinned, 0);
	assert_int_equal(after.managed, before.managed);
	pages_check(0);
}

/* Not where little is warm, for who may not reclaim, or for memory of another kind. */
static void what_is_cached_stays_where_it_would_not_help(void)
{
	u64 kept;

	options.decay_ms = -1;
	pages_start();
	set_shrinkers(&cheap, 1);
	kept = pinned = get(MOVABLE, PAGEBLOCK_PAGES);
	put(get(MOVABLE, 8 * PAGEBLOCK_PAGES));
	put(get(BM_GFP_ATOMIC | BM_GFP_MOVABLE, 16 * PAGEBLOCK_PAGES));
	put(get(BM_GFP_KERNEL, 32 * PAGEBLOCK_PAGES));
	assert_int_equal(pinned, kept);
	put(get(MOVABLE, 64 * PAGEBLOCK_PAGES));
	assert_int_equal(pinned, 0);
	pages_check(0);
}

/* In need all that is free and dirty goes back to the system: a limit may count it. */
static void in_need_dirty_memory_is_purged(void)
{
	struct page_totals t;
	u64 pfn;

	unit_needs_pages_of(4096);
	fake.rlimit_bytes = 16 << 20;
	options.decay_ms = -1;
	pages_start();
	use_up(BM_GFP_KERNEL, 1);
	pfn = live[--nr_live];
	put_all();
	page_alloc_totals(&t);
	assert_true(t.dirty > 0);
	assert_int_equal(get(BM_GFP_KERNEL, used + t.managed), 0);
	page_alloc_totals(&t);
	assert_int_equal(t.dirty, 0);
	put(pfn);
}

static void failures_are_told_if_wanted(void)
{
	fake.rlimit_bytes = 8 << 20;
	pages_start();
	assert_int_equal(get(BM_GFP_KERNEL, 10000), 0);
	unit_said("%s", "");
	options.verbose = true;
	assert_int_equal(get(BM_GFP_KERNEL, 10000), 0);
	unit_said("buddymalloc: no memory for 10000 pages\n");
	assert_int_equal(get(BM_GFP_KERNEL | BM_GFP_NOWARN, 10000), 0);
	unit_said("%s", "");
}

/* There are no such zones: a request for one fails and leaves the heap as it was. */
static void absent_zones_have_no_memory(void)
{
	u64 heap, pfn;

	pages_start();
	pfn = get(BM_GFP_KERNEL, 1);
	heap = memmap_heap_bytes();
	assert_int_equal(get(BM_GFP_KERNEL | BM_GFP_DMA32, 1), 0);
	assert_int_equal(get(BM_GFP_KERNEL | BM_GFP_DMA, 4), 0);
	assert_int_equal(memmap_heap_bytes(), heap);
	put(pfn);
}

/* The heap grows in steps that grow with it: few mappings for a large heap. */
static void growth_makes_few_mappings(void)
{
	u64 before;

	pages_start();
	before = stats_shared.zone_grown;
	while (used << PAGE_SHIFT < (u64)1 << 30)
		live[nr_live++] = get(BM_GFP_KERNEL, 128);
	assert_true(stats_shared.zone_grown - before < 80);
	/* And not much more than was asked for. */
	assert_true(memmap_heap_bytes() < (used << PAGE_SHIFT) * 9 / 8 + (64 << 20));
	put_all();
}

/* Growing by the step may be refused where growing by the need is not. */
static void growth_falls_back_to_the_need(void)
{
	u64 limit = (u64)150 << 20;

	fake.rlimit_bytes = limit;
	pages_start();
	use_up(BM_GFP_KERNEL, PAGEBLOCK_PAGES);
	assert_true(memmap_heap_bytes() + memmap_meta_bytes() <= limit);
	assert_true(memmap_heap_bytes() + memmap_meta_bytes() + PAGEBLOCK_SIZE + (64 << 10) >
		    limit);
	put_all();
}

/*
 * At the limit all free pages are in the hands of a thread that purges them:
 * another one waits for it instead of failing.
 */
static bool other_is_done;

static void wait_for_other(void)
{
	while (!fake_calls(FAKE_FUTEX_WAIT) &&
	       !__atomic_load_n(&other_is_done, __ATOMIC_RELAXED))
		usleep(100);
}

static void *purge_all(void *arg)
{
	reclaim_purge(UINT64_MAX);
	return arg;
}

static void pages_being_purged_are_waited_for(void)
{
	pthread_t thread;
	u64 pfn;

	fake.rlimit_bytes = 16 << 20;
	options.decay_ms = -1;
	pages_start();
	use_up(BM_GFP_KERNEL, 3 * PAGEBLOCK_PAGES);
	use_up(BM_GFP_KERNEL, 1);
	/* 6 MiB come free, and go to the other thread. */
	put(live[0]);
	live[0] = live[--nr_live];
	unit_at_give_back(wait_for_other);
	assert_int_equal(pthread_create(&thread, NULL, purge_all, NULL), 0);
	while (__atomic_load_n(&zone_table[0]->nr_free, __ATOMIC_RELAXED))
		usleep(100);
	pfn = get(BM_GFP_KERNEL, 1000);
	__atomic_store_n(&other_is_done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_not_equal(pfn, 0);
	put(pfn);
	put_all();
}

/*
 * Pages in the hands of another thread arrive while the heap is to grow, which is refused:
 * whenever that is, they are found.
 */
static u64 in_hands;
static unsigned refusals, arrive_at;

static void arrive(void)
{
	if (++refusals != arrive_at)
		return;
	/* Another thread would take the lock, which ranks before that of sections. */
	zone_free_range_locked(zone_table[0], in_hands, 3 * PAGEBLOCK_PAGES);
	in_flight_end(true);
}

static void pages_that_arrive_are_found(void)
{
	u64 pfn;

	pages_start();
	pfn = get(BM_GFP_KERNEL, 3 * PAGEBLOCK_PAGES);
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	use_up(BM_GFP_KERNEL, 1);
	assert_int_equal(get(BM_GFP_KERNEL, 3 * PAGEBLOCK_PAGES), 0);
	fake_on_refusal = arrive;
	for (arrive_at = 1; refusals >= arrive_at - 1; arrive_at++) {
		in_hands = pfn;
		put(pfn);
		assert_true(zone_take_range_locked(zone_table[0], pfn, 3 * PAGEBLOCK_PAGES));
		in_flight_begin();
		refusals = 0;
		pfn = get(BM_GFP_KERNEL, 3 * PAGEBLOCK_PAGES);
		if (!pfn)
			break;
		assert_int_equal(pfn, in_hands);
	}
	/* It asked less often: they did not arrive. */
	assert_true(refusals < arrive_at && arrive_at > 2);
	zone_free_range(zone_table[0], in_hands, 3 * PAGEBLOCK_PAGES);
	in_flight_end(true);
	put_all();
}

/* The n-th mapping fails, once or from then on: what fails says so, the rest is sound. */
static u64 nth;
static uint64_t how_often;

static void describe(void)
{
	fprintf(stderr, "the mapping refused was number %lu\n", (unsigned long)nth);
}

static void random_load(void)
{
	uint64_t seed = 99;
	unsigned i, failed = 0;

	unit_on_failure(describe);
	pages_start();
	fake_fail(FAKE_MAP, nth, how_often);
	for (i = 0; i < 400; i++) {
		u64 nr = 1 + random_below(&seed, i % 10 ? 300 : 5000);
		u64 pfn = get(BM_GFP_KERNEL | (i % 3 ? BM_GFP_MOVABLE : 0), nr);

		failed += !pfn;
		if (pfn)
			live[nr_live++] = pfn;
		if (i % 8 == 7 && nr_live)
			resize_pages(live[0], pfn_to_page(live[0])->nr_pages);
		if (nr_live && i % 3 == 0) {
			unsigned which = (unsigned)random_below(&seed, nr_live);

			put(live[which]);
			live[which] = live[--nr_live];
		}
		if (i % 20 == 0)
			pages_check(used);
	}
	pages_check(used);
	assert_true(how_often != FAKE_ALWAYS || failed);
	/* A single refusal may cost one allocation, no more. */
	assert_true(how_often != 1 || failed <= 1);
	fake_fail(FAKE_MAP, 1, 0);
	live[nr_live++] = get(BM_GFP_KERNEL, 3000);
	assert_int_not_equal(live[nr_live - 1], 0);
	put_all();
}

static void one_refusal_is_survived(void)
{
	how_often = 1;
	for (nth = 1; nth < 30; nth++)
		unit_in_child(random_load);
}

static void refusals_from_there_on_are_survived(void)
{
	how_often = FAKE_ALWAYS;
	for (nth = 1; nth < 20; nth++)
		unit_in_child(random_load);
}

/* Blocks of their own fall back to the zone, and fail when that does. */
static void highmem_refused(void)
{
	u64 huge = ((u64)1 << MAX_ORDER) + 10, pfn;

	pages_start();
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	assert_int_equal(get(BM_GFP_HIGHUSER_MOVABLE, huge), 0);
	fake_fail(FAKE_MAP, 1, 0);
	pfn = get(BM_GFP_HIGHUSER_MOVABLE, huge);
	assert_int_not_equal(pfn, 0);
	put(pfn);
	pages_check(0);
	fake.rlimit_bytes = (u64)1 << 30;
	memmap_set_budget();
	assert_int_equal(get(BM_GFP_HIGHUSER_MOVABLE, huge), 0);
	pages_check(0);
}

/* Address space that is full of free pageblocks has room for a record all the same. */
static void a_record_finds_room(void)
{
	u64 pfn[40];
	unsigned nr = 0;

	pages_start();
	fake.rlimit_bytes = 64 << 20;
	memmap_set_budget();
	while ((pfn[nr] = get(BM_GFP_KERNEL | BM_GFP_NOWARN, 512)))
		nr++;
	assert_null(alloc_record(1 << 20));
	assert_int_equal(errno, ENOMEM);
	while (nr)
		put(pfn[--nr]);
	/* Who may make no system call has none of it. */
	this_scope.flags = SCOPE_NOSYSCALL;
	assert_null(alloc_record(1 << 20));
	assert_int_equal(fake_calls(FAKE_UNMAP), 0);
	this_scope.flags = 0;
	errno = 7;
	assert_non_null(alloc_record(1 << 20));
	assert_int_equal(errno, 7);
	assert_true(stats_shared.blocks_returned > 0);
	pages_check(0);
}

static u64 leaving;

static void none_takes_it_for_the_zones(void)
{
	assert_false(block_is_of(pfn_to_block(leaving), zone_table[0]->index));
}

/* Who looks at a neighbour under the zone's lock must not: it may be another zone's by then. */
static void what_leaves_is_no_zones(void)
{
	u64 nr = 4 * PAGEBLOCK_PAGES;

	pages_start();
	leaving = get(BM_GFP_KERNEL, nr);
	free_pages(leaving);
	shrink_all();
	assert_true(block_is_of(pfn_to_block(leaving), zone_table[0]->index));
	unit_at_give_back(none_takes_it_for_the_zones);
	/* Refused, it is again. */
	fake_fail(FAKE_UNMAP, 1, 1);
	zones_unmap_free();
	assert_true(block_is_of(pfn_to_block(leaving), zone_table[0]->index));
	pages_check(0);
}

/*
 * Whoever maps a pageblock expects its struct pages to be zero. An emulator may say that it
 * cleared those of what was unmapped, and not have done so.
 */
static void struct_pages_of_what_went_are_zero(void)
{
	u64 nr = 4 * PAGEBLOCK_PAGES, pfn, i;

	fake.leaves_data = true;
	pages_start();
	pfn = get(BM_GFP_KERNEL, nr);
	split_pages(pfn);
	for (i = 0; i < nr; i++)
		free_pages(pfn + i);
	shrink_all();
	assert_true(zones_unmap_free() >= nr);
	assert_true(is_zero(pfn_to_page(pfn), nr * sizeof(struct page)));
}

UNIT_MAIN(CASE(limit_is_reached_and_left),
	  CASE(nothing_is_out_of_reach),
	  CASE(shrinkers_are_asked_in_need), CASE(what_is_cached_goes_before_growth),
	  CASE(what_is_cached_stays_where_it_would_not_help),
	  CASE(in_need_dirty_memory_is_purged),
	  CASE(failures_are_told_if_wanted),
	  CASE(absent_zones_have_no_memory),
	  CASE(growth_makes_few_mappings),
	  CASE(growth_falls_back_to_the_need),
	  CASE(pages_being_purged_are_waited_for),
	  CASE(pages_that_arrive_are_found),
	  CASE(one_refusal_is_survived),
	  CASE(refusals_from_there_on_are_survived),
	  CASE(highmem_refused),
	  CASE(a_record_finds_room),
	  CASE(what_leaves_is_no_zones), CASE(struct_pages_of_what_went_are_zero))
