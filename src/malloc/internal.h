/* rank 7: what the files that export malloc's names share. */
#ifndef BM_MALLOC_INTERNAL_H
#define BM_MALLOC_INTERNAL_H

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include <buddymalloc/gfp.h>

#include "tcache/tcache.h"

/* Visible from outside the library; everything else is hidden. */
#define BM_EXPORT __attribute__((visibility("default")))

/*
 * A second name. "copy" gives the alias the attributes that the libc's header
 * gave the first, which gcc else warns of.
 */
#if __has_attribute(copy)
#define ALIAS(name) BM_EXPORT __attribute__((alias(#name), copy(name)))
#else
#define ALIAS(name) BM_EXPORT __attribute__((alias(#name)))
#endif

/* The largest request: C and POSIX want differences of pointers to fit. */
#define MAX_REQUEST ((size_t)PTRDIFF_MAX)

/* C23's, which the libc's headers may not have yet. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);
void cfree(void *p);

/* large.c: blocks of whole pages. */

/*
 * A block for `size` bytes at a multiple of 4096 << align_order, of the given owner
 * (page_alloc/scope.h), with more flags: BM_GFP_ZERO, GFP_ROOMY. NULL with errno ENOMEM.
 */
void *large_alloc_owned(u16 owner, size_t size, unsigned align_order, bm_gfp_t more);
/* The same, of the thread's scope and without all that. */
void *large_alloc(size_t size);
/* Gives a live block back whose owner goes with all it has. */
void large_release(u64 pfn);
/* Everything that is no slab's: large blocks, and what is not ours to free. */
void free_other(void *p);
/*
 * Resizes a large block to a large size, in place if possible, else into what is the
 * owner's; NULL with ENOMEM leaves it as it is.
 */
void *large_realloc(u16 owner, void *p, u64 pfn, size_t size);
/* Resizes a large block where it is; false if that cannot be. */
bool large_expand(u64 pfn, size_t size);
/* The bytes of a large block for `size`; 0: there can be none. */
size_t large_good_size(size_t size);
/* Whether p is a live large block's, by the tag of its page. */
static inline bool is_large(const void *p, u16 tag)
{
	return tag == TAG_LARGE && !((uintptr_t)p & (PAGE_SIZE - 1));
}
/* Bytes in live large blocks, and their number. */
u64 large_bytes(void);
u64 large_count(void);
/* Names what is wrong with a pointer that heads no block, and aborts by option. */
cold_path void report_bad_pointer(const char *call, const void *p);

/* move.c: what was moved by page tables. */

/* A block is new. */
void large_never_moved(u64 pfn);
/* A block is about to be freed, or cut to nr pages. */
void large_forget_move(u64 pfn);
void large_cut_move(u64 pfn, u64 nr);
/*
 * Puts the first nr pages of what `from` holds into `to`, which is new, by page tables as
 * far as that pays; what `from` holds then, nobody knows. False when `to` is gone, a hole
 * in the heap, and `from` is as it was.
 */
bool large_move(u64 to, u64 from, u64 nr);

/* malloc.c: not the common sizes. */
void *malloc_medium(size_t size);
/*
 * Where no fast path is, the one place that chooses between sheaves, single objects and large
 * blocks, by the class: -1 is a large block, at a multiple of 4096 << align_order. Out of the
 * private shard, NULL: what the thread's malloc gives. NULL with errno ENOMEM.
 */
void *alloc_of(struct shard *heap, int class, size_t size, unsigned align_order, bool zero);
/* The class for such a call without an alignment. */
static inline int size_to_class_or_none(size_t size)
{
	return size <= MAX_CLASS_SIZE ? (int)size_to_class(MAX(size, (size_t)1)) : -1;
}
/* The tag of a live object or block; TAG_NONE after a report of the named call: p is neither. */
u16 tag_of_live(const char *call, const void *p);
/* Bytes of what has this tag. */
size_t usable_size(const void *p, u16 tag);
/* Whether it holds `size` bytes now, where it lies. Its tag may be another then. */
bool expand_block(void *p, u16 tag, size_t size);
/* realloc for the named call: what must move goes to the private shard, NULL: the thread's. */
void *do_realloc(const char *call, struct shard *heap, void *p, size_t size);

/* heap.c: what bm_heap_malloc does. */
void *heap_alloc(struct shard *heap, size_t size);
/* An object past all caches. Sets *zeroed if it is known to hold zeroes; NULL: nobody asks. */
void *heap_object(struct shard *heap, unsigned class, bool *zeroed);

/* What malloc does, inline, for the other entry points. */
static fast_inline void *do_malloc(size_t size)
{
	struct tcache *tc = current_tcache();

	if (unlikely(size > TABLE_MAX))
		return malloc_medium(size);
	return tcache_alloc_small(tc, size);
}

/* The same out of the private shard, NULL: the thread's. */
static fast_inline void *malloc_of(struct shard *heap, size_t size)
{
	return heap ? heap_alloc(heap, size) : do_malloc(size);
}

static fast_inline void *calloc_of(struct shard *heap, size_t nr, size_t size)
{
	size_t bytes;
	void *p;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	/* Of pages just taken those known to be zero need not be touched. */
	if (unlikely(bytes > MAX_PACKED_SIZE))
		return alloc_of(heap, size_to_class_or_none(bytes), bytes, 0, true);
	p = malloc_of(heap, bytes);
	if (likely(p))
		__builtin_memset(p, 0, bytes);
	return p;
}

static fast_inline void do_free(void *p)
{
	tcache_free(current_tcache(), p);
}

/* aligned.c: align is a power of two. Out of the private shard, NULL: the thread's. */
void *memalign_of(struct shard *heap, size_t align, size_t size);
static fast_inline void *do_memalign(size_t align, size_t size)
{
	/* An align of 0, which C++ may hand on, is none for aligned_size. */
	if (likely(size <= TABLE_MAX && align - 1 < TABLE_MAX))
		return tcache_alloc_small(current_tcache(), aligned_size(size, align));
	return memalign_of(NULL, align, size);
}
/* Rounds it up to one; false with errno EINVAL where there is none. */
bool round_up_alignment(size_t *align);

/*
 * group.c. The thread's malloc serves from the owner's shard, 0: its home. The scope before, or
 * BM_SCOPE_FAILED with errno as of tcache_rebind.
 */
u64 scope_enter_owner(u16 owner);
/* fork */
void groups_lock_all(void);
void groups_unlock_all(void);
void groups_reinit_lock(void);

/* bringup.c */
void bringup(void);
/* For what may be the first call of the process, and asks nothing of the thread's cache. */
static inline void ensure_up(void)
{
	if (unlikely(this_tcache->state == TCACHE_BOOT))
		tcache_get();
}
/*
 * Registers our handlers of fork, once, by glibc's function or, NULL, as anybody does. Those
 * registered first run last before a fork and first after it.
 */
typedef void (*fork_handler)(void);
typedef int (*register_atfork_fn)(fork_handler, fork_handler, fork_handler, void *dso);
void register_fork(register_atfork_fn fn);

/* next.c: the C library's function where `ours` has the same name; NULL: it has none. */
void *next_function(const char *name, const void *ours);

/* info.c */
struct report_sink;
void print_report(void);
/* What malloc_stats says. */
void report_statistics(const struct report_sink *to);

#endif
