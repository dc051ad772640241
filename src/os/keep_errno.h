/* rank 0: calls whose failure is nobody's business. */
#ifndef BM_OS_KEEP_ERRNO_H
#define BM_OS_KEEP_ERRNO_H

#include <errno.h>

/* The value of the call, with errno as it was before. */
#define KEEPING_ERRNO(call)                                                                        \
	({                                                                                         \
		const int saved_errno = errno;                                                     \
		const __auto_type result = (call);                                                 \
		errno = saved_errno;                                                               \
		result;                                                                            \
	})

#endif
