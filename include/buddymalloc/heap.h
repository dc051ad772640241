/*
 * Heaps: private pools of malloc's, given back as a whole.
 *
 * Objects of a heap share no page with others. They are freed with free(3), by
 * any thread, or all go at once with the heap. realloc(3) moves an object out of the
 * heap unless the heap is the thread's default; bm_heap_realloc moves it in. An object
 * that need not move keeps its owner. Functions that allocate behave as
 * malloc, calloc, realloc and memalign do: 16-byte alignment, NULL with errno ENOMEM, or
 * EINVAL for an alignment that there cannot be.
 * Every function is thread-safe; none is async-signal-safe.
 */
#ifndef BUDDYMALLOC_HEAP_H
#define BUDDYMALLOC_HEAP_H

#include <stddef.h>

#include <buddymalloc/group.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What no other pointer points to. Not its size: bm_expand changes that. */
#ifdef __GNUC__
#define BM_NEW_MEMORY __attribute__((__malloc__))
#else
#define BM_NEW_MEMORY
#endif

struct bm_heap;

/* NULL with errno ENOMEM, or EAGAIN when there are too many heaps and groups. */
struct bm_heap *bm_heap_create(void);

void *bm_heap_malloc(struct bm_heap *heap, size_t size) BM_NEW_MEMORY;
void *bm_heap_calloc(struct bm_heap *heap, size_t nr, size_t size) BM_NEW_MEMORY;

/*
 * What p pointed to, if it has to move, moves into the heap. NULL: bm_heap_malloc. A
 * pointer that is none of malloc's is reported, which aborts unless abort_on_corruption is
 * false; then NULL with EINVAL.
 */
void *bm_heap_realloc(struct bm_heap *heap, void *p, size_t size);

/* At a multiple of align, which is rounded up to a power of two. */
void *bm_heap_memalign(struct bm_heap *heap, size_t align, size_t size) BM_NEW_MEMORY;

/*
 * malloc and its kin serve the calling thread from the heap, up to
 * bm_scope_restore with what this returns. BM_SCOPE_FAILED with errno EAGAIN: the thread
 * is ending; or ENOMEM: there is no memory for its cache. What the C library allocates
 * meanwhile to keep (dlopen, a stream's buffer, setenv) goes with the heap, too.
 */
bm_scope_t bm_heap_set_default(struct bm_heap *heap);

/*
 * Gives back the heap and all that was allocated from it: no pointer into it may
 * be used any more, by any thread. 0, or -1 with errno EBUSY while it is some
 * thread's default. Destroying it twice is reported, and aborts unless
 * abort_on_corruption is false; then -1 with EINVAL. (Not detected once its place has
 * been reused for a new heap or group.) Takes a look at two bytes for each page of the
 * process's heap.
 */
int bm_heap_destroy(struct bm_heap *heap);

#undef BM_NEW_MEMORY

#ifdef __cplusplus
}
#endif

#endif
