/*
 * rank 7: heaps. A heap is a private shard; what it gives out is found again by
 * its tags, and large blocks by their owner. Without being its default, a
 * thread allocates from it one object at a time, under the shard's lock.
 */
#include <buddymalloc/heap.h>

#include "base/report.h"
#include "base/stats.h"
#include "malloc/internal.h"

/* A heap is its private shard, under a name into which programs cannot look. */
static inline struct shard *heap_shard(struct bm_heap *heap)
{
	return (struct shard *)(void *)heap;
}

BM_EXPORT struct bm_heap *bm_heap_create(void)
{
	ensure_up();
	return (struct bm_heap *)(void *)shard_create_private();
}

void *heap_object(struct shard *heap, unsigned class, bool *zeroed)
{
	void *object = NULL;

	if (class >= NR_SHEAVES)
		object = slab_alloc_single(heap, class, zeroed);
	else
		slab_alloc(heap, class, &object, 1);
	stat_add_shared(objects_refilled, object != NULL);
	return object;
}

void *heap_alloc(struct shard *heap, size_t size)
{
	/* The thread's cache has the heap's objects already. */
	if (this_tcache->shard == heap)
		return do_malloc(size);
	return alloc_of(heap, size_to_class_or_none(size), size, 0, false);
}

BM_EXPORT void *bm_heap_malloc(struct bm_heap *heap, size_t size)
{
	return heap_alloc(heap_shard(heap), size);
}

BM_EXPORT void *bm_heap_calloc(struct bm_heap *heap, size_t nr, size_t size)
{
	return calloc_of(heap_shard(heap), nr, size);
}

BM_EXPORT void *bm_heap_realloc(struct bm_heap *heap, void *p, size_t size)
{
	return do_realloc("bm_heap_realloc", heap_shard(heap), p, size);
}

BM_EXPORT void *bm_heap_memalign(struct bm_heap *heap, size_t align, size_t size)
{
	return round_up_alignment(&align) ? memalign_of(heap_shard(heap), align, size) : NULL;
}

BM_EXPORT bm_scope_t bm_heap_set_default(struct bm_heap *heap)
{
	return scope_enter_owner(heap_shard(heap)->owner);
}

/* Gives back what begins at pfn if it is the heap's; pages to go on by. */
static u64 release_at(const struct shard *shard, u64 pfn)
{
	const struct page *page = pfn_to_page(pfn);
	unsigned class;
	u16 tag;
	u64 nr;

	/* Where a block was that had a mapping of its own most may be so. */
	if (!(pfn & (PAGEBLOCK_PAGES - 1)) && !block_is_mapped(pfn))
		return PAGEBLOCK_PAGES;
	tag = __atomic_load_n(tag_of(pfn), __ATOMIC_ACQUIRE);
	class = (unsigned)tag - shard->tag_base;
	if (class < NR_CLASSES) {
		nr = page->nr_pages;
		stat_add_shared(objects_flushed, size_classes[class].nr_objects - page->nr_free);
		slab_release(&pfn, 1, class);
		return nr;
	}
	if (tag == TAG_LARGE && __atomic_load_n(&page->owner, __ATOMIC_RELAXED) == shard->owner) {
		nr = page->nr_pages;
		large_release(pfn);
		return nr;
	}
	return 1;
}

BM_EXPORT int bm_heap_destroy(struct bm_heap *heap)
{
	struct shard *shard = heap_shard(heap);
	u64 end = __atomic_load_n(&window.span, __ATOMIC_ACQUIRE) >> PAGE_SHIFT, pfn;
	int saved = errno;

	if (shard->retired) {
		report_corruption("invalid bm_heap_destroy of %p: it was destroyed before",
				  (void *)heap);
		errno = EINVAL;
		return -1;
	}
	if (!tcache_wait_all_left(shard)) {
		errno = EBUSY;
		return -1;
	}
	shard_end_life(shard);
	for (pfn = window.first >> PAGE_SHIFT; pfn < end;)
		pfn += release_at(shard, pfn);
	shard_clear(shard);
	shard_retire_private(shard);
	errno = saved;
	return 0;
}
