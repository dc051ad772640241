/* Slabs: objects out and back, what an invalid pointer is told, empty slabs, short memory. */
#include "slabs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "base/stats.h"
#include "page_alloc/internal.h"

#define MOST 256

static void *objects[MOST * 80];

/* A new slab's objects, all of them: objects[0] is the last to be handed out. */
static unsigned take_slab(unsigned class)
{
	unsigned n = size_classes[class].nr_objects;

	assert_int_equal(slab_alloc(shards[0], class, objects, n), n);
	return n;
}

static void give_slab(unsigned class)
{
	slab_free(shards[0], class, objects, size_classes[class].nr_objects);
}

static void slabs_are_cut_from_the_bottom(void)
{
	unsigned class, i, n;

	slabs_start(1);
	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		char *base;
		u64 pfn;

		n = take_slab(class);
		base = objects[n - 1];
		pfn = virt_to_pfn(base);
		assert_int_equal((uintptr_t)base % PAGE_SIZE, 0);
		assert_int_equal(slab_of(base, class), pfn);
		assert_int_equal(page_kind(pfn_to_page(pfn)), PAGE_SLAB);
		for (i = 0; i < n; i++)
			assert_ptr_equal(objects[n - 1 - i], base + (size_t)i * sc->size);
		memset(base, 0xff, (size_t)n * sc->size);
		slabs_check(shards[0]);
		/* Half of it back, and out again: the lowest first. */
		for (i = 0; i < n; i += 2)
			slab_free(shards[0], class, &objects[i], 1);
		slabs_check(shards[0]);
		assert_int_equal(slab_alloc(shards[0], class, objects + MOST, (n + 1) / 2), (n + 1) / 2);
		for (i = 0; i < n; i += 2)
			assert_ptr_equal(objects[MOST + i / 2], objects[i]);
		give_slab(class);
		slabs_check(shards[0]);
	}
	slabs_check_gone(shards[0]);
}

/* Tags say shard and class on every page of a slab, of a single object on its first only. */
static void tags_name_shard_and_class(void)
{
	unsigned class, i;

	slabs_start(1);
	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		u64 pfn;

		take_slab(class);
		pfn = slab_of(objects[0], class);
		for (i = 0; i < sc->nr_pages; i++) {
			u16 tag = tag_read(pfn + i);

			if (i && sc->nr_objects == 1) {
				assert_int_equal(tag, TAG_NONE);
				continue;
			}
			assert_true(tag_is_slab(tag));
			assert_int_equal(tag_shard(tag), 0);
			assert_int_equal(tag_class(tag), class);
		}
		give_slab(class);
		slab_shrink(GIVE_ALL);
		for (i = 0; i < sc->nr_pages; i++)
			assert_int_equal(tag_read(pfn + i), TAG_NONE);
	}
}

static void every_address_finds_its_object(void)
{
	unsigned class, n, i;

	slabs_start(1);
	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		/* Only the head of a single object has a tag that leads here. */
		size_t bytes = sc->nr_objects == 1 ? PAGE_SIZE : (size_t)sc->nr_pages << PAGE_SHIFT;
		size_t at;
		struct slab_place place;
		char *base;

		n = take_slab(class);
		base = objects[n - 1];
		for (i = 0; i < n; i += 2)
			slab_free(shards[0], class, &objects[i], 1);
		for (at = 0; at < bytes; at += at < 5000 ? 1 : 61) {
			size_t index = at / sc->size;

			place = slab_locate(base + at, class);
			assert_ptr_equal(place.object,
					 index < n ? base + index * sc->size : NULL);
			assert_int_equal(place.allocated, index < n && (n - 1 - index) % 2);
		}
		for (i = 1; i < n; i += 2)
			slab_free(shards[0], class, &objects[i], 1);
	}
	slabs_check_gone(shards[0]);
}

/* What is said of one pointer that is freed and must not be. */
static void check_bad_free(char *p, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	char *base = pfn_to_virt(slab_of(p, class));
	size_t index = (size_t)(p - base) / sc->size, inside = (size_t)(p - base) % sc->size;
	void *pointer = p;

	slab_free(shards[0], class, &pointer, 1);
	if (index >= sc->nr_objects)
		unit_said("buddymalloc: invalid free of %p: in the unused tail of a slab of %u-byte objects\n",
			  pointer, sc->size);
	else if (inside)
		unit_said("buddymalloc: invalid free of %p: %zu bytes inside the %u-byte object at %p\n",
			  pointer, inside, sc->size, (void *)(p - inside));
	else
		unit_said("buddymalloc: double free of %p: an object of %u bytes that is free already\n",
			  pointer, sc->size);
}

static void invalid_pointers_are_refused(void)
{
	unsigned class, n, i;

	slabs_start(1);
	options.abort_on_corruption = false;
	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		/* Further pages of a single object have no tag, and never come here. */
		bool single = sc->nr_objects == 1;
		size_t bytes = single ? PAGE_SIZE : (size_t)sc->nr_pages << PAGE_SHIFT, at;
		size_t step = bytes / 2000 | 1;
		char *base;
		u64 nr_free;

		n = take_slab(class);
		base = objects[n - 1];
		nr_free = shards[0]->nodes[class].nr_free;
		/* Every object's neighbours, and an even sample of all addresses. */
		for (i = 0; i < n; i++) {
			check_bad_free((char *)objects[i] + 1, class);
			if (single)
				continue;
			check_bad_free((char *)objects[i] + sc->size - 1, class);
			check_bad_free((char *)objects[i] + sc->size / 2, class);
		}
		for (at = 1; at < bytes; at += step)
			if (at % sc->size || at / sc->size >= n)
				check_bad_free(base + at, class);
		/* Nothing has changed; every object still can be freed, once. */
		assert_int_equal(shards[0]->nodes[class].nr_free, nr_free);
		give_slab(class);
		unit_said("%s", "");
		if (shards[0]->nodes[class].nr_empty)
			for (i = 0; i < n; i++)
				check_bad_free(objects[i], class);
		slabs_check(shards[0]);
	}
	slabs_check_gone(shards[0]);
}

static void free_one(void *p)
{
	slab_free(shards[0], CLASS_48, &p, 1);
}

static void each_violation_aborts(void)
{
	char *p, *tail;
	unsigned n;

	slabs_start(1);
	n = take_slab(CLASS_48);
	p = objects[0];
	tail = (char *)objects[n - 1] + (size_t)n * 48;
	unit_dies(free_one, p + 20, "invalid free of %p: 20 bytes inside the 48-byte object at %p",
		  (void *)(p + 20), (void *)p);
	unit_dies(free_one, tail, "invalid free of %p: in the unused tail of a slab of 48-byte objects",
		  (void *)tail);
	free_one(p);
	unit_dies(free_one, p, "double free of %p: an object of 48 bytes that is free already",
		  (void *)p);
	slab_free(shards[0], CLASS_48, objects + 1, n - 1);
	slab_shrink(GIVE_ALL);
	unit_dies(free_one, p, "double free of %p: its slab of 48-byte objects is gone already",
		  (void *)p);
	/* Its pages are of another class by now, or of another shard. */
	for (n = 0; n < 100 && tag_read(virt_to_pfn(p)) == TAG_NONE; n++)
		take_slab(CLASS_32);
	assert_int_equal(tag_read(virt_to_pfn(p)), shards[0]->tag_base + CLASS_32);
	unit_dies(free_one, p, "double free of %p: its slab of 48-byte objects is gone already",
		  (void *)p);
}

/* In one call good and bad pointers of many slabs: only the bad ones are refused. */
static void bad_pointers_among_good_ones(void)
{
	void *batch[MOST * 80];
	unsigned n = 0, i, bad = 0, all = 0;

	slabs_start(1);
	options.abort_on_corruption = false;
	/* 75 slabs of 64 objects, so that more come empty than one turn releases. */
	while (all < 75 * 64)
		all += slab_alloc(shards[0], CLASS_128, objects + all, 64);
	for (i = 0; i < all; i++) {
		batch[n++] = objects[i];
		if (i % 97 == 0) {
			batch[n++] = (char *)objects[i] + 64;
			batch[n++] = objects[i];
			bad += 2;
		}
	}
	/* The whole first slab once more: it may be kept, or gone. */
	for (i = 0; i < 64; i++, bad++)
		batch[n++] = objects[i];
	slab_free(shards[0], CLASS_128, batch, n);
	for (i = 0, n = 0; fake_output()[i]; i++)
		n += fake_output()[i] == '\n';
	assert_int_equal(n, bad);
	fake_clear_output();
	slabs_check_gone(shards[0]);
}

static void freed_in_order(bool up, unsigned class, unsigned twice)
{
	char said[100];
	void *run[MOST];
	unsigned n = take_slab(class), i;

	for (i = 0; i < n; i++)
		run[i] = objects[up ? n - 1 - i : i];
	slab_free(shards[0], class, &run[twice], 1);
	slab_free(shards[0], class, run, n);
	/* Where all others are free by then, it says that the slab is gone. */
	snprintf(said, sizeof(said), "buddymalloc: double free of %p: ", run[twice]);
	assert_memory_equal(fake_output(), said, strlen(said));
	assert_ptr_equal(strchr(fake_output(), '\n') + 1, strchr(fake_output(), '\0'));
	fake_clear_output();
	slabs_check(shards[0]);
	slab_shrink(GIVE_ALL);
}

/* Neighbours are marked free together: one that is free already is found among them. */
static void runs_of_neighbours(void)
{
	unsigned class, twice;

	slabs_start(1);
	options.abort_on_corruption = false;
	for (class = 0; class < NR_PACKED_CLASSES; class++)
		for (twice = 0; twice < size_classes[class].nr_objects; twice++) {
			freed_in_order(true, class, twice);
			freed_in_order(false, class, twice);
		}
	slabs_check_gone(shards[0]);
}

/* Partial slabs serve before a new one is made; a new one only for who gets nothing. */
static void partial_slabs_first(void)
{
	u64 made = stats_shared.slabs_allocated;
	unsigned n;

	slabs_start(1);
	n = take_slab(CLASS_64);
	assert_int_equal(slab_alloc(shards[0], CLASS_64, objects + n, 10), 10);
	assert_int_equal(stats_shared.slabs_allocated, made + 2);
	slab_free(shards[0], CLASS_64, objects, 3);
	/* All but 10 of the second slab and 3 of the first: not a whole slab as asked for. */
	assert_int_equal(slab_alloc(shards[0], CLASS_64, objects + n, n), n - 10 + 3);
	assert_int_equal(stats_shared.slabs_allocated, made + 2);
	assert_int_equal(slab_alloc(shards[0], CLASS_64, objects + 2 * n, 1), 1);
	assert_int_equal(stats_shared.slabs_allocated, made + 3);
}

/* Who asks for more than a slab has gets as many whole ones, in order, and no part of one. */
static void several_new_slabs(void)
{
	const unsigned of_one = size_classes[CLASS_64].nr_objects, n = 3 * of_one + of_one / 2;
	u64 made = stats_shared.slabs_allocated;
	unsigned i;

	slabs_start(1);
	errno = 0;
	assert_int_equal(slab_alloc(shards[0], CLASS_64, objects, n), 3 * of_one);
	assert_int_equal(stats_shared.slabs_allocated, made + 3);
	slabs_check(shards[0]);
	for (i = 0; i < 3 * of_one; i++)
		if (i % of_one)
			assert_ptr_equal((char *)objects[i], (char *)objects[i - 1] - 64);
	/* Nothing of them is left. */
	assert_int_equal(slab_alloc(shards[0], CLASS_64, objects + n, 1), 1);
	assert_int_equal(stats_shared.slabs_allocated, made + 4);
	assert_int_equal(errno, 0);
	slab_free(shards[0], CLASS_64, objects, 3 * of_one);
	slab_free(shards[0], CLASS_64, objects + n, 1);
	slabs_check_gone(shards[0]);
}

/* Empty slabs stay for the next who asks, up to a bound; idle ones go with ageing. */
static void empty_slabs_are_kept_for_a_while(void)
{
	unsigned class, i, round;
	u64 made;

	slabs_start(1);
	for (class = 0; class < NR_PACKED_CLASSES; class += 5) {
		if (size_classes[class].nr_pages > 16)
			continue;
		made = stats_shared.slabs_allocated;
		for (round = 0; round < 50; round++) {
			take_slab(class);
			give_slab(class);
		}
		assert_int_equal(stats_shared.slabs_allocated, made + 1);
		assert_int_equal(shards[0]->nodes[class].nr_empty, 1);
		slab_shrink(GIVE_IDLE);
		slab_shrink(GIVE_IDLE);
		assert_int_equal(shards[0]->nodes[class].nr_empty, 0);
	}
	/* However many come free, a shard keeps some MiB of them at most. */
	for (round = 0; round < 3; round++) {
		unsigned all = 0;

		while (all < 70 * 256)
			all += slab_alloc(shards[0], CLASS_1024, objects + all, 32);
		for (i = 0; i < all; i++)
			slab_free(shards[0], CLASS_1024, &objects[i * 7919ull % all], 1);
		assert_true(shards[0]->empty_packed.bytes <= 4 << 20);
		slabs_check(shards[0]);
	}
	slabs_check_gone(shards[0]);
}

/* Without memory for a slab nothing is handed out, and nothing is lost. */
static void short_memory(void)
{
	unsigned class, n;
	void *p;

	fake.rlimit_bytes = 6 << 20;
	slabs_start(1);
	for (class = 0; class < NR_CLASSES; class += 3) {
		unsigned got = 0;

		errno = 0;
		while (got < ARRAY_SIZE(objects) - MOST &&
		       (n = slab_alloc(shards[0], class, objects + got, MOST)))
			got += n;
		if (got < ARRAY_SIZE(objects) - MOST)
			assert_int_equal(errno, ENOMEM);
		if (class >= NR_PACKED_CLASSES)
			assert_null(slab_alloc_single(shards[0], class, NULL));
		slabs_check(shards[0]);
		while (got) {
			n = MIN(got, 200u);
			got -= n;
			slab_free(shards[0], class, objects + got, n);
		}
		slabs_check_gone(shards[0]);
	}
	p = NULL;
	assert_int_equal(slab_alloc(shards[0], 0, &p, 1), 1);
}

/* What comes back into partial slabs while memory is sought serves who seeks it. */
static unsigned held;

static void give_held(enum give how)
{
	if (how == GIVE_ALL && held) {
		slab_free(shards[0], CLASS_4096, objects, held);
		held = 0;
	}
}

static const struct shrinker shrinker = { .shrink = give_held };

static void objects_that_come_back_in_need(void)
{
	unsigned n = 0, got;
	void *out[4];

	fake.rlimit_bytes = 6 << 20;
	slabs_start(1);
	set_shrinkers(&shrinker, 1);
	while (n < ARRAY_SIZE(objects) && (got = slab_alloc(shards[0], CLASS_4096, objects + n, 1)))
		n += got;
	assert_int_equal(errno, ENOMEM);
	/* Not a whole slab, or its pages would come free. */
	held = 3;
	assert_int_equal(slab_alloc(shards[0], CLASS_4096, out, 4), 3);
	assert_int_equal(held, 0);
	slabs_check(shards[0]);
}

UNIT_MAIN(CASE(slabs_are_cut_from_the_bottom), CASE(tags_name_shard_and_class),
	  CASE(every_address_finds_its_object), CASE(invalid_pointers_are_refused),
	  CASE(each_violation_aborts), CASE(bad_pointers_among_good_ones),
	  CASE(runs_of_neighbours), CASE(partial_slabs_first), CASE(several_new_slabs),
	  CASE(empty_slabs_are_kept_for_a_while), CASE(short_memory),
	  CASE(objects_that_come_back_in_need))
