/*
 * rank 7: arenas, see arena.h. Which pages they hold is counted as a group's are, without a
 * limit.
 *
 * No lock, so that there is none for fork to take: an entry is claimed by its flag, and its
 * shard is stored when all else is in place. In a child of fork one that a thread was about to
 * make stays claimed.
 */
#include "malloc/arena.h"

#include <errno.h>

#include <buddymalloc/heap.h>

#include "malloc/internal.h"
#include "page_alloc/scope.h"

static struct arena {
	struct shard *shard;	/* release/acquire; NULL: none, or not yet */
	struct page_group pages;
	bool claimed;		/* acquire/release */
} arenas[ARENAS_MOST] BULKY;
static unsigned nr_arenas = 1; /* relaxed atomic; only grows */

static inline struct arena *arena_at(size_t arena)
{
	return &arenas[arena - 1];
}

unsigned arenas_end(void)
{
	return __atomic_load_n(&nr_arenas, __ATOMIC_RELAXED);
}

struct shard *arena_shard(size_t arena)
{
	return arena && arena <= ARENAS_MOST ?
		       __atomic_load_n(&arena_at(arena)->shard, __ATOMIC_ACQUIRE) : NULL;
}

u64 arena_bytes(size_t arena)
{
	return arena_shard(arena) ?
		       __atomic_load_n(&arena_at(arena)->pages.usage, __ATOMIC_RELAXED) << PAGE_SHIFT : 0;
}

unsigned arena_of_owner(u16 owner)
{
	unsigned i, end = arenas_end();

	for (i = 1; owner && i < end; i++) {
		struct shard *shard = arena_shard(i);

		if (shard && shard->owner == owner)
			return i;
	}
	return 0;
}

/* A free entry's number; 0: none. */
static unsigned claim(void)
{
	unsigned i, end;

	for (i = 1; i <= ARENAS_MOST; i++)
		if (!__atomic_test_and_set(&arena_at(i)->claimed, __ATOMIC_ACQUIRE))
			break;
	if (i > ARENAS_MOST)
		return 0;
	end = arenas_end();
	while (end <= i && !__atomic_compare_exchange_n(&nr_arenas, &end, i + 1, false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return i;
}

static void unclaim(struct arena *a)
{
	__atomic_clear(&a->claimed, __ATOMIC_RELEASE);
}

/* From now on it serves. */
static void publish(struct arena *a, struct shard *shard)
{
	__atomic_store_n(&page_groups[shard->owner], &a->pages, __ATOMIC_RELEASE);
	__atomic_store_n(&a->shard, shard, __ATOMIC_RELEASE);
}

/* A new shard for a claimed entry; false with errno ENOMEM or EAGAIN. */
static bool begin(struct arena *a)
{
	struct shard *shard = shard_create_private();

	if (!shard)
		return false;
	a->pages = (struct page_group){ .limit = UINT64_MAX };
	publish(a, shard);
	return true;
}

unsigned arena_create(void)
{
	unsigned arena;

	ensure_up();
	arena = claim();
	if (!arena) {
		errno = EAGAIN;
		return 0;
	}
	if (begin(arena_at(arena)))
		return arena;
	unclaim(arena_at(arena));
	return 0;
}

bool arena_destroy(size_t arena, bool reset)
{
	struct arena *a;
	struct shard *shard;

	if (!arena_shard(arena))
		return false;
	a = arena_at(arena);
	/* Of two threads that would one does. */
	shard = __atomic_exchange_n(&a->shard, NULL, __ATOMIC_ACQ_REL);
	if (!shard)
		return false;
	/* Another may have the shard as soon as it is retired. */
	__atomic_store_n(&page_groups[shard->owner], NULL, __ATOMIC_RELEASE);
	if (bm_heap_destroy((struct bm_heap *)(void *)shard) < 0) {
		publish(a, shard);
		return false;
	}
	if (reset && begin(a))
		return true;
	unclaim(a);
	return !reset;
}
