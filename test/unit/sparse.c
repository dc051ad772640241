/*
 * What is left of a class after its peak: objects that come and go gather in few slabs, and
 * who only allocates, or only frees, does so in large batches all the same.
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
	slab_shrink(true);
	slab_class_totals(CLASS, &totals);
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
		/* Its sheaf is large from the peak on, too large to overflow: others see to that. */
		if (i % 100 == 0)
			use_another_class();
	}
	assert_in_range(slabs_in_use(), 1, SLABS / 4);
	while (nr)
		cache_free(left[--nr]);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* Refills by so many objects, and flushes, as if the class were not sparse. */
static void batches_stay_large(void)
{
	static void *more[SLABS * SLAB_OBJECTS / 4];
	struct stats before;
	unsigned i;

	after_a_peak();
	before = events();
	for (i = 0; i < ARRAY_SIZE(more); i++)
		more[i] = cache_alloc(CLASS);
	assert_true(slab_is_sparse(shards[0], CLASS));
	assert_in_range(events().refills - before.refills, 1, ARRAY_SIZE(more) / 32);
	before = events();
	for (i = 0; i < ARRAY_SIZE(more); i++)
		cache_free(more[i]);
	assert_in_range(events().flushes - before.flushes, 1, ARRAY_SIZE(more) / 32);
	tcache_check(this_tcache);
}

/* A class of little memory is none, nor one of which only unused slabs are free. */
static void little_is_not_sparse(void)
{
	static void *objects[64];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = cache_alloc(CLASS);
	for (i = 1; i < ARRAY_SIZE(objects); i++)
		cache_free(objects[i]);
	tcache_flush(this_tcache);
	assert_false(slab_is_sparse(shards[0], CLASS));
	cache_free(objects[0]);
	for (i = 0; i < NR_CLASSES; i++)
		assert_false(slab_is_sparse(shards[0], i));
}

UNIT_MAIN(CASE(what_comes_and_goes_gathers), CASE(batches_stay_large), CASE(little_is_not_sparse))
