/* rank 5: objects back into slabs: each pointer is checked, lists are put right. */
#include "base/report.h"
#include "slab/internal.h"

/* Heads of slabs this many pointers ahead are brought to the cache on free. */
#define PREFETCH_AHEAD 8

/* `twice`: what the call is if the object is free already. */
static cold_path void report_object(const char *twice, const char *call, const void *p,
				    unsigned class)
{
	const struct size_class *sc = &size_classes[class];
	u16 tag = tag_read(virt_to_pfn(p));
	struct slab_place place;

	if (!tag_is_slab(tag) || tag_class(tag) != class) {
		report_corruption("%s %s of %p: its slab of %u-byte objects is gone already", twice,
				  call, p, sc->size);
		return;
	}
	place = slab_locate(p, class);
	if (!place.object)
		report_corruption("invalid %s of %p: in the unused tail of a slab of %u-byte objects",
				  call, p, sc->size);
	else if (place.object != p)
		report_corruption("invalid %s of %p: %u bytes inside the %u-byte object at %p",
				  call, p, (unsigned)((const char *)p - place.object), sc->size,
				  (void *)place.object);
	else
		report_corruption("%s %s of %p: an object of %u bytes that is free already", twice,
				  call, p, sc->size);
}

void slab_report_bad_free(const void *p, unsigned class)
{
	report_object("double", "free", p, class);
}

bool slab_check_object(const char *call, const void *p, unsigned class)
{
	struct slab_place place = slab_locate(p, class);

	if (place.object == p && place.allocated)
		return true;
	report_object("invalid", call, p, class);
	return false;
}

void slab_report_object(const char *call, const void *p, unsigned class)
{
	if (slab_check_object(call, p, class))
		report_corruption("invalid %s of %p: memory that malloc gave out, of %u bytes",
				  call, p, size_classes[class].size);
}

/*
 * A slab that was full, or is empty now: its lists are put right. The pfn if it
 * is to be released.
 */
static out_of_line u64 settle_slab(struct shard *shard, unsigned class, struct page *page,
				   unsigned before)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	u64 pfn = page_to_pfn(page);

	/* Whoever punches it looks at it again before it comes back. */
	if (unlikely(page->flags & SLAB_ISOLATED))
		return 0;
	if (likely(page->nr_free < sc->nr_objects)) {
		page->private = 0; /* of another life, see punch.c */
		partial_add_ordered(node, pfn);
		return 0;
	}
	/* Empty: to the end of the list, so that it is used last; single objects
	 * to the front, the warmest first. */
	if (before)
		pfn_list_del(&node->partial, pfn);
	if (slab_keep_empty(shard, node, sc)) {
		if (sc->nr_objects == 1)
			pfn_list_add_head(&node->partial, page, pfn);
		else
			pfn_list_add_tail(&node->partial, page, pfn);
		return 0;
	}
	node_forget_empty(shard, node, sc);
	return pfn;
}

/* Slabs that became empty in one call, to be released after the lock. */
#define EMPTIES 64

/* How many pointers follow each other in steps of `step` bytes; n is at least 1. */
static inline unsigned count_adjacent(void *const *ptrs, unsigned n, long step)
{
	const char *expected = (const char *)ptrs[0] + step;
	unsigned i;

	for (i = 1; i < n && ptrs[i] == expected; i++)
		expected += step;
	return i;
}

/* Marks nr objects as free; false, and nothing has changed, when one is so already. */
static bool mark_free(u64 *map, unsigned first, unsigned nr)
{
	unsigned from = first % 64, done, n;

	for (done = 0; done < nr; done += n, from = 0) {
		n = MIN(nr - done, 64 - from);
		if (unlikely(map[(first + done) / 64] & bit_run(from, n)))
			return false;
	}
	from = first % 64;
	for (done = 0; done < nr; done += n, from = 0) {
		n = MIN(nr - done, 64 - from);
		map[(first + done) / 64] |= bit_run(from, n);
	}
	return true;
}

/* So many pointers in a row, at least, are worth marking together. */
#define WIDE_LEAST 4

/*
 * Where objects of a class begin in a slab, read once for many pointers. The product that
 * struct size_class speaks of is rotated by 24 bits: so one comparison tells whether an object
 * begins at the offset, and the lowest bits are its index.
 */
struct grid {
	u64 recip, bad;
	u64 filled; /* bytes of a slab that are objects */
};

static fast_inline struct grid grid_of(const struct size_class *sc)
{
	return (struct grid){ .recip = sc->recip, .bad = sc->recip << 24,
			      .filled = (u64)sc->size * sc->nr_objects };
}

/*
 * The index is the lowest 8 bits of *at, what is above them is of no use. The slab is told by the
 * offset: of one far away the product wraps, and the index may be any.
 */
static fast_inline bool object_begins(const struct grid *g, u64 offset, u64 *at)
{
	u64 product = offset * g->recip;

	*at = product << 24 | product >> 40;
	return offset < g->filled && likely(*at < g->bad);
}

/* Sets bit nr % 64; whether it was set. (gcc makes five instructions of the portable lines.) */
static fast_inline bool test_and_set_bit(u64 *bits, u64 nr)
{
#if defined(__x86_64__)
	bool was;

	__asm__("bts %2, %0" : "+r"(*bits), "=@ccc"(was) : "r"(nr));
	return was;
#else
	u64 before = *bits;

	*bits |= (u64)1 << nr % 64;
	return *bits == before;
#endif
}

/* Which word of the map holds the object's bit, at % 64 in there. */
static fast_inline u64 map_word(u64 at)
{
	return at / 64 % 4;
}

/*
 * Neighbours in ascending or descending order, as many programs free them: ptrs
 * begins with object `index`. How many were marked together, 0 when they are few
 * or one of them is free already.
 */
static inline unsigned free_neighbours(struct page *page, const struct size_class *sc,
				       unsigned index, void *const *ptrs, unsigned n)
{
	const long size = (long)sc->size;
	const long distance = (const char *)ptrs[WIDE_LEAST - 1] - (const char *)ptrs[0];
	unsigned nr;

	if (distance == (WIDE_LEAST - 1) * size) {
		nr = count_adjacent(ptrs, MIN(n, sc->nr_objects - index), size);
		return mark_free(page->map, index, nr) ? nr : 0;
	}
	if (distance == -(WIDE_LEAST - 1) * size) {
		nr = count_adjacent(ptrs, MIN(n, index + 1), -size);
		return mark_free(page->map, index + 1 - nr, nr) ? nr : 0;
	}
	return 0;
}

/*
 * Frees pointers of one slab, the longest run of them that ptrs begins with;
 * how many. Fewer than the run has when one is no allocated object.
 */
static FAST_ENTRY out_of_line unsigned free_same_slab(u64 pfn, const struct size_class *sc,
						      void *const *ptrs, unsigned n)
{
	struct page *page = pfn_to_page(pfn);
	const char *base = pfn_to_virt(pfn);
	const struct grid grid = grid_of(sc);
	u64 *word = page->map, bits, at, last = 0; /* bits: of *word, not stored for each object */
	unsigned i = 0;

	if (n >= WIDE_LEAST && object_begins(&grid, (u64)((const char *)ptrs[0] - base), &at))
		i = free_neighbours(page, sc, (u8)at, ptrs, n);
	for (bits = *word; i < n; i++) {
		/* Of another slab, or not the start of an object. */
		if (!object_begins(&grid, (u64)((const char *)ptrs[i] - base), &at))
			break;
		if (unlikely(map_word(at ^ last))) {
			*word = bits;
			word = &page->map[map_word(at)];
			bits = *word;
			last = at;
		}
		if (unlikely(test_and_set_bit(&bits, at)))
			break;
	}
	*word = bits;
	return i;
}

/*
 * One pointer whose neighbours in the array belong to other slabs; 1, or 0 if it is bad. A
 * constant, lest the next pointer's address waits for the map: as `set != bits` batches in random
 * order took a third longer.
 */
static fast_inline unsigned free_lone(struct page *page, const struct grid *grid, u64 offset)
{
	u64 at, bits;

	if (unlikely(!object_begins(grid, offset, &at)))
		return 0;
	bits = page->map[map_word(at)];
	if (unlikely(test_and_set_bit(&bits, at)))
		return 0;
	page->map[map_word(at)] = bits;
	return 1;
}

/*
 * Frees pointers until all are done, EMPTIES slabs came free, or one is no
 * allocated object; the number done. Reports are the caller's, outside the lock.
 */
static fast_inline unsigned free_batch(struct shard *shard, unsigned class, void *const *ptrs,
				       unsigned n, u64 *empties, unsigned *nr_empties,
				       const bool unaligned)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	const u64 reach = (u64)sc->nr_pages << PAGE_SHIFT; /* of pointers into one slab */
	const u64 head = ~(u64)0 << sc->order;
	const struct grid grid = grid_of(sc);
	const u16 tag = (u16)(shard->tag_base + class);
	unsigned done = 0, counted = 0;

	while (done < n) {
		const char *p = ptrs[done];
		u64 pfn = virt_to_pfn(p);
		unsigned before, run;
		struct page *page;

		if (done + PREFETCH_AHEAD < n) {
			u64 ahead = virt_to_pfn(ptrs[done + PREFETCH_AHEAD]);

			__builtin_prefetch(pfn_to_page(unaligned ? ahead : ahead & head), 1);
		}
		/* Freed twice, the slab may be something else by now. */
		if (unlikely(tag_read(pfn) != tag))
			break;
		pfn = unaligned ? pfn - pfn_to_page(pfn)->from_head : pfn & head;
		page = pfn_to_page(pfn);
		if (done + 1 < n && (u64)((const char *)ptrs[done + 1] - p) + reach < 2 * reach)
			run = free_same_slab(pfn, sc, ptrs + done, n - done);
		else
			run = free_lone(page, &grid, (u64)(p - pfn_to_virt(pfn)));
		if (unlikely(!run))
			break;
		done += run;
		before = page->nr_free;
		page->nr_free = (u16)(before + run);
		/* It was full, or is empty. */
		if (unlikely(before - 1 >= sc->nr_objects - run - 1)) {
			u64 empty;

			count_add(&node->nr_free, done - counted);
			counted = done;
			empty = settle_slab(shard, class, page, before);
			if (empty)
				empties[(*nr_empties)++] = empty;
			if (unlikely(*nr_empties == EMPTIES))
				break;
		}
	}
	count_add(&node->nr_free, done - counted);
	node->changes++;
	return done;
}

FAST_ENTRY void slab_free(struct shard *shard, unsigned class, void *const *ptrs, unsigned n)
{
	struct cache_node *node = &shard->nodes[class];

	while (n) {
		u64 empties[EMPTIES];
		unsigned nr_empties = 0, done;

		lock(&node->lock, LOCK_NODE);
		done = size_classes[class].unaligned ?
			       free_batch(shard, class, ptrs, n, empties, &nr_empties, true) :
			       free_batch(shard, class, ptrs, n, empties, &nr_empties, false);
		unlock(&node->lock, LOCK_NODE);
		slab_release(empties, nr_empties, class);
		ptrs += done;
		n -= done;
		if (n && nr_empties < EMPTIES) {
			slab_report_bad_free(ptrs[0], class);
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
