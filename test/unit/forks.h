/*
 * What the tests of thread caches and fork share: fork as rank 7 handles it, and threads to be
 * left behind. Each program includes it once.
 */
#ifndef BM_TEST_FORKS_H
#define BM_TEST_FORKS_H

#include "tcaches.h"

#include <pthread.h>

#define NR_THREADS 3

static inline void lock_everything(void)
{
	tcache_lock_all();
	slab_lock_all();
	page_alloc_lock_all();
	lock_fork_owned();
}

static inline void unlock_everything(void)
{
	lock_fork_done();
	page_alloc_unlock_all();
	slab_unlock_all();
	tcache_unlock_all();
}

static inline void reinit_everything(void)
{
	lock_reinit(&bringup_lock);
	page_alloc_reinit_locks();
	slab_reinit_locks();
	tcache_after_fork();
	lock_fork_done();
}

static void (*child_part)(void);

static inline void child(void)
{
	reinit_everything();
	child_part();
}

static inline void fork_and(void (*f)(void))
{
	child_part = f;
	lock_everything();
	unit_in_child(child);
	unlock_everything();
}

static inline void use_cache(void)
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

static inline void *fill_and_wait(void *arg)
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

static inline void start_waiting_threads(void)
{
	unsigned i;

	fake.nr_cpus = NR_THREADS + 1;
	use_cache();
	pthread_barrier_init(&barrier, NULL, NR_THREADS + 1);
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fill_and_wait, NULL), 0);
	pthread_barrier_wait(&barrier);
}

static inline void join_waiting_threads(void)
{
	unsigned i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	tcache_flush(this_tcache);
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
}

static inline void check_child_alone(void)
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

/* A thread that has a cache for a while. */
static inline void *one_thread(void *arg)
{
	use_cache();
	tcache_check(this_tcache);
	tcache_exit(tcache_get());
	return arg;
}

#endif
