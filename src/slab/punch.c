/*
 * rank 5: hole punching: a page inside a slab without a live object holds
 * nothing, since no word of the allocator's lies there, and goes back to the
 * system while the slab stays in use.
 *
 * Slabs with such pages are taken off their partial list (SLAB_ISOLATED):
 * nobody allocates from them, so what is a hole stays one, and madvise runs
 * without the node's lock. Objects freed meanwhile set their bits as ever. Then
 * the slabs come back, to the end of the list, so that they are used last.
 *
 * A page that was given back has no dirty bit, and the slab counts it in
 * page->nr_clean; it is not given back again until an object of it was handed
 * out, which sets the bit (slab_unpunch).
 *
 * Who looks moves the slabs it has seen to the end of the list. So a list of any
 * length is seen in parts, and whole when the first of them is at the front again.
 *
 * Ageing gives those that nothing was taken from for decay_ms. That objects come back does not
 * count: what is left of a size when others came into fashion loses one now and then, and is never
 * used otherwise. (What had lain idle for one step went at first: where sizes change fast each page
 * given so costs half a fault and half a call.)
 *
 * State: `punch` belongs to the one thread that set busy; isolated pfns are
 * written under their node's lock, so that a fork finds them true.
 */
#include "base/options.h"
#include "base/stats.h"
#include "buddy/zone.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/scope.h"
#include "slab/internal.h"

/* Slabs that are off their list at the same time; a node's part of each ageing. */
#define ISOLATED_MOST 64
#define SEEN_MOST 256

static struct {
	u32 busy;	/* acquire/release */
	const struct scope *thread; /* whose it is, while busy */
	u32 turn;	/* changes whenever slabs are put back; atomic: release, acquire */
	u32 now_ms;	/* the time's lowest bits */
	unsigned class;
	struct shard *shard;
	unsigned nr;	/* isolated ones */
	unsigned next;	/* of all nodes, the one where ageing goes on */
} punch;

/* page->private of a slab, when a walk has seen it. */
struct seen {
	u32 pass;	/* the last one that did; 0: none has */
	u32 since_ms;	/* nothing was taken from it from then on */
};

/* Apart from it, as each child of fork looks whether punch.busy is set. */
static struct {
	u64 pfn[ISOLATED_MOST];
	/*
	 * Their maps when they were isolated. Objects that are freed later are no holes: nothing
	 * orders their last owner's writes before our madvise.
	 */
	u64 map[ISOLATED_MOST][SLAB_MAX_OBJECTS / 64];
} isolated BULKY;

/* The first page of the slab that begins one of the system's. */
static u64 first_unit(u64 pfn)
{
	return round_up(pfn, system_page_pages()) - pfn;
}

/* True if no object that touches [at, at + nr) of the slab, in pages, is in use, by its map. */
static bool is_hole(const u64 *map, const struct size_class *sc, u64 at, u64 nr)
{
	u32 first = object_index(sc, (u32)(at << PAGE_SHIFT));
	u32 last = object_index(sc, (u32)(((at + nr) << PAGE_SHIFT) - 1));
	u32 i, n; /* an object, and how many from there on lie in its word of the map */

	last = MIN(last, (u32)sc->nr_objects - 1);
	for (i = first; i <= last; i += n) {
		n = MIN(last + 1 - i, 64 - i % 64);
		if (~(map[i / 64] >> i % 64) & ~(u64)0 >> (64 - n))
			return false;
	}
	return true;
}

/* Whether a page of the slab at pfn could be given back. Under the node's lock. */
static bool has_hole(u64 pfn, const struct size_class *sc)
{
	const u64 *map = pfn_to_page(pfn)->map;
	u64 unit = system_page_pages(), at;

	for (at = first_unit(pfn); at + unit <= sc->nr_pages; at += unit)
		if (pages_nr_dirty(pfn + at, unit) && is_hole(map, sc, at, unit))
			return true;
	return false;
}

/* Gives back what are holes of an isolated slab by the map; pages given. */
static u64 punch_slab(u64 pfn, const u64 *map, const struct size_class *sc, enum give how)
{
	struct page *page = pfn_to_page(pfn);
	u64 unit = system_page_pages(), at, start = 0, nr = 0, given = 0;

	for (at = first_unit(pfn); at + unit <= sc->nr_pages; at += unit) {
		if (pages_nr_dirty(pfn + at, unit) && is_hole(map, sc, at, unit)) {
			if (!nr)
				start = at;
			nr += unit;
		} else if (nr) {
			given += pages_give_back(pfn + start, nr, how);
			nr = 0;
		}
	}
	if (nr)
		given += pages_give_back(pfn + start, nr, how);
	page->nr_clean = (u8)(page->nr_clean + given);
	return given;
}

void slab_unpunch(u64 pfn, const struct size_class *sc)
{
	struct page *page = pfn_to_page(pfn);
	u64 unit = system_page_pages(), at;

	for (at = first_unit(pfn); at + unit <= sc->nr_pages; at += unit) {
		u64 clean = unit - pages_nr_dirty(pfn + at, unit);

		if (!clean || is_hole(page->map, sc, at, unit))
			continue;
		pages_set_dirty(pfn + at, unit);
		page->nr_clean = (u8)(page->nr_clean - clean);
	}
}

/*
 * Notes that this walk sees the slab, and whether nothing was taken from it for decay_ms; false
 * when it has seen it before.
 */
static bool note_seen(struct page *page, u32 pass, bool *idle)
{
	struct seen seen;

	static_assert(sizeof(seen) == sizeof(page->private), "all of it");
	__builtin_memcpy(&seen, &page->private, sizeof(seen));
	if (seen.pass == pass)
		return false;
	if (!seen.pass || (page->flags & SLAB_TAKEN))
		seen = (struct seen){ .since_ms = punch.now_ms };
	page->flags &= (u8)~SLAB_TAKEN;
	*idle = seen.pass && punch.now_ms - seen.since_ms >= (u64)options.decay_ms;
	seen.pass = pass;
	__builtin_memcpy(&page->private, &seen, sizeof(seen));
	return true;
}

/*
 * Every slab with a hole; but with GIVE_IDLE only those that lay idle, and no part of a huge page:
 * its neighbours may be in use.
 */
static bool should_punch(u64 pfn, const struct size_class *sc, bool idle, enum give how)
{
	/* What is empty altogether is the shrinker's. */
	if (pfn_to_page(pfn)->nr_free == sc->nr_objects)
		return false;
	if (how == GIVE_IDLE && (!idle || thp_is_huge(pfn)))
		return false;
	return has_hole(pfn, sc);
}

/* Isolates what is wanted among the next slabs of the node; false at the list's end. */
static bool isolate_slabs(struct cache_node *node, const struct size_class *sc, enum give how)
{
	unsigned left = SEEN_MOST;
	bool more = true;

	lock(&node->lock, LOCK_NODE);
	punch.nr = 0;
	while (left-- && punch.nr < ISOLATED_MOST) {
		u64 pfn = node->partial.first;
		struct page *page = pfn_to_page(pfn);
		bool idle;

		if (!pfn || !note_seen(page, node->pass, &idle)) {
			more = false;
			break;
		}
		pfn_list_del(&node->partial, pfn);
		if (should_punch(pfn, sc, idle, how)) {
			page->flags |= SLAB_ISOLATED;
			__builtin_memcpy(isolated.map[punch.nr], page->map, sizeof(page->map));
			isolated.pfn[punch.nr++] = pfn;
		} else {
			pfn_list_add_tail(&node->partial, pfn_to_page(pfn), pfn);
		}
	}
	unlock(&node->lock, LOCK_NODE);
	return more;
}

/* Puts the isolated slabs back; those now empty leave their node and stay in isolated.pfn. */
static unsigned put_back_isolated(struct cache_node *node, const struct size_class *sc)
{
	unsigned i, empty = 0;

	for (i = 0; i < punch.nr; i++) {
		u64 pfn = isolated.pfn[i];
		struct page *page = pfn_to_page(pfn);

		page->flags &= (u8)~SLAB_ISOLATED;
		if (page->nr_free < sc->nr_objects) {
			pfn_list_add_tail(&node->partial, page, pfn);
			continue;
		}
		node_forget_empty(punch.shard, node, sc);
		isolated.pfn[empty++] = pfn;
	}
	punch.nr = 0;
	return empty;
}

static u32 node_changes(struct cache_node *node)
{
	u32 changes;

	lock(&node->lock, LOCK_NODE);
	changes = node->changes;
	unlock(&node->lock, LOCK_NODE);
	return changes;
}

/*
 * A walk of the whole list that finds no hole is not made again before something changes: who fails
 * at a limit, drops a little and tries again would spend all its time with them.
 */
static u64 punch_node(struct shard *shard, unsigned class, enum give how, u64 most)
{
	const struct size_class *sc = &size_classes[class];
	struct cache_node *node = &shard->nodes[class];
	bool more, found = false;
	u64 given = 0;
	u32 changes;

	if (sc->nr_pages <= system_page_pages() || !node_nr_slabs(node))
		return 0;
	changes = node_changes(node);
	if (changes == node->without_holes)
		return 0;
	punch.shard = shard;
	punch.class = class;
	/* A node counts its own walks, if they are made: no stamp gets so old that it looks new. */
	if (!++node->pass)
		node->pass = 1;
	do {
		unsigned i, empty;

		more = isolate_slabs(node, sc, how);
		if (!punch.nr)
			continue;
		found = true;
		for (i = 0; i < punch.nr && given < most; i++)
			given += punch_slab(isolated.pfn[i], isolated.map[i], sc, how);
		lock(&node->lock, LOCK_NODE);
		empty = put_back_isolated(node, sc);
		unlock(&node->lock, LOCK_NODE);
		__atomic_fetch_add(&punch.turn, 1, __ATOMIC_RELEASE);
		slab_release(isolated.pfn, empty, class);
	} while (how != GIVE_IDLE && more && given < most);
	if (how != GIVE_IDLE && !found)
		node->without_holes = changes;
	return given;
}

/* A system call for each of 64 slabs takes far less. */
#define PUNCH_MOST_MS 50

u32 slab_punch_turn(void)
{
	return __atomic_load_n(&punch.turn, __ATOMIC_ACQUIRE);
}

bool slab_punch_wait(u32 turn)
{
	unsigned ms;

	if (!__atomic_load_n(&punch.busy, __ATOMIC_ACQUIRE))
		return slab_punch_turn() != turn;
	for (ms = 0; ms < PUNCH_MOST_MS; ms++) {
		os_sleep_ms(1);
		if (slab_punch_turn() != turn || !__atomic_load_n(&punch.busy, __ATOMIC_ACQUIRE))
			return true;
	}
	return false;
}

static bool begin_punch(enum give how)
{
	unsigned tries = how == GIVE_ALL && !lock_is_forking() ? PUNCH_WAITS : 0;

	while (__atomic_exchange_n(&punch.busy, 1, __ATOMIC_ACQUIRE))
		if (!tries-- || (!slab_punch_wait(slab_punch_turn()) &&
				 __atomic_load_n(&punch.busy, __ATOMIC_RELAXED)))
			return false;
	punch.thread = &this_scope;
	return true;
}

u64 slab_punch(enum give how, u64 most)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE) * NR_PACKED_CLASSES, i;
	u64 given = 0;

	if (!begin_punch(how))
		return 0;
	punch.now_ms = (u32)os_now_ms();
	for (i = 0; i < nr && given < most; i++) {
		unsigned at = punch.next++ % nr;
		struct shard *shard = shards[at / NR_PACKED_CLASSES];

		/* A heap may be destroyed under us: private shards are left alone. */
		if (!shard_is_private(shard))
			given += punch_node(shard, at % NR_PACKED_CLASSES, how, most - given);
	}
	__atomic_store_n(&punch.busy, 0, __ATOMIC_RELEASE);
	stat_add_shared(punched_pages, given);
	return given;
}

void slab_punch_after_fork(void)
{
	/* Called by a signal's handler in the midst of it, fork returns to who goes on with it. */
	if (!punch.busy || punch.thread == &this_scope)
		return;
	/* Whoever was at it is not here; an empty slab it leaves is merely kept. */
	if (punch.nr) {
		struct cache_node *node = &punch.shard->nodes[punch.class];
		const struct size_class *sc = &size_classes[punch.class];
		unsigned empty, i;

		/* It may have given pages back and not have counted them yet. */
		for (i = 0; i < punch.nr; i++)
			pfn_to_page(isolated.pfn[i])->nr_clean =
				(u8)(sc->nr_pages - pages_nr_dirty(isolated.pfn[i], sc->nr_pages));
		empty = put_back_isolated(node, sc);
		for (i = 0; i < empty; i++) {
			u64 pfn = isolated.pfn[i];

			count_add(&node->nr_free, sc->nr_objects);
			count_sub(&node->nr_gone, 1);
			count_add(&node->nr_empty, 1);
			punch.shard->empty_packed.bytes += (u64)sc->nr_pages << PAGE_SHIFT;
			pfn_list_add_tail(&node->partial, pfn_to_page(pfn), pfn);
		}
	}
	punch.busy = 0;
}
