/* rank 7: the C library's functions of names that this library exports as well. */
#include <dlfcn.h>

#include "malloc/internal.h"

/*
 * Where a library that wraps dlsym was preloaded before this one, the next after that is told,
 * and found is what asked. It does not wrap dlvsym as well, as a rule, which wants one of the
 * versions that glibc's functions have on the machines that it runs on.
 */
static cold_path void *next_version(const char *name)
{
	static const char *const versions[] = { "GLIBC_2.34", "GLIBC_2.3.2", "GLIBC_2.2.5",
						"GLIBC_2.17", "GLIBC_2.27", "GLIBC_2.36" };
	void *fn = NULL;
	unsigned i;

	for (i = 0; !fn && i < ARRAY_SIZE(versions); i++)
		fn = dlvsym(RTLD_NEXT, name, versions[i]);
	return fn;
}

void *next_function(const char *name, const void *ours)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (unlikely(fn == ours))
		fn = next_version(name);
	return fn == ours ? NULL : fn;
}
