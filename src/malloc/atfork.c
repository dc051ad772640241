/*
 * rank 7: __register_atfork, so that our handlers of fork are registered before all others:
 * then they run last before a fork and first after it, and nobody's handler runs while we
 * hold the heap's locks. One that takes a mutex would wait for its holder then, and the
 * holder, if it allocates, for us.
 *
 * pthread_atfork is a part of each program and library (libc_nonshared.a), and calls this
 * function of glibc's; a library may do so in its constructor, before ours and before
 * anything allocates.
 *
 * In the shared library only: in a static program it would meet the C library's own, and
 * our constructor is the first there.
 */
#include <dlfcn.h>

#include "base/report.h"
#include "malloc/internal.h"

typedef void (*handler_fn)(void);
typedef int (*register_fn)(handler_fn, handler_fn, handler_fn, void *);

/* Not for a program to call: what pthread_atfork(3) is made of, of the C library's ABI. */
int __register_atfork(handler_fn prepare, handler_fn parent, handler_fn child, void *dso);

BM_EXPORT int __register_atfork(handler_fn prepare, handler_fn parent, handler_fn child, void *dso)
{
	register_fn fn = (register_fn)dlsym(RTLD_NEXT, "__register_atfork");

	if (!fn)
		report_fatal("the C library has no __register_atfork");
	watch_fork();
	return fn(prepare, parent, child, dso);
}
