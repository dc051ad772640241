/*
 * rank 7: aligned allocation. Up to a page, a slab of a suitably aligned size
 * serves; beyond it, naturally aligned pages do.
 */
#include "malloc/internal.h"

#include "os/os.h"

static bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

void *memalign_of(struct shard *heap, size_t align, size_t size)
{
	if (align <= MIN_ALIGN)
		return malloc_of(heap, size);
	if (unlikely(size > MAX_REQUEST || align > MAX_REQUEST)) {
		errno = ENOMEM;
		return NULL;
	}
	return alloc_of(heap, size_to_class_aligned(size, align), size,
			ilog2(MAX(align, PAGE_SIZE)) - PAGE_SHIFT, false);
}

/*
 * POSIX: a power of two times sizeof(void *). It leaves open what becomes of errno: that is left
 * alone, but for ENOMEM, which programs that were written for glibc look for.
 */
BM_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	int saved = errno;
	void *p;

	if (!is_power_of_two(align) || align % sizeof(void *))
		return EINVAL;
	p = do_memalign(align, size);
	if (!p)
		return ENOMEM;
	errno = saved;
	*out = p;
	return 0;
}

/* C23: an alignment the implementation supports; size need be no multiple of it. */
BM_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (!is_power_of_two(align)) {
		errno = EINVAL;
		return NULL;
	}
	return do_memalign(align, size);
}

bool round_up_alignment(size_t *align)
{
	if (*align > (SIZE_MAX >> 1) + 1) {
		errno = EINVAL;
		return false;
	}
	if (!is_power_of_two(*align))
		*align = *align ? (size_t)1 << (ilog2(*align) + 1) : 1;
	return true;
}

/* glibc: any alignment is rounded up to a power of two. */
BM_EXPORT void *memalign(size_t align, size_t size)
{
	return round_up_alignment(&align) ? do_memalign(align, size) : NULL;
}

BM_EXPORT void *valloc(size_t size)
{
	bringup(); /* or the size of a page is not known yet */
	return do_memalign(os_page_size(), size);
}

/* As valloc, of whole pages, at least one. */
BM_EXPORT void *pvalloc(size_t size)
{
	size_t page;

	bringup();
	page = os_page_size();
	if (size > MAX_REQUEST) {
		errno = ENOMEM;
		return NULL;
	}
	return do_memalign(page, size ? round_up(size, page) : page);
}

ALIAS(posix_memalign) int __posix_memalign(void **out, size_t align, size_t size);
ALIAS(memalign) void *__libc_memalign(size_t align, size_t size);
ALIAS(valloc) void *__libc_valloc(size_t size);
ALIAS(pvalloc) void *__libc_pvalloc(size_t size);
