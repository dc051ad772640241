/* What idle threads cache is reclaimed by others, and nobody who works is disturbed. */
#include "helper_thread.h"

#include <sched.h>
#include <unistd.h>

static void a_sleeping_thread_keeps_one_of_each_class(void)
{
	unsigned class, nr = 0;

	start();
	helper_does(allocate_and_give);
	assert_true(cached().objects > 2 * NR_CLASSES_USED);
	for (class = 0; class < NR_CLASSES_USED; class++)
		nr += sheaf_used(threads_live, class) > 0;
	assert_true(nr > NR_CLASSES_USED / 2);
	tcache_shrink_idle(GIVE_ALL);
	/* The newest of each stays: a pop that is under way may still hand it out. */
	assert_int_equal(cached().objects, nr);
	slabs_check(shards[0]);
	/* Nothing is left to take. */
	tcache_shrink_idle(GIVE_ALL);
	assert_true(cached().objects <= NR_CLASSES_USED);
	helper_does(allocate_and_give);
	tcache_shrink_idle(GIVE_ALL);
	assert_true(cached().objects <= NR_CLASSES_USED);
	helper_does(allocate);
	helper_does(give);
	helper_ends();
	all_is_gone();
}

static void take_one(void)
{
	objects[0] = cache_alloc(0);
}

static void give_it_to_its_own_cache(void)
{
	cache_free(objects[0]);
	assert_ptr_equal(this_tcache, home_tcache);
}

/* Not only an allocation does, though a thread's first frees want no cache. */
static void a_free_takes_the_cache_back(void)
{
	start();
	helper_does(allocate_and_give);
	helper_does(take_one);
	tcache_shrink_idle(GIVE_ALL);
	helper_does(give_it_to_its_own_cache);
	helper_ends();
	all_is_gone();
}

static void give_single(void)
{
	cache_free(cache_alloc(NR_SHEAVES + 1));
}

static void a_single_object_is_taken_too(void)
{
	start();
	helper_does(give_single);
	assert_int_equal(cached().objects, 1);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(cached().objects, 0);
	assert_int_equal(events().objects_reclaimed, 1);
	helper_does(give_single);
	assert_int_equal(cached().objects, 1);
	helper_ends();
	all_is_gone();
}

static void free_strangers(void)
{
	unsigned i;

	tcache_get(); /* made for the first allocation, not for the first free */
	for (i = 0; i < 50; i++)
		cache_free(objects[i]);
	assert_int_equal(tcache_get()->nr_remote, 50);
}

static void free_more_strangers(void)
{
	unsigned i;

	for (i = 50; i < ARRAY_SIZE(objects); i++)
		cache_free(objects[i]);
	tcache_check(tcache_get());
}

static void strangers_objects_go_home(void)
{
	struct cached_totals before;
	size_t bytes = 0;
	unsigned i;

	start();
	allocate();
	helper_does(free_strangers);
	before = cached();
	for (i = 0; i < 50; i++)
		bytes += object_size(objects[i]);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(events().objects_reclaimed, 50);
	/* The helper, which still sleeps, knows nothing of it; whoever counts does. */
	assert_int_equal(cached().objects, before.objects - 50);
	assert_int_equal(cached().bytes, before.bytes - bytes);
	helper_does(free_more_strangers);
	helper_ends();
	all_is_gone();
}

/* A free that was under way when the cache was sealed puts its object behind what was taken. */
static void free_of_the_helper_arrives(unsigned i)
{
	struct tcache *tc = threads_live;

	assert_ptr_not_equal(tc, this_tcache);
	tc->remote[tc->nr_remote++] = objects[i];
	tc->remote_bytes += object_size(objects[i]);
}

static void both_are_there(void)
{
	const struct tcache *tc = tcache_get();

	assert_int_equal(tc->nr_remote, 2);
	assert_ptr_equal(tc->remote[0], objects[50]);
	assert_ptr_equal(tc->remote[1], objects[51]);
	assert_int_equal(tc->remote_bytes, object_size(objects[50]) + object_size(objects[51]));
}

static void free_the_others(void)
{
	unsigned i;

	for (i = 52; i < ARRAY_SIZE(objects); i++)
		cache_free(objects[i]);
	tcache_check(tcache_get());
}

static void what_is_freed_meanwhile_stays(void)
{
	start();
	allocate();
	helper_does(free_strangers);
	tcache_shrink_idle(GIVE_ALL);
	free_of_the_helper_arrives(50);
	free_of_the_helper_arrives(51);
	helper_does(both_are_there);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(events().objects_reclaimed, 52);
	helper_does(free_the_others);
	helper_ends();
	all_is_gone();
}

/* While a step is made: no refill of the test's own is to age. */
#define IDLE_MS 1000

static void age_after(u64 ms, enum give how)
{
	options.decay_ms = IDLE_MS;
	look_after(ms, how);
	options.decay_ms = -1;
}

/* Ageing takes from a thread whose cache did not change for decay_ms, however often it looks. */
static void ageing_waits(void)
{
	unsigned i;

	start();
	helper_does(allocate_and_give);
	for (i = 0; i < 50; i++)
		age_after(1, GIVE_IDLE);
	age_after(IDLE_MS - 50, GIVE_AGED);
	assert_int_equal(events().objects_reclaimed, 0);
	helper_does(allocate);
	age_after(1, GIVE_IDLE);
	age_after(IDLE_MS - 1, GIVE_IDLE);
	assert_int_equal(events().objects_reclaimed, 0);
	age_after(1, GIVE_IDLE);
	assert_int_not_equal(events().objects_reclaimed, 0);
	helper_does(give);
	helper_ends();
	all_is_gone();
}

static void give_another_single(void)
{
	cache_free(cache_alloc(NR_SHEAVES + 9));
}

/* One that works with objects above 32 KiB alone is not idle either. */
static void ageing_waits_for_single_objects_too(void)
{
	start();
	helper_does(give_single);
	age_after(1, GIVE_IDLE);
	helper_does(give_another_single);
	age_after(IDLE_MS, GIVE_IDLE);
	assert_int_equal(events().objects_reclaimed, 0);
	age_after(IDLE_MS, GIVE_IDLE);
	assert_int_not_equal(events().objects_reclaimed, 0);
	helper_ends();
	all_is_gone();
}

/* One step takes from few, lest it take long; the next goes on with the others. */
#define SLEEPERS 20

static pthread_barrier_t sleepers;

static void *allocate_and_sleep(void *unused)
{
	void *p[2] = { cache_alloc(1), cache_alloc(1) };

	cache_free(p[0]);
	cache_free(p[1]);
	pthread_barrier_wait(&sleepers);
	pthread_barrier_wait(&sleepers);
	tcache_exit(tcache_get());
	return unused;
}

static void sleepers_begin(pthread_t thread[SLEEPERS])
{
	unsigned i;

	start();
	pthread_barrier_init(&sleepers, NULL, SLEEPERS + 1);
	for (i = 0; i < SLEEPERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, allocate_and_sleep, NULL), 0);
	pthread_barrier_wait(&sleepers);
	age_after(0, GIVE_IDLE);
	fake.now_ms += IDLE_MS;
}

static void sleepers_end(const pthread_t thread[SLEEPERS])
{
	unsigned i;

	pthread_barrier_wait(&sleepers);
	for (i = 0; i < SLEEPERS; i++)
		pthread_join(thread[i], NULL);
	helper_ends();
	all_is_gone();
}

static void ageing_takes_from_few_at_once(void)
{
	pthread_t thread[SLEEPERS];
	u64 all, left, before;
	unsigned steps = 0;

	sleepers_begin(thread);
	all = cached().objects;
	for (left = all; left > SLEEPERS; left = cached().objects) {
		before = left;
		age_after(0, GIVE_IDLE);
		assert_in_range(before - cached().objects, 1, all / 2);
		steps++;
	}
	assert_in_range(steps, 3, SLEEPERS);
	sleepers_end(thread);
}

/* After a pause one call takes from all. */
static void a_pause_takes_from_all(void)
{
	pthread_t thread[SLEEPERS];

	sleepers_begin(thread);
	assert_true(cached().objects > SLEEPERS);
	age_after(0, GIVE_AGED);
	assert_int_equal(cached().objects, SLEEPERS);
	sleepers_end(thread);
}

static void without_membarrier_all_stays(void)
{
	u64 before;

	start();
	helper_does(allocate_and_give);
	before = cached().objects;
	fake_fail(FAKE_MEMBARRIER, 1, 1);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(cached().objects, before);
	options.idle_reclaim = false;
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(cached().objects, before);
	helper_does(allocate_and_give);
	helper_ends();
	all_is_gone();
}

/* A heap may be destroyed when its threads have left: nobody looks into what they cache of it. */
static struct shard *heap;

static void enter_heap(void)
{
	assert_true(tcache_rebind(heap));
	allocate_and_give();
}

static void leave_heap(void)
{
	assert_true(tcache_rebind(NULL));
	allocate_and_give();
}

static void a_thread_in_a_heap_is_left_alone(void)
{
	start();
	heap = shard_create_private();
	assert_non_null(heap);
	helper_does(enter_heap);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_equal(events().objects_reclaimed, 0);
	helper_does(leave_heap);
	tcache_shrink_idle(GIVE_ALL);
	assert_int_not_equal(events().objects_reclaimed, 0);
	helper_ends();
	all_is_gone();
}

/* A second thread in need, which comes when the first has sealed the caches. */
static struct {
	pthread_t thread;
	bool waits, done;
	u64 objects_left;
} second;

static void second_sleeps(void)
{
	__atomic_store_n(&second.waits, true, __ATOMIC_RELEASE);
	usleep(1000);
}

static void *second_in_need(void *unused)
{
	tcache_shrink_idle(GIVE_ALL);
	second.objects_left = cached().objects;
	__atomic_store_n(&second.done, true, __ATOMIC_RELEASE);
	return unused;
}

static void second_comes(void)
{
	fake_on_membarrier = NULL;
	fake_on_sleep = second_sleeps;
	assert_int_equal(pthread_create(&second.thread, NULL, second_in_need, NULL), 0);
	while (!__atomic_load_n(&second.waits, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&second.done, __ATOMIC_ACQUIRE))
		sched_yield();
}

/* It does not find nothing because another one is just taking it. */
static void two_in_need_wait_for_each_other(void)
{
	start();
	allocate_and_give();
	assert_true(cached().objects > 2 * NR_CLASSES_USED);
	fake_on_membarrier = second_comes;
	helper_does(shrink);
	pthread_join(second.thread, NULL);
	assert_true(second.waits);
	assert_true(second.objects_left <= NR_CLASSES_USED);
	helper_ends();
	all_is_gone();
}

#define NR_THREADS 4
#define NR_SLOTS 400

static bool stop;

static void *work(void *arg)
{
	uint64_t rng = (uint64_t)(uintptr_t)arg * 77 + 1;
	void *slot[NR_SLOTS] = { NULL };
	unsigned i, n;

	for (n = 0; n < 20000 || !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		/* Now and then it looks idle. */
		if (n % 1000 == 0)
			usleep(100);
		i = (unsigned)random_below(&rng, NR_SLOTS);
		if (slot[i]) {
			assert_true(object_is_marked(slot[i], (u64)(uintptr_t)&slot[i]));
			cache_free(slot[i]);
			slot[i] = NULL;
		} else {
			slot[i] = cache_alloc(n % 16 ? (unsigned)random_below(&rng, NR_CLASSES_USED) :
						       NR_SHEAVES + i % 4);
			object_mark(slot[i], (u64)(uintptr_t)&slot[i]);
		}
	}
	for (i = 0; i < NR_SLOTS; i++)
		if (slot[i])
			cache_free(slot[i]);
	tcache_exit(tcache_get());
	return NULL;
}

/* Until it has taken much, and seen many caches in the middle of work. */
static void disturb(void)
{
	unsigned rounds = 0;

	while (rounds++ < 500 || stats_shared.objects_reclaimed < 10000)
		tcache_shrink_idle(GIVE_ALL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
}

static void working_threads_lose_nothing(void)
{
	pthread_t thread[NR_THREADS];
	uintptr_t i;

	start();
	helper_ends();
	for (i = 0; i < NR_THREADS; i++)
		pthread_create(&thread[i], NULL, work, (void *)(i + 1));
	disturb();
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	all_is_gone();
}

UNIT_MAIN(CASE(a_sleeping_thread_keeps_one_of_each_class), CASE(a_free_takes_the_cache_back),
	  CASE(a_single_object_is_taken_too), CASE(strangers_objects_go_home),
	  CASE(what_is_freed_meanwhile_stays), CASE(ageing_waits),
	  CASE(ageing_waits_for_single_objects_too), CASE(ageing_takes_from_few_at_once),
	  CASE(a_pause_takes_from_all), CASE(without_membarrier_all_stays),
	  CASE(a_thread_in_a_heap_is_left_alone), CASE(two_in_need_wait_for_each_other),
	  CASE(working_threads_lose_nothing))
