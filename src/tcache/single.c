/*
 * rank 6: objects above 32 KiB, which have no sheaf. A thread keeps the last few
 * that it freed, since so many are freed and wanted again at once (buffers for
 * each request or file): the pair then costs no lock and no atomic operation.
 *
 * kept[0] is the one freed last, unless that is in use again; short code looks at it
 * alone. The others are older ones, which go by turns. A slab holds them for allocated,
 * as it does all that is cached. They are touched between tcache_enter and tcache_leave
 * only, so who reclaims from an idle thread may take them once the cache is sealed
 * (idle.c). Only a live cache has any.
 */
#include <errno.h>
#include <string.h>

#include "base/report.h"
#include "page_alloc/page_alloc.h"
#include "tcache/internal.h"

/* As tcache_try_enter, but left at once when the cache is sealed. */
static fast_inline bool try_enter(struct tcache *tc, u32 *before)
{
	if (likely(tcache_try_enter(tc, before)))
		return true;
	tcache_leave(tc, *before);
	return false;
}

static fast_inline void *take(struct tcache *tc, unsigned i, unsigned *class)
{
	void *p = tc->kept[i];

	*class = tc->kept_class[i];
	if (!p)
		return NULL;
	kept_clear(tc, i);
	tc->kept_older -= i ? size_classes[*class].size : 0;
	return p;
}

void *tcache_take_kept(struct tcache *tc, unsigned i, unsigned *class)
{
	return take(tc, i, class);
}

/* The last object freed, if it serves the class; else NULL. */
static fast_inline void *take_last(struct tcache *tc, unsigned class)
{
	void *p = NULL;
	u32 before;

	if (unlikely(tc->kept_class[0] - class > SINGLE_REACH || !try_enter(tc, &before)))
		return NULL;
	/* Until then somebody may have reclaimed it. */
	p = tc->kept[0];
	kept_clear(tc, 0);
	tcache_leave(tc, before);
	return p;
}

/* Of all that is kept the object that fits the class best; or NULL. */
static void *take_kept(struct tcache *tc, unsigned class)
{
	unsigned best = SINGLE_REACH + 1, at = 0, i;
	u32 before = tcache_enter(tc);
	void *p = NULL;

	for (i = 0; i < KEPT_MOST; i++) {
		unsigned beyond = tc->kept_class[i] - class;

		at = beyond < best ? i : at;
		best = MIN(best, beyond);
	}
	if (best <= SINGLE_REACH)
		p = take(tc, at, &class);
	tcache_leave(tc, before);
	return p;
}

static out_of_line void *alloc_slow(struct tcache *tc, unsigned class, bool *zeroed)
{
	void *p;

	if (unlikely(tc->state == TCACHE_BOOT || tc->state == TCACHE_SEALED))
		tc = tcache_get();
	if (unlikely(tc->state != TCACHE_LIVE)) {
		p = slab_alloc_single(tcache_shard(tc), class, zeroed);
		stat_add_shared(objects_refilled, p != NULL);
		return p;
	}
	p = take_kept(tc, class);
	if (!p) {
		p = slab_alloc_single(tcache_shard(tc), class, zeroed);
		stat_add(&tc->stats, objects_refilled, p != NULL);
	}
	return p;
}

void *tcache_alloc_single(struct tcache *tc, unsigned class)
{
	void *p = take_last(tc, class);

	return likely(p) ? p : alloc_slow(tc, class, NULL);
}

void *tcache_calloc_single(struct tcache *tc, unsigned class, size_t size)
{
	bool zeroed = false;
	void *p = take_last(tc, class);

	if (!p)
		p = alloc_slow(tc, class, &zeroed);
	if (p && !zeroed)
		memset(p, 0, size);
	return p;
}

static bool is_kept(const struct tcache *tc, const void *p)
{
	static_assert(KEPT_MOST == 4, "all are looked at");
	return tc->kept[0] == p || tc->kept[1] == p || tc->kept[2] == p || tc->kept[3] == p;
}

static cold_path void report_kept(const void *p, unsigned class)
{
	report_corruption("double free of %p: an object of %u bytes that is free already", p,
			  size_classes[class].size);
}

/* Whether an object of the class fits in KEPT_BYTES beside the older ones. */
static fast_inline bool has_room(const struct tcache *tc, unsigned class)
{
	return tc->kept_older + size_classes[class].size <= KEPT_BYTES;
}

/* Objects that make_room put out; they are freed when the cache has been left. */
struct gone {
	unsigned nr;
	void *p[KEPT_MOST];
	unsigned class[KEPT_MOST];
};

static void let_go(struct tcache *tc, unsigned i, struct gone *gone)
{
	gone->p[gone->nr] = take(tc, i, &gone->class[gone->nr]);
	gone->nr += gone->p[gone->nr] != NULL;
}

/* Of the slots for the older ones; 0: none is empty. */
static unsigned empty_slot(const struct tcache *tc)
{
	unsigned i;

	for (i = 1; i < KEPT_MOST; i++)
		if (!tc->kept[i])
			return i;
	return 0;
}

/*
 * Makes kept[0] empty: what is there becomes one of the older ones, and as many of these go
 * as slots and bytes, with an object of the class to come, ask for. Entered.
 */
static void make_room(struct tcache *tc, unsigned class, struct gone *gone)
{
	unsigned last_class, tries;
	void *last = take(tc, 0, &last_class);
	u32 bytes = last ? size_classes[last_class].size : 0;

	if (bytes + size_classes[class].size > KEPT_BYTES) {
		gone->p[gone->nr] = last;
		gone->class[gone->nr++] = last_class;
		last = NULL;
		bytes = 0;
	}
	for (tries = 1; tries < KEPT_MOST; tries++) {
		if ((!last || empty_slot(tc)) &&
		    tc->kept_older + bytes + size_classes[class].size <= KEPT_BYTES)
			break;
		let_go(tc, 1 + tc->kept_turn, gone);
		tc->kept_turn = (u8)((tc->kept_turn + 1) % (KEPT_MOST - 1));
	}
	if (last) {
		kept_put(tc, empty_slot(tc), last, last_class);
		tc->kept_older += bytes;
	}
}

static out_of_line void free_slow(struct tcache *tc, void *p, unsigned class)
{
	struct gone gone = { 0 };
	int saved = errno;
	u32 before;

	/* Of what is no allocated object's start the slab says so. */
	if (class > KEPT_CLASS_MOST || shard_is_private(tc->shard) || !slab_is_single(p)) {
		tcache_free_direct(p, (u16)(tc->tag_base + class));
		errno = saved;
		return;
	}
	before = tcache_enter(tc);
	if (unlikely(is_kept(tc, p))) {
		tcache_leave(tc, before);
		report_kept(p, class);
		return;
	}
	if (tc->kept[0] || !has_room(tc, class))
		make_room(tc, class, &gone);
	kept_put(tc, 0, p, class);
	tcache_leave(tc, before);
	stat_add(&tc->stats, objects_flushed, gone.nr);
	/* As of the class each had: freed twice, its pages may be something else by now. */
	while (gone.nr--)
		slab_free(tc->shard, gone.class[gone.nr], &gone.p[gone.nr], 1);
	errno = saved;
}

/* A program may do no more than free such objects and take them again. */
static cold_path void age(struct tcache *tc)
{
	tc->age_in = AGE_EVERY;
	reclaim_age();
}

void tcache_free_single(struct tcache *tc, void *p, unsigned class)
{
	u32 before;

	if (likely(class <= KEPT_CLASS_MOST && !shard_is_private(tc->shard) && slab_is_single(p) &&
		   try_enter(tc, &before))) {
		if (likely(!tc->kept[0] && has_room(tc, class) && !is_kept(tc, p))) {
			kept_put(tc, 0, p, class);
			tcache_leave(tc, before);
			if (unlikely(!--tc->age_in))
				age(tc);
			return;
		}
		tcache_leave(tc, before);
	}
	free_slow(tc, p, class);
}

void tcache_drop_kept(struct tcache *tc)
{
	unsigned i, class;

	for (i = 0; i < KEPT_MOST; i++) {
		void *p = take(tc, i, &class);

		if (!p)
			continue;
		slab_free(tc->shard, class, &p, 1);
		stat_add(&tc->stats, objects_flushed, 1);
	}
}
