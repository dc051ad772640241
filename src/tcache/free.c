/*
 * rank 6: frees that the fast path cannot serve: whose the object is, and where it goes. What
 * belongs to another shard waits in the cache until there is a group of it.
 */
#include <errno.h>

#include "memmap/memmap.h"
#include "tcache/internal.h"

void tcache_flush_remote(struct tcache *tc, void (*send)(void **objects, unsigned n))
{
	void *all[REMOTE_MAX];
	u32 n = tc->nr_remote;

	__builtin_memcpy(all, tc->remote, n * sizeof(*all));
	count_set(&tc->nr_remote, 0);
	count_set(&tc->remote_bytes, 0);
	send(all, n);
	stat_add(&tc->stats, flushes, 1);
	stat_add(&tc->stats, objects_flushed, n);
}

/*
 * Like a push on the fast path this may happen while another thread takes from the cache; a
 * flush may not. False when it was the last that there is room for.
 */
static inline bool remote_push(struct tcache *tc, void *p, u16 tag)
{
	u32 n = tc->nr_remote;
	size_t bytes = tc->remote_bytes + size_classes[tag_class(tag)].size;

	tc->remote[n++] = p;
	count_set(&tc->remote_bytes, bytes);
	__atomic_store_n(&tc->nr_remote, n, __ATOMIC_RELEASE);
	stat_add(&tc->stats, objects_remote, 1);
	return likely(n < REMOTE_MAX && bytes < REMOTE_BYTES);
}

static out_of_line void remote_full(struct tcache *tc)
{
	int saved = errno;
	u32 before = tcache_enter(tc);

	tcache_flush_remote(tc, slab_transfer);
	tcache_leave(tc, before);
	errno = saved;
}

void tcache_free_direct(void *p, u16 tag)
{
	slab_free(shards[tag_shard(tag)], tag_class(tag), &p, 1);
	stat_add_shared(objects_flushed, 1);
}

/*
 * A thread's first frees make no cache. They may be its last: glibc frees what belongs to
 * stacks (the dtv of a detached thread that ended before) in the exiting thread, after all
 * destructors, and nobody would be told of the end of a cache made then.
 */
#define FREES_WITHOUT_CACHE 128

static struct tcache *cache_for_free(const struct tcache *tc)
{
	static __thread u8 frees __attribute__((tls_model("initial-exec")));

	if (tc->state == TCACHE_SEALED || frees == FREES_WITHOUT_CACHE)
		return tcache_get();
	frees++;
	tcache_hooks.bringup();
	return tcache_shared(&tcache_none);
}

/*
 * Whether the thread has a full sheaf of a class that it never wanted an object of: more would lie
 * there for nobody. They go the way of other shards' objects.
 */
static inline bool is_for_others(const struct tcache *tc, unsigned class)
{
	return !(tc->asked[class / 64] >> class % 64 & 1) &&
	       tc->sheaf[class].top == tc->sheaf[class].limit &&
	       !shard_is_private(tc->shard);
}

/* An object by its tag; the cache is live. */
static inline void free_object(void *p, struct tcache *tc, u16 tag)
{
	const unsigned class = tag_class(tag);
	const bool own = tag - tc->tag_base < NR_CLASSES, single = class >= NR_SHEAVES;

	/* It may have grown, and was 0 at first. */
	tc->span = __atomic_load_n(&window.span, __ATOMIC_ACQUIRE);
	if (own && single)
		tcache_free_single(tc, p, class);
	else if (own && !is_for_others(tc, class))
		sheaf_push_full(tc, class, p);
	else if (single || shard_is_private(shards[tag_shard(tag)]))
		/* A heap may be destroyed and a group wants its pages: nothing of theirs waits. */
		tcache_free_direct(p, tag);
	else if (!remote_push(tc, p, tag))
		remote_full(tc);
}

void tcache_free_slow(void *p, struct tcache *tc)
{
	int saved = errno;
	u16 tag;

	if (!p)
		return;
	if (unlikely(tc->state == TCACHE_BOOT || tc->state == TCACHE_SEALED))
		tc = cache_for_free(tc);
	tag = in_window(p) ? tag_read(virt_to_pfn(p)) : TAG_NONE;
	if (unlikely(!tag_is_slab(tag)))
		tcache_hooks.free_other(p);
	else if (unlikely(tc->state != TCACHE_LIVE))
		tcache_free_direct(p, tag);
	else
		free_object(p, tc, tag);
	errno = saved;
}

void tcache_free_beyond(void *p, struct tcache *tc, u32 class)
{
	u16 tag = (u16)(tc->tag_base + class);

	/* Large objects and other shards' may be a program's common case: no detour. */
	if (class < NR_CLASSES)
		tcache_free_single(tc, p, class);
	else if (unlikely(!tag_is_slab(tag) || tag_class(tag) >= NR_SHEAVES ||
			  shard_is_private(shards[tag_shard(tag)])))
		tcache_free_slow(p, tc);
	else if (unlikely(!remote_push(tc, p, tag)))
		remote_full(tc);
}
