/* Objects that a test takes from its thread's cache and gives again; for one program each. */
#ifndef BM_TEST_TAKEN_H
#define BM_TEST_TAKEN_H

#include "tcaches.h"

#define MOST 8192

static void *objects[MOST];

static inline unsigned take(unsigned class, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		objects[i] = cache_alloc(class);
		assert_non_null(objects[i]);
	}
	return n;
}

static inline void give(unsigned n)
{
	while (n)
		cache_free(objects[--n]);
}

#endif
