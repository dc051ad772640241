/*
 * rank 6: objects above 32 KiB, which have no sheaf. A thread keeps the last few
 * that it freed, since so many are freed and wanted again at once (buffers for
 * each request or file): the pair then costs no lock and no atomic operation.
 *
 * They stand in a ring: kept_last is the place of the one freed last, unless that is in use
 * again, and short code looks at it alone; those that follow are older, the oldest first. A
 * slab holds them for allocated, as it does all that is cached. They are touched between
 * tcache_enter and tcache_leave only, so who reclaims from an idle thread may take them once
 * the cache is sealed (idle.c). Only a live cache has any.
 */
#include <errno.h>
#include <string.h>

#include "page_alloc/page_alloc.h"
#include "tcache/internal.h"

static fast_inline void *kept_take(struct tcache *tc, unsigned i, unsigned *class)
{
	void *p = tc->kept[i];

	*class = tc->kept_class[i];
	if (!p)
		return NULL;
	__atomic_store_n(&tc->kept[i], NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&tc->kept_class[i], 0, __ATOMIC_RELEASE);
	tc->kept_bytes -= size_classes[*class].size;
	return p;
}

/* At an empty place. As in kept_take, a child of fork finds NULL, or an object and its class. */
static fast_inline void kept_put(struct tcache *tc, unsigned i, void *p, unsigned class)
{
	__atomic_store_n(&tc->kept_class[i], (u8)class, __ATOMIC_RELAXED);
	__atomic_store_n(&tc->kept[i], p, __ATOMIC_RELEASE);
	tc->kept_bytes += size_classes[class].size;
	tc->kept_last = (u8)i;
}

void *tcache_take_kept(struct tcache *tc, unsigned i, unsigned *class)
{
	return kept_take(tc, i, class);
}

/* The last object freed, if it serves the class; else NULL. */
static fast_inline void *kept_take_last(struct tcache *tc, unsigned class)
{
	unsigned last = tc->kept_last;
	void *p = NULL;
	u32 before;

	if (unlikely(tc->kept_class[last] - class > SINGLE_REACH || !tcache_try_enter(tc, &before)))
		return NULL;
	/* Until then somebody may have reclaimed it. */
	p = kept_take(tc, last, &class);
	tcache_leave(tc, before);
	return p;
}

/* Of all that is kept the object that fits the class best; or NULL. */
static void *kept_take_best(struct tcache *tc, unsigned class)
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
		p = kept_take(tc, at, &class);
	tcache_leave(tc, before);
	return p;
}

/* A program may do no more than free such objects and take them again. */
static cold_path void age_now(struct tcache *tc)
{
	tc->age_in = AGE_EVERY;
	reclaim_age();
}

static out_of_line void *alloc_single_slow(struct tcache *tc, unsigned class, bool *zeroed)
{
	void *p;

	if (unlikely(tc->state == TCACHE_BOOT || tc->state == TCACHE_SEALED))
		tc = tcache_get();
	if (unlikely(tcache_late_in_child()))
		tc = tcache_get();
	if (unlikely(tc->state != TCACHE_LIVE)) {
		p = slab_alloc_single(tcache_shard(tc), class, zeroed);
		stat_add_shared(objects_refilled, p != NULL);
		return p;
	}
	p = kept_take_best(tc, class);
	if (!p) {
		/* Before pages are taken, after which it passes for none. */
		if (unlikely(drop_is_much()))
			age_now(tc);
		p = slab_alloc_single(tcache_shard(tc), class, zeroed);
		stat_add(&tc->stats, objects_refilled, p != NULL);
	}
	return p;
}

void *tcache_alloc_single(struct tcache *tc, unsigned class)
{
	void *p = kept_take_last(tc, class);

	return likely(p) ? p : alloc_single_slow(tc, class, NULL);
}

void *tcache_calloc_single(struct tcache *tc, unsigned class, size_t size)
{
	bool zeroed = false;
	void *p = kept_take_last(tc, class);

	if (!p)
		p = alloc_single_slow(tc, class, &zeroed);
	if (p && !zeroed)
		memset(p, 0, size);
	return p;
}

static bool is_kept(const struct tcache *tc, const void *p)
{
	static_assert(KEPT_MOST == 4, "all are looked at");
	return tc->kept[0] == p || tc->kept[1] == p || tc->kept[2] == p || tc->kept[3] == p;
}

/* Whether an object of the class may be kept at place i beside what there is. */
static fast_inline bool kept_has_room(const struct tcache *tc, unsigned i, unsigned class)
{
	return !tc->kept[i] && tc->kept_bytes + size_classes[class].size <= KEPT_BYTES;
}

/* Objects that kept_make_room put out; they are freed when the cache has been left. */
struct gone {
	unsigned nr;
	void *p[KEPT_MOST];
	unsigned class[KEPT_MOST];
};

/* Anew: a fork may have come between an object and its bytes. */
static u32 kept_bytes(const struct tcache *tc)
{
	u32 bytes = 0;
	unsigned i;

	for (i = 0; i < KEPT_MOST; i++)
		bytes += tc->kept[i] ? size_classes[tc->kept_class[i]].size : 0;
	return bytes;
}

/* A place for an object of the class: as many go, the oldest first, as it takes. Entered. */
static unsigned kept_make_room(struct tcache *tc, unsigned class, struct gone *gone)
{
	unsigned i = tc->kept_last, oldest;

	tc->kept_bytes = kept_bytes(tc);
	if (tc->kept[i])
		i = (i + 1) % KEPT_MOST;
	for (oldest = i; !kept_has_room(tc, i, class); oldest = (oldest + 1) % KEPT_MOST) {
		gone->p[gone->nr] = kept_take(tc, oldest, &gone->class[gone->nr]);
		gone->nr += gone->p[gone->nr] != NULL;
	}
	return i;
}

static out_of_line void free_single_slow(struct tcache *tc, void *p, unsigned class)
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
		slab_report_bad_free(p, class);
		return;
	}
	kept_put(tc, kept_make_room(tc, class, &gone), p, class);
	tcache_leave(tc, before);
	stat_add(&tc->stats, objects_flushed, gone.nr);
	/* As of the class each had: freed twice, its pages may be something else by now. */
	while (gone.nr--)
		slab_free(tc->shard, gone.class[gone.nr], &gone.p[gone.nr], 1);
	errno = saved;
}

void tcache_free_single(struct tcache *tc, void *p, unsigned class)
{
	u32 before;

	if (likely(class <= KEPT_CLASS_MOST && !shard_is_private(tc->shard) && slab_is_single(p) &&
		   tcache_try_enter(tc, &before))) {
		if (likely(kept_has_room(tc, tc->kept_last, class) && !is_kept(tc, p))) {
			kept_put(tc, tc->kept_last, p, class);
			tcache_leave(tc, before);
			if (unlikely(!--tc->age_in || drop_is_much()))
				age_now(tc);
			return;
		}
		tcache_leave(tc, before);
	}
	free_single_slow(tc, p, class);
}

void tcache_drop_kept(struct tcache *tc)
{
	unsigned i, class;

	for (i = 0; i < KEPT_MOST; i++) {
		void *p = kept_take(tc, i, &class);

		if (!p)
			continue;
		slab_free(tc->shard, class, &p, 1);
		stat_add(&tc->stats, objects_flushed, 1);
	}
}
