/*
 * jemalloc's own interface beyond malloc, for programs that were written for it: those that
 * are linked with libjemalloc find these names here when this library is preloaded, with the
 * same values and meanings, as jemalloc(3) of version 5.3 has them. A program that is linked
 * with this library instead needs no header of jemalloc's; where <jemalloc/jemalloc.h> is
 * included too, it must come first. bm_mallocx(3).
 *
 * Every function is thread-safe; none is async-signal-safe. What goes by these functions and
 * what goes by malloc's own names may be mixed: free(mallocx(...)).
 */
#ifndef BUDDYMALLOC_JEMALLOC_H
#define BUDDYMALLOC_JEMALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Flags, to be joined by |. A multiple of 1 << la; of align, a power of two; zeroed, to the end
 * of malloc_usable_size; out of an arena that mallctl("arenas.create") has made (0: malloc's
 * own heap), past the caches of threads. A cache of mallctl("tcache.create") is the one that the
 * thread has, whatever its number, and what it serves is arena 0's, whatever the arena.
 */
#ifndef MALLOCX_ZERO
#define MALLOCX_LG_ALIGN(la) ((int)(la))
#define MALLOCX_ALIGN(align) ((int)__builtin_ctzll(align))
#define MALLOCX_ZERO 0x40
#define MALLOCX_TCACHE(tc) ((int)(((tc) + 2) << 8))
#define MALLOCX_TCACHE_NONE MALLOCX_TCACHE(-1)
#define MALLOCX_ARENA(a) ((int)((((unsigned)(a)) + 1) << 20))
#endif

/* In the place of an arena's number: all of them together. */
#ifndef MALLCTL_ARENAS_ALL
#define MALLCTL_ARENAS_ALL 4096
#endif

/* NULL with errno ENOMEM, or EINVAL: there is no such arena. */
void *mallocx(size_t size, int flags);

/*
 * As realloc; what has to move goes to the place that the flags name. With MALLOCX_ZERO what
 * comes behind the old malloc_usable_size is zero. NULL, with the old one as it was: as mallocx;
 * a pointer that is none of malloc's is reported as realloc(3) reports it. p NULL: mallocx. A
 * size of 0, which jemalloc leaves undefined, is 1.
 */
void *rallocx(void *p, size_t size, int flags);

/*
 * Makes p hold size + extra bytes without moving it, or at least `size`; how many it holds
 * then, fewer if that cannot be. What can grow and shrink is what bm_expand(3) says. p must be
 * live.
 */
size_t xallocx(void *p, size_t size, size_t extra, int flags);

/* malloc_usable_size(p). The flags, here and below, change nothing. */
size_t sallocx(const void *p, int flags);

/* free(p); the size is not looked at. */
void dallocx(void *p, int flags);
void sdallocx(void *p, size_t size, int flags);

/*
 * The usable size that mallocx(size, flags) gives at least; 0: there can be none such. May be
 * called before the first allocation.
 */
size_t nallocx(size_t size, int flags);

/*
 * Reads what has the given name to *oldp, if that is not NULL, and then sets it to *newp, if
 * that is not NULL. *oldlenp and newlen are the sizes of the two in bytes, and have to be
 * right. bm_mallocx(3) has the names and their types. 0; ENOENT: no such name or number; EPERM:
 * what is only to be read was to be written, or the other way round; EINVAL: another size (as
 * much as fits is read); EAGAIN: not now, for want of memory or of a place; EFAULT: that cannot
 * be done.
 */
int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);

/*
 * The same in two steps, which saves the search for the name. *miblenp is how many numbers mib
 * has room for, then how many there are: one for each part of the name; where that is a number,
 * that number, which may be changed.
 */
int mallctlnametomib(const char *name, size_t *mib, size_t *miblenp);
int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp, void *newp,
		 size_t newlen);

/*
 * The library's report (libbuddymalloc(7)), a call of `write` for each line; NULL: to stderr.
 * The options, which choose parts and the form of jemalloc's own report, are not looked at.
 */
void malloc_stats_print(void (*write)(void *opaque, const char *line), void *opaque,
			const char *options);

#ifdef __cplusplus
}
#endif

#endif
