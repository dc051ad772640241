/*
 * rank 7: arenas by jemalloc's numbers. 0 is malloc's own heap, which all threads share; the
 * others are heaps (bm_heap_create(3)) that mallctl("arenas.create") has made.
 */
#ifndef BM_MALLOC_ARENA_H
#define BM_MALLOC_ARENA_H

#include "slab/slab.h"

/* How many there can be besides 0: there are tags for as many heaps or so. */
#define ARENAS_MOST 256

/* A new one's number; 0 with errno ENOMEM or EAGAIN. */
unsigned arena_create(void);
/*
 * Gives all back that was allocated from it; with `reset` it goes on, empty. False when it is
 * none, or 0, or some thread's default, or when another heap was faster to take its place.
 */
bool arena_destroy(size_t arena, bool reset);

/* One more than the highest number that was ever given. */
unsigned arenas_end(void);
/* What serves it; NULL: it is 0, or there is none of that number. */
struct shard *arena_shard(size_t arena);
static inline bool arena_exists(size_t arena)
{
	return !arena || arena_shard(arena);
}
/* Bytes of pages that it holds, 0 of arena 0. */
u64 arena_bytes(size_t arena);
/* The number of the arena whose shard has this owner, else 0. */
unsigned arena_of_owner(u16 owner);

#endif
