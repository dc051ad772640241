/* A control group's limit kills who exceeds it: what threads do near it. */
#include "pages.h"

#include <pthread.h>
#include <unistd.h>

#include "base/options.h"
#include "base/stats.h"

#define BLOCK 256 /* pages */
#define LIMIT (64 << 20)
#define LIMIT_BLOCKS (LIMIT / (BLOCK << PAGE_SHIFT))

static u64 block[LIMIT_BLOCKS];

/* A heap with so many blocks in use, and then as many free as are given. */
static void start(unsigned nr, unsigned nr_free)
{
	unsigned i;

	options.decay_ms = -1;
	pages_start();
	for (i = 0; i < nr; i++)
		block[i] = alloc_pages_exact(BM_GFP_KERNEL, BLOCK, 0);
	for (i = 0; i < nr_free; i++)
		free_pages(block[i]);
	fake.cgroup_bytes = LIMIT;
	limit_init();
}

/* Clean pages, in one piece that is nowhere free. */
static u64 take_clean(unsigned nr_blocks)
{
	u64 pfn = alloc_pages_exact(BM_GFP_KERNEL, nr_blocks * BLOCK, 0);

	assert_int_not_equal(pfn, 0);
	return pfn;
}

/* Gives back, near the limit, and meanwhile does that. */
static void give_near_the_limit(void (*meanwhile)(void))
{
	start(LIMIT_BLOCKS * 7 / 8, 8);
	unit_at_give_back(meanwhile);
	take_clean(10);
	assert_null(fake_on_give_back);
}

static pthread_t other;
static u32 other_is_done; /* acquire/release */

static void *take_meanwhile(void *unused)
{
	take_clean(2);
	__atomic_store_n(&other_is_done, 1, __ATOMIC_RELEASE);
	return unused;
}

static void let_another_take(void)
{
	assert_int_equal(pthread_create(&other, NULL, take_meanwhile, NULL), 0);
}

static void until_it_waits(void)
{
	let_another_take();
	while (!fake_calls(FAKE_FUTEX_WAIT))
		usleep(100);
	assert_false(__atomic_load_n(&other_is_done, __ATOMIC_ACQUIRE));
}

/* One gives back; the others would be faster than it. */
static void near_the_limit_others_wait(void)
{
	u64 before = fake.now_ms;

	give_near_the_limit(until_it_waits);
	pthread_join(other, NULL);
	assert_true(other_is_done);
	/* It was woken, nobody's time passed. */
	assert_int_equal(fake_calls(FAKE_FUTEX_WAKE), 1);
	assert_int_equal(fake.now_ms, before);
}

static void until_it_is_done(void)
{
	let_another_take();
	pthread_join(other, NULL);
	assert_true(other_is_done);
}

/* Further below it they go on, and who gives wakes nobody. */
static void further_below_they_do_not(void)
{
	start(LIMIT_BLOCKS * 3 / 4, 8);
	unit_at_give_back(until_it_is_done);
	take_clean(2);
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT) + fake_calls(FAKE_FUTEX_WAKE), 0);
}

static void take_as_a_handler(void)
{
	take_clean(2);
}

/* A signal's handler that interrupts who gives would wait for itself. */
static void nobody_waits_for_himself(void)
{
	give_near_the_limit(take_as_a_handler);
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), 0);
}

/* Who gives may have ended in the midst of it. */
static void nobody_waits_for_ever(void)
{
	u64 before = fake.now_ms;

	give_near_the_limit(until_it_is_done);
	assert_in_range(fake.now_ms - before, 100, 2000);
}

static void nobody_gives_in_the_child(void)
{
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	take_clean(10);
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), 0);
}

static void *fork_beside(void *unused)
{
	unit_in_child(nobody_gives_in_the_child);
	return unused;
}

static void let_another_fork(void)
{
	assert_int_equal(pthread_create(&other, NULL, fork_beside, NULL), 0);
	pthread_join(other, NULL);
}

static void a_child_does_not_wait(void)
{
	give_near_the_limit(let_another_fork);
}

/* After a vain try the next waits for a quarter of what is left to the limit. */
static void a_vain_try_is_not_repeated_soon(void)
{
	unsigned i;

	start(LIMIT_BLOCKS * 3 / 4, 0);
	take_clean(1);
	assert_int_equal(stats_shared.direct_reclaims, 1);
	for (i = 0; i < 2; i++)
		take_clean(1);
	assert_int_equal(stats_shared.direct_reclaims, 1);
	for (i = 0; i < 4; i++)
		take_clean(1);
	assert_int_equal(stats_shared.direct_reclaims, 2);
}

/* But soon when much was freed since. */
static void less_than_then_is_another_matter(void)
{
	unsigned i;

	start(LIMIT_BLOCKS * 7 / 8, 0);
	take_clean(1);
	assert_int_equal(stats_shared.direct_reclaims, 1);
	for (i = 0; i < LIMIT_BLOCKS / 8; i++)
		free_pages(block[i]);
	reclaim_purge(UINT64_MAX);
	for (i = LIMIT_BLOCKS / 4; i < LIMIT_BLOCKS * 3 / 8; i += 2)
		free_pages(block[i]);
	take_clean(2);
	assert_int_equal(stats_shared.direct_reclaims, 2);
}

UNIT_MAIN(CASE(near_the_limit_others_wait), CASE(further_below_they_do_not),
	  CASE(nobody_waits_for_himself), CASE(nobody_waits_for_ever), CASE(a_child_does_not_wait),
	  CASE(a_vain_try_is_not_repeated_soon), CASE(less_than_then_is_another_matter))
