/* One thread's cache: its start, sheaves and their limits, modes without sheaves, its end. */
#include "tcaches.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"

#define MOST 8192

static void *objects[MOST];

static unsigned take(unsigned class, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		objects[i] = cache_alloc(class);
		assert_non_null(objects[i]);
	}
	return n;
}

static void give(unsigned n)
{
	while (n)
		cache_free(objects[--n]);
}

static void first_call_makes_the_cache(void)
{
	void *p;

	assert_ptr_equal(this_tcache, &tcache_boot);
	p = cache_alloc(3);
	assert_non_null(p);
	assert_ptr_not_equal(this_tcache, &tcache_boot);
	assert_int_equal(this_tcache->state, TCACHE_LIVE);
	assert_int_equal(nr_bringups, 1);
	assert_int_equal(nr_watched, 1);
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

/* Who looks while a sheaf moves between its places must not find one of these as deep. */
static void places_are_far_apart(void)
{
	struct tcache *tc = tcache_get();
	void **first[NR_SHEAVES], **full;
	unsigned class, moved = 0, i;

	for (class = 0; class < NR_SHEAVES; class++)
		first[class] = tc->sheaf[class].bottom;
	for (class = 0; class < NR_SHEAVES; class++) {
		for (i = 0; i < ARRAY_SIZE(objects) && tc->sheaf[class].bottom == first[class]; i++)
			objects[i] = cache_alloc(class);
		full = tc->sheaf[class].bottom;
		while (i--)
			cache_free(objects[i]);
		if (full != first[class]) {
			assert_true(full - first[class] > 1024);
			moved++;
		}
		tcache_flush(tc);
	}
	assert_int_equal(moved, NR_SHEAVES);
}

static void single_object_may_be_the_first_call(void)
{
	void *p = cache_alloc(NR_CLASSES - 1);

	assert_non_null(p);
	assert_ptr_not_equal(this_tcache, &tcache_boot);
	assert_int_equal(tag_read(virt_to_pfn(p)), shards[0]->tag_base + NR_CLASSES - 1);
	cache_free(p);
	slabs_check_gone(shards[0]);
}

static void last_freed_is_handed_out_first(void)
{
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++) {
		void *a = cache_alloc(class), *b = cache_alloc(class);

		cache_free(a);
		cache_free(b);
		assert_ptr_equal(cache_alloc(class), b);
		if (size_classes[class].size <= 2048)
			assert_ptr_equal(cache_alloc(class), a);
		tcache_check(this_tcache);
	}
}

/* Fresh objects are handed out as they lie in memory. */
static void refills_go_upward(void)
{
	unsigned i;

	take(CLASS_16, 256);
	for (i = 1; i < 256; i++)
		assert_ptr_equal(objects[i], (char *)objects[0] + 16 * i);
}

/* Small programs stay small: what the first object brings with it is a page at most. */
static void first_refill_is_small(void)
{
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++) {
		size_t before = cached().bytes;

		cache_alloc(class);
		assert_true(cached().bytes - before <= 4096);
	}
}

/* What a program starts with does not make each sheaf touch a page of its own. */
static void sheaves_stay_close_for_a_while(void)
{
	struct tcache *tc = tcache_get();
	uintptr_t from = (uintptr_t)tc, to = from + 2 * PAGE_SIZE;
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++) {
		unsigned n = take(class, class > CLASS_1024 ? 4 : MIN(4096 / size_classes[class].size, 40u));

		assert_in_range((uintptr_t)tc->sheaf[class].top, from, to);
		give(n);
		assert_in_range((uintptr_t)tc->sheaf[class].top, from, to);
	}
}

/* Of objects that have no more than one place the one freed last is kept. */
static void the_newest_is_kept(void)
{
	void *old, *new;

	take(CLASS_4096, 2);
	old = objects[0];
	new = objects[1];
	cache_free(old);
	assert_int_equal(sheaf_used(tcache_get(), CLASS_4096), 1);
	cache_free(new);
	assert_int_equal(sheaf_used(tcache_get(), CLASS_4096), 1);
	tcache_check(this_tcache);
	assert_ptr_equal(cache_alloc(CLASS_4096), new);
	assert_ptr_equal(cache_alloc(CLASS_4096), old);
}

/* Batches grow with use: the number of slow calls is far below that of objects. */
static void batches_grow(void)
{
	static const unsigned classes[] = { CLASS_16, CLASS_64, CLASS_256, CLASS_1024 };
	struct stats before, after;
	size_t i;
	unsigned round;

	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		before = events();
		for (round = 0; round < 10; round++)
			give(take(classes[i], 4000));
		after = events();
		tcache_check(this_tcache);
		assert_true(after.refills - before.refills < 40000 / 16);
		assert_true(after.flushes - before.flushes < 40000 / 16);
		assert_int_equal(cached().objects, after.objects_refilled -
							   after.objects_flushed);
	}
}

static void cached_bytes_are_bounded(void)
{
	unsigned class, round;

	for (round = 0; round < 3; round++)
		for (class = 0; class < NR_CLASSES; class++) {
			unsigned n = (unsigned)MIN((8u << 20) / size_classes[class].size, MOST);

			give(take(class, n));
			tcache_check(this_tcache);
			assert_true(cached().bytes <= MOST_CACHED);
			assert_true(cached().bytes <= this_tcache->capacity + KEPT_BYTES);
		}
	tcache_flush(this_tcache);
	assert_int_equal(cached().objects, 0);
	assert_int_equal(cached().bytes, 0);
	slabs_check_gone(shards[0]);
}

static size_t cached_after_all_classes(unsigned rounds)
{
	unsigned class;

	while (rounds--)
		for (class = 0; class < NR_SHEAVES; class++)
			give(take(class, (unsigned)MIN((2u << 20) / size_classes[class].size, MOST)));
	return cached().bytes;
}

/* A lone thread may keep 3 MiB in sheaves; where there are many, each has less. */
static void many_threads_cache_less(void)
{
	tcache_get();
	assert_in_range(cached_after_all_classes(4), 2 << 20, 3 << 20);
	threads_nr_active = 60;
	assert_in_range(cached_after_all_classes(8), 1 << 20, (96 << 20) / 60);
	threads_nr_active = 2000;
	assert_in_range(cached_after_all_classes(8), 256 << 10, 512 << 10);
	assert_true(this_tcache->capacity <= 512 << 10);
	threads_nr_active = 1;
	assert_in_range(cached_after_all_classes(4), 2 << 20, 3 << 20);
	tcache_check(this_tcache);
}

/* When all capacity is given out a class that comes into use gets its share in time. */
static void capacity_moves_to_what_is_in_use(void)
{
	const unsigned class = size_to_class(8192);
	unsigned round;

	cached_after_all_classes(4);
	tcache_flush(this_tcache);
	for (round = 0; round < 100; round++)
		give(take(class, 100));
	assert_true(sheaf_used(this_tcache, class) >= 24);
}

/* What a class had cached goes home when it is out of use, and its slabs with it. */
static void sheaves_out_of_use_are_emptied(void)
{
	const unsigned old = size_to_class(96), now = size_to_class(64);
	void *kept[NR_SHEAVES];
	unsigned i;
	u32 used;

	/* In use is what is less or more full each time that it is looked at. */
	give(take(old, 2000));
	used = sheaf_used(this_tcache, old);
	assert_true(used > NR_SHEAVES);
	for (i = 0; i < NR_SHEAVES; i++) {
		kept[i] = cache_alloc(old);
		give(take(now, 4000));
		fake.now_ms += 10;
		assert_int_equal(sheaf_used(this_tcache, old), used - i - 1);
	}
	/* Within a moment nothing is out of use. Each turn has a refill and a flush at least. */
	for (i = 0; i < NR_SHEAVES; i++)
		give(take(now, 4000));
	used = sheaf_used(this_tcache, old);
	for (i = 0; i < 10 * NR_SHEAVES; i++)
		give(take(now, 4000));
	assert_true(used && sheaf_used(this_tcache, old) == used);
	for (i = 0; i < 10 * NR_SHEAVES; i++) {
		give(take(now, 4000));
		fake.now_ms += 10;
	}
	assert_int_equal(sheaf_used(this_tcache, old), 0);
	assert_true(sheaf_used(this_tcache, now) > 0);
	for (i = 0; i < NR_SHEAVES; i++)
		cache_free(kept[i]);
	tcache_check(this_tcache);
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
	/* Locked pages are not taken, which ageing finds out while large objects are freed. */
	give(take(NR_CLASSES - 1, 8));
	fake_fail(FAKE_PURGE, 1, FAKE_ALWAYS);
	options.decay_ms = 100;
	take(NR_SHEAVES, 1);
	errno = EDOM;
	for (class = 0; class < 4000; class++) {
		cache_free(objects[0]);
		assert_int_equal(errno, EDOM);
		objects[0] = cache_alloc(NR_SHEAVES);
		fake.now_ms++;
	}
	assert_true(fake_failed(FAKE_PURGE));
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

/* The last objects freed that are too large for a sheaf stay with the thread. */
static void single_objects_are_kept(void)
{
	unsigned class = NR_SHEAVES + 4;
	void *p = cache_alloc(class), *q = cache_alloc(class + 1), *r;

	options.abort_on_corruption = false;
	cache_free(p);
	assert_int_equal(cached().objects, 1);
	assert_int_equal(cached().bytes, size_classes[class].size);
	assert_true(slab_locate(p, class).allocated);
	cache_free(p);
	unit_said("buddymalloc: double free of %p: an object of %u bytes that is free already\n",
		  p, size_classes[class].size);
	/* Another one stays beside it. */
	cache_free(q);
	assert_int_equal(cached().objects, 2);
	assert_int_equal(cached().bytes, size_classes[class].size + size_classes[class + 1].size);
	cache_free(p);
	unit_said("buddymalloc: double free of %p: an object of %u bytes that is free already\n",
		  p, size_classes[class].size);
	/* The last that fits well enough serves, and none for a request that is larger. */
	assert_ptr_equal(cache_alloc(class), q);
	cache_free(q);
	assert_ptr_equal(cache_alloc(class + 1), q);
	r = cache_alloc(class + 1);
	assert_ptr_not_equal(r, p);
	assert_ptr_equal(cache_alloc(class - SINGLE_REACH), p);
	assert_int_equal(cached().objects, 0);
	cache_free(p);
	cache_free(q);
	cache_free((char *)r + PAGE_SIZE);
	cache_free(r);
	fake_clear_output();
	assert_int_equal(cached().objects, 3);
	/* Too large to be kept. */
	p = cache_alloc(NR_CLASSES - 1);
	cache_free(p);
	assert_int_equal(cached().objects, 3);
	assert_false(slab_locate(p, NR_CLASSES - 1).allocated);
	tcache_flush(this_tcache);
	assert_int_equal(cached().objects, 0);
	slabs_check_gone(shards[0]);
}

/* So many of them, and so many bytes; older ones go first. */
static void kept_singles_are_bounded(void)
{
	void *small[KEPT_MOST + 2], *large = cache_alloc(KEPT_CLASS_MOST);
	unsigned i;

	options.abort_on_corruption = false;
	for (i = 0; i < ARRAY_SIZE(small); i++)
		small[i] = cache_alloc(NR_SHEAVES);
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		cache_free(small[i]);
		assert_int_equal(cached().objects, MIN(i + 1, (unsigned)KEPT_MOST));
	}
	for (i = 0; i < ARRAY_SIZE(small); i++)
		assert_int_equal(slab_locate(small[i], NR_SHEAVES).allocated, i >= 2);
	/* Kept or gone, a second free is told. */
	for (i = 0; i < ARRAY_SIZE(small); i++) {
		cache_free(small[i]);
		unit_said("buddymalloc: double free of %p: an object of %u bytes that is free already\n",
			  small[i], size_classes[NR_SHEAVES].size);
	}
	assert_int_equal(cached().objects, KEPT_MOST);
	/* No two of the largest. */
	cache_free(large);
	assert_int_equal(cached().objects, 1);
	assert_int_equal(cached().bytes, KEPT_BYTES);
	assert_ptr_equal(cache_alloc(KEPT_CLASS_MOST), large);
	/* Nor one of these besides others, when the last one is in use again. */
	for (i = 0; i < ARRAY_SIZE(small); i++)
		small[i] = cache_alloc(NR_SHEAVES + (i ? 2 : 0));
	for (i = 0; i < KEPT_MOST; i++)
		cache_free(small[i]);
	assert_ptr_equal(cache_alloc(NR_SHEAVES + 2), small[KEPT_MOST - 1]);
	assert_int_equal(cached().objects, KEPT_MOST - 1);
	cache_free(large);
	assert_int_equal(cached().bytes, KEPT_BYTES);
	for (i = KEPT_MOST - 1; i < ARRAY_SIZE(small); i++)
		cache_free(small[i]);
	assert_in_range(cached().bytes, 3 * object_size(small[1]), KEPT_BYTES);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* However many come, and however large. */
static void kept_singles_stay_bounded(void)
{
	void *objects[8];
	unsigned round, i;

	for (round = 0; round < 400; round++) {
		for (i = 0; i < ARRAY_SIZE(objects); i++)
			objects[i] = cache_alloc(NR_SHEAVES + (round + i * i) % 17);
		for (i = 0; i < ARRAY_SIZE(objects); i++) {
			cache_free(objects[i]);
			assert_true(cached().bytes <= KEPT_BYTES);
		}
	}
	tcache_flush(this_tcache);
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
	refuse_to_watch = true;
	assert_non_null(cache_alloc(0));
	unit_said("buddymalloc: a thread's exit cannot be watched; what it caches stays with it\n");
	assert_int_equal(this_tcache->state, TCACHE_LIVE);
}

UNIT_MAIN(CASE(first_call_makes_the_cache),
	  CASE(free_may_be_the_first_call),
	  CASE(places_are_far_apart),
	  CASE(single_object_may_be_the_first_call),
	  CASE(last_freed_is_handed_out_first),
	  CASE(refills_go_upward),
	  CASE(first_refill_is_small),
	  CASE(sheaves_stay_close_for_a_while), CASE(the_newest_is_kept),
	  CASE(batches_grow),
	  CASE(cached_bytes_are_bounded),
	  CASE(many_threads_cache_less),
	  CASE(capacity_moves_to_what_is_in_use),
	  CASE(sheaves_out_of_use_are_emptied),
	  CASE(random_operations),
	  CASE(pointers_of_others_are_passed_on),
	  CASE(errno_is_left_alone),
	  CASE(no_memory), CASE(no_memory_for_a_cache),
	  CASE(hardened_mode_caches_nothing),
	  CASE(caching_can_be_switched_off),
	  CASE(double_free_is_found_on_flush),
	  CASE(single_objects_are_kept),
	  CASE(kept_singles_are_bounded),
	  CASE(kept_singles_stay_bounded),
	  CASE(thread_exit_gives_everything_back),
	  CASE(exit_that_cannot_be_watched))
