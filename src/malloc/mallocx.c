/*
 * rank 7: jemalloc's calls with flags, see <buddymalloc/jemalloc.h>. Programs that are linked
 * with libjemalloc call malloc and these by turns for the same memory (redis does), so that
 * under a preloaded library that has the former alone they break.
 */
#include <buddymalloc/jemalloc.h>
#include <errno.h>
#include <string.h>

#include "malloc/arena.h"
#include "malloc/internal.h"

#define LG_ALIGN_BITS 0x3f
#define TCACHE_SHIFT 8	/* 12 bits: 0, 1 for none, or a cache's number plus 2 */
#define TCACHE_BITS 0xfffu
#define ARENA_SHIFT 20	/* the arena's number plus 1 */

static inline size_t flags_align(int flags)
{
	return (size_t)1 << (flags & LG_ALIGN_BITS);
}

/*
 * The arena's number plus 1; 0: the flags name none. With a cache that was made for the purpose
 * jemalloc serves from that first, whatever the arena. Here that is the thread's own, of the
 * common heap: redis' scripts allocate so, and a tenth faster than from a heap.
 */
static inline unsigned flags_arena(int flags)
{
	bool cached = ((unsigned)flags >> TCACHE_SHIFT & TCACHE_BITS) > 1;

	return cached ? 0 : (unsigned)flags >> ARENA_SHIFT;
}

/* What a request with these flags is served from, as alloc_of wants it; false: no such arena. */
static bool flags_heap(int flags, struct shard **heap)
{
	unsigned arena = flags_arena(flags);

	*heap = arena ? arena_shard(arena - 1) : NULL;
	return arena <= 1 || *heap;
}

/* -1: a large block, at a multiple of 4096 << *align_order. */
static int flags_class(size_t size, int flags, unsigned *align_order)
{
	size_t align = flags_align(flags);

	*align_order = ilog2(MAX(align, PAGE_SIZE)) - PAGE_SHIFT;
	return align <= MIN_ALIGN ? size_to_class_or_none(size) : size_to_class_aligned(size, align);
}

/* Zero up to the end of what is usable: who lets it grow later relies on that. */
static void *alloc_zeroed(struct shard *heap, int class, size_t size, unsigned align_order)
{
	size_t bytes = class < 0 ? size : size_classes[class].size, usable;
	void *p = alloc_of(heap, class, bytes, align_order, true);

	if (!p || class < 0)
		return p;
	/* An object that is a slab of its own may be of a larger class than asked for. */
	usable = usable_size(p, tag_read(virt_to_pfn(p)));
	memset((char *)p + bytes, 0, usable - bytes);
	return p;
}

/* p has grown where it lies from `old` usable bytes, or not: how many it has now. */
static size_t grown_by_flags(void *p, size_t old, int flags)
{
	size_t usable = usable_size(p, tag_read(virt_to_pfn(p)));

	if (flags & MALLOCX_ZERO && usable > old)
		memset((char *)p + old, 0, usable - old);
	return usable;
}

static out_of_line void *alloc_by_flags(size_t size, int flags)
{
	unsigned align_order;
	struct shard *heap;
	int class;

	if (!flags_heap(flags, &heap)) {
		errno = EINVAL;
		return NULL;
	}
	if (size > MAX_REQUEST || flags_align(flags) > MAX_REQUEST) {
		errno = ENOMEM;
		return NULL;
	}
	class = flags_class(size, flags, &align_order);
	if (flags & MALLOCX_ZERO)
		return alloc_zeroed(heap, class, size, align_order);
	return alloc_of(heap, class, size, align_order, false);
}

/* Nothing that malloc does not do. */
static inline bool flags_are_plain(int flags)
{
	return !(flags & (LG_ALIGN_BITS | MALLOCX_ZERO)) && !flags_arena(flags);
}

BM_EXPORT FAST_ENTRY void *mallocx(size_t size, int flags)
{
	return likely(flags_are_plain(flags)) ? do_malloc(size) : alloc_by_flags(size, flags);
}

/* Aligned, or zero where it grows. p is live. */
static void *realloc_by_flags(void *p, size_t size, int flags, u16 tag)
{
	size_t old = usable_size(p, tag);
	bool aligned = !((uintptr_t)p & (flags_align(flags) - 1));
	int saved = errno;
	void *q;

	if (aligned && (size > old / 2 || old == MIN_ALIGN) && expand_block(p, tag, size)) {
		grown_by_flags(p, old, flags);
		return p;
	}
	q = alloc_by_flags(size, flags);
	if (!q)
		return NULL;
	errno = saved;
	memcpy(q, p, MIN(old, size));
	do_free(p);
	return q;
}

BM_EXPORT void *rallocx(void *p, size_t size, int flags)
{
	struct shard *heap;
	u16 tag;

	size = MAX(size, (size_t)1);
	if (unlikely(!p))
		return mallocx(size, flags);
	if (unlikely(!flags_heap(flags, &heap))) {
		errno = EINVAL;
		return NULL;
	}
	if (likely(!(flags & MALLOCX_ZERO) && flags_align(flags) <= MIN_ALIGN))
		return do_realloc("rallocx", heap, p, size);
	tag = tag_of_live("rallocx", p);
	if (likely(tag != TAG_NONE))
		return realloc_by_flags(p, size, flags, tag);
	errno = EINVAL;
	return NULL;
}

BM_EXPORT size_t xallocx(void *p, size_t size, size_t extra, int flags)
{
	u16 tag = tag_of_live("xallocx", p);
	size_t old, most;
	int saved = errno;

	if (unlikely(tag == TAG_NONE))
		return 0;
	old = usable_size(p, tag);
	if (__builtin_add_overflow(size, extra, &most))
		most = SIZE_MAX;
	if ((uintptr_t)p & (flags_align(flags) - 1))
		return old;
	if (!expand_block(p, tag, most) && size < most)
		expand_block(p, tag, size);
	errno = saved;
	return grown_by_flags(p, old, flags);
}

BM_EXPORT size_t sallocx(const void *p, int flags)
{
	(void)flags;
	return malloc_usable_size((void *)p);
}

BM_EXPORT FAST_ENTRY void dallocx(void *p, int flags)
{
	(void)flags;
	do_free(p);
}

BM_EXPORT FAST_ENTRY void sdallocx(void *p, size_t size, int flags)
{
	(void)size;
	(void)flags;
	do_free(p);
}

BM_EXPORT size_t nallocx(size_t size, int flags)
{
	unsigned align_order;
	int class;

	if (size > MAX_REQUEST || flags_align(flags) > MAX_REQUEST)
		return 0;
	class = flags_class(size, flags, &align_order);
	return class < 0 ? large_good_size(MAX(size, (size_t)1)) : size_classes[class].size;
}
