/*
 * rank 5: slabs: blocks of pages cut into objects of one size class, and the
 * shards that own them.
 *
 * A slab's whole state is the struct page of its first page: a bitmap of free
 * objects and their number. No word of it lies in the slab. The slab of an
 * object is found by rounding its pfn down to the class's order, as buddy blocks
 * are naturally aligned, or by what the struct page of the object's page says.
 *
 * A shard is a set of slabs of every class, with a lock for each class (struct
 * cache_node). A thread is bound to one shard and allocates from no other, so
 * two threads of different shards never share a slab, and an object freed by a
 * stranger goes back to its own shard. Which shard and class a page belongs to
 * is in its tag.
 *
 * node->lock protects the node, and the next, prev, nr_free and map of all its
 * slabs' struct pages. A slab is on the partial list exactly when 0 < nr_free and
 * it is not isolated (punch.c); full slabs are on no list. Invariant: nr_free is
 * the number of bits in map.
 */
#ifndef BM_SLAB_SLAB_H
#define BM_SLAB_SLAB_H

#include "base/lock.h"
#include "base/types.h"
#include "memmap/memmap.h"
#include "memmap/pfn_list.h"
#include "page_alloc/page_alloc.h"
#include "slab/size_class.h"

struct cache_node {
	struct lock lock;
	struct pfn_list partial;
	u32 nr_empty;	/* slabs on the partial list without a used object; relaxed atomic */
	u32 empty_low;	/* the least nr_empty since the last ageing */
	u32 nr_refused;	/* empty slabs that had to go and are not missed yet; relaxed atomic, a
			 * lost update is harmless */
	u64 nr_made;	/* slabs; relaxed atomic */
	u64 nr_gone;	/* of these; others read it, relaxed */
	u64 nr_free;	/* objects in partial and isolated slabs; others read it, relaxed */
	u32 changes;	/* so often a page may have become a hole (punch.c) */
	u32 without_holes; /* `changes` when there was none; of who punches (punch.busy) */
	u32 pass;	/* his last walk over the list; likewise */
} __attribute__((aligned(CACHE_LINE)));

/* Objects of the shard that strangers freed, for its threads (transfer.c). */
#define TRANSFER_MOST 512u
struct transfer {
	struct lock lock;
	u32 nr;		/* lock; others read it, relaxed */
	u32 low;	/* the least nr since the last ageing; lock */
} __attribute__((aligned(CACHE_LINE)));

/* Slabs without a used object, of several nodes. */
struct empties {
	u64 bytes;	/* relaxed atomic */
	u64 budget;	/* for these; relaxed atomic, a lost update is harmless */
};

struct shard {
	u16 id;
	u16 tag_base;	/* of class 0 */
	u32 nr_threads;	/* bound to it; LOCK_SHARDS, others read it, relaxed */
	u16 owner;	/* of its slabs: its id if it is private, else 0 */
	u32 life;	/* how many heaps or groups that had it have ended; relaxed atomic */
	u32 users;	/* private: threads whose malloc it serves; LOCK_SHARDS */
	bool retired;	/* private, without a purpose; LOCK_SHARDS, bm_heap_destroy looks without */
	struct shard *next_spare; /* of those without a purpose; LOCK_SHARDS */
	/* Off the line that every thread reads for each of the shard's objects that it frees. */
	struct empties empty_packed __attribute__((aligned(CACHE_LINE)));
	struct empties empty_single; /* slabs of one object */
	u64 single_bytes; /* of all slabs of one object, used or empty; relaxed atomic */
	struct transfer transfer;	/* of shards that are not private; refills look at nr */
	struct cache_node nodes[NR_CLASSES];
	void *transferred[TRANSFER_MOST]; /* transfer.lock; reports read them without */
};

#define MAX_SHARDS ((65536 - TAG_SLABS) / NR_CLASSES)
/* Threads share at most half of them: heaps and groups want tags too. */
#define MAX_COMMON_SHARDS (MAX_SHARDS / 2)

extern struct shard *shards[MAX_SHARDS] HIDDEN;
extern unsigned nr_shards; /* only grows; release/acquire */

static inline bool tag_is_slab(u16 tag)
{
	return tag >= TAG_SLABS;
}

static inline unsigned tag_shard(u16 tag)
{
	return (unsigned)(tag - TAG_SLABS) / NR_CLASSES;
}

static inline unsigned tag_class(u16 tag)
{
	return (unsigned)(tag - TAG_SLABS) % NR_CLASSES;
}

/* The first shard is static; more appear as threads do, up to one for each CPU. */
void shards_init(unsigned nr_cpus);

/* Binds the caller to the shard with the fewest threads, making one if that pays. */
struct shard *shard_bind(void);
void shard_unbind(struct shard *shard);

/*
 * A private shard serves a heap or a group: no thread is bound to it by
 * shard_bind. NULL with errno ENOMEM, or EAGAIN when all tags are in use.
 */
struct shard *shard_create_private(void);
/* The heap or group that has it ends: scopes of the past do not lead there any more. */
void shard_end_life(struct shard *shard);
/* It has no slab any more; its tags will be used again. */
void shard_retire_private(struct shard *shard);
/* A thread allocates from the private shard now, or no longer; how many do. */
void shard_add_user(struct shard *shard);
void shard_remove_user(struct shard *shard);
unsigned shard_users(struct shard *shard);

static inline bool shard_is_private(const struct shard *shard)
{
	return shard->owner;
}

/*
 * How many classes above the wanted one serve as well for single objects: memory
 * that is warm and at hand, at most a quarter too large, rather than fresh pages
 * of the exact size.
 */
#define SINGLE_REACH 2

/* True for the start of an allocated object that is a slab of its own, by its tag. */
static inline bool slab_is_single(const void *p)
{
	return !((uintptr_t)p & (PAGE_SIZE - 1)) && !(pfn_to_page(virt_to_pfn(p))->map[0] & 1);
}

/*
 * Gives the pages of n slabs back, with the objects that are in use, if any. They are on no
 * list, or on one that nobody looks at any more. No lock is held.
 */
void slab_release(const u64 *pfns, unsigned n, unsigned class);
/* After that has happened to all of its slabs. */
void shard_clear(struct shard *shard);

/*
 * Takes up to n objects of the class, at least one unless memory ran out (then
 * 0, errno ENOMEM). The object to hand out first comes last: out is a stack.
 */
unsigned slab_alloc(struct shard *shard, unsigned class, void **out, unsigned n);

/*
 * The same for one object of a class above MAX_PACKED_SIZE. May give an object
 * of one of the next larger classes when an empty slab of it is at hand: its
 * tag says so, and it is freed as that. With `zeroed` new pages come as zeroes,
 * which for clean ones costs nothing, and *zeroed becomes true then.
 */
void *slab_alloc_single(struct shard *shard, unsigned class, bool *zeroed);

/*
 * Makes the object p, which is a slab of its own by its tag, one of a larger such class where
 * it lies: the slab takes the pages behind it, if they are free. Else false, and nothing has
 * changed; also for what is no allocated object. (Not smaller: what was freed already and waits
 * in a thread's cache may be handed out as larger than it is, but not as smaller.)
 */
bool slab_grow_single(void *p, unsigned class);

/*
 * Gives n objects of this shard and class back.
 * A pointer that is no allocated object of the class is reported as corruption
 * and skipped.
 */
void slab_free(struct shard *shard, unsigned class, void *const *ptrs, unsigned n);

/*
 * transfer.c. Up to so many objects of any shards and classes, in any order, which is lost:
 * they go to their slabs; or wait for threads of their shards, as far as there is room.
 */
#define SLAB_MIXED_MOST 128
void slab_free_mixed(void **objects, unsigned n);
void slab_transfer(void **objects, unsigned n);

/* Takes up to `most` of what waits for the shard's threads, of any class; how many. */
unsigned slab_take_transferred(struct shard *shard, void **out, unsigned most);
static inline bool slab_has_transferred(const struct shard *shard)
{
	return __atomic_load_n(&shard->transfer.nr, __ATOMIC_RELAXED);
}
/* Adds the number and bytes of these; unlocked, so approximate. */
void slab_transferred(const struct shard *shard, u64 *objects, u64 *bytes);

static inline struct empties *shard_empties(struct shard *shard, const struct size_class *sc)
{
	return sc->nr_objects == 1 ? &shard->empty_single : &shard->empty_packed;
}

/* Slabs of the node, for any thread. One may be gone before it was counted. */
static inline u64 node_nr_slabs(const struct cache_node *node)
{
	u64 gone = __atomic_load_n(&node->nr_gone, __ATOMIC_RELAXED);
	u64 made = __atomic_load_n(&node->nr_made, __ATOMIC_RELAXED);

	return made - MIN(gone, made);
}

/* Bytes for which it is worth while to gather a class's objects in fewer slabs. */
#define SPARSE_LEAST ((u64)256 << 10)

/*
 * Whether more of the class's slabs is free than in use, but for those without a used object.
 * For any thread, so close rather than exact.
 */
static inline bool slab_is_sparse(const struct shard *shard, unsigned class)
{
	const struct cache_node *node = &shard->nodes[class];
	const struct size_class *sc = &size_classes[class];
	u64 in_empty = (u64)__atomic_load_n(&node->nr_empty, __ATOMIC_RELAXED) * sc->nr_objects;
	u64 nr_free = MAX(__atomic_load_n(&node->nr_free, __ATOMIC_RELAXED), in_empty);
	u64 objects = MAX(node_nr_slabs(node) * sc->nr_objects, nr_free);

	return (nr_free - in_empty) * sc->size >= SPARSE_LEAST &&
	       nr_free - in_empty > objects - nr_free;
}

/* What waits for a shard without threads goes to its slabs; its last thread calls this. */
void slab_forsake(struct shard *shard);
/* The same of all shards, at the end: what was freed twice is found then. */
void slab_drain_transfers(void);

/* What a pointer into a slab means; for reports and hardened checks. */
struct slab_place {
	char *object;	/* start of the object pointed into; NULL: the unused tail */
	bool allocated;	/* not free in the bitmap; cached objects count as allocated */
};
struct slab_place slab_locate(const void *p, unsigned class);
/* Whether p is an allocated object of the class; else an invalid `call` of it is reported. */
bool slab_check_object(const char *call, const void *p, unsigned class);
/* Reports a free of p, a pointer into a slab: a double one, if p is an object's start. */
cold_path void slab_report_bad_free(const void *p, unsigned class);
/* Reports p, a pointer into a slab, as invalid for `call`, even if it is an object in use. */
void slab_report_object(const char *call, const void *p, unsigned class);

/*
 * Gives empty slabs of all shards back, and before what waits in transfer caches: all, or
 * what was not used since the last call.
 */
void slab_shrink(enum give how);

/*
 * Gives the pages of partial slabs that hold no live object back to the system:
 * all of them, or with GIVE_IDLE those of slabs that nothing was taken from for decay_ms, a
 * bounded number of slabs at a time; no further slab once `most` pages are given. Pages
 * given. One thread at a time; others return at once, or with GIVE_ALL wait for a while.
 */
u64 slab_punch(enum give how, u64 most);

/* Objects of one class, of one shard or, NULL, of all; unlocked, so approximate. */
struct class_totals {
	u64 slabs, objects, free;
};
void slab_class_totals(unsigned class, const struct shard *only, struct class_totals *t);

/* fork */
void slab_lock_all(void);
void slab_unlock_all(void);
void slab_reinit_locks(void);

#endif
