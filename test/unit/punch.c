/* Hole punching: pages without a live object go, all others stay, and the slab stays in use. */
#include "holes.h"

static u64 unit(void)
{
	return fake.page_size >> PAGE_SHIFT;
}

/*
 * Whether no object in use touches the page of the system that page `at` of the
 * slab lies in, and no other slab does either.
 */
static bool page_is_idle(u64 pfn, const struct size_class *sc, const bool *used, u64 at)
{
	u64 first = round_down(pfn + at, unit());
	u64 from = (first - pfn) << PAGE_SHIFT;
	u64 to = from + fake.page_size;
	u32 i;

	if (first < pfn || first + unit() > pfn + sc->nr_pages)
		return false;
	for (i = 0; i < sc->nr_objects; i++)
		if (used[i] && (u64)i * sc->size < to && (u64)(i + 1) * sc->size > from)
			return false;
	return true;
}

static bool holds_byte(const char *p, int with, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (p[i] != (char)with)
			return false;
	return true;
}

/* Exactly the idle pages have no dirty bit; objects in use are as they were. */
static void check_slab(u64 pfn, unsigned class, const bool *used)
{
	const struct size_class *sc = &size_classes[class];
	u64 at, nr_idle = 0;
	u32 i;

	for (at = 0; at < sc->nr_pages; at++) {
		bool idle = page_is_idle(pfn, sc, used, at);

		assert_int_equal(pages_nr_dirty(pfn + at, 1), !idle);
		nr_idle += idle;
	}
	assert_int_equal(pfn_to_page(pfn)->nr_clean, nr_idle);
	for (i = 0; i < sc->nr_objects; i++)
		if (used[i])
			assert_true(holds_byte(objects[i], (int)i + 1, sc->size));
	slabs_check(shards[0]);
}

/* A look of ageing's, decay_ms after the one before. */
static u64 age_later(void)
{
	options.decay_ms = 1000;
	fake.now_ms += 1000;
	return slab_punch(GIVE_IDLE, UINT64_MAX);
}

/* What lay idle goes as the option says; what is asked for goes now. */
static void punched_lazily(void)
{
	const unsigned class = size_to_class(1000);
	const struct size_class *sc = &size_classes[class];
	bool used[MOST] = { true };
	u64 pfn;

	options.free = option_free_lazy;
	start();
	pfn = full_slab(class);
	slab_free(shards[0], class, &objects[1], sc->nr_objects - 1);
	age_later();
	assert_int_equal(fake_calls(FAKE_GIVE_BACK_LAZILY), 0);
	assert_true(age_later() > 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK_LAZILY), 1);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
	check_slab(pfn, class, used);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	/* In use again, and idle again. */
	assert_int_equal(slab_alloc(shards[0], class, &objects[1], 12), 12);
	slab_free(shards[0], class, &objects[1], 12);
	slab_punch(GIVE_ALL, UINT64_MAX);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK_LAZILY), 1);
	assert_true(fake_calls(FAKE_GIVE_BACK) > 0);
	check_slab(pfn, class, used);
	/* After a long pause all at once, and as lazily. */
	assert_int_equal(slab_alloc(shards[0], class, &objects[1], 12), 12);
	slab_free(shards[0], class, &objects[1], 12);
	assert_true(slab_punch(GIVE_AGED, UINT64_MAX) > 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK_LAZILY), 2);
	check_slab(pfn, class, used);
}

/* Which objects of a full slab stay: all but some of [from, to), and never all or none. */
static void choose_used(uint64_t *seed, const struct size_class *sc, bool *used)
{
	u32 from = (u32)random_below(seed, sc->nr_objects), i;
	u32 to = from + (u32)random_below(seed, sc->nr_objects - from) + 1;
	bool any = false;

	for (i = 0; i < sc->nr_objects; i++) {
		used[i] = i < from || i >= to || !random_below(seed, sc->nr_objects);
		/* A full slab is not looked at, an empty one goes whole. */
		if (i == from)
			used[i] = false;
		any |= used[i];
	}
	if (!any)
		used[sc->nr_objects - 1] = true;
}

/* What is handed out again is backed again, page by page. */
static void take_again(u64 pfn, unsigned class, bool *used)
{
	const struct size_class *sc = &size_classes[class];
	void *out;
	u32 i;

	for (i = 0; i < sc->nr_objects; i++) {
		if (used[i])
			continue;
		assert_int_equal(slab_alloc(shards[0], class, &out, 1), 1);
		assert_ptr_equal(out, objects[i]);
		memset(out, (int)i + 1, sc->size);
		used[i] = true;
		check_slab(pfn, class, used);
	}
}

static void punch_at_random_once(uint64_t *seed, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	u64 pfn = full_slab(class), idle = 0, before;
	bool used[MOST];
	u32 i;

	choose_used(seed, sc, used);
	for (i = 0; i < sc->nr_objects; i++)
		if (!used[i])
			slab_free(shards[0], class, &objects[i], 1);
	for (i = 0; i < sc->nr_pages; i++)
		idle += page_is_idle(pfn, sc, used, i);
	before = fake_given_bytes();
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), idle);
	assert_int_equal(fake_given_bytes() - before, idle << PAGE_SHIFT);
	check_slab(pfn, class, used);
	/* Once is enough. */
	before = fake_calls(FAKE_GIVE_BACK);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), before);
	take_again(pfn, class, used);
	slab_free(shards[0], class, objects, sc->nr_objects);
	slab_shrink(GIVE_ALL);
}

static void punch_at_random(size_t page_size)
{
	uint64_t seed = unit_seed();
	unsigned class, round;

	fake.page_size = page_size;
	options.decay_ms = -1;
	slabs_start(1);
	for (class = 0; class < NR_PACKED_CLASSES; class++)
		for (round = 0; round < 4 && size_classes[class].nr_pages > unit(); round++)
			punch_at_random_once(&seed, class);
	slabs_check_gone(shards[0]);
}

static void pages_without_a_live_object_go(void)
{
	punch_at_random(fake.page_size);
}

static void in_whole_pages_of_the_system(void)
{
	unit_needs_pages_of(16384);
	punch_at_random(16384);
}

/* Ageing punches only slabs that nothing was taken from for decay_ms. */
static void idle_slabs_are_punched_by_ageing(void)
{
	start_with_holes();
	assert_int_equal(age_later(), 0);
	/* However often it looks. */
	fake.now_ms += 900;
	assert_int_equal(slab_punch(GIVE_IDLE, UINT64_MAX), 0);
	assert_int_equal(slab_punch(GIVE_IDLE, UINT64_MAX), 0);
	/* Though one more came back. */
	slab_free(shards[0], CLASS_A, objects + 8, 4);
	fake.now_ms += 100;
	assert_int_equal(slab_punch(GIVE_IDLE, UINT64_MAX), 3);
	assert_int_equal(age_later(), 0);
	/* As many free ones as before, but some were in use meanwhile. */
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects, 8), 8);
	slab_free(shards[0], CLASS_A, objects, 8);
	assert_int_equal(age_later(), 0);
	assert_int_equal(age_later(), 2);
	slabs_check(shards[0]);
}

/* A step that has to end goes on next time where it ended: nobody waits for ever. */
static void all_have_their_turn(void)
{
	static const unsigned class[] = { CLASS_A, CLASS_A + 1, CLASS_A + 2 };
	u64 given = 0;
	unsigned i;

	start();
	for (i = 0; i < ARRAY_SIZE(class); i++) {
		full_slab(class[i]);
		slab_free(shards[0], class[i], objects, 8);
	}
	assert_int_equal(age_later(), 0);
	fake.now_ms += 1000;
	for (i = 0; i < ARRAY_SIZE(class); i++) {
		u64 now = slab_punch(GIVE_IDLE, 1);

		assert_in_range(now, 1, 4);
		given += now;
	}
	assert_int_equal(slab_punch(GIVE_IDLE, UINT64_MAX), 0);
	assert_true(given >= 3);
	slabs_check(shards[0]);
}

/* A huge page in use is not broken up for some pages; in need, or when all is idle, it is. */
static void huge_pages_stay_whole_while_busy(void)
{
	options.thp = option_thp_always;
	start_with_holes();
	assert_int_equal(age_later(), 0);
	assert_int_equal(age_later(), 0);
	assert_int_equal(slab_punch(GIVE_AGED, UINT64_MAX), 2);
	slab_free(shards[0], CLASS_A, objects + 8, 4);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 1);
	slabs_check(shards[0]);
}

/* A heap may be destroyed while others look through the slabs: those of heaps are left alone. */
static void slabs_of_heaps_are_not_looked_at(void)
{
	struct shard *heap;
	void *out[MOST];

	start();
	heap = shard_create_private();
	assert_int_equal(slab_alloc(heap, CLASS_A, out, 64), 64);
	slab_free(heap, CLASS_A, out, 32);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
}

/* The system may refuse: the pages stay as they are, and are tried again. */
static void a_refused_page_stays(void)
{
	start_with_holes();
	fake_fail(FAKE_GIVE_BACK, 1, 1);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	slabs_check(shards[0]);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
}

/* Walks have numbers: what a slab says of an old one does not end a new one. */
static void walks_are_told_apart(void)
{
	struct cache_node *node;

	start();
	node = &shards[0]->nodes[CLASS_A];
	full_slab(CLASS_A);
	slab_free(shards[0], CLASS_A, objects, 1);
	node->pass = UINT32_MAX - 1;
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_int_equal(node->pass, UINT32_MAX);
	/* Without a walk none is counted. */
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_int_equal(node->pass, UINT32_MAX);
	slab_free(shards[0], CLASS_A, objects + 1, 7);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	assert_int_equal(node->pass, 1);
	/* Full, and back again: of another life. */
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects, 8), 8);
	node->pass = 0;
	slab_free(shards[0], CLASS_A, objects, 8);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
}

/* Whether the next walk would look at the slabs of the class. */
static bool would_look(void)
{
	const struct cache_node *node = &shards[0]->nodes[CLASS_A];

	return node->changes != node->without_holes;
}

/* A list without a hole is not walked again, until there may be one by any of three ways. */
static void a_vain_walk_is_not_repeated(void)
{
	const struct size_class *sc = &size_classes[CLASS_A];

	start();
	full_slab(CLASS_A);
	slab_free(shards[0], CLASS_A, objects, 1);
	assert_true(would_look());
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_false(would_look());
	/* Objects come back. */
	slab_free(shards[0], CLASS_A, objects + 1, 7);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_false(would_look());
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects, 8), 8);
	/* A new slab of which little is taken. */
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects, 1), 1);
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) > 0);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	/* An empty one is in use again. */
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects + 1, sc->nr_objects - 1u),
			 sc->nr_objects - 1);
	slab_free(shards[0], CLASS_A, objects, sc->nr_objects);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	assert_false(would_look());
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects, 1), 1);
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) > 0);
	/* Who wants no more than it found does not know of the rest. */
	assert_int_equal(slab_alloc(shards[0], CLASS_A, objects + 1, 8), 8);
	slab_free(shards[0], CLASS_A, objects + 1, 8);
	assert_true(slab_punch(GIVE_ALL, 1) > 0);
	assert_true(would_look());
	slabs_check(shards[0]);
}

UNIT_MAIN(CASE(punched_lazily), CASE(pages_without_a_live_object_go),
	  CASE(in_whole_pages_of_the_system), CASE(idle_slabs_are_punched_by_ageing),
	  CASE(all_have_their_turn), CASE(huge_pages_stay_whole_while_busy),
	  CASE(slabs_of_heaps_are_not_looked_at), CASE(a_refused_page_stays),
	  CASE(a_vain_walk_is_not_repeated), CASE(walks_are_told_apart))
