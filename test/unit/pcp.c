/* The per-CPU page lists: what comes and goes, counts, draining, contention. */
#include "invariants.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>

#include "buddy/pcp.h"

#define NR_BLOCKS 16
#define NR_LISTED 4096

static struct zone zone;
static u64 first;

static void start(unsigned nr_cpus)
{
	assert_true(memmap_init());
	zone_init(&zone, 0, ZONE_NORMAL, 0, nr_cpus);
	first = section_map(NR_BLOCKS, 16, BLOCK_PRESENT, 0);
	assert_int_not_equal(first, 0);
	zone_add_blocks(&zone, first, NR_BLOCKS, MIGRATE_MOVABLE);
}

/* Every page is in the zone, in a list, or one of the `used` pages. */
static void check(u64 used)
{
	lock(&zone.lock, LOCK_ZONE);
	zone_check_locked(&zone);
	unlock(&zone.lock, LOCK_ZONE);
	assert_int_equal(zone.nr_free + pcp_nr_pages(&zone) + used, NR_BLOCKS * PAGEBLOCK_PAGES);
}

/* The orders that have lists, one after the other; false at the end. */
static bool next_order(unsigned *order)
{
	do
		++*order;
	while (*order <= PAGEBLOCK_ORDER && pcp_order_index(*order) < 0);
	return *order <= PAGEBLOCK_ORDER;
}

static void orders_with_lists(void)
{
	unsigned order;

	for (order = 0; order <= MAX_ORDER; order++) {
		int index = pcp_order_index(order);

		if (order <= PCP_MAX_ORDER)
			assert_int_equal(index, order);
		else
			assert_int_equal(index, order == PAGEBLOCK_ORDER ? NR_PCP_ORDERS - 1 : -1);
	}
}

static void blocks_come_from_and_go_to_the_list(void)
{
	enum migratetype mt;
	unsigned order;

	start(1);
	for (order = 0; order <= PAGEBLOCK_ORDER; next_order(&order))
		for (mt = MIGRATE_UNMOVABLE; mt < MIGRATE_PCPTYPES; mt++) {
			u64 nr = (u64)1 << order;
			u64 pfn = pcp_alloc(&zone, order, mt, true);

			assert_int_not_equal(pfn, 0);
			assert_int_equal(pfn % nr, 0);
			assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_NONE);
			assert_int_equal(pfn_to_block(pfn)->migratetype, mt);
			check(nr);
			pcp_free(&zone, pfn, order, mt);
			assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_PCP);
			check(0);
			/* The warmest one again. */
			assert_int_equal(pcp_alloc(&zone, order, mt, true), pfn);
			check(nr);
			pcp_free(&zone, pfn, order, mt);
			pcp_drain_all(&zone);
			check(0);
		}
}

static void refill_hands_out_upward(void)
{
	u64 last = 0, pfn;
	unsigned i;

	start(1);
	for (i = 0; i < 100; i++) {
		pfn = pcp_alloc(&zone, 0, MIGRATE_MOVABLE, true);
		assert_true(!last || pfn == last + 1);
		last = pfn;
	}
	check(100);
}

/* However much is freed, a list stays small and the rest can merge. */
/* Whatever order they have, what lies in the lists goes back when it is asked for. */
static void drained_lists_are_empty(void)
{
	unsigned order = UINT32_MAX;
	u64 nr = 0;

	start(1);
	while (next_order(&order)) {
		pcp_free(&zone, pcp_alloc(&zone, order, MIGRATE_MOVABLE, true), order,
			 MIGRATE_MOVABLE);
		nr += (u64)1 << order;
	}
	assert_true(pcp_nr_pages(&zone) >= nr);
	assert_true(pcp_drain_all(&zone) >= nr);
	assert_int_equal(pcp_nr_pages(&zone), 0);
	check(0);
}

static void lists_are_bounded(void)
{
	static u64 blocks[NR_LISTED];
	unsigned order;
	u64 nr, i;

	start(1);
	for (order = 0; order <= PAGEBLOCK_ORDER; next_order(&order)) {
		for (nr = 0; nr < NR_LISTED; nr++) {
			blocks[nr] = pcp_alloc(&zone, order, MIGRATE_MOVABLE, true);
			if (!blocks[nr])
				break;
		}
		check(nr << order);
		for (i = 0; i < nr; i++) {
			pcp_free(&zone, blocks[i], order, MIGRATE_MOVABLE);
			assert_true(pcp_nr_pages(&zone) << PAGE_SHIFT <= 4 << 20);
		}
		check(0);
		/* Everything comes back, merged to what it was. */
		i = pcp_nr_pages(&zone);
		assert_int_equal(pcp_drain_all(&zone), i);
		check(0);
		assert_int_equal(zone.nr_free, NR_BLOCKS * PAGEBLOCK_PAGES);
		assert_int_equal(zone.area[PAGEBLOCK_ORDER + 4].nr_free[MIGRATE_MOVABLE], 1);
	}
}

/* When the zone is empty nothing comes; a list's last block still does. */
static void empty_zone(void)
{
	u64 pfn;

	start(1);
	assert_true(zone_take_range_locked(&zone, first, NR_BLOCKS * PAGEBLOCK_PAGES - 4));
	pfn = pcp_alloc(&zone, 2, MIGRATE_MOVABLE, true);
	assert_int_not_equal(pfn, 0);
	assert_int_equal(pcp_alloc(&zone, 2, MIGRATE_MOVABLE, false), 0);
	assert_int_equal(pcp_alloc(&zone, 0, MIGRATE_MOVABLE, false), 0);
	check(NR_BLOCKS * PAGEBLOCK_PAGES);
	pcp_free(&zone, pfn, 2, MIGRATE_MOVABLE);
	assert_int_equal(pcp_alloc(&zone, 0, MIGRATE_MOVABLE, false), 0);
	assert_int_equal(pcp_alloc(&zone, 2, MIGRATE_MOVABLE, false), pfn);
}

static void each_cpu_has_its_list(void)
{
	u64 a, b;

	start(4);
	assert_int_equal(zone.nr_pcps, 4);
	fake_cpu = 1;
	a = pcp_alloc(&zone, 5, MIGRATE_MOVABLE, true);
	pcp_free(&zone, a, 5, MIGRATE_MOVABLE);
	fake_cpu = 2;
	b = pcp_alloc(&zone, 5, MIGRATE_MOVABLE, true);
	assert_int_not_equal(b, a);
	pcp_free(&zone, b, 5, MIGRATE_MOVABLE);
	/* A CPU number beyond those known at start shares a list. */
	fake_cpu = 1 + 4 * 25;
	assert_int_equal(pcp_alloc(&zone, 5, MIGRATE_MOVABLE, true), a);
	fake_cpu = 2;
	assert_int_equal(pcp_alloc(&zone, 5, MIGRATE_MOVABLE, true), b);
	pcp_drain_all(&zone);
	check(64);
}

static void nr_of_lists_fits_the_machine(void)
{
	static const struct {
		unsigned cpus, lists;
	} machines[] = { { 1, 1 }, { 2, 2 }, { 3, 4 }, { 64, 64 }, { 65, 64 }, { 8192, 64 } };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(machines); i++) {
		zone_init(&zone, 0, ZONE_NORMAL, 0, machines[i].cpus);
		assert_int_equal(zone.nr_pcps, machines[i].lists);
	}
}

/* A held lock is not waited for: the zone serves. */
static void busy_list_is_passed_by(void)
{
	u64 pfn, listed;

	start(1);
	pcp_free(&zone, pcp_alloc(&zone, 0, MIGRATE_MOVABLE, true), 0, MIGRATE_MOVABLE);
	listed = pcp_nr_pages(&zone);
	assert_true(try_lock(&zone.pcps[0].lock, LOCK_PCP));
	pfn = pcp_alloc(&zone, 0, MIGRATE_MOVABLE, true);
	assert_int_not_equal(pfn, 0);
	assert_int_equal(pcp_nr_pages(&zone), listed);
	check(1);
	pcp_free(&zone, pfn, 0, MIGRATE_MOVABLE);
	assert_int_equal(pcp_nr_pages(&zone), listed);
	check(0);
	unlock(&zone.pcps[0].lock, LOCK_PCP);
}

/* Threads on the same and on other CPUs, with drains in between. */
static void *churn_pages(void *arg)
{
	uint64_t seed = *(unsigned *)arg + 1;
	u64 mine[64];
	u32 orders[64];
	unsigned nr = 0, round, i;

	for (round = 0; round < 20000; round++) {
		fake_cpu = (unsigned)random_below(&seed, 3);
		if (nr < 64 && (!nr || random_below(&seed, 2))) {
			orders[nr] = (u32)random_below(&seed, 5);
			mine[nr] = pcp_alloc(&zone, orders[nr], MIGRATE_MOVABLE, false);
			if (!mine[nr])
				continue;
			*(u64 *)(void *)pfn_to_virt(mine[nr]) = mine[nr] + *(unsigned *)arg;
			nr++;
		} else {
			i = (unsigned)random_below(&seed, nr);
			if (*(u64 *)(void *)pfn_to_virt(mine[i]) != mine[i] + *(unsigned *)arg)
				return "a page had two owners";
			pcp_free(&zone, mine[i], orders[i], MIGRATE_MOVABLE);
			mine[i] = mine[--nr];
			orders[i] = orders[nr];
		}
		if (round % 1000 == 999)
			pcp_drain_all(&zone);
	}
	while (nr--)
		pcp_free(&zone, mine[nr], orders[nr], MIGRATE_MOVABLE);
	return NULL;
}

static void threads_share_the_lists(void)
{
	unsigned number[4] = { 0, 1, 2, 3 };
	pthread_t threads[4];
	void *result;
	int i;

	start(4);
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn_pages, &number[i]), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		if (result)
			fail_msg("%s", (char *)result);
	}
	check(0);
	pcp_drain_all(&zone);
	check(0);
	assert_int_equal(zone.nr_free, NR_BLOCKS * PAGEBLOCK_PAGES);
}

UNIT_MAIN(CASE(orders_with_lists),
	  CASE(blocks_come_from_and_go_to_the_list),
	  CASE(refill_hands_out_upward),
	  CASE(drained_lists_are_empty),
	  CASE(lists_are_bounded),
	  CASE(empty_zone),
	  CASE(each_cpu_has_its_list),
	  CASE(nr_of_lists_fits_the_machine),
	  CASE(busy_list_is_passed_by),
	  CASE(threads_share_the_lists))
