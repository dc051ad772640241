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
 * Weak, as in a static program that forks the C library's own takes its place. No constructor
 * of a shared library comes before ours there. In one that does not fork there is none, and
 * nothing to be registered for.
 */
#include "malloc/internal.h"

/* Not for a program to call: what pthread_atfork(3) is made of, of the C library's ABI. */
int __register_atfork(fork_handler prepare, fork_handler parent, fork_handler child, void *dso);

BM_EXPORT __attribute__((weak)) int __register_atfork(fork_handler prepare, fork_handler parent,
						      fork_handler child, void *dso)
{
	/* Relaxed: whoever looks it up finds the same. Kept, as dlsym takes the loader's lock. */
	static register_atfork_fn next;
	register_atfork_fn fn = __atomic_load_n(&next, __ATOMIC_RELAXED);

	if (unlikely(!fn)) {
		fn = (register_atfork_fn)next_function("__register_atfork",
						       (void *)__register_atfork);
		__atomic_store_n(&next, fn, __ATOMIC_RELAXED);
	}
	if (unlikely(!fn))
		return 0;
	register_fork(fn);
	return fn(prepare, parent, child, dso);
}
