/* rank 6: what the files of the folder share: the inside of a thread cache. */
#ifndef BM_TCACHE_INTERNAL_H
#define BM_TCACHE_INTERNAL_H

#include "tcache/tcache.h"

/* The thread's own cache, also while that is sealed; NULL before there is one. */
extern __thread struct tcache *home_tcache HIDDEN __attribute__((tls_model("initial-exec")));

/* Casts the const away: this_tcache may point to a constant cache. */
static inline struct tcache *tcache_shared(const struct tcache *tc)
{
	return (struct tcache *)(uintptr_t)tc;
}

/* The one way by which slow paths move a top: the head follows. */
static inline void sheaf_set_top(struct tcache *tc, size_t class, void **top)
{
	tc->sheaf[class].head = top[-1];
	__atomic_store_n(&tc->sheaf[class].top, top, __ATOMIC_RELEASE);
}

/* idle.c */
/* Gives the calling thread its own cache back, if that is sealed. */
void tcache_unseal(struct tcache *tc);
/* The calling thread is the cache's: by this others find out whether it is gone. */
void tcache_note_thread(struct tcache *tc);
/* In a child after fork. */
void idle_after_fork(void);
/* The thread is gone without a word: tls points into memory that may not be there. */
void tcache_unseal_gone(struct tcache *tc);

/*
 * The owner's slow paths work on its cache between enter and leave; they nest. Enter
 * returns what leave wants. Nobody takes from the cache meanwhile.
 */

/* False when the cache is sealed: it is entered all the same, to be unsealed or left. */
static fast_inline bool tcache_enter_marked(struct tcache *tc, u32 *before)
{
	*before = tc->busy;
	__atomic_store_n(&tc->busy, 1, __ATOMIC_RELAXED);
	/* The other side's membarrier orders this on the processor too. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return likely(__atomic_load_n(&this_tcache, __ATOMIC_RELAXED) == tc);
}

static fast_inline void tcache_leave(struct tcache *tc, u32 before)
{
	__atomic_store_n(&tc->busy, before, __ATOMIC_RELEASE);
}

static inline u32 tcache_enter(struct tcache *tc)
{
	u32 before;

	if (unlikely(!tcache_enter_marked(tc, &before)))
		tcache_unseal(tc);
	return before;
}

/* False when the cache is sealed: nothing is entered then. */
static fast_inline bool tcache_try_enter(struct tcache *tc, u32 *before)
{
	if (likely(tcache_enter_marked(tc, before)))
		return true;
	tcache_leave(tc, *before);
	return false;
}

/* single.c */
/* Frees an object of the cache's shard and of class NR_SHEAVES and up; the cache is live. */
void tcache_free_single(struct tcache *tc, void *p, unsigned class);
/* Gives back all that the thread keeps of these. */
void tcache_drop_kept(struct tcache *tc);
/*
 * Empties place i: what it has, NULL if nothing, and of what class. Entered, or with the
 * cache sealed and its lock held.
 */
void *tcache_take_kept(struct tcache *tc, unsigned i, unsigned *class);

/* Refills, and frees of single objects, between two looks at the clock, unless drop_is_much. */
#define AGE_EVERY 16

/* free.c */
/* Past all caches, to the object's shard. */
void tcache_free_direct(void *p, u16 tag);
/* Sends off all objects of other shards: to whom they are of use, or to their slabs. */
void tcache_flush_remote(struct tcache *tc, void (*send)(void **objects, unsigned n));

/* sheaf.c */
/* Takes an object of the thread's shard whose sheaf is full, or was when it was looked at. */
void sheaf_push_full(struct tcache *tc, unsigned class, void *p);
static inline void **sheaf_bottom(struct tcache *tc, unsigned class)
{
	return tc->sheaf[class].bottom;
}
/*
 * Objects in the sheaf, for any thread; 0 while the owner moves it. What a child
 * of fork finds in that moment it loses rather than owns twice.
 */
u32 sheaf_used(const struct tcache *tc, unsigned class);
/* What a cache takes, its sheaves included. */
size_t tcache_bytes(void);
/* Pages that sheaves have used since the last call, about; for a cache without a thread. */
u64 sheaves_touched(struct tcache *tc);
/* A cache's sheaves, empty, with the limits of its state. */
void sheaf_setup(struct tcache *tc);

/* thread.c */
extern struct lock threads_lock HIDDEN;	/* LOCK_THREADS */
extern struct tcache *threads_live HIDDEN; /* all caches with a thread; LOCK_THREADS */
/* Those that were not idle when ageing looked last, and the new ones; relaxed atomic. */
extern u32 threads_nr_active HIDDEN;

/* The shard a cache works on; the shared caches of capacity 0 have the first. */
struct shard *tcache_shard(const struct tcache *tc);
/* LOCK_THREADS held, or alone: the cache is none with a thread any more. */
void tcache_unlink_locked(struct tcache *tc);
/*
 * The thread is gone, nobody allocates for it any more: its cache is for the next. LOCK_THREADS
 * is held from the unlinking, or the leaving of the orphans, on, or a child of fork would do it
 * once more.
 */
void tcache_retire_locked(struct tcache *tc);

/* orphan.c */
extern struct tcache *orphans HIDDEN;	/* not emptied yet; LOCK_THREADS */
/* LOCK_THREADS held, or alone: the cache of a thread that is gone will be reaped with those. */
void tcache_orphan(struct tcache *tc);

/* spare.c. LOCK_THREADS held: a cache that had a thread before, its struct as it was left; NULL. */
struct tcache *spare_take_locked(void);
void spare_put_locked(struct tcache *tc);
/* Adds their counters. */
void spare_totals_locked(struct stats *total);
/* In a child. */
void spare_after_fork(void);

#endif
