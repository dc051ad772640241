/*
 * fork as rank 7 handles it: all locks are held across it, and in the child the
 * caches of threads that are not there any more are orphans, emptied later.
 */
#include "tcaches.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "page_alloc/poison.h"
#include "page_alloc/scope.h"

#define NR_THREADS 3

static void lock_everything(void)
{
	tcache_lock_all();
	slab_lock_all();
	page_alloc_lock_all();
	lock_fork_owned();
}

static void unlock_everything(void)
{
	lock_fork_done();
	page_alloc_unlock_all();
	slab_unlock_all();
	tcache_unlock_all();
}

static void reinit_everything(void)
{
	lock_reinit(&bringup_lock);
	page_alloc_reinit_locks();
	slab_reinit_locks();
	tcache_after_fork();
	lock_fork_done();
}

static void (*child_part)(void);

static void child(void)
{
	reinit_everything();
	child_part();
}

static void fork_and(void (*f)(void))
{
	child_part = f;
	lock_everything();
	unit_in_child(child);
	unlock_everything();
}

static void use_cache(void)
{
	void *p[500];
	unsigned i, class;

	for (class = 0; class < NR_SHEAVES; class += 3) {
		for (i = 0; i < 500; i++)
			p[i] = cache_alloc(class);
		while (i)
			cache_free(p[--i]);
	}
}

/* Threads that have filled their caches and then wait. */
static pthread_barrier_t barrier;

static void *fill_and_wait(void *arg)
{
	(void)arg;
	use_cache();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	/* The parent's threads go on as if nothing had been. */
	use_cache();
	tcache_check(this_tcache);
	tcache_exit(tcache_get());
	return NULL;
}

static pthread_t threads[NR_THREADS];

static void start_waiting_threads(void)
{
	unsigned i;

	fake.nr_cpus = NR_THREADS + 1;
	use_cache();
	pthread_barrier_init(&barrier, NULL, NR_THREADS + 1);
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fill_and_wait, NULL), 0);
	pthread_barrier_wait(&barrier);
}

static void join_waiting_threads(void)
{
	unsigned i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	tcache_flush(this_tcache);
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
}

static void check_child_alone(void)
{
	unsigned i;

	assert_int_equal(cached().threads, 1);
	use_cache();
	tcache_check(this_tcache);
	tcache_reap_orphans();
	/* What the others had cached is back, and their shards are free. */
	for (i = 1; i < nr_shards; i++)
		assert_int_equal(shards[i]->nr_threads, 0);
	tcache_flush(this_tcache);
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
	pages_check_zone(zone_table[0]);
}

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
static void *one_thread(void *arg)
{
	use_cache();
	tcache_check(this_tcache);
	tcache_exit(tcache_get());
	return arg;
}

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

static void a_fork_while_a_sheaf_is_flushed(void)
{
	void *p[64];
	unsigned i;

	start_giving_at_once();
	/* Of a heap no empty slab is kept. */
	assert_true(tcache_rebind(shard_create_private()));
	for (i = 0; i < 64; i++)
		p[i] = cache_alloc(CLASS_1024);
	while (i)
		cache_free(p[--i]);
	assert_true(sheaf_used(this_tcache, CLASS_1024) > 0);
	unit_at_give_back(fork_at_flush);
	tcache_flush(this_tcache);
	assert_null(fake_on_give_back);
}

static void *free_strangers(void *arg)
{
	unsigned i;

	cache_free(cache_alloc(0));
	unit_at_give_back(fork_at_flush);
	for (i = 0; i < 64; i++)
		cache_free(from_parent[i]);
	assert_null(fake_on_give_back);
	tcache_exit(tcache_get());
	return arg;
}

static void a_fork_while_strangers_go_home(void)
{
	pthread_t thread;
	unsigned i;

	start_giving_at_once();
	for (i = 0; i < 64; i++)
		from_parent[i] = cache_alloc(CLASS_32768);
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

UNIT_MAIN(CASE(orphans_are_reaped),
	  CASE(orphans_are_emptied_by_many),
	  CASE(child_has_what_waits),
	  CASE(what_waits_for_a_lost_thread),
	  CASE(a_child_counts_on),
	  CASE(a_spare_cache_in_the_child),
	  CASE(a_fork_while_a_sheaf_is_flushed),
	  CASE(a_fork_while_strangers_go_home),
	  CASE(working_child_reaps_by_itself),
	  CASE(a_child_does_late_things_once),
	  CASE(threads_of_a_child),
	  CASE(forks_may_nest),
	  CASE(allocation_while_everything_is_locked),
	  CASE(fork_waits_for_who_takes_from_the_cache),
	  CASE(forks_of_a_busy_process))
