/*
 * What the tests of idle caches share: a second thread that does as it is told and sleeps between,
 * and much for it to do. Each program includes it once.
 */
#ifndef BM_TEST_HELPER_THREAD_H
#define BM_TEST_HELPER_THREAD_H

#include "tcaches.h"

#include <pthread.h>

#include "os/os.h"

#define NR_CLASSES_USED 24
#define PER_CLASS 60

/* A thread that does one thing after another when told to. */
static struct {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	void (*job)(void);
	bool end;
} helper = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static inline void *help(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&helper.mutex);
	while (!helper.end) {
		if (helper.job) {
			helper.job();
			helper.job = NULL;
			pthread_cond_broadcast(&helper.changed);
		}
		pthread_cond_wait(&helper.changed, &helper.mutex);
	}
	pthread_mutex_unlock(&helper.mutex);
	tcache_exit(tcache_get());
	return NULL;
}

static inline void helper_does(void (*job)(void))
{
	pthread_mutex_lock(&helper.mutex);
	helper.job = job;
	pthread_cond_broadcast(&helper.changed);
	while (helper.job)
		pthread_cond_wait(&helper.changed, &helper.mutex);
	pthread_mutex_unlock(&helper.mutex);
}

static inline void helper_ends(void)
{
	pthread_mutex_lock(&helper.mutex);
	helper.end = true;
	pthread_cond_broadcast(&helper.changed);
	pthread_mutex_unlock(&helper.mutex);
	pthread_join(helper.thread, NULL);
}

static inline void start(void)
{
	options.decay_ms = -1;
	fake.nr_cpus = 2;
	os_membarrier_init();
	tcache_get();
	assert_int_equal(pthread_create(&helper.thread, NULL, help, NULL), 0);
}

static void *objects[NR_CLASSES_USED * PER_CLASS];

static inline void allocate(void)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		objects[i] = cache_alloc(i % NR_CLASSES_USED);
		object_mark(objects[i], i);
	}
}

static inline void give(void)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		assert_true(object_is_marked(objects[i], i));
		cache_free(objects[i]);
	}
}

static inline void allocate_and_give(void)
{
	allocate();
	give();
	allocate();
	give();
	tcache_check(tcache_get());
}

static inline void all_is_gone(void)
{
	unsigned i;

	tcache_flush(tcache_get());
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
}

/* What ageing, or somebody in need, does so much later. */
static inline void look_after(u64 ms, enum give how)
{
	fake.now_ms += ms;
	tcache_shrink_idle(how);
}

static inline void shrink(void)
{
	tcache_shrink_idle(GIVE_ALL);
}

#endif
