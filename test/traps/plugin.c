/*
 * plugin.c - a program without C++ opens a library with it for itself alone
 *
 * The C++ runtime that comes along is in nobody's scope but the library's.
 */
#include <dlfcn.h>
#include <stdbool.h>

#include "trap.h"

static void *plugin(const char *path, const char *name)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL), *function;

	CHECK(handle, "%s", dlerror());
	function = dlsym(handle, name);
	CHECK(function, "%s", dlerror());
	return function;
}

static void new_throws(void)
{
	bool (*fails_as_cxx_says)(void) = (bool (*)(void))plugin(MODULE_PATH, "fails_as_cxx_says");

	CHECK(fails_as_cxx_says());
}

/* One that is linked with the library finds that first. */
static void new_throws_in_a_linked_one(void)
{
	bool (*fails_as_cxx_says)(void) = (bool (*)(void))plugin(LINKED_PATH, "fails_as_cxx_says");

	CHECK(fails_as_cxx_says());
}

static void new_asks_the_handler(void)
{
	int (*handler_is_asked)(void) = (int (*)(void))plugin(MODULE_PATH, "handler_is_asked");

	CHECK(handler_is_asked() == 2);
}

static const struct trap_case cases[] = {
	{ .name = "new_throws", .run = new_throws },
	{ .name = "new_throws_in_a_linked_one", .run = new_throws_in_a_linked_one },
	{ .name = "new_asks_the_handler", .run = new_asks_the_handler },
};

TRAP_MAIN(cases)
