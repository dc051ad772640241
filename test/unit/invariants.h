/*
 * What always holds of a zone, and of a shard's slabs, between two calls: buddy/zone.h and
 * slab/slab.h say it. Each walk looks at all of it, and aborts with a message of the first thing
 * that is not so; checks.c proves that they do.
 */
#ifndef BM_TEST_INVARIANTS_H
#define BM_TEST_INVARIANTS_H

#include "buddy/zone.h"
#include "slab/slab.h"

/* Slow. The zone's lock is held, or nobody else is there. */
void zone_check_locked(struct zone *zone);

/* Takes the nodes' locks. */
void slab_check(struct shard *shard);

#endif
