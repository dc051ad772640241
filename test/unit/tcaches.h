/* What the tests of thread caches share; each program includes it once. */
#ifndef BM_TEST_TCACHES_H
#define BM_TEST_TCACHES_H

#include <pthread.h>

#include "slabs.h"

#include "tcache/internal.h"

/* What rank 7 would do. */
static unsigned nr_bringups, nr_exits, nr_late;
static void *last_other;
static bool refuse_exit;

static void note_other(void *p)
{
	last_other = p;
}

static struct lock bringup_lock;
static bool up;

static void bring_up(void)
{
	lock(&bringup_lock, LOCK_BRINGUP);
	if (!up) {
		nr_bringups++;
		slabs_start(fake.nr_cpus);
		sheaves_init();
		up = true;
	}
	unlock(&bringup_lock, LOCK_BRINGUP);
}

static bool register_exit(struct tcache *tc)
{
	assert_ptr_equal(tc, this_tcache);
	__atomic_fetch_add(&nr_exits, 1, __ATOMIC_RELAXED);
	return !refuse_exit;
}

static void note_late(void)
{
	nr_late++;
}

const struct tcache_hooks tcache_hooks = {
	.free_other = note_other,
	.bringup = bring_up,
	.register_exit = register_exit,
	.late_in_child = note_late,
};

static inline void *cache_alloc(unsigned class)
{
	struct tcache *tc = current_tcache();

	return class < NR_SHEAVES ? tcache_alloc(tc, class) : tcache_alloc_single(tc, class);
}

static inline void cache_free(void *p)
{
	tcache_free(current_tcache(), p);
}

static inline void *run_in_thread(void *arg)
{
	void (*const *f)(void) = arg;

	(*f)();
	if (this_tcache != &tcache_boot && this_tcache != &tcache_none)
		tcache_exit(tcache_get());
	return NULL;
}

/* Runs f in a thread of its own, with a cache that is given up at the end if it has one. */
static inline void in_thread(void (*f)(void))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &f), 0);
	pthread_join(thread, NULL);
}

static inline size_t object_size(const void *p)
{
	return size_classes[tag_class(tag_read(virt_to_pfn(p)))].size;
}

/* A word at both ends of an object tells its owner. */
static inline void object_mark(void *p, u64 mark)
{
	u64 *words = p;

	words[0] = words[object_size(p) / sizeof(u64) - 1] = mark;
}

static inline bool object_is_marked(const void *p, u64 mark)
{
	const u64 *words = p;

	return words[0] == mark && words[object_size(p) / sizeof(u64) - 1] == mark;
}

/* Bytes of free objects a thread keeps at most, with some reserve for tuning. */
#define MOST_CACHED ((size_t)8 << 20)

/* The sheaves of the calling thread: bounds, sentinels, and whose objects they hold. */
static inline void tcache_check(struct tcache *tc)
{
	size_t capacity = 0;
	unsigned class;
	u32 i;

	for (class = 0; class < NR_SHEAVES; class++) {
		void **bottom = sheaf_bottom(tc, class);
		u32 used = sheaf_used(tc, class);
		u32 limit = (u32)(tc->sheaf[class].limit - bottom);

		assert_ptr_equal(tc->sheaf[class].top, bottom + used);
		assert_true(used <= MAX(limit, 1u));
		assert_null(bottom[-1]);
		assert_ptr_equal(tc->sheaf[class].head, tc->sheaf[class].top[-1]);
		capacity += (size_t)limit * size_classes[class].size;
		for (i = 0; i < used; i++) {
			assert_int_equal(tag_read(virt_to_pfn(bottom[i])),
					 tc->tag_base + class);
			assert_ptr_equal(slab_locate(bottom[i], class).object, bottom[i]);
		}
	}
	assert_int_equal(tc->capacity, capacity);
	assert_true(capacity <= MOST_CACHED);
	assert_true(tc->nr_remote < REMOTE_MAX);
	/* Of the thread's own shard too, see is_for_others. */
	for (i = 0; i < tc->nr_remote; i++)
		assert_true(tag_is_slab(tag_read(virt_to_pfn(tc->remote[i]))));
}

static inline struct cached_totals cached(void)
{
	struct stats stats = { 0 };
	struct cached_totals totals;

	tcache_totals(&stats, &totals);
	return totals;
}

static inline struct stats events(void)
{
	struct stats stats = stats_shared;
	struct cached_totals totals;

	tcache_totals(&stats, &totals);
	return stats;
}

#endif
