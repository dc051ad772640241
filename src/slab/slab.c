/* rank 5: objects out of and back into slabs; state and locks are in slab.h. */
#include "slab/slab.h"

#include <errno.h>

#include "base/report.h"
#include "base/stats.h"
#include "page_alloc/scope.h"
#include "slab/internal.h"

/*
 * Bytes of empty slabs a shard keeps: little at first, since what one class
 * keeps another cannot use; each slab that had to go raises it, so a heap in
 * which slabs come and go fast keeps more. Each ageing halves it.
 */
#define EMPTY_LEAST ((u64)128 << 10)
#define EMPTY_MOST ((u64)4 << 20)
#define EMPTY_STEP ((u64)1 << 10)

/* Heads of slabs this many pointers ahead are brought to the cache on free. */
#define PREFETCH_AHEAD 8

/*
 * Slabs without a used object stay with their node as far as the shard's
 * budget goes: what comes and goes must not be built anew each time. Ageing
 * releases those that nobody used for a while.
 */
static bool keep_empty(struct shard *shard, struct cache_node *node, const struct size_class *sc)
{
	u64 bytes = (u64)sc->nr_pages << PAGE_SHIFT;

	u64 budget;

	/* Whoever has a budget of its own is not charged for what it does not use. */
	if (unlikely(shard_is_private(shard)))
		return false;
	budget = MAX(__atomic_load_n(&shard->empty_budget, __ATOMIC_RELAXED), EMPTY_LEAST);

	if (__atomic_load_n(&shard->empty_bytes, __ATOMIC_RELAXED) + bytes > budget) {
		__atomic_store_n(&shard->empty_budget, MIN(budget + EMPTY_STEP, EMPTY_MOST),
				 __ATOMIC_RELAXED);
		return false;
	}
	__atomic_fetch_add(&shard->empty_bytes, bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&node->nr_empty, node->nr_empty + 1, __ATOMIC_RELAXED);
	return true;
}

static void unkeep_empty(struct shard *shard, struct cache_node *node,
			 const struct size_class *sc)
{
	__atomic_fetch_sub(&shard->empty_bytes, (u64)sc->nr_pages << PAGE_SHIFT, __ATOMIC_RELAXED);
	__atomic_store_n(&node->nr_empty, node->nr_empty - 1, __ATOMIC_RELAXED);
	node->empty_low = MIN(node->empty_low, node->nr_empty);
}

static void write_tags(u64 pfn, const struct size_class *sc, u16 tag)
{
	u64 i;

	/* A slab of one object: a pointer into its middle must not look valid. */
	if (sc->nr_objects == 1) {
		tag_write(pfn, tag);
		return;
	}
	for (i = 0; i < sc->nr_pages; i++)
		tag_write(pfn + i, tag);
}

/* A slab with all objects free, not yet on any list; 0 without memory. */
static u64 new_slab(const struct shard *shard, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	bm_gfp_t gfp = sc->nr_objects == 1 ? BM_GFP_KERNEL | BM_GFP_MOVABLE : BM_GFP_KERNEL;
	u64 pfn = alloc_pages_owned(shard->owner, gfp, sc->nr_pages, sc->order);
	unsigned left = sc->nr_objects, i;
	struct page *page;

	if (unlikely(!pfn))
		return 0;
	page = pfn_to_page(pfn);
	for (i = 0; i < ARRAY_SIZE(page->map); i++) {
		unsigned n = MIN(left, 64u);

		page->map[i] = n == 64 ? ~(u64)0 : ((u64)1 << n) - 1;
		left -= n;
	}
	page->nr_free = sc->nr_objects;
	page->nr_clean = 0;
	page->flags = 0;
	page->private = 0;
	page_set_kind(page, PAGE_SLAB);
	write_tags(pfn, sc, (u16)(shard->tag_base + class));
	stat_add_shared(slabs_allocated, 1);
	return pfn;
}

void slab_release(u64 pfn, unsigned class)
{
	write_tags(pfn, &size_classes[class], TAG_NONE);
	page_set_kind(pfn_to_page(pfn), PAGE_PAGES);
	free_pages(pfn);
	stat_add_shared(slabs_freed, 1);
}

/*
 * Takes up to n objects, lowest address first, into out[n-1], out[n-2], ...;
 * the number taken.
 */
static unsigned take_objects(u64 pfn, const struct size_class *sc, void **out, unsigned n)
{
	struct page *page = pfn_to_page(pfn);
	char *base = pfn_to_virt(pfn);
	const size_t size = sc->size;
	unsigned want = n, w;

	for (w = 0; w < ARRAY_SIZE(page->map) && n; w++) {
		u64 bits = page->map[w];

		/* Run by run: in a young slab a word is one run. */
		while (bits && n) {
			unsigned from = (unsigned)__builtin_ctzll(bits);
			u64 rest = ~(bits >> from);
			unsigned run = rest ? (unsigned)__builtin_ctzll(rest) : 64;
			char *at = base + (size_t)(w * 64 + from) * size;
			void **to = out + n;

			run = MIN(run, n);
			n -= run;
			bits &= ~((~(u64)0 >> (64 - run)) << from);
			for (; run; run--, at += size)
				*--to = at;
		}
		page->map[w] = bits;
	}
	page->nr_free = (u16)(page->nr_free - (want - n));
	if (unlikely(page->nr_clean))
		slab_unpunch(pfn, sc);
	return want - n;
}

/* Takes from the partial slabs, in the order they stand; the number taken. */
static unsigned take_partial(struct shard *shard, unsigned class, void **out, unsigned n)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	unsigned left = n;

	while (left && node->partial_first) {
		u64 pfn = node->partial_first;
		struct page *page = pfn_to_page(pfn);

		if (page->next)
			__builtin_prefetch(pfn_to_page(page->next), 1);
		if (page->nr_free == sc->nr_objects)
			unkeep_empty(shard, node, sc);
		left -= take_objects(pfn, sc, out, left);
		if (!page->nr_free)
			partial_del(node, pfn);
	}
	node->nr_free -= n - left;
	return n - left;
}

/* What the partial slabs have; the number taken. */
static inline unsigned alloc_partial(struct shard *shard, unsigned class, void **out, unsigned n)
{
	struct cache_node *node = &shard->nodes[class];
	unsigned got;

	lock(&node->lock, LOCK_NODE);
	got = take_partial(shard, class, out, n);
	unlock(&node->lock, LOCK_NODE);
	if (unlikely(got < n))
		__builtin_memmove(out, out + (n - got), got * sizeof(*out));
	return got;
}

unsigned slab_alloc(struct shard *shard, unsigned class, void **out, unsigned n)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	unsigned got = alloc_partial(shard, class, out, n);
	u64 pfn;

	/* A new slab only for who would go empty-handed: what the partial ones
	 * had is enough for now. Nobody waits while it is made. */
	if (likely(got))
		return got;
	pfn = new_slab(shard, class);
	/* In search of memory, caches were emptied: perhaps into our slabs. */
	if (unlikely(!pfn))
		return alloc_partial(shard, class, out, n);
	got = MIN(n, (unsigned)sc->nr_objects);
	/* Nobody else knows the slab yet. */
	take_objects(pfn, sc, out, got);
	__atomic_fetch_add(&node->nr_slabs, 1, __ATOMIC_RELAXED);
	lock(&node->lock, LOCK_NODE);
	if (pfn_to_page(pfn)->nr_free) {
		node->nr_free += pfn_to_page(pfn)->nr_free;
		partial_add_tail(node, pfn);
	}
	unlock(&node->lock, LOCK_NODE);
	return got;
}

/*
 * How many classes above the wanted one serve as well: memory that is warm and
 * at hand, at most a quarter too large, rather than fresh pages of the exact size.
 */
#define SINGLE_REACH 2

static void *alloc_kept_single(struct shard *shard, unsigned class)
{
	unsigned last = MIN(class + SINGLE_REACH, (unsigned)NR_CLASSES - 1), c;
	void *object;

	for (c = class; c <= last; c++)
		if (__atomic_load_n(&shard->nodes[c].nr_empty, __ATOMIC_RELAXED) &&
		    alloc_partial(shard, c, &object, 1))
			return object;
	return NULL;
}

void *slab_alloc_single(struct shard *shard, unsigned class)
{
	void *object = alloc_kept_single(shard, class);
	u64 pfn;

	if (object)
		return object;
	pfn = new_slab(shard, class);
	if (unlikely(!pfn))
		return alloc_kept_single(shard, class);
	take_objects(pfn, &size_classes[class], &object, 1);
	__atomic_fetch_add(&shard->nodes[class].nr_slabs, 1, __ATOMIC_RELAXED);
	return object;
}

static inline u64 slab_head(const void *p, const struct size_class *sc)
{
	return round_down(virt_to_pfn(p), (u64)1 << sc->order);
}

static cold_path void report_bad_free(const void *p, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	struct slab_place place = slab_locate(p, class);

	if (!tag_is_slab(tag_read(slab_head(p, sc))) ||
	    tag_class(tag_read(slab_head(p, sc))) != class)
		report_corruption("double free of %p: its slab of %u-byte objects is gone already",
				  p, sc->size);
	else if (!place.object)
		report_corruption("invalid free of %p: in the unused tail of a slab of %u-byte objects",
				  p, sc->size);
	else if (place.object != p)
		report_corruption("invalid free of %p: %u bytes inside the %u-byte object at %p", p,
				  (unsigned)((const char *)p - place.object), sc->size,
				  (void *)place.object);
	else
		report_corruption("double free of %p: an object of %u bytes that is free already", p,
				  sc->size);
}

/* A run of pointers freed objects of one slab: its lists are put right. */
static u64 settle(struct shard *shard, unsigned class, u64 pfn, unsigned before)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	struct page *page = pfn_to_page(pfn);

	if (page->nr_free == before)
		return 0;
	node->nr_free += page->nr_free - before;
	/* Whoever punches it looks at it again before it comes back. */
	if (unlikely(page->flags & SLAB_ISOLATED))
		return 0;
	if (likely(page->nr_free < sc->nr_objects)) {
		if (!before)
			partial_add_tail(node, pfn);
		return 0;
	}
	/* Empty: to the end of the list, so that it is used last; single objects
	 * to the front, the warmest first. */
	if (before)
		partial_del(node, pfn);
	if (keep_empty(shard, node, sc)) {
		if (sc->nr_objects == 1)
			partial_add_head(node, pfn);
		else
			partial_add_tail(node, pfn);
		return 0;
	}
	node->nr_free -= sc->nr_objects;
	__atomic_fetch_sub(&node->nr_slabs, 1, __ATOMIC_RELAXED);
	return pfn;
}

/* Slabs that became empty in one call, to be released after the lock. */
#define EMPTIES 64

/*
 * Frees pointers of one slab, the longest run of them that ptrs begins with;
 * how many. Fewer than the run has when one is no allocated object.
 */
static unsigned free_run(u64 pfn, const struct size_class *sc, void *const *ptrs, unsigned n)
{
	struct page *page = pfn_to_page(pfn);
	const char *base = pfn_to_virt(pfn);
	const u64 recip = sc->recip, end = (u64)sc->size * sc->nr_objects;
	unsigned word = 0, i;
	u64 map = page->map[0]; /* the word under work */

	for (i = 0; i < n; i++) {
		u64 offset = (u64)((const char *)ptrs[i] - base);
		u64 product, index;

		if (offset >= end)
			break;
		product = offset * recip;
		index = product >> 40;
		/* Not the start of an object: see struct size_class. */
		if (unlikely(product << 24 >= recip << 24))
			break;
		if (index / 64 != word) {
			page->map[word] = map;
			word = (unsigned)(index / 64);
			map = page->map[word];
		}
		if (unlikely(map >> index % 64 & 1))
			break;
		map |= (u64)1 << index % 64;
	}
	page->map[word] = map;
	page->nr_free = (u16)(page->nr_free + i);
	return i;
}

/*
 * Frees pointers until all are done, EMPTIES slabs came free, or one is no
 * allocated object; the number done. Reports are the caller's, outside the lock.
 */
static unsigned free_some(struct shard *shard, unsigned class, void *const *ptrs, unsigned n,
			  u64 *empties, unsigned *nr_empties)
{
	const struct size_class *sc = &size_classes[class];
	unsigned done = 0;

	while (done < n && *nr_empties < EMPTIES) {
		u64 pfn = slab_head(ptrs[done], sc), empty;
		unsigned before, run;

		if (done + PREFETCH_AHEAD < n)
			__builtin_prefetch(pfn_to_page(slab_head(ptrs[done + PREFETCH_AHEAD], sc)),
					   1);
		/* Freed twice, the slab may be something else by now. */
		if (unlikely(tag_read(pfn) != shard->tag_base + class))
			break;
		before = pfn_to_page(pfn)->nr_free;
		run = free_run(pfn, sc, ptrs + done, n - done);
		if (unlikely(!run))
			break;
		done += run;
		empty = settle(shard, class, pfn, before);
		if (empty)
			empties[(*nr_empties)++] = empty;
	}
	return done;
}

void slab_free(struct shard *shard, unsigned class, void *const *ptrs, unsigned n)
{
	struct cache_node *node = &shard->nodes[class];

	while (n) {
		u64 empties[EMPTIES];
		unsigned nr_empties = 0, done, i;

		lock(&node->lock, LOCK_NODE);
		done = free_some(shard, class, ptrs, n, empties, &nr_empties);
		unlock(&node->lock, LOCK_NODE);
		for (i = 0; i < nr_empties; i++)
			slab_release(empties[i], class);
		ptrs += done;
		n -= done;
		if (n && nr_empties < EMPTIES) {
			report_bad_free(ptrs[0], class);
			ptrs++;
			n--;
		}
	}
}

struct slab_place slab_locate(const void *p, unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	u64 head = slab_head(p, sc);
	const struct page *page = pfn_to_page(head);
	u32 offset = (u32)((const char *)p - pfn_to_virt(head));
	u32 index = object_index(sc, offset);

	if (index >= sc->nr_objects)
		return (struct slab_place){ NULL, false };
	return (struct slab_place){
		.object = pfn_to_virt(head) + (size_t)index * sc->size,
		.allocated = !(__atomic_load_n(&page->map[index / 64], __ATOMIC_RELAXED) >>
			       index % 64 & 1),
	};
}

/* Takes up to `most` empty slabs of a node off its list and releases them; pages freed. */
static u64 shrink_node(struct shard *shard, unsigned class, u32 most)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	u64 freed = 0;

	while (most--) {
		u64 pfn;

		lock(&node->lock, LOCK_NODE);
		pfn = node->nr_empty ? node->partial_last : 0;
		while (pfn && pfn_to_page(pfn)->nr_free != sc->nr_objects)
			pfn = pfn_to_page(pfn)->prev;
		if (pfn) {
			partial_del(node, pfn);
			unkeep_empty(shard, node, sc);
			node->nr_free -= sc->nr_objects;
			__atomic_fetch_sub(&node->nr_slabs, 1, __ATOMIC_RELAXED);
		}
		unlock(&node->lock, LOCK_NODE);
		if (!pfn)
			break;
		slab_release(pfn, class);
		freed += sc->nr_pages;
	}
	return freed;
}

u64 slab_shrink(bool all)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE), s, class;
	u64 freed = 0;

	for (s = 0; s < nr; s++) {
		u64 budget = __atomic_load_n(&shards[s]->empty_budget, __ATOMIC_RELAXED);

		__atomic_store_n(&shards[s]->empty_budget, budget / 2, __ATOMIC_RELAXED);
		for (class = 0; class < NR_CLASSES; class++) {
			struct cache_node *node = &shards[s]->nodes[class];
			u32 idle;

			if (!__atomic_load_n(&node->nr_empty, __ATOMIC_RELAXED))
				continue;
			/* What was never used since the last time is not needed. */
			lock(&node->lock, LOCK_NODE);
			idle = all ? node->nr_empty : node->empty_low;
			node->empty_low = node->nr_empty - MIN(idle, node->nr_empty);
			unlock(&node->lock, LOCK_NODE);
			freed += shrink_node(shards[s], class, idle);
		}
	}
	return freed;
}

u64 slab_shrink_shard(struct shard *shard)
{
	unsigned class;
	u64 freed = 0;

	for (class = 0; class < NR_CLASSES; class++)
		freed += shrink_node(shard, class, UINT32_MAX);
	return freed;
}

void slab_destroy(u64 pfn, unsigned class)
{
	slab_release(pfn, class);
}

void slab_class_totals(unsigned class, struct class_totals *t)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE), s;

	*t = (struct class_totals){ 0 };
	for (s = 0; s < nr; s++) {
		const struct cache_node *node = &shards[s]->nodes[class];

		t->slabs += __atomic_load_n(&node->nr_slabs, __ATOMIC_RELAXED);
		t->free += __atomic_load_n(&node->nr_free, __ATOMIC_RELAXED);
	}
	t->objects = t->slabs * size_classes[class].nr_objects;
}

static void check_node(const struct shard *shard, unsigned class)
{
	const struct cache_node *node = &shard->nodes[class];
	const struct size_class *sc = &size_classes[class];
	u64 nr_free = 0, nr_empty = 0, pfn;
	unsigned i;

	for (pfn = node->partial_first; pfn; pfn = pfn_to_page(pfn)->next) {
		const struct page *page = pfn_to_page(pfn);
		unsigned bits = 0;

		for (i = 0; i < ARRAY_SIZE(page->map); i++)
			bits += (unsigned)__builtin_popcountll(page->map[i]);
		if (page->kind != PAGE_SLAB || bits != page->nr_free || !bits ||
		    bits > sc->nr_objects || tag_read(pfn) != shard->tag_base + class)
			report_fatal("slab %#lx: kind %u, %u bits, nr_free %u, tag %u",
				     (unsigned long)pfn, page->kind, bits, page->nr_free,
				     tag_read(pfn));
		nr_free += bits;
		nr_empty += bits == sc->nr_objects;
	}
	if (nr_free != node->nr_free || nr_empty != node->nr_empty)
		report_fatal("shard %u class %u: free %lu, counted %lu; empty %u, counted %lu",
			     shard->id, class, (unsigned long)node->nr_free,
			     (unsigned long)nr_free, node->nr_empty, (unsigned long)nr_empty);
}

void slab_check(struct shard *shard)
{
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++) {
		lock(&shard->nodes[class].lock, LOCK_NODE);
		check_node(shard, class);
		unlock(&shard->nodes[class].lock, LOCK_NODE);
	}
}
