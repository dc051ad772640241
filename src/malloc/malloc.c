/*
 * rank 7: malloc, calloc, free and their kin. The semantics are C23's and
 * POSIX's, and glibc's where those leave room: malloc(0) gives a unique
 * pointer, realloc(p, 0) frees p and gives NULL.
 *
 * malloc and free are a table lookup and a pop or push, see tcache.h.
 */
#include <string.h>

#include "base/options.h"
#include "malloc/internal.h"
#include "page_alloc/scope.h"

/* Everything above the table, and what cannot be. */
out_of_line void *malloc_medium(size_t size)
{
	if (likely(size <= MAX_PACKED_SIZE))
		return tcache_alloc(current_tcache(), size_to_class(size));
	if (size <= MAX_CLASS_SIZE)
		return tcache_alloc_single(current_tcache(), size_to_class(size));
	return large_alloc(size, 0, false);
}

BM_EXPORT void *malloc(size_t size)
{
	return do_malloc(size);
}

BM_EXPORT void free(void *p)
{
	do_free(p);
}

BM_EXPORT void *calloc(size_t nr, size_t size)
{
	size_t bytes;
	void *p;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(bytes > MAX_CLASS_SIZE))
		return large_alloc(bytes, 0, true);
	/* Of pages just taken those known to be zero need not be touched. */
	if (unlikely(bytes > MAX_PACKED_SIZE))
		return tcache_calloc_single(current_tcache(), size_to_class(bytes), bytes);
	p = do_malloc(bytes);
	if (likely(p))
		memset(p, 0, bytes);
	return p;
}

/* Bytes of a live object or block, by the tag of its page. */
static size_t usable_size(const void *p, u16 tag)
{
	if (tag_is_slab(tag))
		return size_classes[tag_class(tag)].size;
	return (size_t)pfn_to_page(virt_to_pfn(p))->nr_pages << PAGE_SHIFT;
}

/* hardened: nothing is cached, so the slab knows what the program has. */
static bool is_bad_object(const char *what, const void *p, u16 tag)
{
	return unlikely(options.hardened) && !slab_check_object(what, p, tag_class(tag));
}

static out_of_line size_t usable_size_of_any(const void *p)
{
	u16 tag;

	if (!p)
		return 0;
	tag = in_window(p) ? tag_read(virt_to_pfn(p)) : TAG_NONE;
	if (unlikely(!tag_is_slab(tag) && tag != TAG_LARGE)) {
		report_bad_pointer("malloc_usable_size", p);
		return 0;
	}
	if (tag_is_slab(tag) && is_bad_object("invalid malloc_usable_size", p, tag))
		return 0;
	return usable_size(p, tag);
}

BM_EXPORT size_t malloc_usable_size(void *p)
{
	size_t size = tcache_object_size(current_tcache(), p);

	return likely(size) ? size : usable_size_of_any(p);
}

/*
 * What grows once will grow again. From a page upward the room for it costs
 * address space only, until it is used; but a group is charged for it.
 */
static size_t grown(size_t old, size_t size)
{
	bool charged = this_scope.owner &&
		       __atomic_load_n(&page_groups[this_scope.owner], __ATOMIC_RELAXED);

	return old >= PAGE_SIZE && size > old && !charged ? MAX(size, old + old / 4) : size;
}

/*
 * An object stays where it is when the new size fits and uses at least half of
 * it. Otherwise all of its usable bytes move: programs write into the slack
 * that malloc_usable_size tells them of.
 */
static void *slab_realloc(void *p, u16 tag, size_t size)
{
	size_t old = size_classes[tag_class(tag)].size, want = grown(old, size);
	int saved = errno;
	void *q;

	if (is_bad_object("invalid realloc", p, tag)) {
		errno = EINVAL;
		return NULL;
	}
	if (size <= old && size > old / 2)
		return p;
	q = large_alloc_with_room(want);
	if (unlikely(!q && want > size))
		q = do_malloc(size);
	if (unlikely(!q && size > old))
		return NULL;
	errno = saved;
	if (unlikely(!q)) /* shrinking cannot fail: the object is large enough */
		return p;
	memcpy(q, p, MIN(old, size));
	do_free(p);
	return q;
}

static out_of_line void *realloc_any(void *p, size_t size)
{
	u16 tag;

	if (!p)
		return do_malloc(size);
	if (!size) {
		do_free(p);
		return NULL;
	}
	tag = in_window(p) ? tag_read(virt_to_pfn(p)) : TAG_NONE;
	if (likely(tag_is_slab(tag)))
		return slab_realloc(p, tag, size);
	if (likely(is_large(p, tag)))
		return large_realloc(p, virt_to_pfn(p), size);
	report_bad_pointer("realloc", p);
	errno = EINVAL;
	return NULL;
}

BM_EXPORT void *realloc(void *p, size_t size)
{
	size_t old = tcache_object_size(current_tcache(), p);

	/* It stays where it is, as in slab_realloc. */
	if (size <= old && size > old / 2)
		return p;
	return realloc_any(p, size);
}

/* The names glibc gives its own, for those who call past interposition. */
ALIAS(malloc) void *__libc_malloc(size_t size);
ALIAS(free) void __libc_free(void *p);
ALIAS(calloc) void *__libc_calloc(size_t nr, size_t size);
ALIAS(realloc) void *__libc_realloc(void *p, size_t size);
