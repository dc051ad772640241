/*
 * fork as rank 7 handles it: all locks are held across it, and in the child the
 * caches of threads that are not there any more are orphans, emptied later.
 */
#include "forks.h"

#include "base/options.h"
#include "page_alloc/scope.h"

/* What threads counted that are not here stays counted: counters only grow. */
static void counters_of_orphans(void)
{
	struct stats before = events(), after;

	assert_int_equal(before.threads_created, NR_THREADS + 1);
	tcache_reap_orphans();
	after = events();
	assert_int_equal(after.threads_created, NR_THREADS + 1);
	assert_int_equal(after.objects_refilled, before.objects_refilled);
	assert_true(after.objects_flushed > before.objects_flushed);
}

static void a_child_counts_on(void)
{
	start_waiting_threads();
	fork_and(counters_of_orphans);
	join_waiting_threads();
}

static void orphans_are_reaped(void)
{
	start_waiting_threads();
	fork_and(check_child_alone);
	fork_and(check_child_alone);
	join_waiting_threads();
}

/* A child that goes on working reaps them by itself; one that only execs does not pay. */
static void work_on(void)
{
	void *p[20];
	unsigned round, i;

	assert_int_equal(shards[1]->nr_threads, 1);
	for (round = 0; round < 10; round++)
		for (i = 0; i < 20; i++)
			cache_free(cache_alloc(CLASS_64));
	assert_int_equal(shards[1]->nr_threads, 1);
	for (round = 0; round < 1000; round++) {
		for (i = 0; i < 20; i++)
			p[i] = cache_alloc(CLASS_32768);
		while (i)
			cache_free(p[--i]);
	}
	assert_int_equal(shards[1]->nr_threads, 0);
	check_child_alone();
}

static void working_child_reaps_by_itself(void)
{
	start_waiting_threads();
	fork_and(work_on);
	join_waiting_threads();
}

static void late_once(void)
{
	unsigned i;

	for (i = 0; i < 20; i++)
		assert_false(tcache_late_in_child());
	/* The last step makes a thread: not ageing, which may ride on a free, */
	for (i = 0; i < 100; i++)
		tcache_age_orphans();
	/* nor an allocation that may make no system call, or for a heap. */
	this_scope.flags = SCOPE_NOSYSCALL;
	assert_false(tcache_late_in_child());
	this_scope.flags = 0;
	this_scope.owner = 1;
	assert_false(tcache_late_in_child());
	this_scope.owner = 0;
	assert_int_equal(nr_late, 0);
	assert_true(tcache_late_in_child());
	assert_false(tcache_late_in_child());
	assert_int_equal(nr_late, 1);
}

/* In a child the background thread is made by an allocation that may, after some others. */
static void a_child_does_late_things_once(void)
{
	cache_free(cache_alloc(0));
	options.background_thread = true;
	fork_and(late_once);
	assert_int_equal(nr_late, 0);
}

/* The orphans' memory serves new threads of the child. */
static void start_thread_in_child(void)
{
	struct page_totals before, after;
	pthread_t thread;

	tcache_reap_orphans();
	page_alloc_totals(&before);
	assert_int_equal(pthread_create(&thread, NULL, one_thread, NULL), 0);
	pthread_join(thread, NULL);
	page_alloc_totals(&after);
	/* A pageblock more at most: what the threads took in what order is chance. */
	assert_in_range(after.managed, before.managed, before.managed + PAGEBLOCK_PAGES);
	check_child_alone();
}

static void threads_of_a_child(void)
{
	start_waiting_threads();
	fork_and(start_thread_in_child);
	join_waiting_threads();
}

/* A child's child. */
static void fork_again(void)
{
	use_cache();
	fork_and(check_child_alone);
	check_child_alone();
}

static void forks_may_nest(void)
{
	start_waiting_threads();
	fork_and(fork_again);
	join_waiting_threads();
}

/* What waits for a shard's threads waits for those of the child as well. */
static void *from_parent[REMOTE_MAX];

static void *free_as_stranger(void *arg)
{
	unsigned i;

	(void)arg;
	cache_free(cache_alloc(0));
	for (i = 0; i < REMOTE_MAX; i++)
		cache_free(from_parent[i]);
	tcache_exit(tcache_get());
	return NULL;
}

static void take_what_waits(void)
{
	unsigned i;

	assert_int_equal(shards[0]->transfer.nr, REMOTE_MAX);
	for (i = 0; i < REMOTE_MAX; i++)
		assert_ptr_equal(cache_alloc(i % 32), from_parent[i]);
	while (i)
		cache_free(from_parent[--i]);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

static void child_has_what_waits(void)
{
	pthread_t thread;
	unsigned i;

	for (i = 0; i < REMOTE_MAX; i++)
		from_parent[i] = cache_alloc(i % 32);
	tcache_flush(this_tcache);
	assert_int_equal(pthread_create(&thread, NULL, free_as_stranger, NULL), 0);
	pthread_join(thread, NULL);
	fork_and(take_what_waits);
	take_what_waits();
}

/* Nobody is left for whom something would wait in the shard of a thread that is not here. */
static void *take_and_wait(void *arg)
{
	unsigned i;

	for (i = 0; i < REMOTE_MAX; i++)
		from_parent[i] = cache_alloc(i % 32);
	tcache_flush(this_tcache);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	tcache_exit(tcache_get());
	return arg;
}

static void nothing_waits_for_orphans(void)
{
	assert_int_equal(shards[1]->transfer.nr, REMOTE_MAX);
	tcache_reap_orphans();
	assert_int_equal(shards[1]->transfer.nr, 0);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[1]);
}

static void what_waits_for_a_lost_thread(void)
{
	pthread_t thread;
	unsigned i;

	use_cache();
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, take_and_wait, NULL), 0);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < REMOTE_MAX; i++)
		cache_free(from_parent[i]);
	fork_and(nothing_waits_for_orphans);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

UNIT_MAIN(CASE(orphans_are_reaped), CASE(child_has_what_waits),
	  CASE(what_waits_for_a_lost_thread), CASE(a_child_counts_on),
	  CASE(working_child_reaps_by_itself), CASE(a_child_does_late_things_once),
	  CASE(threads_of_a_child), CASE(forks_may_nest))
