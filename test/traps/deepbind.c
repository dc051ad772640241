/*
 * deepbind.c - a library that is opened with RTLD_DEEPBIND uses this allocator
 *
 * Left alone, the dynamic linker gives such a library the C library's malloc and
 * free, and the program crashes at the first block that passes between the two.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "deepbind-module.h"
#include "trap.h"

static const struct module *opened(const char *file, int mode)
{
	void *handle = dlopen(file, mode);
	const struct module *m;

	CHECK(handle, "%s", dlerror());
	m = dlsym(handle, "module");
	CHECK(m, "%s", dlerror());
	return m;
}

static const char *file_of(void *address)
{
	Dl_info info;

	CHECK(dladdr(address, &info));
	return info.dli_fname;
}

static void blocks_pass_both_ways(void)
{
	const struct module *m = opened(MODULE_PATH, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	char *p;

	CHECK(!strcmp(file_of(m->malloc_it_sees), trap_library()), "%s",
	      file_of(m->malloc_it_sees));
	for (size_t size = 1; size < 3 << 20; size = size * 3 + 1) {
		p = m->allocate(size);
		CHECK(p);
		memset(p, 1, size);
		free(p);
		p = malloc(size);
		CHECK(p);
		m->release(p);
	}
	/* The C library allocates what the module releases. */
	p = strdup("from the C library");
	m->release(p);
	p = m->duplicate("from the C library");
	CHECK(!strcmp(p, "from the C library"));
	free(p);
}

/* A program's RUNPATH is searched for what the program opens, not for what others do. */
static void the_callers_search_path_counts(void)
{
	CHECK(opened(MODULE_NAME, RTLD_NOW | RTLD_DEEPBIND) ==
	      opened(MODULE_PATH, RTLD_NOW));
	CHECK(opened(MODULE_NAME, RTLD_LAZY) == opened(MODULE_PATH, RTLD_NOW));
}

static void errors_are_the_callers(void)
{
	const char *error;

	CHECK(!dlopen("no-such-library.so", RTLD_NOW | RTLD_DEEPBIND));
	error = dlerror();
	CHECK(error && strstr(error, "no-such-library.so"), "%s", error ? error : "no error");
	CHECK(dlopen(NULL, RTLD_NOW));
	CHECK(dlopen(NULL, RTLD_NOW | RTLD_DEEPBIND));
}

static void the_option_keeps_the_flag(void)
{
	const struct module *m = opened(MODULE_PATH, RTLD_NOW | RTLD_DEEPBIND);

	CHECK(!strstr(file_of(m->malloc_it_sees), "buddymalloc"), "%s",
	      file_of(m->malloc_it_sees));
	m->release(m->allocate(100));
}

static const struct trap_case cases[] = {
	{ .name = "blocks_pass_both_ways", .run = blocks_pass_both_ways },
	{ .name = "blocks_pass_both_ways_hardened", .run = blocks_pass_both_ways,
	  .conf = "hardened:true" },
	{ .name = "it_is_told", .run = blocks_pass_both_ways, .conf = "verbose:true",
	  .says = "deepbind-module\\.so is opened without RTLD_DEEPBIND" },
	{ .name = "the_callers_search_path_counts", .run = the_callers_search_path_counts },
	{ .name = "errors_are_the_callers", .run = errors_are_the_callers },
	{ .name = "the_option_keeps_the_flag", .run = the_option_keeps_the_flag,
	  .conf = "deepbind:true" },
};

TRAP_MAIN(cases)
