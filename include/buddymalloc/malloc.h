/*
 * What goes beyond malloc(3): the version, options that a program brings along, sizes,
 * growth without a move, and the figures of the report one by one. bm_malloc(3).
 */
#ifndef BUDDYMALLOC_MALLOC_H
#define BUDDYMALLOC_MALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of these headers: 10000 * major + 100 * minor + patch. */
#define BM_VERSION 100

/*
 * The same of the library that serves the program, which may be another one. Thread-safe
 * and async-signal-safe. mimalloc: mi_version().
 */
int bm_version(void);

/*
 * The program may define this: options as in the environment variable BUDDYMALLOC_CONF,
 * which is read after it, so that whoever runs the program has the last word. The value
 * must be there when the program is loaded: a string constant. jemalloc: malloc_conf.
 */
extern const char *bm_conf;

/*
 * The usable size that malloc(size) gives at least. Requests up to that size cost no more
 * memory. 0 if no request of the size can succeed. Thread-safe, and
 * async-signal-safe after the first allocation. jemalloc: nallocx.
 */
size_t bm_good_size(size_t size);

/*
 * Makes what p points to, given by malloc and its kin, hold `size` bytes without moving it.
 * p, or NULL with errno ENOMEM: there is no room behind it, and it stays as it is. Never
 * fails up to malloc_usable_size(p); beyond, objects up to 32 KiB never grow, and others not
 * across 1 MiB. A smaller size gives back what whole pages a block above 1 MiB has beyond. A
 * pointer that is none of ours is reported as realloc(3) reports it; then, and for NULL, NULL
 * with errno EINVAL. Use the returned pointer: the compiler may assume that p still has its old
 * size (_FORTIFY_SOURCE).
 * Thread-safe, not async-signal-safe. jemalloc: xallocx.
 */
void *bm_expand(void *p, size_t size);

/*
 * A figure of the report, by the name it has there (libbuddymalloc(7), The report), such as
 * "used_bytes"; those of the size classes have none. 0, or -1 with errno ENOENT: there is
 * none of that name. Read while other threads go on, so close rather than exact. Takes some
 * microseconds, more with many threads. Thread-safe, not async-signal-safe.
 * jemalloc: mallctl("stats...").
 */
int bm_stat_get(const char *name, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
