/* rank 5: slabs without a used object: how many stay, and when they go. */
#include "slab/internal.h"

/*
 * Slabs without a used object stay with their node as far as the shard's budget of bytes goes:
 * what comes and goes must not be built anew each time. The budget is little at first, since what
 * one class keeps another cannot use; each slab that had to go raises it by a step, up to
 * EMPTY_MOST, or EMPTY_MOST_CUT for slabs that are cut from runs, which cost more to make. Beyond
 * that it is raised only by what had to go and is missed: a slab of its class is made again before
 * the next ageing. Each ageing halves it, and releases what nobody used since the last.
 *
 * So where many objects of one size come and go together all of their slabs stay. What stays so is
 * no reason for others to grow: when a slab is made of pages that were not there, the memory of the
 * process grows, and all but EMPTY_MOST goes to the zones. (2000 objects of 2 KiB, again and again,
 * take 0.7 of the time; a Lua script that peaks at 12.1 MiB does at 12.8 without the way back. To
 * give all back at growth cost a mix of sizes, the largest of 1 MiB, a tenth of memory more: it
 * breaks up what the large ones had left.)
 */
#define EMPTY_LEAST ((u64)128 << 10)
#define EMPTY_MOST ((u64)512 << 10)
#define EMPTY_MOST_CUT ((u64)MAX_CLASS_SIZE)
#define EMPTY_STEP ((u64)1 << 10)
/* For all shards together: a program that drops its data and waits keeps them. */
#define EMPTY_MOST_MISSED ((u64)16 << 20)

/*
 * Single objects have a budget of their own, of a sixteenth of all there are where that is more,
 * and raised by misses only. To cut one from a run and join it again costs 2000 instructions, to
 * find it here 400: blocks of 16-512 KiB that come and go, 1000 of them, take half of the
 * instructions so, and 3% more memory. (With an eighth 100 of them peaked 13% higher rather than
 * 4%, for a quarter less.) Buffers that grow where they lie go as a class that nobody asks for: one
 * that grew to 100 KB again and again left 1 MiB of these when each raised the budget.
 */
#define EMPTY_SINGLE_PART 16
#define EMPTY_SINGLE_STEP 64 /* of one that is missed, this part */
#define EMPTY_SINGLE_MOST ((u64)32 << 20)

static bool is_single(const struct size_class *sc)
{
	return sc->nr_objects == 1;
}

/* Of slabs of many objects: up to here they stay whether they are missed or not. */
static u64 most_unasked(const struct size_class *sc)
{
	return cut_to_measure(sc) ? EMPTY_MOST_CUT : EMPTY_MOST;
}

static u64 most_empty(const struct shard *shard, const struct size_class *sc)
{
	u64 part;

	if (!is_single(sc)) {
		part = EMPTY_MOST_MISSED / __atomic_load_n(&nr_shards, __ATOMIC_RELAXED);
		return MAX(most_unasked(sc), part);
	}
	part = __atomic_load_n(&shard->single_bytes, __ATOMIC_RELAXED) / EMPTY_SINGLE_PART;
	return MAX(EMPTY_MOST_CUT, MIN(part, EMPTY_SINGLE_MOST));
}

static u64 get_budget(const struct empties *empties)
{
	return MAX(__atomic_load_n(&empties->budget, __ATOMIC_RELAXED), EMPTY_LEAST);
}

/* By so much, but not beyond `most`. */
static void raise_budget(struct empties *empties, u64 step, u64 most)
{
	u64 budget = get_budget(empties);

	if (budget < most)
		__atomic_store_n(&empties->budget, MIN(budget + step, most), __ATOMIC_RELAXED);
}

void slab_miss(struct shard *shard, unsigned class, unsigned nr)
{
	const struct size_class *sc = &size_classes[class];
	u32 *refused = &shard->nodes[class].nr_refused;
	u32 had = __atomic_load_n(refused, __ATOMIC_RELAXED), missed = MIN(had, nr);
	u64 step = is_single(sc) ? sc->size / EMPTY_SINGLE_STEP : EMPTY_STEP;

	if (!missed)
		return;
	__atomic_store_n(refused, had - missed, __ATOMIC_RELAXED);
	raise_budget(shard_empties(shard, sc), missed * step, most_empty(shard, sc));
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
		__atomic_store_n(&node->nr_refused,
				 __atomic_load_n(&node->nr_refused, __ATOMIC_RELAXED) + 1,
				 __ATOMIC_RELAXED);
		if (!is_single(sc))
			raise_budget(empties, EMPTY_STEP, most_unasked(sc));
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

void slab_make_way(struct shard *shard)
{
	const u64 *bytes = &shard->empty_packed.bytes;
	bool found = false;
	unsigned class;

	if (likely(__atomic_load_n(bytes, __ATOMIC_RELAXED) <= EMPTY_MOST))
		return;
	in_flight_begin();
	for (class = 0; class < NR_PACKED_CLASSES; class++)
		if (__atomic_load_n(&shard->nodes[class].nr_empty, __ATOMIC_RELAXED) &&
		    __atomic_load_n(bytes, __ATOMIC_RELAXED) > EMPTY_MOST)
			found |= shrink_node(shard, class, UINT32_MAX);
	in_flight_end(found);
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
