/*
 * rank 6: objects above 32 KiB, which have no sheaf. A thread keeps the last one
 * that it freed, since so many are freed and wanted again at once (a buffer for
 * each request or file): the pair then costs no lock and no atomic operation.
 *
 * The slab holds it for allocated, as it does all that is cached. It is touched
 * between tcache_enter and tcache_leave only, so who reclaims from an idle thread
 * may take it once the cache is sealed (idle.c). Each step is one store: a child of
 * fork finds the object in the cache, or with whoever took it, or lost.
 */
#include <string.h>

#include "base/report.h"
#include "tcache/internal.h"

static inline void *alloc_single(struct tcache *tc, unsigned class, bool *zeroed)
{
	void *p = NULL;
	u32 before;

	if (unlikely(tc->state == TCACHE_BOOT || tc->state == TCACHE_SEALED))
		tc = tcache_get();
	if (__atomic_load_n(&tc->single, __ATOMIC_RELAXED) &&
	    tc->single_class - class <= SINGLE_REACH) {
		before = tcache_enter(tc);
		p = tc->single;
		__atomic_store_n(&tc->single, NULL, __ATOMIC_RELEASE);
		tcache_leave(tc, before);
	}
	return likely(p) ? p : slab_alloc_single(tcache_shard(tc), class, zeroed);
}

void *tcache_alloc_single(struct tcache *tc, unsigned class)
{
	return alloc_single(tc, class, NULL);
}

void *tcache_calloc_single(struct tcache *tc, unsigned class, size_t size)
{
	bool zeroed = false;
	void *p = alloc_single(tc, class, &zeroed);

	if (p && !zeroed)
		memset(p, 0, size);
	return p;
}

static cold_path void report_kept(const void *p, unsigned class)
{
	report_corruption("double free of %p: an object of %u bytes that is free already", p,
			  size_classes[class].size);
}

void tcache_free_single(struct tcache *tc, void *p, u16 tag)
{
	unsigned class = tag_class(tag), last_class;
	void *last;
	u32 before;

	/* Of its own shard, an allocated object's start: everything else is the slab's to judge. */
	if (size_classes[class].size > SINGLE_KEEP_MOST || tag - tc->tag_base >= NR_CLASSES ||
	    shard_is_private(tc->shard) || !slab_is_single(p)) {
		tcache_free_direct(p, tag);
		return;
	}
	before = tcache_enter(tc);
	last = tc->single;
	last_class = tc->single_class;
	if (unlikely(last == p)) {
		tcache_leave(tc, before);
		report_kept(p, class);
		return;
	}
	__atomic_store_n(&tc->single, NULL, __ATOMIC_RELEASE);
	tc->single_class = class;
	__atomic_store_n(&tc->single, p, __ATOMIC_RELEASE);
	tcache_leave(tc, before);
	/* By what it was: freed twice, its pages may be something else by now. */
	if (last) {
		slab_free(tc->shard, last_class, &last, 1);
		stat_add_shared(objects_flushed, 1);
	}
}

void tcache_drop_single(struct tcache *tc)
{
	void *p = __atomic_load_n(&tc->single, __ATOMIC_ACQUIRE);

	if (!p)
		return;
	__atomic_store_n(&tc->single, NULL, __ATOMIC_RELEASE);
	slab_free(tc->shard, tc->single_class, &p, 1);
}
