/*
 * rank 1: what the library says, on stderr, one line a message, each line
 * beginning with "buddymalloc: "; control characters in it become question marks. Nothing here
 * allocates: the text is built on the stack and written with one write(2).
 */
#ifndef BM_BASE_REPORT_H
#define BM_BASE_REPORT_H

#include "base/types.h"

/* Longer messages are cut. */
#define REPORT_LINE 512

__attribute__((format(printf, 1, 2))) void report(const char *fmt, ...);

/*
 * Where a report goes: to a function, line by line with its end; NULL: to a file descriptor. No
 * lock is held: the function may allocate.
 */
struct report_sink {
	void (*write)(void *opaque, const char *line);
	void *opaque;
	int fd;
};

/* The same to a place of the caller's. */
__attribute__((format(printf, 2, 3))) void report_to(const struct report_sink *to,
						     const char *fmt, ...);

/* For the verbose option: nothing unless it is set. */
__attribute__((format(printf, 1, 2))) void report_verbose(const char *fmt, ...);

/*
 * The user's program broke the heap's rules. Reports, then aborts unless
 * abort_on_corruption is off; the caller then ignores the operation.
 */
__attribute__((format(printf, 1, 2))) cold_path void report_corruption(const char *fmt, ...);

/* The library's own state is broken; there is no way on. */
__attribute__((format(printf, 1, 2), noreturn)) cold_path void report_fatal(const char *fmt, ...);

#ifdef BM_DEBUG
#define bm_assert(cond)                                                                       \
	do {                                                                                  \
		if (unlikely(!(cond)))                                                        \
			report_fatal("assertion failed: %s (%s:%d)", #cond, __FILE__, __LINE__); \
	} while (0)
#else
#define bm_assert(cond) ((void)sizeof(cond))
#endif

#endif
