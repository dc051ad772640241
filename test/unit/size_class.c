/* The table of size classes: lookups against linear searches, bounds on waste. */
#include "unit.h"

#include "slab/size_class.h"
#include "tcache/tcache.h"

/* Rank 7's part of the thread caches; no cache is made here. */
const struct tcache_hooks tcache_hooks;

static unsigned smallest_class(size_t size)
{
	unsigned class = 0;

	while (size_classes[class].size < size)
		class++;
	return class;
}

static void every_size_finds_its_class(void)
{
	unsigned expected = 0;
	size_t size;

	assert_int_equal(size_classes[NR_CLASSES - 1].size, MAX_CLASS_SIZE);
	for (size = 1; size <= MAX_CLASS_SIZE; size++) {
		if (size_classes[expected].size < size)
			expected++;
		if (size_to_class(size) != expected)
			fail_msg("size %zu: class %u, not %u", size, size_to_class(size), expected);
	}
	assert_int_equal(expected, NR_CLASSES - 1);
}

static void table_of_the_fast_path(void)
{
	size_t size;

	assert_int_equal(size_to_sheaf[0], size_to_class(1) * sizeof(struct sheaf));
	for (size = 1; size <= TABLE_MAX; size++)
		assert_int_equal(size_to_sheaf[size], size_to_class(size) * sizeof(struct sheaf));
}

static void rounding_wastes_at_most_an_eighth(void)
{
	size_t size;

	for (size = 129; size <= MAX_CLASS_SIZE; size++) {
		size_t waste = size_classes[size_to_class(size)].size - size;

		if (waste * 8 > size)
			fail_msg("%zu bytes waste %zu", size, waste);
	}
	for (size = 1; size <= 128; size++)
		assert_true(size_classes[size_to_class(size)].size - size < MIN_ALIGN);
}

static void slabs_are_well_filled(void)
{
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		size_t bytes = (size_t)sc->nr_pages << PAGE_SHIFT;
		size_t used = (size_t)sc->size * sc->nr_objects;

		assert_true(used <= bytes);
		/* No room for one more, and at most 4% that no object can have. */
		assert_true(sc->nr_objects == 256 || bytes - used < sc->size);
		assert_true((bytes - used) * 25 <= bytes);
		assert_in_range(sc->nr_objects, 1, 256);
		/* What a slab costs is shared by many of them. */
		assert_true(sc->nr_objects >= 64 || sc->size > 1024);
		assert_int_equal(sc->size % MIN_ALIGN, 0);
		assert_true(!class || sc->size > sc[-1].size);
		if (sc->size <= MAX_PACKED_SIZE) {
			/* A few objects must not hold much memory. */
			assert_true(bytes <= (size_t)128 << 10);
			if (sc->unaligned)
				assert_int_equal(sc->order, 0);
			else
				assert_int_equal(sc->nr_pages, 1u << sc->order);
		} else {
			/* Its own head, so it need not be aligned. */
			assert_int_equal(sc->nr_objects, 1);
			assert_int_equal(sc->order, 0);
		}
	}
	assert_int_equal(size_classes[NR_PACKED_CLASSES - 1].size, MAX_PACKED_SIZE);
}

static void every_offset_finds_its_object(void)
{
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++) {
		const struct size_class *sc = &size_classes[class];
		u32 offset, index = 0, next = sc->size;

		for (offset = 0; offset < (u32)sc->nr_pages << PAGE_SHIFT; offset++) {
			if (offset == next) {
				index++;
				next += sc->size;
			}
			if (object_index(sc, offset) != index)
				fail_msg("class %u: offset %u", sc->size, offset);
		}
	}
}

/* The smallest class that is a multiple of the alignment, if there is one. */
static int smallest_aligned(size_t size, size_t align)
{
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++)
		if (size_classes[class].size >= size && size_classes[class].size % align == 0)
			return (int)class;
	return -1;
}

static void every_alignment(void)
{
	size_t size, align;

	for (align = 1; align <= PAGE_SIZE; align *= 2)
		for (size = 1; size <= MAX_CLASS_SIZE; size += size < 20000 ? 1 : 509) {
			int got = size_to_class_aligned(size, align);

			if (got != smallest_aligned(size, align))
				fail_msg("%zu bytes at %zu: class %d, not %d", size, align, got,
					 smallest_aligned(size, align));
		}
	for (align = 2 * PAGE_SIZE; align; align *= 2)
		assert_int_equal(size_to_class_aligned(1, align), -1);
	for (align = 1; align; align *= 2) {
		assert_int_equal(size_to_class_aligned(MAX_CLASS_SIZE + 1, align), -1);
		assert_int_equal(size_to_class_aligned(SIZE_MAX, align), -1);
		assert_int_equal(size_to_class_aligned((size_t)PTRDIFF_MAX, align), -1);
	}
	/* Of size 0 at an alignment: as of the alignment itself. */
	for (align = 16; align <= PAGE_SIZE; align *= 2)
		assert_int_equal(size_to_class_aligned(0, align), smallest_class(align));
}

UNIT_MAIN(CASE(every_size_finds_its_class),
	  CASE(table_of_the_fast_path),
	  CASE(rounding_wastes_at_most_an_eighth),
	  CASE(slabs_are_well_filled),
	  CASE(every_offset_finds_its_object),
	  CASE(every_alignment))
