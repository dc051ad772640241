/*
 * rank 7: malloc, calloc, free and their kin. The semantics are C23's and
 * POSIX's, and glibc's where those leave room: malloc(0) gives a unique
 * pointer, realloc(p, 0) frees p and gives NULL.
 *
 * malloc and free are a table lookup and a pop or push, see tcache.h.
 */
#include <buddymalloc/malloc.h>
#include <string.h>

#include "base/options.h"
#include "malloc/internal.h"
#include "page_alloc/scope.h"

/* Everything above the table, and what cannot be. */
out_of_line void *malloc_medium(size_t size)
{
	/* Of the classes' two rules one remains. */
	if (size <= TABLE_MAX)
		__builtin_unreachable();
	if (likely(size <= MAX_PACKED_SIZE))
		return tcache_alloc(current_tcache(), size_to_class(size));
	if (size <= MAX_CLASS_SIZE)
		return tcache_alloc_single(current_tcache(), size_to_class(size));
	return large_alloc(size);
}

void *alloc_of(struct shard *heap, int class, size_t size, unsigned align_order, bool zero)
{
	bool zeroed = false;
	void *p;

	if (class < 0)
		return large_alloc_owned(heap ? heap->owner : this_scope.owner, size ? size : 1,
					 align_order, zero ? BM_GFP_ZERO : 0);
	if (heap)
		p = heap_object(heap, (unsigned)class, zero ? &zeroed : NULL);
	else if (class < NR_SHEAVES)
		p = tcache_alloc(current_tcache(), (unsigned)class);
	else if (zero)
		return tcache_calloc_single(current_tcache(), (unsigned)class, size);
	else
		return tcache_alloc_single(current_tcache(), (unsigned)class);
	if (zero && p && !zeroed)
		memset(p, 0, size);
	return p;
}

BM_EXPORT FAST_ENTRY void *malloc(size_t size)
{
	return do_malloc(size);
}

BM_EXPORT FAST_ENTRY void free(void *p)
{
	do_free(p);
}

BM_EXPORT void *calloc(size_t nr, size_t size)
{
	return calloc_of(NULL, nr, size);
}

size_t usable_size(const void *p, u16 tag)
{
	if (tag_is_slab(tag))
		return size_classes[tag_class(tag)].size;
	return (size_t)pfn_to_page(virt_to_pfn(p))->nr_pages << PAGE_SHIFT;
}

/* hardened: nothing is cached, so the slab knows what the program has. */
static bool is_bad_object(const char *call, const void *p, u16 tag)
{
	return unlikely(options.hardened) && !slab_check_object(call, p, tag_class(tag));
}

u16 tag_of_live(const char *call, const void *p)
{
	u16 tag = in_window(p) ? tag_read(virt_to_pfn(p)) : TAG_NONE;

	if (likely(tag_is_slab(tag)))
		return is_bad_object(call, p, tag) ? TAG_NONE : tag;
	if (likely(is_large(p, tag)))
		return tag;
	report_bad_pointer(call, p);
	return TAG_NONE;
}

static out_of_line size_t usable_size_of_any(const void *p)
{
	u16 tag = p ? tag_of_live("malloc_usable_size", p) : TAG_NONE;

	return tag == TAG_NONE ? 0 : usable_size(p, tag);
}

BM_EXPORT size_t malloc_usable_size(void *p)
{
	size_t size = tcache_object_size(current_tcache(), p);

	return likely(size) ? size : usable_size_of_any(p);
}

BM_EXPORT int bm_version(void)
{
	static_assert(BM_VERSION == VERSION_NUMBER, "the header says what configure.ac says");
	return VERSION_NUMBER;
}

BM_EXPORT size_t bm_good_size(size_t size)
{
	return size <= MAX_CLASS_SIZE ? size_classes[size_to_class(MAX(size, (size_t)1))].size :
					large_good_size(size);
}

/* Whether an object that is a slab of its own has grown where it lies. */
static bool expand_single(void *p, u16 tag, size_t size)
{
	return tag_class(tag) >= NR_PACKED_CLASSES && size <= MAX_CLASS_SIZE &&
	       slab_grow_single(p, size_to_class(size));
}

bool expand_block(void *p, u16 tag, size_t size)
{
	if (!tag_is_slab(tag))
		return large_expand(virt_to_pfn(p), size);
	return size <= usable_size(p, tag) || expand_single(p, tag, size);
}

BM_EXPORT void *bm_expand(void *p, size_t size)
{
	u16 tag = p ? tag_of_live("bm_expand", p) : TAG_NONE;

	if (unlikely(tag == TAG_NONE)) {
		errno = EINVAL;
		return NULL;
	}
	if (expand_block(p, tag, size))
		return p;
	errno = ENOMEM;
	return NULL;
}

/*
 * What grows once will grow again. From a page upward the room for it costs
 * address space only, until it is used; but a group is charged for it.
 */
static size_t with_room_to_grow(u16 owner, size_t old, size_t size)
{
	return old >= PAGE_SIZE && size > old && !owner_has_budget(owner) ?
		       MAX(size, old + old / 4) : size;
}

/* Where what is reallocated moves to. */
static void *alloc_new_place(struct shard *heap, u16 owner, size_t size)
{
	if (size > MAX_CLASS_SIZE)
		return large_alloc_owned(owner, size, 0, GFP_ROOMY);
	return malloc_of(heap, size);
}

/*
 * To another place, with as much of the `old` usable bytes as the new size has room
 * for: programs write into the slack that malloc_usable_size tells them of.
 */
static void *realloc_moving(struct shard *heap, u16 owner, void *p, size_t old, size_t size)
{
	size_t want = with_room_to_grow(owner, old, size);
	int saved = errno;
	void *q = alloc_new_place(heap, owner, want);

	if (unlikely(!q && want > size))
		q = alloc_new_place(heap, owner, size);
	if (unlikely(!q && size > old))
		return NULL;
	errno = saved;
	if (unlikely(!q)) /* shrinking cannot fail: the object is large enough */
		return p;
	memcpy(q, p, MIN(old, size));
	do_free(p);
	return q;
}

/* An object stays where it is when the new size fits, and uses half of it or has no smaller one. */
out_of_line void *do_realloc(const char *call, struct shard *heap, void *p, size_t size)
{
	u16 owner = heap ? heap->owner : this_scope.owner, tag;
	size_t old;

	if (!p)
		return malloc_of(heap, size);
	if (!size) {
		do_free(p);
		return NULL;
	}
	tag = tag_of_live(call, p);
	if (unlikely(tag == TAG_NONE)) {
		errno = EINVAL;
		return NULL;
	}
	if (!tag_is_slab(tag) && size > MAX_CLASS_SIZE)
		return large_realloc(owner, p, virt_to_pfn(p), size);
	/* A small block with a large alignment may be smaller than what it becomes. */
	old = usable_size(p, tag);
	if (size <= old ? size > old / 2 || old == MIN_ALIGN :
			  tag_is_slab(tag) && expand_single(p, tag, size))
		return p;
	return realloc_moving(heap, owner, p, old, size);
}

BM_EXPORT void *realloc(void *p, size_t size)
{
	size_t old = tcache_object_size(current_tcache(), p);

	/* It stays where it is, as in do_realloc. */
	if (size <= old && size > old / 2)
		return p;
	return do_realloc("realloc", NULL, p, size);
}

/* The names glibc gives its own, for those who call past interposition. */
ALIAS(malloc) void *__libc_malloc(size_t size);
ALIAS(free) void __libc_free(void *p);
ALIAS(calloc) void *__libc_calloc(size_t nr, size_t size);
ALIAS(realloc) void *__libc_realloc(void *p, size_t size);
