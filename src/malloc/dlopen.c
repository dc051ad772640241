/*
 * rank 7: dlopen, so that what a program loads later uses this allocator too.
 *
 * A library opened with RTLD_DEEPBIND looks a name up in itself and what it is
 * linked with before it asks the program and what was preloaded: its malloc and
 * free would be the C library's. The first block that crosses over, a strdup of
 * the C library's or an argument of the program's, then goes to a free that never
 * handed it out. PHP opens its extensions that way. So the flag is dropped here,
 * unless the option deepbind asks for it: a library may depend on it whose names
 * mean something else in the program.
 *
 * In the shared library only: a static one serves programs that were linked for it.
 */
#include <dlfcn.h>

#include "base/options.h"
#include "base/report.h"
#include "malloc/internal.h"

#ifdef RTLD_DEEPBIND

#if __has_attribute(musttail)
#define MUST_JUMP __attribute__((musttail))
#else
#define MUST_JUMP
#endif

/* gcc jumps when it optimizes, whatever the rest is built with. */
#if !__has_attribute(musttail) && __has_attribute(optimize)
#define OPTIMIZED __attribute__((optimize("O2")))
#else
#define OPTIMIZED
#endif

typedef void *(*dlopen_fn)(const char *, int);

static dlopen_fn next_dlopen;	/* relaxed: whoever looks it up finds the same */

static cold_path dlopen_fn find_next(void)
{
	dlopen_fn fn = (dlopen_fn)next_function("dlopen", (void *)dlopen);

	if (!fn)
		report_fatal("the C library has no dlopen");
	__atomic_store_n(&next_dlopen, fn, __ATOMIC_RELAXED);
	return fn;
}

/*
 * dlopen(3). The last call has to be a jump: whose search path counts is told by the
 * address that the C library's dlopen returns to, which must be the caller's.
 */
BM_EXPORT OPTIMIZED void *dlopen(const char *file, int mode)
{
	dlopen_fn fn = __atomic_load_n(&next_dlopen, __ATOMIC_RELAXED);

	if (unlikely(!fn))
		fn = find_next();
	if (mode & RTLD_DEEPBIND) {
		bringup();
		if (!options.deepbind) {
			mode &= ~RTLD_DEEPBIND;
			report_verbose("%s is opened without RTLD_DEEPBIND, so that it uses this allocator",
				       file ? file : "the program");
		}
	}
	MUST_JUMP return fn(file, mode);
}

#endif
