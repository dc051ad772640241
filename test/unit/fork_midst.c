/*
 * fork in the midst of what other threads do to caches, and the forking thread to its own: the
 * child may lose objects, but has none twice.
 */
#include "forks.h"

#include <unistd.h>

#include "base/options.h"
#include "page_alloc/poison.h"

/* Handlers of other libraries run between prepare and fork, and may allocate. */
static void allocation_while_everything_is_locked(void)
{
	void *p;

	start_waiting_threads();
	lock_everything();
	use_cache();
	p = cache_alloc(CLASS_1048576);
	assert_non_null(p);
	cache_free(p);
	unlock_everything();
	use_cache();
	tcache_check(this_tcache);
	join_waiting_threads();
}

/* Whoever is taking from the forking thread's cache has left it before the fork. */
static struct tcache *forking;
static bool inside, passed_by, was_waited_for;

static void *take_from_forking_thread(void *arg)
{
	lock(&forking->seal_lock, LOCK_SEAL);
	__atomic_store_n(&inside, true, __ATOMIC_RELEASE);
	while (!fake_calls(FAKE_FUTEX_WAIT) && !__atomic_load_n(&passed_by, __ATOMIC_ACQUIRE))
		usleep(100);
	was_waited_for = !__atomic_load_n(&passed_by, __ATOMIC_ACQUIRE);
	unlock(&forking->seal_lock, LOCK_SEAL);
	return arg;
}

static void fork_waits_for_who_takes_from_the_cache(void)
{
	pthread_t thread;

	use_cache();
	forking = this_tcache;
	assert_int_equal(pthread_create(&thread, NULL, take_from_forking_thread, NULL), 0);
	while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
		usleep(100);
	lock_everything();
	__atomic_store_n(&passed_by, true, __ATOMIC_RELEASE);
	use_cache();
	unlock_everything();
	pthread_join(thread, NULL);
	assert_true(was_waited_for);
	use_cache();
	tcache_check(this_tcache);
}

/*
 * Forks while others are in the middle of things: the child may lose a few
 * objects, but never has one twice, and all its invariants hold.
 */
static bool stop;

static void *work_until_stopped(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg + 3;
	void *slots[300] = { NULL };
	unsigned i;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		i = (unsigned)random_below(&seed, 300);
		if (slots[i])
			assert_true(object_is_marked(slots[i], (u64)(uintptr_t)slots[i]));
		cache_free(slots[i]);
		slots[i] = cache_alloc((unsigned)random_below(&seed, 50));
		object_mark(slots[i], (u64)(uintptr_t)slots[i]);
	}
	for (i = 0; i < 300; i++)
		cache_free(slots[i]);
	tcache_exit(tcache_get());
	return NULL;
}

static void check_child_of_busy_parent(void)
{
	unsigned i;

	tcache_check(this_tcache);
	tcache_reap_orphans();
	for (i = 0; i < nr_shards; i++)
		slabs_check(shards[i]);
	pages_check_zone(zone_table[0]);
	use_cache();
	tcache_flush(this_tcache);
	slab_shrink(GIVE_ALL);
	for (i = 0; i < nr_shards; i++)
		slabs_check(shards[i]);
	pages_check_zone(zone_table[0]);
	assert_string_equal(fake_output(), "");
}

static void forks_of_a_busy_process(void)
{
	unsigned i;

	use_cache();
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work_until_stopped,
						(void *)(uintptr_t)i), 0);
	for (i = 0; i < 150; i++) {
		use_cache();
		fork_and(check_child_of_busy_parent);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	tcache_flush(this_tcache);
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
}

/*
 * A fork while a batch goes home, when slabs that became empty are given back: the child finds
 * its objects in the cache or with their owner, not in both places.
 */
static void no_object_is_cached_and_free(void)
{
	assert_int_equal(this_tcache->nr_remote, 0);
	assert_int_equal(sheaf_used(this_tcache, CLASS_1024), 0);
	tcache_check(this_tcache);
}

static void fork_at_flush(void)
{
	fork_and(no_object_is_cached_and_free);
}

static void start_giving_at_once(void)
{
	options.decay_ms = 0;
	cache_free(cache_alloc(0));
	page_detour_update();
}

/* With objects in a sheaf whose slabs go back as soon as they are empty: a heap keeps none. */
static void start_with_a_sheaf(void)
{
	void *p[64];
	unsigned i;

	start_giving_at_once();
	assert_true(tcache_rebind(shard_create_private()));
	for (i = 0; i < 64; i++)
		p[i] = cache_alloc(CLASS_1024);
	while (i)
		cache_free(p[--i]);
	assert_true(sheaf_used(this_tcache, CLASS_1024) > 0);
}

static void a_fork_while_a_sheaf_is_flushed(void)
{
	start_with_a_sheaf();
	unit_at_give_back(fork_at_flush);
	tcache_flush(this_tcache);
	assert_null(fake_on_give_back);
}

static void *handed[64]; /* objects that another thread frees */

static void *free_strangers(void *arg)
{
	unsigned i;

	cache_free(cache_alloc(0));
	unit_at_give_back(fork_at_flush);
	for (i = 0; i < ARRAY_SIZE(handed); i++)
		cache_free(handed[i]);
	assert_null(fake_on_give_back);
	tcache_exit(tcache_get());
	return arg;
}

static void a_fork_while_strangers_go_home(void)
{
	pthread_t thread;
	unsigned i;

	start_giving_at_once();
	for (i = 0; i < ARRAY_SIZE(handed); i++)
		handed[i] = cache_alloc(CLASS_32768);
	assert_int_equal(pthread_create(&thread, NULL, free_strangers, NULL), 0);
	pthread_join(thread, NULL);
}

/* A child forked while the sheaves of a spare cache were given back can use it. */
static void use_what_was_given_back(void)
{
	struct tcache *tc;

	lock(&threads_lock, LOCK_THREADS);
	tc = spare_take_locked();
	unlock(&threads_lock, LOCK_THREADS);
	assert_non_null(tc);
}

static void fork_at_purge(void)
{
	fork_and(use_what_was_given_back);
}

static void a_spare_cache_in_the_child(void)
{
	pthread_t thread;

	unit_needs_pages_of(16384);
	use_cache();
	assert_int_equal(pthread_create(&thread, NULL, one_thread, NULL), 0);
	pthread_join(thread, NULL);
	unit_at_give_back(fork_at_purge);
	assert_true(tcache_give_spare(GIVE_ALL, UINT64_MAX) > 0);
	assert_null(fake_on_give_back);
}

/* A grandchild: one thread of the child emptied an orphan when another one forked. */
static void finish_what_others_began(void)
{
	struct tcache *tc;

	for (tc = orphans; tc; tc = tc->next_free)
		assert_false(tc->reaped);
	check_child_alone();
}

static void fork_while_orphans_are_emptied(void)
{
	struct tcache *first = orphans;

	assert_non_null(first);
	first->reaped = true;
	lock(&first->seal_lock, LOCK_SEAL);
	fork_and(finish_what_others_began);
	unlock(&first->seal_lock, LOCK_SEAL);
	/* Nobody waits for who empties the first to empty the others. */
	tcache_reap_orphans();
	assert_ptr_equal(orphans, first);
	assert_null(first->next_free);
	first->reaped = false;
	check_child_alone();
	assert_null(orphans);
}

static void orphans_are_emptied_by_many(void)
{
	start_waiting_threads();
	fork_and(fork_while_orphans_are_emptied);
	join_waiting_threads();
}

/* A signal's handler forks while the thread ends: it goes on with that in the child. */
static void fork_and_go_on(void)
{
	lock_everything();
	if (unit_fork_midst())
		reinit_everything();
	else
		unlock_everything();
}

static void a_thread_that_ends_does_so_in_the_child(void)
{
	start_with_a_sheaf();
	unit_at_give_back(fork_and_go_on);
	tcache_exit(tcache_get());
	assert_null(fake_on_give_back);
	assert_int_equal(cached().threads, 0);
	assert_null(orphans);
	unit_both_end();
}

UNIT_MAIN(CASE(orphans_are_emptied_by_many), CASE(a_spare_cache_in_the_child),
	  CASE(a_fork_while_a_sheaf_is_flushed), CASE(a_fork_while_strangers_go_home),
	  CASE(a_thread_that_ends_does_so_in_the_child),
	  CASE(allocation_while_everything_is_locked),
	  CASE(fork_waits_for_who_takes_from_the_cache), CASE(forks_of_a_busy_process))
