/* Empty slabs of single objects: how many wait for the next request. */
#include "slabs.h"

#define CLASS CLASS_131072
#define MANY 1024u /* 128 MiB */
#define MOST_SMALL ((u64)MAX_CLASS_SIZE)

#define ALL (8 * MANY) /* 1 GiB */
#define MOST_OF_ALL ((u64)32 << 20)

static void *objects[ALL];

static void take_all(unsigned n)
{
	while (n--)
		objects[n] = slab_alloc_single(shards[0], CLASS, NULL);
}

static void give(unsigned i)
{
	slab_free(shards[0], CLASS, &objects[i], 1);
	objects[i] = NULL;
}

/* Slabs come and go fast, until the budget grows no more. */
static void raise_budget(unsigned n)
{
	unsigned round, i;

	for (round = 0; round < 100; round++) {
		for (i = 0; i < n; i++)
			give(i);
		take_all(n);
	}
}

/* However fast they come and go, a small heap keeps no more than the largest of them. */
static void few_of_few(void)
{
	unsigned i;

	slabs_start(1);
	take_all(32);
	raise_budget(16);
	for (i = 0; i < 32; i++)
		give(i);
	assert_in_range(shards[0]->empty_single.bytes, MOST_SMALL / 2, MOST_SMALL);
	slabs_check(shards[0]);
	slabs_check_gone(shards[0]);
}

/* Of many a sixteenth stays, and serves who comes next without a look at the pages. */
static void a_part_of_many(void)
{
	u64 made, kept;
	unsigned i;

	slabs_start(1);
	take_all(MANY);
	raise_budget(MANY / 4);
	for (i = 0; i < MANY / 4; i++)
		give(i);
	kept = shards[0]->empty_single.bytes / size_classes[CLASS].size;
	assert_in_range(kept, MANY / 20, MANY / 16);
	slabs_check(shards[0]);
	made = shards[0]->nodes[CLASS].nr_made;
	take_all((unsigned)kept);
	assert_int_equal(shards[0]->nodes[CLASS].nr_made, made);
	assert_int_equal(shards[0]->empty_single.bytes, 0);
	for (i = 0; i < kept; i++)
		give(i);
	for (i = MANY / 4; i < MANY; i++)
		give(i);
	slabs_check_gone(shards[0]);
}

/* Of however many: a program may drop all of them, and wait. */
static void bounded_for_all(void)
{
	unsigned i;

	slabs_start(1);
	take_all(ALL);
	raise_budget(MANY);
	for (i = 0; i < ALL; i++) {
		give(i);
		assert_true(shards[0]->empty_single.bytes <= MOST_OF_ALL);
	}
	assert_true(shards[0]->empty_single.bytes > MOST_OF_ALL / 2);
	slabs_check(shards[0]);
	slabs_check_gone(shards[0]);
}

/* What they keep is not at the expense of small objects' slabs, nor theirs of it. */
static void apart_from_small_ones(void)
{
	static void *small[512];
	unsigned i, got = 0;

	slabs_start(1);
	take_all(MANY);
	raise_budget(MANY / 4);
	for (i = 0; i < MANY / 4; i++)
		give(i);
	assert_true(shards[0]->empty_single.bytes > MOST_SMALL);
	while (got < ARRAY_SIZE(small))
		got += slab_alloc(shards[0], CLASS_64, small + got, ARRAY_SIZE(small) - got);
	slab_free(shards[0], CLASS_64, small, got);
	assert_true(shards[0]->empty_packed.bytes);
	slabs_check(shards[0]);
	for (i = MANY / 4; i < MANY; i++)
		give(i);
	slabs_check_gone(shards[0]);
}

/*
 * Buffers that grow where they lie are made as one class and go as another, which nobody asks for:
 * as few of these stay however often it happens; but what is wanted again raises the budget.
 */
static void what_nobody_wants(void)
{
	struct cache_node *node;
	void *p;
	unsigned i;

	slabs_start(1);
	node = &shards[0]->nodes[CLASS];
	for (i = 0; i < 100; i++) {
		p = slab_alloc_single(shards[0], CLASS_65536, NULL);
		assert_true(slab_grow_single(p, CLASS));
		slab_free(shards[0], CLASS, &p, 1);
	}
	assert_int_equal(node->nr_empty, 1);
	assert_int_equal(node->nr_refused, 99);
	assert_int_equal(shards[0]->empty_single.budget, 0);
	for (i = 0; i < 100; i++) {
		p = slab_alloc_single(shards[0], CLASS_65536, NULL);
		slab_free(shards[0], CLASS_65536, &p, 1);
	}
	assert_int_equal(shards[0]->nodes[CLASS_65536].nr_empty, 1);
	slabs_check(shards[0]);
	slab_shrink(GIVE_IDLE);
	assert_int_equal(node->nr_refused, 0);
	slabs_check_gone(shards[0]);
}

UNIT_MAIN(CASE(few_of_few), CASE(what_nobody_wants), CASE(a_part_of_many), CASE(bounded_for_all),
	  CASE(apart_from_small_ones))
