/* Empty slabs, most of them of single objects: how many wait for the next request. */
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

#define PACKED CLASS_2048
#define NR_PACKED 2000u /* 4 MiB */
#define MOST_UNASKED ((u64)512 << 10)

static void take_packed(unsigned class, unsigned n)
{
	unsigned got = 0;

	while (got < n)
		got += slab_alloc(shards[0], class, objects + got, n - got);
}

static void come_and_go(unsigned class, unsigned n)
{
	take_packed(class, n);
	slab_free(shards[0], class, objects, n);
}

/* However many slabs, what is missed each time it has gone stays at last. */
static void what_is_missed_stays(void)
{
	unsigned round;
	u64 made;

	slabs_start(1);
	for (round = 0; round < 300; round++)
		come_and_go(PACKED, NR_PACKED);
	slabs_check(shards[0]);
	made = shards[0]->nodes[PACKED].nr_made;
	come_and_go(PACKED, NR_PACKED);
	assert_int_equal(shards[0]->nodes[PACKED].nr_made, made);
	assert_true(shards[0]->empty_packed.bytes >= (u64)NR_PACKED * 2048);
	slabs_check_gone(shards[0]);
}

/* Many of one size after another: each goes, and is not asked for again before an ageing. */
static void what_is_not_missed_goes(void)
{
	unsigned class, round;

	slabs_start(1);
	for (round = 0; round < 50; round++) {
		for (class = CLASS_256; class < CLASS_1024; class++)
			come_and_go(class, NR_PACKED / 10);
		slab_shrink(GIVE_IDLE);
	}
	for (class = CLASS_256; class < CLASS_1024; class++)
		come_and_go(class, NR_PACKED);
	assert_in_range(shards[0]->empty_packed.bytes, 1, MOST_UNASKED);
	slabs_check_gone(shards[0]);
}

/* Blocks as slabs have them. */
static void leave_warm_pages(void)
{
	u64 pfns[64];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(pfns); i++)
		pfns[i] = alloc_pages_exact(BM_GFP_KERNEL, size_classes[CLASS_64].nr_pages,
					    size_classes[CLASS_64].order);
	for (i = 0; i < ARRAY_SIZE(pfns); i++)
		free_pages(pfns[i]);
}

/* As long as there are warm pages they stay, but not while the memory of the process grows. */
static void growth_takes_what_is_kept(void)
{
	static void *more[100000];
	unsigned got = 0, round;
	u64 kept;

	slabs_start(1);
	for (round = 0; round < 300; round++)
		come_and_go(PACKED, NR_PACKED);
	kept = shards[0]->empty_packed.bytes;
	assert_true(kept > 2 * MOST_UNASKED);
	leave_warm_pages();
	got += slab_alloc(shards[0], CLASS_64, more, 100);
	assert_int_equal(shards[0]->empty_packed.bytes, kept);
	while (got < ARRAY_SIZE(more))
		got += slab_alloc(shards[0], CLASS_64, more + got,
				  MIN(2000u, (unsigned)ARRAY_SIZE(more) - got));
	assert_true(shards[0]->empty_packed.bytes <= MOST_UNASKED);
	slabs_check(shards[0]);
	/* And serves in place of new memory. */
	assert_in_range(pages_nr_backed() << PAGE_SHIFT, 0,
			sizeof(more) / 8 * 64 + kept / 2);
	slab_free(shards[0], CLASS_64, more, got);
	slabs_check_gone(shards[0]);
}

UNIT_MAIN(CASE(few_of_few), CASE(what_nobody_wants), CASE(a_part_of_many), CASE(bounded_for_all),
	  CASE(apart_from_small_ones), CASE(what_is_missed_stays),
	  CASE(what_is_not_missed_goes), CASE(growth_takes_what_is_kept))
