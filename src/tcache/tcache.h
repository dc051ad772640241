/*
 * rank 6: the thread cache: for each size class a sheaf, a stack of pointers
 * to free objects of the thread's shard. malloc pops, free pushes; an empty or
 * full sheaf goes to the slow path, which moves a batch from or to the shard.
 *
 * The common paths are inline here. They have no mode check: whatever must see
 * every call (start-up, a thread that is going, hardened mode) runs with a cache
 * whose sheaves are empty and full at once, so every call falls through to the
 * slow path. They have no check for NULL, foreign or large pointers either: none
 * of those has a tag of the thread's own shard.
 *
 * The newest object stands in its slot, as all others do, and once more in
 * `head`, from where malloc takes it: else it would know its object two loads
 * late, the top and then the slot, and the processor holds back the loads of the
 * calls that follow until it knows it (src/README.md has the figures).
 *
 * A struct tcache is its thread's alone to write, but for what seal_lock protects, and
 * `kept` and `tls` while it is sealed (idle.c). Other threads read top, counts and stats
 * for reports (relaxed). Once made it is never unmapped: a thread that
 * ends leaves it on a list for the next one. LOCK_THREADS protects the lists.
 */
#ifndef BM_TCACHE_TCACHE_H
#define BM_TCACHE_TCACHE_H

#include "base/lock.h"
#include "base/stats.h"
#include "base/types.h"
#include "memmap/memmap.h"
#include "page_alloc/page_alloc.h"
#include "slab/slab.h"

/*
 * Classes that have a sheaf. Larger objects are few and worth a lock; what a
 * thread would hoard of them, others could use.
 */
#define NR_SHEAVES NR_PACKED_CLASSES

/* Requests up to here find their class in a table. */
#define TABLE_MAX 1024

/* Objects without a sheaf that a thread keeps: so many, of so many bytes in all. */
#define KEPT_MOST 4
#define KEPT_BYTES ((size_t)256 << 10)
#define KEPT_CLASS_MOST CLASS_262144

/* Objects for other threads wait here until a group of them goes home. */
#define REMOTE_MAX SLAB_MIXED_MOST
#define REMOTE_BYTES ((size_t)128 << 10)

enum tcache_state {
	TCACHE_BOOT,	/* the thread has not allocated yet */
	TCACHE_LIVE,
	TCACHE_DIRECT,	/* live without caching: hardened mode */
	TCACHE_NONE,	/* no cache, everything goes to the shard: the thread is ending, or has
			 * only freed a little, or memory ran out when it wanted one */
	TCACHE_SEALED,	/* others take from the thread's cache, see idle.c */
};

/* A stack of free objects of one class. Two of these share a cache line. */
struct sheaf {
	void *head;			/* what malloc hands out next, top[-1]; NULL: none */
	void **top;			/* one beyond the newest object */
	void **limit;			/* top of a full sheaf */
	void **bottom;			/* the slot below it is always NULL */
};

struct tcache {
	/*
	 * The first line is for slow paths: in a page's first the fast paths were
	 * slower by 10% where a tree of small nodes is built and dropped.
	 */
	u8 state;			/* enum tcache_state */
	u8 exit_passes;			/* of the thread's exit, rank 7's */
	u8 clock;			/* class to take capacity from next */
	u8 look;			/* class to look at next if idle; NR_SHEAVES: not now */
	u8 age_in;			/* refills and frees of singles until a look at the clock */
	u8 move_in;			/* sheaves that want to grow until one takes from another */
	u32 nr_remote;
	size_t remote_bytes;
	size_t capacity;		/* bytes all sheaves may hold, see sheaf.c */
	struct shard *shard;		/* what the sheaves hold is of this one */
	struct shard *home;		/* what the thread is bound to when in no heap or group */

	/*
	 * window.span as this thread last saw it; 0 sends every free to the slow
	 * path. A copy, so that free reads no word that another thread writes. These
	 * stand in front of the sheaves, where short instructions reach them.
	 */
	u64 span __attribute__((aligned(CACHE_LINE)));
	u32 tag_base;			/* of the shard; tags below and far above are not ours */
	struct sheaf sheaf[NR_SHEAVES] __attribute__((aligned(sizeof(struct sheaf))));

	/* From here on only slow paths look. */
	/* The last objects freed that were too large for a sheaf, see single.c. */
	void *kept[KEPT_MOST];		/* NULL: none */
	u32 kept_bytes;			/* of these */
	u8 kept_class[KEPT_MOST];	/* of none: 0, which is none of these */
	u8 kept_last;			/* the place of the last one freed */
	u32 busy;			/* the thread is in a slow path (idle.c); acquire/release */
	u64 look_began_ms;		/* when this round of looks began */
	u16 seen[NR_SHEAVES];		/* how many objects there were then */
	u8 small_for[NR_SHEAVES];	/* refills and overflows for which it stays small */
	u8 wanted[NR_SHEAVES];		/* how often the sheaf wanted to leave its small place */
	/* A bit each: the sheaf had its full place; see sheaves_touched. */
	u64 grown[(NR_SHEAVES + 63) / 64];
	u64 asked[(NR_SHEAVES + 63) / 64];	/* a bit each: the thread wanted such an object */
	struct tcache *next, *prev;	/* all caches with a thread; LOCK_THREADS */
	struct tcache *next_free;	/* caches without one; LOCK_THREADS */
	struct stats stats;
	/* See idle.c. */
	u32 sealed;			/* number of the reclaim that sealed it, or 0; seal_lock */
	u32 seen_by_reclaim;		/* the last that looked at it; LOCK_THREADS */
	u64 idle_mark;			/* what ageing found it like; LOCK_THREADS */
	u64 idle_since_ms;		/* without a change between its looks; LOCK_THREADS */
	int pid, tid;			/* with idle_reclaim; written before it is linked */
	bool reaped;			/* an orphan that somebody empties; LOCK_THREADS */
	bool leaving;			/* a spare one whose sheaves are given back; LOCK_THREADS */
	bool in_child;			/* in a child of fork: of the thread that forked */
	bool sealable;			/* tls may be set when the thread is in no heap or group */
	struct tcache **tls;		/* the thread's this_tcache; NULL: not to seal; seal_lock */
	struct lock seal_lock;
	u16 remote_stolen;		/* of remote, from the start; seal_lock */
	u16 stolen[NR_SHEAVES];		/* objects above each bottom that are gone; seal_lock */
	void **remote;			/* REMOTE_MAX of them, among the slots */
	void *slots[];			/* the sheaves, see sheaf.c */
};

/* Where the sheaf for a size is, in bytes from the first; 0 is as 1. */
extern const u16 size_to_sheaf[TABLE_MAX + 1] HIDDEN;

/*
 * The one thread-local variable of the fast paths. It begins as &tcache_boot, so there is no
 * "initialised?" check either.
 */
extern __thread struct tcache *this_tcache HIDDEN __attribute__((tls_model("initial-exec")));

/*
 * Each operation of the fast path reads it anew: who takes from an idle thread's
 * cache reckons with one operation on it, not with two (idle.c).
 */
static fast_inline struct tcache *current_tcache(void)
{
	return __atomic_load_n(&this_tcache, __ATOMIC_RELAXED);
}

/*
 * Shared caches of capacity 0. They are constants: nobody writes into a cache
 * before it has asked for its state.
 */
extern const struct tcache tcache_boot HIDDEN, tcache_none HIDDEN, tcache_sealed HIDDEN;

/* Slow paths: out of line, one tail call away. */
void *tcache_refill(struct tcache *tc, const struct sheaf *sheaf);
/* Of class NR_SHEAVES and up (single.c). */
void *tcache_alloc_single(struct tcache *tc, unsigned class);
/* The same, its first `size` bytes zero. */
void *tcache_calloc_single(struct tcache *tc, unsigned class, size_t size);
void tcache_free_slow(void *p, struct tcache *tc);
/* p lies in the window; class, its tag less tag_base, has no sheaf; the cache is live. */
void tcache_free_beyond(void *p, struct tcache *tc, u32 class);

/*
 * The address in one register: some processors forward a store to a load at once,
 * without the 4 or 5 cycles through the store buffer, when both name the register
 * and a displacement, but not when they name an index too.
 */
static fast_inline struct sheaf *sheaf_at(struct tcache *tc, size_t offset)
{
	char *at = (char *)tc + offset;

	__asm__("" : "+r"(at));
	return (struct sheaf *)(void *)(at + offsetof(struct tcache, sheaf));
}

static fast_inline struct sheaf *sheaf_of(struct tcache *tc, size_t class)
{
	return sheaf_at(tc, class * sizeof(struct sheaf));
}

/*
 * An object of the sheaf's class; NULL with errno ENOMEM. (To step the top in memory
 * would save an instruction and cost time.)
 */
static fast_inline void *sheaf_alloc(struct tcache *tc, struct sheaf *sheaf)
{
	void *object = sheaf->head, *next;
	void **top;

	if (unlikely(!object))
		return tcache_refill(tc, sheaf);
	top = sheaf->top;
	/* Of the last object it is the NULL below the bottom. */
	next = top[-2];
	sheaf->head = next;
	/* Atomic, lest head and top become one store, which is forwarded to neither load. */
	__atomic_store_n(&sheaf->top, top - 1, __ATOMIC_RELAXED);
	/* As a list through the objects would: the program writes there soon. */
	__builtin_prefetch(next, 1);
	return object;
}

/* Of a class, or for up to TABLE_MAX bytes. */
static fast_inline void *tcache_alloc(struct tcache *tc, size_t class)
{
	return sheaf_alloc(tc, sheaf_of(tc, class));
}

static fast_inline void *tcache_alloc_small(struct tcache *tc, size_t size)
{
	return sheaf_alloc(tc, sheaf_at(tc, size_to_sheaf[size]));
}

/*
 * Puts p on a sheaf that has room. The slot is written before top moves over
 * it, as seen by a child of fork too: it must not find a top above a stale slot.
 * (Stepping the top in memory here saves an instruction and costs 5% in time.)
 */
static fast_inline void sheaf_push(struct sheaf *sheaf, void *p)
{
	void **top = sheaf->top;

	*top = p;
	sheaf->head = p;
	__atomic_store_n(&sheaf->top, top + 1, __ATOMIC_RELEASE);
}

/*
 * Frees p if it is an object of the calling thread's shard and the sheaf has
 * room; everything else is the slow path's.
 */
static fast_inline void tcache_free(struct tcache *tc, void *p)
{
	u64 offset = (u64)((char *)p - window_base);
	struct sheaf *sheaf;
	u32 class;

	if (unlikely(offset >= tc->span))
		goto slow;
	class = (u32)((const u16 *)(void *)window_base)[offset >> PAGE_SHIFT] - tc->tag_base;
	if (unlikely(class >= NR_SHEAVES)) {
		tcache_free_beyond(p, tc, class);
		return;
	}
	sheaf = sheaf_of(tc, class);
	if (unlikely(sheaf->top == sheaf->limit))
		goto slow;
	sheaf_push(sheaf, p);
	return;
slow:
	tcache_free_slow(p, tc);
}

/*
 * Bytes of p if that is an object of the calling thread's shard, else 0: for other shards'
 * objects, for what is no slab's, and for all when a mode must see the call.
 */
static fast_inline size_t tcache_object_size(const struct tcache *tc, const void *p)
{
	u64 offset = (u64)((const char *)p - window_base);
	u32 class;

	if (unlikely(offset >= tc->span))
		return 0;
	class = (u32)((const u16 *)(void *)window_base)[offset >> PAGE_SHIFT] - tc->tag_base;
	return likely(class < NR_CLASSES) ? size_classes[class].size : 0;
}

/* Rank 7 puts in what the slow path does with pointers that are no slab's. */
struct tcache_hooks {
	void (*free_other)(void *p);	/* NULL, large, foreign, invalid */
	void (*bringup)(void);		/* before the first cache is made */
	bool (*register_exit)(struct tcache *tc); /* tcache_exit(tc) is called at thread exit */
	void (*late_in_child)(void);	/* or NULL; see tcache_late_in_child */
};
extern const struct tcache_hooks tcache_hooks; /* defined by rank 7 */

/* idle.c */
/* From now on nobody else takes from the calling thread's cache. */
void tcache_forbid_seal(struct tcache *tc);
/* And never again: the thread is ending, and its thread-local memory with it. */
void tcache_forbid_seal_for_good(struct tcache *tc);
/*
 * Frees what the caches of other threads hold: of all, or of those unchanged for decay_ms, with
 * GIVE_IDLE of a few of these.
 */
void tcache_shrink_idle(enum give how);

/*
 * spare.c: gives back what caches without a thread keep, of no more once it is `most` pages; pages
 * given.
 */
u64 tcache_give_spare(enum give how, u64 most);

/* sheaf.c */
void sheaves_init(void);
/* Gives all cached objects, the thread's and strangers', to their shards. */
void tcache_flush(struct tcache *tc);

/* thread.c */
/* The calling thread's cache, made if there is none; never tcache_boot. */
struct tcache *tcache_get(void);
/*
 * From now on the calling thread allocates from this shard, NULL: from its
 * home; what it has cached of the last one goes back. False, with errno EAGAIN, when
 * the thread is ending, or ENOMEM when there is no memory for a cache of its own.
 */
bool tcache_rebind(struct shard *shard);
/* Turns the calling thread's cache into one without sheaves. */
void tcache_set_direct(struct tcache *tc);
/* At thread exit: gives everything back; later calls of the thread go direct. */
void tcache_exit(struct tcache *tc);

/* Adds the caches' counters to total; objects and bytes cached now. */
struct cached_totals {
	u64 threads, objects, bytes;
};
void tcache_totals(struct stats *total, struct cached_totals *cached);

/* fork */
/*
 * Whether no other thread has a cache. A thread that the C library does not know of may: of a
 * second copy of it (dlmopen), or made by a bare clone.
 */
bool tcache_is_alone(void);
void tcache_lock_all(void);
void tcache_unlock_all(void);
/* orphan.c */
/* In the child: other threads' caches are orphans; what they hold is reclaimed later. */
void tcache_after_fork(void);
/* Empties orphans, but those that other threads do empty just now. */
void tcache_reap_orphans(void);
/* The same at a step of ageing; in a child of fork, which may call exec soon, only after some. */
void tcache_age_orphans(void);
/*
 * Where an allocation begins that has to look further than the thread's cache: in a child of fork
 * does what waits, after some such allocations and steps of ageing. True when it was done now: it
 * may have allocated.
 */
bool tcache_late_in_child(void);
/* Whether no thread's cache works on the private shard, what a fork left behind put aside. */
bool tcache_wait_all_left(struct shard *shard);

#endif
