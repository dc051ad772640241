/* rank 5: what the files of the folder share: the partial lists, and how a slab goes. */
#ifndef BM_SLAB_INTERNAL_H
#define BM_SLAB_INTERNAL_H

#include "slab/slab.h"

/*
 * To the end, where it gathers more free objects until its turn comes; but in front of a
 * first one that lies above it. So what was dropped from its highest address down, as from
 * its lowest up, is handed out in the order of addresses, which whoever walks it gains by.
 */
static inline void partial_add_ordered(struct cache_node *node, u64 pfn)
{
	if (pfn < node->partial.first)
		pfn_list_add_head(&node->partial, pfn_to_page(pfn), pfn);
	else
		pfn_list_add_tail(&node->partial, pfn_to_page(pfn), pfn);
}

/* An empty slab leaves its node. */
static inline void node_forget_empty(struct shard *shard, struct cache_node *node,
				     const struct size_class *sc)
{
	if (sc->nr_objects == 1)
		__atomic_fetch_sub(&shard->single_bytes, sc->size, __ATOMIC_RELAXED);
	count_sub(&node->nr_free, sc->nr_objects);
	count_add(&node->nr_gone, 1);
}

/*
 * The first page of the slab that an object of the class lies in. Of an object
 * that may be free already only while its own page has the class's tag.
 */
static inline u64 slab_head(const void *p, const struct size_class *sc)
{
	u64 pfn = virt_to_pfn(p);

	if (sc->unaligned)
		return pfn - pfn_to_page(pfn)->from_head;
	return round_down(pfn, (u64)1 << sc->order);
}

/*
 * empty.c. Under the node's lock: whether an empty slab may stay, counted then; one
 * that stayed is used again, or released.
 */
bool slab_keep_empty(struct shard *shard, struct cache_node *node, const struct size_class *sc);
void slab_unkeep_empty(struct shard *shard, struct cache_node *node, const struct size_class *sc);
/* There was no empty slab of the class at hand: so many were made. */
void slab_miss(struct shard *shard, unsigned class, unsigned nr);
/* Memory grows for a slab of many objects: what others keep for later goes. No lock is held. */
void slab_make_way(struct shard *shard);

/*
 * transfer.c: what waits for the shard's threads goes to its slabs: all, or what did so since the
 * last call. False if that is nothing.
 */
bool slab_shrink_transfer(struct shard *shard, enum give how);

/*
 * punch.c: objects of a slab with pages given back were taken: those pages hold
 * data again. Under the node's lock, or by whoever made the slab.
 */
void slab_unpunch(u64 pfn, const struct size_class *sc);

/*
 * Slabs that another thread punches are on no list for a moment. Their turn is noted before a look
 * for objects that found none; the wait is until those of then are back. True when it is worth
 * another look.
 */
u32 slab_punch_turn(void);
bool slab_punch_wait(u32 turn);

/* How often who is in need does so: others may always be at it. */
#define PUNCH_WAITS 8

/* In a child after fork, when the locks are new: what was being punched is put back. */
void slab_punch_after_fork(void);

#endif
