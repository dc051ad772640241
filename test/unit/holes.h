/* What the tests of hole punching share; each program includes it once. */
#ifndef BM_TEST_HOLES_H
#define BM_TEST_HOLES_H

#include <string.h>

#include "slabs.h"

#define MOST SLAB_MAX_OBJECTS

static void *objects[MOST]; /* of the last full_slab, by address */

/* All objects of a new slab by address, each filled with its number. */
static inline u64 full_slab(unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	void *out[MOST];
	u32 i;

	assert_int_equal(slab_alloc(shards[0], class, out, sc->nr_objects), sc->nr_objects);
	for (i = 0; i < sc->nr_objects; i++) {
		objects[i] = out[sc->nr_objects - 1 - i];
		memset(objects[i], (int)i + 1, sc->size);
	}
	return slab_of(objects[0], class);
}

/* For cases that count pages of 4 KiB. */
static inline void start(void)
{
	unit_needs_pages_of(4096);
	options.decay_ms = -1;
	slabs_start(1);
}

#define CLASS_A CLASS_1024

/* The same, with a slab of CLASS_A in which two pages hold no live object: the slab's first page. */
static inline u64 start_with_holes(void)
{
	u64 pfn;

	start();
	pfn = full_slab(CLASS_A);
	slab_free(shards[0], CLASS_A, objects, 8);
	return pfn;
}

#endif
