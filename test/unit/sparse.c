/*
 * What is left of a class after its peak: objects that come and go gather in few slabs, but
 * no round of looks costs more than so many small batches.
 */
#include "tcaches.h"

#define CLASS CLASS_512
#define SLAB_OBJECTS 64
#define SLABS 128u

static void *left[SLABS]; /* one of each slab */
static uint64_t seed;

/* Full slabs, of which one object each stays, all others in the slabs. */
static void after_a_peak(void)
{
	static void *objects[SLABS * SLAB_OBJECTS];
	unsigned i;

	assert_int_equal(size_classes[CLASS].nr_objects, SLAB_OBJECTS);
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = cache_alloc(CLASS);
	assert_false(slab_is_sparse(shards[0], CLASS));
	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		if (i % SLAB_OBJECTS)
			cache_free(objects[i]);
		else
			left[i / SLAB_OBJECTS] = objects[i];
	}
	tcache_flush(this_tcache);
	assert_true(slab_is_sparse(shards[0], CLASS));
}

static u64 slabs_in_use(void)
{
	struct class_totals totals;

	tcache_flush(this_tcache);
	slab_shrink(GIVE_ALL);
	slab_class_totals(CLASS, NULL, &totals);
	return totals.slabs;
}

/* Refills and flushes, for a round of looks. */
static void use_another_class(void)
{
	static void *objects[4000];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = cache_alloc(CLASS_64);
	while (i)
		cache_free(objects[--i]);
	fake.now_ms += 10;
}

static void wait_for_a_look(void)
{
	unsigned i;

	for (i = 0; i < 1000 && !this_tcache->small_for[CLASS]; i++)
		use_another_class();
	assert_int_not_equal(this_tcache->small_for[CLASS], 0);
}

/* As many are freed as allocated, in random order, so that some 30 are freed for each there was. */
static void what_comes_and_goes_gathers(void)
{
	unsigned nr = SLABS, i;

	seed = unit_seed();
	after_a_peak();
	assert_int_equal(slabs_in_use(), SLABS);
	for (i = 0; i < 60 * SLABS; i++) {
		if (nr < SLABS && (nr == SLABS / 2 || random_below(&seed, 2))) {
			left[nr++] = cache_alloc(CLASS);
		} else {
			unsigned k = (unsigned)random_below(&seed, nr);

			cache_free(left[k]);
			left[k] = left[--nr];
		}
		tcache_check(this_tcache);
		/* Its sheaf is large from the peak on, too large to overflow: others see to it. */
		if (i % 100 == 0)
			use_another_class();
	}
	assert_in_range(slabs_in_use(), 1, SLABS / 4);
	while (nr)
		cache_free(left[--nr]);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* The first batches after a look are as small as those of a new thread. */
static void a_refill_is_small(void)
{
	struct stats before;

	after_a_peak();
	wait_for_a_look();
	before = events();
	assert_non_null(cache_alloc(CLASS));
	assert_int_equal(events().refills - before.refills, 1);
	assert_int_equal(events().objects_refilled - before.objects_refilled, 4);
}

/* After 64 of them, as many again if a look comes between, the class is as any other. */
static void batches_become_large(void)
{
	static void *more[SLABS * SLAB_OBJECTS / 4];
	struct stats before;
	unsigned i;

	after_a_peak();
	wait_for_a_look();
	before = events();
	for (i = 0; i < ARRAY_SIZE(more); i++)
		more[i] = cache_alloc(CLASS);
	assert_true(slab_is_sparse(shards[0], CLASS));
	assert_in_range(events().refills - before.refills, 64, 2 * 64 + ARRAY_SIZE(more) / 32);
	before = events();
	for (i = 0; i < ARRAY_SIZE(more); i++)
		cache_free(more[i]);
	assert_in_range(events().flushes - before.flushes, 1, ARRAY_SIZE(more) / 32);
	tcache_check(this_tcache);
}

/* A class of little memory is none, nor one of which a third is free, nor only unused slabs. */
static void others_are_not_sparse(void)
{
	static void *objects[SLABS * SLAB_OBJECTS];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = cache_alloc(CLASS);
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		if (i % 3 == 0)
			cache_free(objects[i]);
	tcache_flush(this_tcache);
	assert_true(shards[0]->nodes[CLASS].nr_free * 512 > SPARSE_LEAST);
	assert_false(slab_is_sparse(shards[0], CLASS));
	shards[0]->empty_packed.budget = 2 * SPARSE_LEAST;
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		if (i % 3)
			cache_free(objects[i]);
	tcache_flush(this_tcache);
	assert_int_equal(shards[0]->nodes[CLASS].nr_free * 512, 2 * SPARSE_LEAST);
	assert_false(slab_is_sparse(shards[0], CLASS));
	slab_shrink(GIVE_ALL);
	for (i = 0; i < SLAB_OBJECTS; i++)
		objects[i] = cache_alloc(CLASS);
	while (--i)
		cache_free(objects[i]);
	tcache_flush(this_tcache);
	assert_false(slab_is_sparse(shards[0], CLASS));
}

UNIT_MAIN(CASE(what_comes_and_goes_gathers), CASE(a_refill_is_small), CASE(batches_become_large),
	  CASE(others_are_not_sparse))
