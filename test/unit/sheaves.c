/* Sheaves: what they hand out first, their limits, and how capacity moves between them. */
#include "taken.h"

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
			assert_true(full - first[class] > 2048);
			moved++;
		}
		tcache_flush(tc);
	}
	assert_int_equal(moved, NR_SHEAVES);
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

/* A lone thread may keep 8 MiB in sheaves; where there are many, each has less. */
static void many_threads_cache_less(void)
{
	tcache_get();
	assert_in_range(cached_after_all_classes(4), 4 << 20, 8 << 20);
	threads_nr_active = 60;
	assert_in_range(cached_after_all_classes(8), 1 << 20, (96 << 20) / 60);
	threads_nr_active = 2000;
	assert_in_range(cached_after_all_classes(8), 256 << 10, 512 << 10);
	assert_true(this_tcache->capacity <= 512 << 10);
	threads_nr_active = 1;
	assert_in_range(cached_after_all_classes(4), 4 << 20, 8 << 20);
	tcache_check(this_tcache);
}

/* So it has where a limit is near, and more again when it is not. */
static void near_a_limit_a_thread_caches_less(void)
{
	unsigned class;

	tcache_get();
	assert_in_range(cached_after_all_classes(4), 4 << 20, 8 << 20);
	options.soft_limit = 1 << 20;
	limit_init();
	/* As soon as each has run empty once, not only as capacity moves. */
	for (class = 0; class < NR_SHEAVES; class++)
		give(take(class, sheaf_used(this_tcache, class) + 1));
	assert_true(this_tcache->capacity <= 512 << 10);
	assert_true(cached().bytes <= 1 << 20);
	tcache_check(this_tcache);
	options.soft_limit = 0;
	limit_init();
	assert_in_range(cached_after_all_classes(4), 4 << 20, 8 << 20);
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

UNIT_MAIN(CASE(places_are_far_apart), CASE(last_freed_is_handed_out_first), CASE(refills_go_upward),
	  CASE(first_refill_is_small), CASE(sheaves_stay_close_for_a_while),
	  CASE(the_newest_is_kept), CASE(batches_grow), CASE(cached_bytes_are_bounded),
	  CASE(many_threads_cache_less), CASE(near_a_limit_a_thread_caches_less),
	  CASE(capacity_moves_to_what_is_in_use), CASE(sheaves_out_of_use_are_emptied))
