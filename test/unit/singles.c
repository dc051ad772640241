/* Objects without a sheaf: the last few that a thread keeps. */
#include "tcaches.h"

#include "base/options.h"

static void single_object_may_be_the_first_call(void)
{
	void *p = cache_alloc(NR_CLASSES - 1);

	assert_non_null(p);
	assert_ptr_not_equal(this_tcache, &tcache_boot);
	assert_int_equal(tag_read(virt_to_pfn(p)), shards[0]->tag_base + NR_CLASSES - 1);
	cache_free(p);
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

/* A fork may have come between an object and its bytes: they are counted anew before any goes. */
static void kept_bytes_are_counted_anew(void)
{
	void *p = cache_alloc(NR_SHEAVES);

	this_tcache->kept_bytes = KEPT_BYTES;
	cache_free(p);
	assert_int_equal(cached().objects, 1);
	assert_int_equal(this_tcache->kept_bytes, size_classes[NR_SHEAVES].size);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* 4 MiB come to the zone, and lie there for a while. */
static void drop_and_rest(void)
{
	u64 pfn;

	options.decay_ms = 1000;
	pfn = alloc_pages(BM_GFP_KERNEL, PAGEBLOCK_ORDER + 1);
	assert_true(pfn);
	free_pages(pfn);
	reclaim_age();
	fake.now_ms += 5000;
}

/* A program that dropped much, and rests, makes few calls: the first that comes here ages it. */
static void what_was_dropped_ages_at_the_next_call(void)
{
	void *kept, *single, *small;
	u64 before;

	/* The thread's first free is not as the later ones. */
	cache_free(cache_alloc(NR_SHEAVES));
	kept = cache_alloc(NR_SHEAVES);
	drop_and_rest();
	before = fake_given_bytes();
	cache_free(kept);
	assert_true(fake_given_bytes() >= before + PAGEBLOCK_SIZE);

	drop_and_rest();
	before = fake_given_bytes();
	single = cache_alloc(KEPT_CLASS_MOST + 1);
	assert_true(fake_given_bytes() >= before + PAGEBLOCK_SIZE / 2);

	drop_and_rest();
	before = fake_given_bytes();
	small = cache_alloc(0);
	assert_true(fake_given_bytes() >= before + PAGEBLOCK_SIZE / 2);
	cache_free(small);
	cache_free(single);
}

UNIT_MAIN(CASE(single_object_may_be_the_first_call), CASE(single_objects_are_kept),
	  CASE(kept_singles_are_bounded), CASE(kept_singles_stay_bounded),
	  CASE(kept_bytes_are_counted_anew), CASE(what_was_dropped_ages_at_the_next_call))
