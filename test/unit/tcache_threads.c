/* Several threads: objects freed by strangers, groups of them, exits, reuse of caches. */
#include "tcaches.h"

#include <pthread.h>
#include <string.h>

#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"

#define MOST 4096

static void *objects[MOST];

static void check_all_gone(void)
{
	unsigned i;

	for (i = 0; i < nr_shards; i++) {
		slabs_check_gone(shards[i]);
		assert_int_equal(shards[i]->nr_threads, i == 0 && this_tcache != &tcache_none);
	}
}

static unsigned nr_objects;

static void take_objects(unsigned class, unsigned n)
{
	while (n--) {
		objects[nr_objects] = cache_alloc(class);
		object_mark(objects[nr_objects], nr_objects);
		nr_objects++;
	}
}

static void give_all(void)
{
	while (nr_objects) {
		nr_objects--;
		assert_true(object_is_marked(objects[nr_objects], nr_objects));
		cache_free(objects[nr_objects]);
	}
}

/* A stranger's frees wait until there are many, then go to the shard they came from. */
static void free_as_stranger(void)
{
	struct tcache *tc;
	unsigned i;

	cache_free(cache_alloc(0));
	tc = this_tcache;
	assert_int_equal(tc->shard->id, 1);
	/* Neither lies where a write beyond an object could reach it. */
	assert_false(addr_is_ours(tc));
	assert_false(addr_is_ours(tc->shard));
	for (i = 0; i < REMOTE_MAX - 1; i++) {
		cache_free(objects[i]);
		assert_int_equal(tc->nr_remote, i + 1);
		assert_true(slab_locate(objects[i], CLASS_64).allocated);
	}
	tcache_check(tc);
	assert_int_equal(tc->stats.flushes, 0);
	cache_free(objects[i]);
	assert_int_equal(tc->nr_remote, 0);
	assert_int_equal(tc->stats.flushes, 1);
	assert_int_equal(tc->stats.objects_remote, REMOTE_MAX);
	for (i = 0; i < REMOTE_MAX; i++)
		assert_false(slab_locate(objects[i], CLASS_64).allocated);
	/* None of them is handed out here. */
	for (i = 0; i < MOST / 2; i++) {
		objects[MOST / 2 + i] = cache_alloc(CLASS_64);
		assert_int_equal(tag_shard(tag_read(virt_to_pfn(objects[MOST / 2 + i]))), 1);
	}
	while (i)
		cache_free(objects[MOST / 2 + --i]);
}

static void strangers_frees_go_home_in_groups(void)
{
	take_objects(CLASS_64, REMOTE_MAX);
	tcache_flush(this_tcache);
	in_thread(free_as_stranger);
	slabs_check_gone(shards[0]);
}

/* Nor do they stay with one of the same shard that never wanted such objects. */
static void free_as_neighbour(void)
{
	struct tcache *tc;
	unsigned i;

	cache_free(cache_alloc(0));
	tc = this_tcache;
	assert_ptr_equal(tc->shard, shards[0]);
	for (i = 0; i < MOST; i++)
		cache_free(objects[i]);
	tcache_check(tc);
	assert_in_range(sheaf_used(tc, CLASS_64), 1, 64);
	assert_in_range(tc->stats.objects_remote, MOST - 64, MOST - 1);
	/* Now that it does they may. */
	for (i = 0; i < MOST; i++)
		objects[i] = cache_alloc(CLASS_64);
	for (i = 0; i < MOST; i++)
		cache_free(objects[i]);
	assert_in_range(sheaf_used(tc, CLASS_64), 128, MOST);
}

static void who_only_frees_keeps_little(void)
{
	fake.nr_cpus = 1;
	take_objects(CLASS_64, MOST);
	tcache_flush(this_tcache);
	in_thread(free_as_neighbour);
	slabs_check_gone(shards[0]);
}

/* Large objects make the group smaller; the largest do not wait at all. */
static void free_large_as_stranger(void)
{
	struct tcache *tc;
	unsigned i;

	cache_free(cache_alloc(0));
	tc = this_tcache;
	for (i = 0; i < nr_objects; i++) {
		cache_free(objects[i]);
		assert_true(tc->remote_bytes < REMOTE_BYTES);
	}
	assert_true(tc->stats.flushes >= nr_objects * 20480 / (REMOTE_BYTES + 20480));
}

static void free_singles_as_stranger(void)
{
	unsigned i;

	cache_free(cache_alloc(0));
	for (i = 0; i < nr_objects; i++) {
		cache_free(objects[i]);
		assert_int_equal(this_tcache->nr_remote, 0);
		assert_false(slab_locate(objects[i],
					 tag_class(tag_read(virt_to_pfn(objects[i])))).allocated &&
			     tag_is_slab(tag_read(virt_to_pfn(objects[i]))));
	}
}

static void groups_are_bounded_in_bytes(void)
{
	take_objects(CLASS_20480, 100);
	tcache_flush(this_tcache);
	in_thread(free_large_as_stranger);
	nr_objects = 0;
	take_objects(CLASS_262144, 20);
	in_thread(free_singles_as_stranger);
	tcache_flush(this_tcache);
	check_all_gone();
}

/* One flush of objects of many shards and classes, in any order. */
static void allocate_some(void)
{
	unsigned i;

	for (i = 0; i < 100; i++)
		take_objects(i * 7 % NR_SHEAVES, 1);
}

static void shuffle(void)
{
	uint64_t seed = unit_seed();
	unsigned i, j;

	for (i = 0; i < nr_objects; i++)
		object_mark(objects[i], 0);
	for (i = nr_objects - 1; i > 0; i--) {
		void *p = objects[i];

		j = (unsigned)random_below(&seed, i + 1);
		objects[i] = objects[j];
		objects[j] = p;
	}
	for (i = 0; i < nr_objects; i++)
		object_mark(objects[i], i);
}

static pthread_barrier_t barrier;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *stay_bound(void *arg)
{
	/* One after the other, so that each is bound to a shard of its own. */
	pthread_mutex_lock(&turn);
	allocate_some();
	pthread_mutex_unlock(&turn);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	tcache_exit(tcache_get());
	return arg;
}

static void groups_of_many_shards(void)
{
	pthread_t threads[7];
	u64 seen = 0;
	unsigned i;

	fake.nr_cpus = 8;
	allocate_some();
	pthread_barrier_init(&barrier, NULL, 8);
	for (i = 0; i < 7; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, stay_bound, NULL), 0);
	pthread_barrier_wait(&barrier);
	assert_int_equal(nr_objects, 800);
	for (i = 0; i < nr_objects; i++)
		seen |= (u64)1 << tag_shard(tag_read(virt_to_pfn(objects[i])));
	assert_int_equal(seen, 0xff);
	shuffle();
	give_all();
	tcache_check(this_tcache);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 7; i++)
		pthread_join(threads[i], NULL);
	tcache_flush(this_tcache);
	check_all_gone();
}

/* A double free by a stranger is found when the group goes home. */
static void free_twice_as_stranger(void)
{
	unsigned i;

	options.abort_on_corruption = false;
	cache_free(cache_alloc(0));
	for (i = 0; i < nr_objects; i++)
		cache_free(objects[i]);
	cache_free(objects[5]);
	tcache_flush(this_tcache);
	unit_said("buddymalloc: double free of %p: an object of 64 bytes that is free already\n",
		  objects[5]);
	/* The slab goes while one of its objects waits here for the second time. */
	cache_free(objects[6]);
	slab_shrink(GIVE_ALL);
	tcache_flush(this_tcache);
	unit_said("buddymalloc: double free of %p: its slab is gone already\n", objects[6]);
}

static void double_frees_of_strangers(void)
{
	take_objects(CLASS_64, 64);
	tcache_flush(this_tcache);
	in_thread(free_twice_as_stranger);
	check_all_gone();
}

/* Caches of threads that ended serve the next: memory does not grow with their number. */
static void little_work(void)
{
	allocate_some();
	give_all();
	tcache_check(this_tcache);
}

static void caches_are_reused(void)
{
	struct page_totals first, later;
	struct stats before;
	unsigned i;

	little_work();
	for (i = 0; i < 20; i++)
		in_thread(little_work);
	page_alloc_totals(&first);
	before = events();
	for (i = 0; i < 200; i++)
		in_thread(little_work);
	page_alloc_totals(&later);
	assert_int_equal(later.managed, first.managed);
	assert_int_equal(events().threads_created, before.threads_created + 200);
	assert_int_equal(events().threads_exited, before.threads_exited + 200);
	assert_int_equal(events().objects_refilled - events().objects_flushed, cached().objects);
	assert_int_equal(cached().threads, 1);
	assert_int_equal(nr_shards, 2);
	tcache_flush(this_tcache);
	check_all_gone();
}

/* No memory for a cache: the thread works without one. */
static void work_without_cache(void)
{
	void *p = cache_alloc(CLASS_64);
	u64 calls;

	assert_non_null(p);
	assert_ptr_equal(this_tcache, &tcache_boot);
	object_mark(p, 1);
	cache_free(p);
	assert_false(slab_locate(p, CLASS_64).allocated);
	/* Not each call asks the system again. */
	fake.rlimit_bytes = UINT64_MAX;
	memmap_set_budget();
	calls = fake_calls(FAKE_MAP);
	cache_free(cache_alloc(CLASS_64));
	assert_int_equal(fake_calls(FAKE_MAP), calls);
	assert_ptr_equal(this_tcache, &tcache_boot);
	/* Soon after there is some it gets one. */
	fake.now_ms += 10;
	cache_free(cache_alloc(CLASS_64));
	assert_int_equal(this_tcache->state, TCACHE_LIVE);
}

static void use_some(void)
{
	unsigned i;

	for (i = 0; i < 100; i++)
		objects[i] = cache_alloc(CLASS_64);
	while (i)
		cache_free(objects[--i]);
}

/* The sheaves of a cache without a thread go when nobody wanted it between two looks. */
static void wanted_caches_stay_warm(void)
{
	unit_needs_pages_of(16384);
	use_some();
	in_thread(use_some);
	assert_int_equal(tcache_give_spare(GIVE_IDLE, UINT64_MAX), 0);
	in_thread(use_some);
	assert_int_equal(tcache_give_spare(GIVE_IDLE, UINT64_MAX), 0);
	assert_true(tcache_give_spare(GIVE_IDLE, UINT64_MAX) > 0);
	assert_int_equal(tcache_give_spare(GIVE_ALL, UINT64_MAX), 0);
	in_thread(use_some);
	assert_true(tcache_give_spare(GIVE_ALL, UINT64_MAX) > 0);
	tcache_flush(this_tcache);
	check_all_gone();
}

/* What a thread has counted stays counted, wherever its cache is. */
static void counters_outlive_their_thread(void)
{
	struct stats before, after;

	unit_needs_pages_of(16384);
	use_some();
	in_thread(use_some);
	before = events();
	assert_int_equal(before.threads_exited, 1);
	assert_true(before.objects_refilled >= 200);
	assert_true(tcache_give_spare(GIVE_ALL, UINT64_MAX) > 0);
	after = events();
	assert_int_equal(after.threads_exited, 1);
	assert_int_equal(after.objects_refilled, before.objects_refilled);
	assert_int_equal(after.objects_flushed, before.objects_flushed);
}

static void no_memory_for_a_cache(void)
{
	u64 pfn;

	cache_free(cache_alloc(CLASS_64));
	tcache_flush(this_tcache);
	fake.rlimit_bytes = 4096;
	memmap_set_budget();
	/* All but single pages are taken. */
	for (pfn = 1; pfn; )
		pfn = alloc_pages_exact(BM_GFP_KERNEL, 4, 0);
	in_thread(work_without_cache);
}

/* One of the threads below also takes back what the others cache, and punches slabs. */
static bool take_back;

/* Threads that pass each other objects through a table, some of them ending all the time. */
#define NR_THREADS 4
#define NR_SLOTS 3000
#define ROUNDS 200000

static void *slots[NR_SLOTS];
static const char *broken;

static void *exchange(void *arg)
{
	uint64_t seed = *(unsigned *)arg + 17;
	unsigned round;

	for (round = 0; round < ROUNDS; round++) {
		unsigned i = (unsigned)random_below(&seed, NR_SLOTS);
		unsigned class = (unsigned)random_below(&seed, random_below(&seed, 64) ? 40 :
									      NR_CLASSES);
		void *p = cache_alloc(class), *old;

		if (!p) {
			broken = "no memory";
			break;
		}
		object_mark(p, (u64)(uintptr_t)p);
		old = __atomic_exchange_n(&slots[i], p, __ATOMIC_ACQ_REL);
		if (old && !object_is_marked(old, (u64)(uintptr_t)old))
			broken = "an object had two owners";
		cache_free(old);
		__atomic_fetch_add(&fake.now_ms, round % 8 == 0, __ATOMIC_RELAXED);
		if (take_back && round % 500 == 499 && *(unsigned *)arg == 0) {
			tcache_shrink_idle(GIVE_ALL);
			slab_punch(GIVE_ALL, UINT64_MAX);
			slab_shrink(GIVE_ALL);
		}
		if (round % 10000 == 9999) {
			/* This thread ends, and another one begins. */
			tcache_exit(tcache_get());
			this_tcache = tcache_shared(&tcache_boot);
		}
	}
	if (this_tcache != &tcache_boot)
		tcache_exit(tcache_get());
	return NULL;
}

static void threads_exchange_objects(void)
{
	unsigned number[NR_THREADS] = { 0, 1, 2, 3 }, i;
	pthread_t threads[NR_THREADS];

	options.decay_ms = 50;
	cache_free(cache_alloc(0));
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, exchange, &number[i]), 0);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	if (broken)
		fail_msg("%s", broken);
	for (i = 0; i < nr_shards; i++)
		slabs_check(shards[i]);
	for (i = 0; i < NR_SLOTS; i++)
		cache_free(slots[i]);
	tcache_check(tcache_get());
	tcache_flush(tcache_get());
	check_all_gone();
	pages_check_zone(zone_table[0]);
	assert_string_equal(fake_output(), "");
}

/* The same, and everything that is cached may be taken at any time. */
static void threads_take_from_each_other(void)
{
	os_membarrier_init();
	take_back = true;
	threads_exchange_objects();
}

/* Work that comes in threads which end brings ageing on, though none lives for long. */
static void *work_a_little(void *unused)
{
	cache_free(cache_alloc(CLASS_64));
	tcache_exit(tcache_get());
	return unused;
}

static void threads_that_end_age(void)
{
	unsigned i;

	options.decay_ms = 1000;
	tcache_get();
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 2 * PAGEBLOCK_PAGES, 0));
	for (i = 0; i < 40 && reclaim_may_go(UINT64_MAX) > PAGEBLOCK_PAGES; i++) {
		pthread_t thread;

		fake.now_ms += 100;
		assert_int_equal(pthread_create(&thread, NULL, work_a_little, NULL), 0);
		pthread_join(thread, NULL);
	}
	assert_in_range(i, 5, 30);
}

UNIT_MAIN(CASE(strangers_frees_go_home_in_groups),
	  CASE(groups_are_bounded_in_bytes),
	  CASE(groups_of_many_shards), CASE(who_only_frees_keeps_little),
	  CASE(double_frees_of_strangers),
	  CASE(caches_are_reused),
	  CASE(threads_that_end_age),
	  CASE(wanted_caches_stay_warm),
	  CASE(counters_outlive_their_thread),
	  CASE(no_memory_for_a_cache),
	  CASE(threads_exchange_objects),
	  CASE(threads_take_from_each_other))
