/*
 * rank 7: C++'s operators new and delete, by their mangled names (Itanium C++
 * ABI), in C.
 *
 * Success is malloc's. On failure the next definition in link order takes over,
 * that of the program's C++ runtime: it calls the new-handler as often as it
 * must and throws std::bad_alloc, which C cannot. It allocates with malloc or
 * aligned_alloc, so what it returns is ours again. The functions are compiled
 * with -fexceptions so that the exception passes through.
 */
#include <dlfcn.h>

#include "base/report.h"
#include "malloc/internal.h"

/* The next definition of `name` after this library's; NULL in a C program. */
static cold_path void *next_definition(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* Where nobody can throw, the program cannot go on. */
static cold_path void cannot_throw(size_t size)
{
	report_fatal("operator new of %lu bytes failed and no C++ runtime can throw",
		     (unsigned long)size);
}

/*
 * A request too large to exist is handed on as this one: some runtimes round
 * the size up to the alignment without a look at the overflow.
 */
#define HAND_ON(size) MIN(size, MAX_REQUEST + 1)

/*
 * NEW defines one operator: its mangled name, parameters, how it allocates,
 * the arguments to hand on, and what to do when nobody is next.
 */
#define NEW(name, params, allocate, args, if_none)                                             \
	static cold_path void *name##_failed params                                                 \
	{                                                                                      \
		void *(*next)params = (void *(*)params)next_definition(#name);                 \
                                                                                               \
		if (next)                                                                      \
			return next args;                                                      \
		if_none;                                                                       \
		return NULL;                                                                   \
	}                                                                                      \
	BM_EXPORT void *name params;                                                           \
	void *name params                                                                      \
	{                                                                                      \
		void *p = allocate;                                                            \
                                                                                               \
		if (likely(p))                                                                 \
			return p;                                                              \
		return name##_failed args;                                                     \
	}

NEW(_Znwm, (size_t size), do_malloc(size), (HAND_ON(size)), cannot_throw(size))
NEW(_Znam, (size_t size), do_malloc(size), (HAND_ON(size)), cannot_throw(size))
NEW(_ZnwmRKSt9nothrow_t, (size_t size, const void *tag), do_malloc(size), (HAND_ON(size), tag), )
NEW(_ZnamRKSt9nothrow_t, (size_t size, const void *tag), do_malloc(size), (HAND_ON(size), tag), )
NEW(_ZnwmSt11align_val_t, (size_t size, size_t align), do_memalign(align, size), (HAND_ON(size), align),
    cannot_throw(size))
NEW(_ZnamSt11align_val_t, (size_t size, size_t align), do_memalign(align, size), (HAND_ON(size), align),
    cannot_throw(size))
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const void *tag),
    do_memalign(align, size), (HAND_ON(size), align, tag), )
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const void *tag),
    do_memalign(align, size), (HAND_ON(size), align, tag), )

/* All forms of delete free; size, alignment and tag only repeat what the page tag says. */
#define DELETE(name, ...)                                                                      \
	BM_EXPORT void name(void *p, ##__VA_ARGS__);                                           \
	void name(void *p, ##__VA_ARGS__)                                                      \
	{                                                                                      \
		do_free(p);                                                                    \
	}

#define UNUSED __attribute__((unused))

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvm, size_t size UNUSED)
DELETE(_ZdaPvm, size_t size UNUSED)
DELETE(_ZdlPvRKSt9nothrow_t, const void *tag UNUSED)
DELETE(_ZdaPvRKSt9nothrow_t, const void *tag UNUSED)
DELETE(_ZdlPvSt11align_val_t, size_t align UNUSED)
DELETE(_ZdaPvSt11align_val_t, size_t align UNUSED)
DELETE(_ZdlPvmSt11align_val_t, size_t size UNUSED, size_t align UNUSED)
DELETE(_ZdaPvmSt11align_val_t, size_t size UNUSED, size_t align UNUSED)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t align UNUSED, const void *tag UNUSED)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t align UNUSED, const void *tag UNUSED)
