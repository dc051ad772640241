/* rank 5: slabs, and objects out of them; state and locks are in slab.h. */
#include "slab/slab.h"

#include <errno.h>

#include "base/stats.h"
#include "buddy/zone.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/scope.h"
#include "slab/internal.h"

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

/*
 * A slab with all objects free, on no list yet and without tags: until publish_slab, a stale
 * pointer into its pages is nobody's object. 0 without memory. When some of its pages were not
 * there, what the shard keeps makes way.
 */
static u64 new_slab(struct shard *shard, unsigned class, bm_gfp_t more)
{
	const struct size_class *sc = &size_classes[class];
	bm_gfp_t gfp = more | BM_GFP_KERNEL | (sc->nr_objects == 1 ? BM_GFP_MOVABLE : 0);
	u64 pfn = alloc_pages_owned(shard->owner, gfp, sc->nr_pages, sc->order);
	unsigned left = sc->nr_objects, i;
	struct page *page;

	if (unlikely(!pfn))
		return 0;
	page = pfn_to_page(pfn);
	if (page->private < sc->nr_pages && sc->nr_objects > 1)
		slab_make_way(shard);
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
	/* Before the tags: who sees one may look for the head. */
	for (i = 0; sc->unaligned && i < sc->nr_pages; i++)
		pfn_to_page(pfn + i)->from_head = (u8)i;
	return pfn;
}

/* Once for many: an atomic step waits for the program's own stores. */
static void count_new_slabs(struct shard *shard, unsigned class, unsigned nr)
{
	if (size_classes[class].nr_objects == 1)
		__atomic_fetch_add(&shard->single_bytes, (u64)size_classes[class].size * nr,
				   __ATOMIC_RELAXED);
	__atomic_fetch_add(&shard->nodes[class].nr_made, nr, __ATOMIC_RELAXED);
	stat_add_shared(slabs_allocated, nr);
}

/* From here on its objects can be freed; those that are left can be taken. */
static void publish_slab(struct shard *shard, unsigned class, u64 pfn)
{
	struct cache_node *node = &shard->nodes[class];
	u16 tag = (u16)(shard->tag_base + class);
	u16 left = pfn_to_page(pfn)->nr_free;

	if (!left) {
		write_tags(pfn, &size_classes[class], tag);
		return;
	}
	lock(&node->lock, LOCK_NODE);
	write_tags(pfn, &size_classes[class], tag);
	count_add(&node->nr_free, left);
	node->changes++;
	pfn_list_add_tail(&node->partial, pfn_to_page(pfn), pfn);
	unlock(&node->lock, LOCK_NODE);
}

/*
 * From the last to the first: a child of fork that destroys the heap goes by tags, and must
 * find the head's or none.
 */
static void clear_tags(u64 pfn, const struct size_class *sc)
{
	u64 i = sc->nr_objects == 1 ? 1 : sc->nr_pages;

	while (--i)
		tag_write(pfn + i, TAG_NONE);
	__atomic_store_n(tag_of(pfn), TAG_NONE, __ATOMIC_RELEASE);
}

void slab_release(const u64 *pfns, unsigned n, unsigned class)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		clear_tags(pfns[i], &size_classes[class]);
		page_set_kind(pfn_to_page(pfns[i]), PAGE_PAGES);
		free_pages(pfns[i]);
	}
	if (n)
		stat_add_shared(slabs_freed, n);
}

/*
 * The objects of one word of a map, the first of which would be at `base`, run by run: into the
 * places from `to` down to out, as far as these go; the lowest one used.
 */
static FAST_ENTRY out_of_line void **take_runs(u64 *map, char *base, size_t size, void **out,
					       void **to)
{
	u64 bits = *map;

	do {
		unsigned from, run = first_bit_run(bits, &from);
		char *at = base + from * size;

		run = (unsigned)MIN((size_t)run, (size_t)(to - out));
		bits &= ~bit_run(from, run);
		for (; run >= 4; run -= 4, at += 4 * size) {
			to -= 4;
			to[3] = at;
			to[2] = at + size;
			to[1] = at + 2 * size;
			to[0] = at + 3 * size;
		}
		for (; run; run--, at += size)
			*--to = at;
	} while (bits && to > out);
	*map = bits;
	return to;
}

/*
 * Takes up to n objects, one at least, lowest address first, into out[n-1], out[n-2], ...; the
 * number taken. Where a word begins with a run of 16, as in young slabs, it is taken run by run,
 * else bit by bit: the lengths of short runs are what no processor foretells.
 */
static unsigned take_objects(u64 pfn, const struct size_class *sc, void **out, unsigned n)
{
	struct page *page = pfn_to_page(pfn);
	char *base = pfn_to_virt(pfn);
	const size_t size = sc->size;
	void **to = out + n;
	unsigned w;

	for (w = 0; w < ARRAY_SIZE(page->map) && to > out; w++, base += 64 * size) {
		u64 bits = page->map[w];

		if (!bits)
			continue;
		if (!(u16)~(bits >> __builtin_ctzll(bits))) {
			to = take_runs(&page->map[w], base, size, out, to);
			continue;
		}
		do {
			*--to = base + (u64)__builtin_ctzll(bits) * size;
			bits &= bits - 1;
		} while (bits && to > out);
		page->map[w] = bits;
	}
	n -= (unsigned)(to - out);
	page->nr_free = (u16)(page->nr_free - n);
	if (unlikely(page->nr_clean))
		slab_unpunch(pfn, sc);
	return n;
}

/*
 * At a limit a refill that has objects already skips so many slabs at most, as it holds the
 * lock. One that has none skips any number, or it would fail while there is memory.
 */
#define PASS_MOST 64

/* Whether the limits have room for what n objects of a slab with pages given back may touch. */
static bool may_back_objects(const struct page *page, const struct size_class *sc, unsigned n)
{
	u64 unit = system_page_pages();

	return limit_has_room(MIN((u64)page->nr_clean, n * (sc->size / PAGE_SIZE + 2 * unit)));
}

/* Whether none of the pages that the slab's object i lies in was given back. */
static bool is_backed(u64 pfn, const struct size_class *sc, unsigned i)
{
	u64 from = pfn + ((u64)i * sc->size >> PAGE_SHIFT);
	u64 last = pfn + (((u64)(i + 1) * sc->size - 1) >> PAGE_SHIFT);

	while (from <= last && page_is_dirty(from))
		from++;
	return from > last;
}

/*
 * As take_objects, but only those that need no page that was given back. At a limit each call walks
 * over many slabs, most pages of which are gone: a page that is leads on to the next one's objects.
 */
static cold_path unsigned take_backed(u64 pfn, const struct size_class *sc, void **out, unsigned n)
{
	struct page *page = pfn_to_page(pfn);
	unsigned left = n, i, next;

	if (page->nr_clean == sc->nr_pages)
		return 0;
	for (i = 0; i < sc->nr_objects && left; i = next) {
		u64 at = (u64)i * sc->size >> PAGE_SHIFT, bit = (u64)1 << i % 64;

		next = i + 1;
		if (!page_is_dirty(pfn + at)) {
			next = (unsigned)((((at + 1) << PAGE_SHIFT) + sc->size - 1) / sc->size);
			continue;
		}
		if (!(page->map[i / 64] & bit) || !is_backed(pfn, sc, i))
			continue;
		page->map[i / 64] &= ~bit;
		page->nr_free--;
		out[--left] = (char *)pfn_to_virt(pfn) + (size_t)i * sc->size;
	}
	return n - left;
}

/*
 * Takes from the partial slabs, in the order they stand; the number taken. What a slab
 * has given back counts for the limits again when its objects are handed out: where there
 * is no room for that, those of its other pages serve, or other slabs; who has none yet takes one.
 */
static unsigned take_partial(struct shard *shard, unsigned class, void **out, unsigned n)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	unsigned left = n, pass = PASS_MOST;
	u64 pfn, next;

	for (pfn = node->partial.first; left && pfn; pfn = next) {
		struct page *page = pfn_to_page(pfn);
		unsigned before = page->nr_free, got;

		next = page->next;
		if (next)
			__builtin_prefetch(pfn_to_page(next), 1);
		if (likely(!page->nr_clean || may_back_objects(page, sc, left))) {
			got = take_objects(pfn, sc, out, left);
		} else {
			if (left < n && !--pass)
				break;
			got = take_backed(pfn, sc, out, left);
			if (!got && left == n && may_back_objects(page, sc, 1))
				got = take_objects(pfn, sc, out + (left - 1), 1);
		}
		if (likely(got))
			page->flags |= SLAB_TAKEN;
		left -= got;
		if (before == sc->nr_objects && page->nr_free < before)
			slab_unkeep_empty(shard, node, sc);
		if (!page->nr_free)
			pfn_list_del(&node->partial, pfn);
	}
	count_sub(&node->nr_free, n - left);
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

/*
 * Objects of new slabs, nobody waits while they are made: as many whole ones as n
 * asks for, one at least, which then may not be used up. What was taken stands at
 * the start of out; how many.
 */
static unsigned alloc_new(struct shard *shard, unsigned class, void **out, unsigned n)
{
	const struct size_class *sc = &size_classes[class];
	unsigned left = n, nr = 0;
	int saved = errno;

	do {
		unsigned take = MIN(left, (unsigned)sc->nr_objects);
		/* For more than the first no stone is turned. */
		bm_gfp_t more = nr ? GFP_MORE | BM_GFP_NORETRY | BM_GFP_NOWARN : 0;
		u64 pfn = new_slab(shard, class, more);

		if (unlikely(!pfn))
			break;
		left -= take;
		take_objects(pfn, sc, out + left, take);
		publish_slab(shard, class, pfn);
		nr++;
	} while (left >= sc->nr_objects);
	if (unlikely(!nr))
		return 0;
	count_new_slabs(shard, class, nr);
	slab_miss(shard, class, nr);
	errno = saved;
	if (left)
		__builtin_memmove(out, out + left, (n - left) * sizeof(*out));
	return n - left;
}

/*
 * In search of memory, caches were emptied, perhaps into our slabs; and some of those may be
 * off their list.
 */
static cold_path unsigned alloc_again(struct shard *shard, unsigned class, void **out, unsigned n)
{
	unsigned waits = PUNCH_WAITS, got;
	u32 turn;

	do {
		turn = slab_punch_turn();
		got = alloc_partial(shard, class, out, n);
	} while (!got && waits-- && scope_may_map() && slab_punch_wait(turn));
	return got;
}

unsigned slab_alloc(struct shard *shard, unsigned class, void **out, unsigned n)
{
	unsigned got = alloc_partial(shard, class, out, n);
	int saved = errno;

	/* New slabs only for who would go empty-handed: what the partial ones
	 * had is enough for now. */
	if (unlikely(!got))
		got = alloc_new(shard, class, out, n);
	if (unlikely(!got))
		got = alloc_again(shard, class, out, n);
	if (likely(got))
		errno = saved;
	else
		stat_add_shared(failed, 1);
	return got;
}

/* The first on the list of a class of single objects, whose slabs are empty or full; or NULL. */
static void *take_empty_single(struct shard *shard, unsigned class)
{
	struct cache_node *node = &shard->nodes[class];
	u64 pfn;

	lock(&node->lock, LOCK_NODE);
	pfn = node->partial.first;
	if (likely(pfn)) {
		slab_unkeep_empty(shard, node, &size_classes[class]);
		pfn_list_del(&node->partial, pfn);
		pfn_to_page(pfn)->map[0] = 0;
		pfn_to_page(pfn)->nr_free = 0;
		count_sub(&node->nr_free, 1);
	}
	unlock(&node->lock, LOCK_NODE);
	return pfn ? pfn_to_virt(pfn) : NULL;
}

static void *alloc_kept_single(struct shard *shard, unsigned class)
{
	unsigned last = MIN(class + SINGLE_REACH, (unsigned)NR_CLASSES - 1), c;
	void *object;

	/* Not to read a page of nodes before it is written: it would be faulted twice. */
	if (!__atomic_load_n(&shard->empty_single.bytes, __ATOMIC_RELAXED))
		return NULL;
	for (c = class; c <= last; c++) {
		if (!__atomic_load_n(&shard->nodes[c].nr_empty, __ATOMIC_RELAXED))
			continue;
		object = take_empty_single(shard, c);
		if (likely(object))
			return object;
	}
	return NULL;
}

void *slab_alloc_single(struct shard *shard, unsigned class, bool *zeroed)
{
	void *object = alloc_kept_single(shard, class);
	int saved = errno;
	u64 pfn;

	if (object)
		return object;
	pfn = new_slab(shard, class, zeroed ? BM_GFP_ZERO : 0);
	if (unlikely(!pfn)) {
		object = alloc_kept_single(shard, class);
		if (object)
			errno = saved;
		else
			stat_add_shared(failed, 1);
		return object;
	}
	pfn_to_page(pfn)->map[0] = 0;
	pfn_to_page(pfn)->nr_free = 0;
	publish_slab(shard, class, pfn);
	count_new_slabs(shard, class, 1);
	slab_miss(shard, class, 1);
	if (zeroed)
		*zeroed = true;
	return pfn_to_virt(pfn);
}

bool slab_grow_single(void *p, unsigned class)
{
	u64 pfn = virt_to_pfn(p);
	u16 tag = tag_read(pfn);
	struct shard *shard = shards[tag_shard(tag)];
	struct cache_node *node = &shard->nodes[tag_class(tag)];
	int saved = errno;

	if (!slab_is_single(p) || !resize_pages(pfn, size_classes[class].nr_pages)) {
		errno = saved;
		return false;
	}
	tag_write(pfn, (u16)(shard->tag_base + class));
	/* No slab was made from free pages, nor given back. */
	__atomic_fetch_add(&shard->nodes[class].nr_made, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&shard->single_bytes,
			   size_classes[class].size - size_classes[tag_class(tag)].size,
			   __ATOMIC_RELAXED);
	lock(&node->lock, LOCK_NODE);
	count_add(&node->nr_gone, 1);
	unlock(&node->lock, LOCK_NODE);
	return true;
}

void slab_class_totals(unsigned class, const struct shard *only, struct class_totals *t)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE), s;

	*t = (struct class_totals){ 0 };
	for (s = 0; s < nr; s++) {
		const struct cache_node *node = &shards[s]->nodes[class];

		if (only && only != shards[s])
			continue;
		t->slabs += node_nr_slabs(node);
		t->free += __atomic_load_n(&node->nr_free, __ATOMIC_RELAXED);
	}
	t->objects = t->slabs * size_classes[class].nr_objects;
	/* A slab may have come between the two. */
	t->free = MIN(t->free, t->objects);
}
