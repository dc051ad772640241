/* One thread's cache: its start, failures, modes without sheaves, its end. */
#include "taken.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/options.h"

static void first_call_makes_the_cache(void)
{
	void *p;

	assert_ptr_equal(this_tcache, &tcache_boot);
	p = cache_alloc(3);
	assert_non_null(p);
	assert_ptr_not_equal(this_tcache, &tcache_boot);
	assert_int_equal(this_tcache->state, TCACHE_LIVE);
	assert_int_equal(nr_bringups, 1);
	assert_int_equal(nr_exits, 1);
	assert_int_equal(events().threads_created, 1);
	assert_int_equal(cached().threads, 1);
	assert_int_equal(tag_read(virt_to_pfn(p)), this_tcache->tag_base + 3);
	/* The first one needs no memory from the layers below. */
	assert_false(in_window(this_tcache));
	assert_ptr_equal(tcache_get(), this_tcache);
	assert_ptr_equal(tcache_shard(this_tcache), shards[0]);
	tcache_check(this_tcache);
}

static void free_may_be_the_first_call(void)
{
	unsigned i;

	cache_free(NULL);
	cache_free(objects);
	assert_ptr_equal(last_other, objects);
	/* It may be the last as well: no cache is made for it, nor for some more. */
	assert_ptr_equal(this_tcache, &tcache_boot);
	for (i = 0; i < 200; i++)
		cache_free(objects);
	assert_ptr_not_equal(this_tcache, &tcache_boot);
}

/* Any mixture, checked now and then; in the end nothing is left. */
static uint64_t seed;
static unsigned long nr_done;

static void describe(void)
{
	fprintf(stderr, "after %lu operations\n", nr_done);
}

static void random_operations(void)
{
	unsigned i;

	seed = unit_seed();
	unit_on_failure(describe);
	for (nr_done = 0; nr_done < 400000; nr_done++) {
		unsigned span = nr_done / 50000 % 2 ? MOST : MOST / 20;

		i = (unsigned)random_below(&seed, span);
		fake.now_ms += nr_done % 16 == 0;
		if (objects[i]) {
			assert_true(object_is_marked(objects[i], i + 1));
			cache_free(objects[i]);
			objects[i] = NULL;
		} else {
			unsigned class = (unsigned)random_below(
				&seed, random_below(&seed, 50) ? 30 : NR_CLASSES);

			objects[i] = cache_alloc(class);
			assert_true(object_size(objects[i]) >= size_classes[class].size);
			object_mark(objects[i], i + 1);
		}
		if (nr_done % 5000 == 0) {
			tcache_check(this_tcache);
			slabs_check(shards[0]);
		}
	}
	for (i = 0; i < MOST; i++)
		if (objects[i])
			cache_free(objects[i]);
	tcache_check(this_tcache);
	tcache_flush(this_tcache);
	tcache_check(this_tcache);
	slabs_check_gone(shards[0]);
}

static void pointers_of_others_are_passed_on(void)
{
	u64 large;
	char *p;

	cache_alloc(0);
	large = alloc_pages_exact(BM_GFP_KERNEL, 300, 0);
	tag_write(large, TAG_LARGE);
	p = pfn_to_virt(large);
	cache_free(p);
	assert_ptr_equal(last_other, p);
	cache_free(p + 16);
	assert_ptr_equal(last_other, p + 16);
	cache_free(p + PAGE_SIZE);
	assert_ptr_equal(last_other, p + PAGE_SIZE);
	cache_free(pfn_to_virt(0));
	assert_ptr_equal(last_other, pfn_to_virt(0));
	cache_free(pfn_to_virt(0) + window.span);
	assert_ptr_equal(last_other, pfn_to_virt(0) + window.span);
	cache_free(pfn_to_virt(0) - 1);
	assert_ptr_equal(last_other, pfn_to_virt(0) - 1);
	cache_free((void *)UINTPTR_MAX);
	assert_ptr_equal(last_other, (void *)UINTPTR_MAX);
	last_other = NULL;
	cache_free(NULL);
	assert_null(last_other);
}

static void errno_is_left_alone(void)
{
	unsigned class;

	take(0, 1);
	errno = EDOM;
	for (class = 0; class < NR_CLASSES; class += 7)
		give(take(class, 300));
	cache_free(objects);
	assert_int_equal(errno, EDOM);
}

/* Without memory: NULL and ENOMEM, and what is cached still serves. */
static void no_memory(void)
{
	unsigned n = 0;
	void *p;

	fake.rlimit_bytes = 8 << 20;
	while (n < MOST && (objects[n] = cache_alloc(CLASS_4096)))
		n++;
	assert_true(n < MOST);
	assert_int_equal(errno, ENOMEM);
	assert_null(cache_alloc(CLASS_1048576));
	assert_int_equal(errno, ENOMEM);
	tcache_check(this_tcache);
	p = objects[n / 2];
	cache_free(p);
	assert_ptr_equal(cache_alloc(CLASS_4096), p);
	give(n);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* A thread that gets no cache of its own can be bound to no heap. */
static void *bind_without_memory(void *unused)
{
	errno = 0;
	assert_ptr_equal(tcache_get(), &tcache_none);
	assert_false(tcache_rebind(shards[0]));
	assert_int_equal(errno, ENOMEM);
	return unused;
}

static void no_memory_for_a_cache(void)
{
	pthread_t thread;

	give(take(CLASS_4096, 10));
	fake.rlimit_bytes = 4096;
	memmap_set_budget();
	while (alloc_pages_exact(BM_GFP_KERNEL, 1, 0))
		;
	assert_int_equal(pthread_create(&thread, NULL, bind_without_memory, NULL), 0);
	pthread_join(thread, NULL);
}

/* Hardened: nothing is cached, and a double free is found at once. */
static void free_it(void *p)
{
	cache_free(p);
}

static void check_direct(void)
{
	void *p = cache_alloc(CLASS_48), *q = cache_alloc(CLASS_2048);

	assert_int_equal(this_tcache->state, TCACHE_DIRECT);
	assert_int_equal(cached().objects, 0);
	cache_free(p);
	assert_false(slab_locate(p, CLASS_48).allocated);
	assert_int_equal(cached().objects, 0);
	unit_dies(free_it, p, "double free of %p: an object of 48 bytes that is free already", p);
	unit_dies(free_it, (char *)q + 1,
		  "invalid free of %p: 1 bytes inside the 2048-byte object at %p",
		  (void *)((char *)q + 1), q);
	cache_free(q);
	slabs_check_gone(shards[0]);
}

static void hardened_mode_caches_nothing(void)
{
	options.hardened = true;
	check_direct();
}

static void caching_can_be_switched_off(void)
{
	give(take(CLASS_32, 100));
	assert_int_not_equal(cached().objects, 0);
	tcache_set_direct(this_tcache);
	check_direct();
	tcache_set_direct(this_tcache);
	check_direct();
}

/* A double free of a cached object is found when the sheaf goes home. */
static void double_free_is_found_on_flush(void)
{
	void *p = cache_alloc(CLASS_48), *inside = (char *)p + 16;

	options.abort_on_corruption = false;
	cache_free(p);
	cache_free(p);
	tcache_flush(this_tcache);
	unit_said("buddymalloc: double free of %p: an object of 48 bytes that is free already\n", p);
	p = cache_alloc(CLASS_48);
	inside = (char *)p + 16;
	cache_free(inside);
	tcache_flush(this_tcache);
	unit_said("buddymalloc: invalid free of %p: 16 bytes inside the 48-byte object at %p\n",
		  inside, p);
	cache_free(p);
	tcache_flush(this_tcache);
	unit_said("%s", "");
	slabs_check_gone(shards[0]);
}

/* After its end the thread still may allocate and free: directly. */
static void thread_exit_gives_everything_back(void)
{
	struct tcache *tc;
	unsigned class;
	void *p;

	for (class = 0; class < NR_SHEAVES; class++)
		give(take(class, 100));
	tc = this_tcache;
	assert_int_not_equal(cached().objects, 0);
	assert_int_equal(shards[0]->nr_threads, 1);
	tcache_exit(tc);
	assert_ptr_equal(this_tcache, &tcache_none);
	assert_int_equal(cached().threads, 0);
	assert_int_equal(cached().objects, 0);
	assert_int_equal(shards[0]->nr_threads, 0);
	assert_int_equal(events().threads_exited, 1);
	slabs_check_gone(shards[0]);
	p = cache_alloc(CLASS_64);
	assert_non_null(p);
	cache_free(p);
	assert_false(slab_locate(p, CLASS_64).allocated);
	p = cache_alloc(CLASS_65536);
	assert_non_null(p);
	cache_free(p);
	unit_dies(free_it, p, "double free of %p: an object of 65536 bytes that is free already", p);
	slabs_check_gone(shards[0]);
	assert_ptr_equal(tcache_get(), &tcache_none);
	errno = 0;
	assert_false(tcache_rebind(shards[0]));
	assert_int_equal(errno, EAGAIN);
}

static void exit_that_cannot_be_watched(void)
{
	options.verbose = true;
	refuse_exit = true;
	assert_non_null(cache_alloc(0));
	unit_said("buddymalloc: a thread's exit cannot be watched; what it caches stays with it\n");
	assert_int_equal(this_tcache->state, TCACHE_LIVE);
}

UNIT_MAIN(CASE(first_call_makes_the_cache), CASE(free_may_be_the_first_call),
	  CASE(random_operations), CASE(pointers_of_others_are_passed_on),
	  CASE(errno_is_left_alone), CASE(no_memory), CASE(no_memory_for_a_cache),
	  CASE(hardened_mode_caches_nothing), CASE(caching_can_be_switched_off),
	  CASE(double_free_is_found_on_flush), CASE(thread_exit_gives_everything_back),
	  CASE(exit_that_cannot_be_watched))
