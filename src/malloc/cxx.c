/*
 * rank 7: C++'s operators new and delete, by their mangled names (Itanium C++
 * ABI), in C.
 *
 * Success is malloc's. On failure the next definition in link order takes over,
 * that of the program's C++ runtime: it calls the new-handler as often as it
 * must and throws std::bad_alloc, which C cannot. It allocates with malloc or
 * aligned_alloc, so what it returns is ours again. The functions are compiled
 * with -fexceptions so that the exception passes through.
 *
 * A program may replace some of them and leave the others alone, and often has
 * only new(size) and delete(p). C++ says which form each of the others goes by
 * ([new.delete]); so they do here, through the names, which are weak. Else the
 * sized delete, which compilers prefer, would free here what the program's own
 * new had made.
 */
#include <dlfcn.h>

#include "base/report.h"
#include "malloc/internal.h"

#ifdef BM_SHARED
static const char runtimes[][16] = { "libstdc++.so.6", "libc++abi.so.1", "libc++.so.1" };

static bool is_of_this_library(const void *address)
{
	Dl_info its, own;

	return !dladdr(address, &its) || !dladdr(runtimes, &own) || its.dli_fbase == own.dli_fbase;
}

/* Not ours: a plugin that is linked with this library has that before the runtime's. */
static void *definition_in(const char *library, const char *name)
{
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD), *definition;

	if (!handle)
		return NULL;
	definition = dlsym(handle, name);
	/* The caller keeps it. */
	dlclose(handle);
	return definition && !is_of_this_library(definition) ? definition : NULL;
}

/*
 * Of the runtime that came with a plugin: opened for itself (RTLD_LOCAL, as Python does it), it is
 * not among those that RTLD_NEXT looks through. It may be a part of the plugin, too, which the
 * caller's address tells where compilers jump to what comes last.
 */
static cold_path void *definition_of_plugins(const char *name, const void *caller)
{
	void *definition = NULL;
	Dl_info plugin;
	unsigned i;

	if (!is_of_this_library(caller) && dladdr(caller, &plugin))
		definition = definition_in(plugin.dli_fname, name);
	for (i = 0; !definition && i < ARRAY_SIZE(runtimes); i++)
		definition = definition_in(runtimes[i], name);
	return definition;
}
#else
/* In a program that is linked statically as a whole, what opens libraries would come with it. */
static inline void *definition_of_plugins(const char *name, const void *caller)
{
	(void)name;
	(void)caller;
	return NULL;
}
#endif

/* The next definition of `name` after this library's; NULL where there is no C++. */
static cold_path void *next_definition(const char *name, const void *caller)
{
	void *definition = dlsym(RTLD_NEXT, name);

	return definition ? definition : definition_of_plugins(name, caller);
}

/* What that does, for programs that are linked statically as a whole and have no next one. */
typedef void new_handler_t(void);
__attribute__((weak)) new_handler_t *_ZSt15get_new_handlerv(void); /* std::get_new_handler */
__attribute__((weak)) void _ZSt17__throw_bad_allocv(void); /* std::__throw_bad_alloc */

static new_handler_t *new_handler(void)
{
	return _ZSt15get_new_handlerv ? _ZSt15get_new_handlerv() : NULL;
}

#ifdef BM_SHARED
/* There the next definition does. */
static inline void throw_by_hand(void)
{
}
#else
/*
 * As the Itanium C++ ABI has it, since an archive gives nobody __throw_bad_alloc who does not ask.
 * What catches a bad_alloc brings all of this along.
 */
__attribute__((weak)) void *__cxa_allocate_exception(size_t size);
__attribute__((weak)) void __cxa_throw(void *exception, const void *type, void (*destructor)(void *));
extern __attribute__((weak)) const char _ZTISt9bad_alloc[]; /* its type */
extern __attribute__((weak)) const void *const _ZTVSt9bad_alloc[]; /* its virtual functions */
__attribute__((weak)) void _ZNSt9bad_allocD1Ev(void *); /* its destructor */

static cold_path void throw_by_hand(void)
{
	const void **exception;

	if (!__cxa_allocate_exception || !__cxa_throw || !_ZNSt9bad_allocD1Ev)
		return;
	exception = __cxa_allocate_exception(sizeof(*exception));
	/* Before the functions stand the offset to the top and the type. */
	*exception = &_ZTVSt9bad_alloc[2];
	__cxa_throw(exception, _ZTISt9bad_alloc, _ZNSt9bad_allocD1Ev);
}
#endif

/* Where nobody can throw, the program cannot go on. */
static cold_path void throw_bad_alloc(size_t size)
{
	if (_ZSt17__throw_bad_allocv)
		_ZSt17__throw_bad_allocv();
	throw_by_hand();
	report_fatal("operator new of %lu bytes failed and no C++ runtime can throw",
		     (unsigned long)size);
}

/*
 * A request too large to exist is handed on as this one: some runtimes round
 * the size up to the alignment without a look at the overflow.
 */
#define HAND_ON(size) MIN(size, MAX_REQUEST + 1)

/* Replaceable, and called by these names; gcc can do so without a stub in between. */
#if __has_attribute(noplt)
#define OPERATOR BM_EXPORT __attribute__((weak, noplt))
#else
#define OPERATOR BM_EXPORT __attribute__((weak))
#endif

/* An operator's name is an alias of what this library does for it. */
#define DEFINE(type, name, params)                                                             \
	static type own##name params;                                                          \
	OPERATOR type name params __attribute__((alias("own" #name)));                         \
	static type own##name params

/* Does the operator's name lead here, or has the program replaced it? */
#define IS_OWN(name) (&name == &own##name)

/* The same operator, as the C++ runtime has it. */
#define FAILED(name, params, args, if_none)                                                    \
	static cold_path void *name##_failed params                                            \
	{                                                                                      \
		void *(*next)params =                                                          \
			(void *(*)params)next_definition(#name, __builtin_return_address(0));  \
                                                                                               \
		if (next)                                                                      \
			return next args;                                                      \
		if_none;                                                                       \
		return NULL;                                                                   \
	}

/* As often as there is a handler. */
#define TRY_AGAIN(allocate)                                                                    \
	for (new_handler_t *handler; (handler = new_handler()) != NULL;) {                     \
		void *p;                                                                       \
                                                                                               \
		handler();                                                                     \
		p = allocate;                                                                  \
		if (p)                                                                         \
			return p;                                                              \
	}

/* NEW: an operator that allocates, and what to hand on when that fails. */
#define NEW(name, params, allocate, args)                                                      \
	FAILED(name, params, args, {                                                           \
		TRY_AGAIN(allocate)                                                            \
		throw_bad_alloc(size);                                                         \
	})                                                                                     \
	DEFINE(void *, name, params)                                                           \
	{                                                                                      \
		void *p = allocate;                                                            \
                                                                                               \
		if (likely(p))                                                                 \
			return p;                                                              \
		return name##_failed args;                                                     \
	}

/*
 * One that does not throw. When what it goes by is replaced, the runtime calls
 * that, and catches, which C cannot: without a runtime what it throws goes on.
 */
#define NEW_NOTHROW(name, params, goes_by_own, other, allocate, args)                          \
	FAILED(name, params, args, {                                                           \
		if (!(goes_by_own))                                                            \
			return other;                                                          \
		TRY_AGAIN(allocate)                                                            \
	})                                                                                     \
	DEFINE(void *, name, params)                                                           \
	{                                                                                      \
		void *p = likely(goes_by_own) ? allocate : NULL;                               \
                                                                                               \
		if (likely(p))                                                                 \
			return p;                                                              \
		return name##_failed args;                                                     \
	}

/* One that is defined as a call of another. */
#define GOES_BY(type, name, params, other)                                                     \
	DEFINE(type, name, params)                                                             \
	{                                                                                      \
		return other;                                                                  \
	}

#define UNUSED __attribute__((unused))

static void *own_Znwm(size_t size) FAST_ENTRY;
NEW(_Znwm, (size_t size), do_malloc(size), (HAND_ON(size)))
NEW(_ZnwmSt11align_val_t, (size_t size, size_t align), do_memalign(align, size),
    (HAND_ON(size), align))
GOES_BY(void *, _Znam, (size_t size), _Znwm(size))
GOES_BY(void *, _ZnamSt11align_val_t, (size_t size, size_t align),
	_ZnwmSt11align_val_t(size, align))

NEW_NOTHROW(_ZnwmRKSt9nothrow_t, (size_t size, const void *tag), IS_OWN(_Znwm), _Znwm(size),
	    do_malloc(size), (HAND_ON(size), tag))
NEW_NOTHROW(_ZnamRKSt9nothrow_t, (size_t size, const void *tag),
	    IS_OWN(_Znam) && IS_OWN(_Znwm), _Znam(size), do_malloc(size), (HAND_ON(size), tag))
NEW_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const void *tag),
	    IS_OWN(_ZnwmSt11align_val_t), _ZnwmSt11align_val_t(size, align),
	    do_memalign(align, size), (HAND_ON(size), align, tag))
NEW_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const void *tag),
	    IS_OWN(_ZnamSt11align_val_t) && IS_OWN(_ZnwmSt11align_val_t),
	    _ZnamSt11align_val_t(size, align),
	    do_memalign(align, size), (HAND_ON(size), align, tag))

/* Size, alignment and tag only repeat what the page's tag says. */
static void own_ZdlPv(void *p) FAST_ENTRY;
DEFINE(void, _ZdlPv, (void *p))
{
	do_free(p);
}

DEFINE(void, _ZdlPvSt11align_val_t, (void *p, size_t align UNUSED))
{
	do_free(p);
}

GOES_BY(void, _ZdaPv, (void *p), _ZdlPv(p))
GOES_BY(void, _ZdlPvm, (void *p, size_t size UNUSED), _ZdlPv(p))
GOES_BY(void, _ZdaPvm, (void *p, size_t size UNUSED), _ZdaPv(p))
GOES_BY(void, _ZdlPvRKSt9nothrow_t, (void *p, const void *tag UNUSED), _ZdlPv(p))
GOES_BY(void, _ZdaPvRKSt9nothrow_t, (void *p, const void *tag UNUSED), _ZdaPv(p))
GOES_BY(void, _ZdaPvSt11align_val_t, (void *p, size_t align), _ZdlPvSt11align_val_t(p, align))
GOES_BY(void, _ZdlPvmSt11align_val_t, (void *p, size_t size UNUSED, size_t align),
	_ZdlPvSt11align_val_t(p, align))
GOES_BY(void, _ZdaPvmSt11align_val_t, (void *p, size_t size UNUSED, size_t align),
	_ZdaPvSt11align_val_t(p, align))
GOES_BY(void, _ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, const void *tag UNUSED),
	_ZdlPvSt11align_val_t(p, align))
GOES_BY(void, _ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, const void *tag UNUSED),
	_ZdaPvSt11align_val_t(p, align))
