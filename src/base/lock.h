/*
 * rank 1: the lock of every layer: four bytes, a short spin, then a futex.
 *
 * Lock order is layer order, see enum lock_rank. With BM_DEBUG each thread
 * keeps the set of ranks it holds and a lock taken out of order aborts.
 */
#ifndef BM_BASE_LOCK_H
#define BM_BASE_LOCK_H

#include "base/types.h"

/* A lock may be taken while holding only locks of a smaller rank. */
enum lock_rank {
	LOCK_BRINGUP,	/* start of the library, once */
	LOCK_THREADS,	/* the list of thread caches */
	LOCK_SHARDS,	/* creation of shards */
	LOCK_NODE,	/* one shard's slabs of one class */
	LOCK_PCP,	/* one CPU's page lists */
	LOCK_ZONE,	/* one zone's free areas */
	LOCK_SECTION,	/* growth of the mem_map */
	NR_LOCK_RANKS
};

struct lock {
	_Atomic u32 word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

void lock_slow(struct lock *l);
void unlock_slow(struct lock *l);

#ifdef BM_DEBUG
void lock_check_take(enum lock_rank rank, bool trying);
void lock_check_drop(enum lock_rank rank);
/* fork's prepare handler holds all locks of all ranks; false ends that. */
void lock_check_fork(bool all_held);
#else
static inline void lock_check_take(enum lock_rank rank, bool trying)
{
	(void)rank;
	(void)trying;
}
static inline void lock_check_drop(enum lock_rank rank)
{
	(void)rank;
}
static inline void lock_check_fork(bool all_held)
{
	(void)all_held;
}
#endif

static inline bool try_lock(struct lock *l, enum lock_rank rank)
{
	u32 free = 0;

	if (!__atomic_compare_exchange_n((u32 *)&l->word, &free, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	lock_check_take(rank, true);
	return true;
}

static inline void lock(struct lock *l, enum lock_rank rank)
{
	u32 free = 0;

	lock_check_take(rank, false);
	if (unlikely(!__atomic_compare_exchange_n((u32 *)&l->word, &free, 1, false,
						  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		lock_slow(l);
}

static inline void unlock(struct lock *l, enum lock_rank rank)
{
	lock_check_drop(rank);
	if (unlikely(__atomic_exchange_n((u32 *)&l->word, 0, __ATOMIC_RELEASE) == 2))
		unlock_slow(l);
}

/* In a child after fork: whoever slept on the lock is not here any more. */
static inline void lock_reinit(struct lock *l)
{
	__atomic_store_n((u32 *)&l->word, 0, __ATOMIC_RELAXED);
}

#endif
