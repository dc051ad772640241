/*
 * rank 7: names that are defined as a call of another one. They call it by its
 * exported name, from a file of its own: a program that brings its own malloc,
 * realloc and free, as browsers do, need not bring these, and what they hand on
 * must then be the program's. So it is with the C library's.
 */
#include "malloc/internal.h"

BM_EXPORT void *reallocarray(void *p, size_t nr, size_t size)
{
	size_t bytes;

	if (unlikely(__builtin_mul_overflow(nr, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

/* C23 7.24.3.3 and 7.24.3.4. The page's tag knows the size, and better. */
BM_EXPORT void free_sized(void *p, size_t size)
{
	(void)size;
	free(p);
}

BM_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
	(void)align;
	(void)size;
	free(p);
}

BM_EXPORT void cfree(void *p)
{
	free(p);
}

ALIAS(reallocarray) void *__libc_reallocarray(void *p, size_t nr, size_t size);
