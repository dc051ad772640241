/* rank 5: slabs without a used object: how many stay, and when they go. */
#include "slab/internal.h"

/*
 * Slabs without a used object stay with their node as far as the shard's budget of bytes goes:
 * what comes and goes must not be built anew each time. The budget is little at first, since what
 * one class keeps another cannot use; each slab that had to go raises it, so a heap in which slabs
 * come and go fast keeps more. Each ageing halves it, and releases what nobody used since the last.
 * (4 MiB at most saved 4 of 77 instructions for each pair of a FIFO of 100,000 objects, and cost a
 * Lua script 3 MiB of 14.) Of slabs that are cut from runs, which cost more to make, as many
 * bytes are kept as the largest of them has.
 *
 * Single objects have a budget of their own, of a sixteenth of all there are where that is more.
 * To cut one from a run and join it again costs 2000 instructions, to find it here 400: blocks of
 * 16-512 KiB that come and go, 1000 of them, take half of the instructions so, and 3% more memory.
 * (With an eighth 100 of them peaked 13% higher rather than 4%, for a quarter less.) One that had
 * to go raises this budget only when its class is wanted again before the next ageing: buffers
 * that grow where they lie go as a class that nobody asks for (one that grew to 100 KB again and
 * again left 1 MiB of these).
 */
#define EMPTY_LEAST ((u64)128 << 10)
#define EMPTY_MOST ((u64)512 << 10)
#define EMPTY_MOST_CUT ((u64)MAX_CLASS_SIZE)
#define EMPTY_STEP ((u64)1 << 10)

/* Of all single objects, and of one that had to go, this part. */
#define EMPTY_SINGLE_PART 16
#define EMPTY_SINGLE_STEP 64
/* A program that drops its data and waits keeps them. */
#define EMPTY_SINGLE_MOST ((u64)32 << 20)

static u64 most_empty(const struct shard *shard, const struct size_class *sc)
{
	u64 part;

	if (sc->nr_objects > 1)
		return cut_to_measure(sc) ? EMPTY_MOST_CUT : EMPTY_MOST;
	part = __atomic_load_n(&shard->single_bytes, __ATOMIC_RELAXED) / EMPTY_SINGLE_PART;
	return MAX(EMPTY_MOST_CUT, MIN(part, EMPTY_SINGLE_MOST));
}

static u64 get_budget(const struct empties *empties)
{
	return MAX(__atomic_load_n(&empties->budget, __ATOMIC_RELAXED), EMPTY_LEAST);
}

static void raise_budget(struct empties *empties, u64 step, u64 most)
{
	__atomic_store_n(&empties->budget, MIN(get_budget(empties) + step, MAX(most, EMPTY_MOST_CUT)),
			 __ATOMIC_RELAXED);
}

void slab_miss_single(struct shard *shard, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	u32 *refused = &shard->nodes[class].nr_refused;
	u32 nr = __atomic_load_n(refused, __ATOMIC_RELAXED);

	if (!nr)
		return;
	__atomic_store_n(refused, nr - 1, __ATOMIC_RELAXED);
	raise_budget(&shard->empty_single, sc->size / EMPTY_SINGLE_STEP, most_empty(shard, sc));
}

bool slab_keep_empty(struct shard *shard, struct cache_node *node, const struct size_class *sc)
{
	struct empties *empties = shard_empties(shard, sc);
	u64 bytes = (u64)sc->nr_pages << PAGE_SHIFT, most = most_empty(shard, sc);

	/* Whoever has a budget of its own is not charged for what it does not use. */
	if (unlikely(shard_is_private(shard)))
		return false;
	if (__atomic_load_n(&empties->bytes, __ATOMIC_RELAXED) + bytes >
	    MIN(get_budget(empties), most)) {
		if (sc->nr_objects == 1)
			__atomic_fetch_add(&node->nr_refused, 1, __ATOMIC_RELAXED);
		else
			raise_budget(empties, EMPTY_STEP, most);
		return false;
	}
	__atomic_fetch_add(&empties->bytes, bytes, __ATOMIC_RELAXED);
	count_add(&node->nr_empty, 1);
	return true;
}

void slab_unkeep_empty(struct shard *shard, struct cache_node *node, const struct size_class *sc)
{
	__atomic_fetch_sub(&shard_empties(shard, sc)->bytes, (u64)sc->nr_pages << PAGE_SHIFT,
			   __ATOMIC_RELAXED);
	count_sub(&node->nr_empty, 1);
	node->empty_low = MIN(node->empty_low, node->nr_empty);
	node->changes++;
}

static void halve_budget(struct empties *empties)
{
	__atomic_store_n(&empties->budget,
			 __atomic_load_n(&empties->budget, __ATOMIC_RELAXED) / 2, __ATOMIC_RELAXED);
}

/*
 * Takes up to `most` empty slabs of a node off its list, in one walk, and releases them. False if
 * there was none.
 */
static bool shrink_node(struct shard *shard, unsigned class, u32 most)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	u64 pfn, prev, taken = 0;
	bool found;

	lock(&node->lock, LOCK_NODE);
	for (pfn = node->partial.last; pfn && most && node->nr_empty; pfn = prev) {
		struct page *page = pfn_to_page(pfn);

		prev = page->prev;
		if (page->nr_free != sc->nr_objects)
			continue;
		pfn_list_del(&node->partial, pfn);
		slab_unkeep_empty(shard, node, sc);
		node_forget_empty(shard, node, sc);
		page->next = (u32)taken;
		taken = pfn;
		most--;
	}
	unlock(&node->lock, LOCK_NODE);
	found = taken;
	for (; taken; taken = prev) {
		prev = pfn_to_page(taken)->next;
		slab_release(&taken, 1, class);
	}
	return found;
}

void slab_shrink(enum give how)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE), s, class;
	bool found = false;

	/* What we hold is on no list, and counts as backed: at a limit others wait for it. */
	in_flight_begin();
	for (s = 0; s < nr; s++) {
		found |= slab_shrink_transfer(shards[s], how);
		halve_budget(&shards[s]->empty_packed);
		halve_budget(&shards[s]->empty_single);
		for (class = 0; class < NR_CLASSES; class++) {
			struct cache_node *node = &shards[s]->nodes[class];
			u32 idle;

			if (__atomic_load_n(&node->nr_refused, __ATOMIC_RELAXED))
				__atomic_store_n(&node->nr_refused, 0, __ATOMIC_RELAXED);
			if (!__atomic_load_n(&node->nr_empty, __ATOMIC_RELAXED))
				continue;
			/* What was never used since the last time is not needed. */
			lock(&node->lock, LOCK_NODE);
			idle = how == GIVE_ALL ? node->nr_empty : node->empty_low;
			node->empty_low = node->nr_empty - MIN(idle, node->nr_empty);
			unlock(&node->lock, LOCK_NODE);
			found |= shrink_node(shards[s], class, idle);
		}
	}
	in_flight_end(found);
}
