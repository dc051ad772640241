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
	LOCK_BRINGUP,	/* the start of the library; the lists of groups */
	LOCK_THREADS,	/* the list of thread caches */
	LOCK_SEAL,	/* a thread cache that others take from */
	LOCK_SHARDS,	/* shards and their threads */
	LOCK_TRANSFER,	/* what waits for one shard's threads */
	LOCK_NODE,	/* one shard's slabs of one class */
	LOCK_GROW,	/* one zone's growth */
	LOCK_PCP,	/* one CPU's page lists */
	LOCK_ZONE,	/* one zone's free areas */
	LOCK_SECTION,	/* growth of the mem_map, states of pageblocks */
	NR_LOCK_RANKS
};

/*
 * WORD_FREE: 0. WORD_HELD: held, nobody sleeps. WORD_WAITED: held, somebody may
 * sleep. WORD_FORK: held by the prepare handler of fork, see lock_for_fork.
 * WORD_FORK_WITHIN: as WORD_FORK, but the only thread of the process held the lock already
 * when a signal's handler interrupted it and called fork.
 */
struct lock {
	u32 word; /* atomic; acquire to take, release to drop */
};

enum { WORD_FREE, WORD_HELD, WORD_WAITED, WORD_FORK, WORD_FORK_WITHIN };

void lock_slow(struct lock *l);
void unlock_slow(struct lock *l);

/*
 * fork's prepare handler takes all locks with lock_for_fork; lock_fork_owned then
 * says that it has them. From there to lock_fork_done the forking thread passes
 * through every lock as if it were free: handlers that run after ours may
 * allocate, and may even fork. A fork within a fork takes no locks again:
 * lock_fork_begin, asked first, is false for it, and lock_fork_done, asked in the
 * parent before unlocking, is true only for the outermost one.
 *
 * In a process of one thread (`alone`; lock_fork_is_alone) no lock is taken, and lock_fork_done is
 * false: from the second fork on nothing is written, which would cost parent and child a copy of
 * each page with a lock. But when a signal's handler forks in the midst of the allocator, the locks
 * that are held pass for taken, and all is as above.
 */
bool lock_fork_begin(bool alone);
bool lock_fork_is_alone(void);
void lock_for_fork(struct lock *l, enum lock_rank rank);
void lock_fork_owned(void);
bool lock_fork_done(void);
/* The calling thread is between lock_fork_owned and lock_fork_done: others may wait for it. */
bool lock_is_forking(void);
/*
 * For locks that are dropped with unlock_tried: nobody may sleep on them, as a
 * plain store wakes nobody. Waits by yielding; the holder is never far.
 */
void lock_polled(struct lock *l, enum lock_rank rank);
void lock_polled_for_fork(struct lock *l, enum lock_rank rank);
void unlock_for_fork(struct lock *l, enum lock_rank rank);
/* In the child, when all locks are new. */
void lock_fork_child(void);

/*
 * How many locks the calling thread holds: one more before it has the lock, one less after it has
 * dropped it, as seen by a signal's handler in between.
 */
extern __thread int locks_held HIDDEN __attribute__((tls_model("initial-exec")));

static inline void locks_held_more(void)
{
	locks_held++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void locks_held_less(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	locks_held--;
}

#ifdef BM_DEBUG
/* The order in which locks are taken. */
void lock_check_take(enum lock_rank rank, bool trying);
void lock_check_drop(enum lock_rank rank);
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
#endif

static inline bool lock_word_cas(struct lock *l, u32 from, u32 to, int order)
{
	return __atomic_compare_exchange_n(&l->word, &from, to, false, order, __ATOMIC_RELAXED);
}

static inline bool try_lock(struct lock *l, enum lock_rank rank)
{
	locks_held_more();
	if (!lock_word_cas(l, WORD_FREE, WORD_HELD, __ATOMIC_ACQUIRE)) {
		locks_held_less();
		return false;
	}
	lock_check_take(rank, true);
	return true;
}

static inline void lock(struct lock *l, enum lock_rank rank)
{
	locks_held_more();
	lock_check_take(rank, false);
	if (unlikely(!lock_word_cas(l, WORD_FREE, WORD_HELD, __ATOMIC_ACQUIRE)))
		lock_slow(l);
}

static inline void unlock(struct lock *l, enum lock_rank rank)
{
	lock_check_drop(rank);
	if (unlikely(!lock_word_cas(l, WORD_HELD, WORD_FREE, __ATOMIC_RELEASE)))
		unlock_slow(l);
	locks_held_less();
}

/* Drops a lock that was got by try_lock and that others take by try_lock or lock_polled only. */
static inline void unlock_tried(struct lock *l, enum lock_rank rank)
{
	lock_check_drop(rank);
	__atomic_store_n(&l->word, WORD_FREE, __ATOMIC_RELEASE);
	locks_held_less();
}

/*
 * In a child after fork: 0, as whoever set the word is not here any more. Written only if it is
 * not: that makes the child copy a page.
 */
static inline void word_reinit(u32 *word)
{
	if (__atomic_load_n(word, __ATOMIC_RELAXED))
		__atomic_store_n(word, 0, __ATOMIC_RELAXED);
}

/* Whoever slept on it is not here either. */
static inline void lock_reinit(struct lock *l)
{
	word_reinit(&l->word);
}

#endif
