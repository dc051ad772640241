/*
 * startup.c - allocation before main and after exit, loading and unloading
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

/* ------------------------------------------------------ before main, after exit */

static char *before_constructors, *in_constructor;
static pthread_key_t early_key;
static bool late_work;
static char *kept_to_the_end;

static void early_work(void)
{
	before_constructors = malloc(1000);
	if (before_constructors)
		fill(before_constructors, 1000, 1);
	/* What a library's own start-up does, and what may allocate inside. */
	pthread_key_create(&early_key, free);
	pthread_setspecific(early_key, calloc(1, 10000));
}

__attribute__((section(".preinit_array"), used))
static void (*const first_of_all)(void) = early_work;

__attribute__((constructor(101)))
static void construct(void)
{
	in_constructor = realloc(before_constructors, 100000);
	if (in_constructor)
		fill(in_constructor + 1000, 99000, 2);
}

__attribute__((destructor(101)))
static void destruct(void)
{
	if (!late_work)
		return;
	/* The library's own exit handlers have run, or will run: both must do. */
	if (!is_filled(kept_to_the_end, 5000, 3) || churn(5, 5000, 200, 300000))
		_exit(1);
	free(kept_to_the_end);
}

static void at_exit(void)
{
	const char *wrong = churn(4, 5000, 200, 300000);

	CHECK(!wrong, "%s", wrong);
}

static void before_main(void)
{
	CHECK(in_constructor);
	CHECK(is_filled(in_constructor, 1000, 1));
	CHECK(is_filled(in_constructor + 1000, 99000, 2));
	free(in_constructor);
	CHECK(is_zero(pthread_getspecific(early_key), 10000));
}

static void late_thread(unsigned index)
{
	CHECK(churn(index + 1, 5000, 200, 30000) == NULL);
}

static void after_exit(void)
{
	kept_to_the_end = malloc(5000);
	CHECK(kept_to_the_end);
	fill(kept_to_the_end, 5000, 3);
	late_work = true;
	atexit(at_exit);
	run_threads(3, late_thread);
}

/* ------------------------------------------------------------ other libraries */

/* ld.so's own objects, and those of libraries with start-up code and TLS. */
static void load_and_unload(void)
{
	static const char *const libraries[] = { "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1",
						 "libresolv.so.2", "no-such-library.so" };

	for (int round = 0; round < 50; round++)
		for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
			void *handle = dlopen(libraries[i], RTLD_NOW);

			if (handle)
				dlclose(handle);
			else
				CHECK(strlen(dlerror()) > 10);
		}
}

static void *dlopen_in_thread(void *unused)
{
	load_and_unload();
	return unused;
}

static void load_and_unload_in_threads(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, dlopen_in_thread, NULL) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* ------------------------------------------------- the library, loaded by hand */

static void *(*loaded_malloc)(size_t);
static void (*loaded_free)(void *);
static pthread_barrier_t step;

static void *use_loaded(void *unused)
{
	char *p[500];

	for (size_t i = 0; i < 500; i++) {
		p[i] = loaded_malloc(1 + i * 50);
		CHECK(p[i]);
		fill(p[i], 1 + i * 50, i);
	}
	pthread_barrier_wait(&step);
	/* Closed meanwhile. */
	pthread_barrier_wait(&step);
	for (size_t i = 0; i < 500; i++) {
		CHECK(is_filled(p[i], 1 + i * 50, i));
		loaded_free(p[i]);
	}
	return unused;
}

static void closed_while_in_use(void)
{
	void *handle = dlopen(trap_library(), RTLD_NOW | RTLD_LOCAL);
	pthread_t threads[3];

	CHECK(handle, "%s", dlerror());
	loaded_malloc = dlsym(handle, "malloc");
	loaded_free = dlsym(handle, "free");
	CHECK(loaded_malloc && loaded_malloc != malloc && loaded_free);
	CHECK(pthread_barrier_init(&step, NULL, 4) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, use_loaded, NULL) == 0);
	pthread_barrier_wait(&step);
	CHECK(dlclose(handle) == 0);
	CHECK(dlopen(trap_library(), RTLD_NOLOAD | RTLD_NOW), "it was unloaded");
	pthread_barrier_wait(&step);
	/* Their caches are torn down by code that must still be there. */
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	loaded_free(loaded_malloc(100));
}

static void opened_many_times(void)
{
	for (int i = 0; i < 200; i++) {
		void *handle = dlopen(trap_library(), RTLD_NOW | (i % 2 ? RTLD_LOCAL : RTLD_DEEPBIND));
		void *(*f)(size_t);

		CHECK(handle, "%s", dlerror());
		f = dlsym(handle, "malloc");
		CHECK(f && f(100));
		CHECK(dlclose(handle) == 0);
	}
}

/* A coroutine's stack may lie low in the address space; it says nothing of where that ends. */
static void *first_from_there;

static void call_from_low_stack(void)
{
	void *handle = dlopen(trap_library(), RTLD_NOW);
	void *(*f)(size_t);

	CHECK(handle, "%s", dlerror());
	f = dlsym(handle, "malloc");
	CHECK(f);
	first_from_there = f(100);
}

static void started_on_a_low_stack(void)
{
	static ucontext_t here, there;
	const size_t size = (size_t)1 << 20;
	void *stack = mmap((void *)0x20000000, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(stack != MAP_FAILED);
	if ((uintptr_t)stack >> 32)
		trap_skip("nothing can be mapped low");
	CHECK(getcontext(&there) == 0);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = size;
	there.uc_link = &here;
	makecontext(&there, call_from_low_stack, 0);
	CHECK(swapcontext(&here, &there) == 0);
	CHECK(first_from_there && (uintptr_t)first_from_there >> 32, "%p", first_from_there);
}

/* ----------------------------------------------------------------- odd starts */

static void run_and_expect(const char *command, int status)
{
	int got = system(command);

	CHECK(WIFEXITED(got) && WEXITSTATUS(got) == status, "%s: %d", command, got);
}

/* Exit status 7 tells that the shell ran, and with the library in it. */
#define SHELL "sh -c 'grep -q libbuddymalloc.so /proc/$$/maps && exit 7'"

/* Programs without environment or open files start all the same. */
static void bare_starts(void)
{
	char command[PATH_MAX + 200];
	static const char *const forms[] = {
		"env -i LD_PRELOAD='%s' " SHELL,
		"LD_PRELOAD='%s' " SHELL " <&- >&- 2>&-",
		"LD_PRELOAD='%s' BUDDYMALLOC_CONF= " SHELL,
		"cd / && LD_PRELOAD='%s' LD_BIND_NOW=1 " SHELL,
		"LD_PRELOAD='%s' MALLOC_ARENA_MAX=1 GLIBC_TUNABLES=glibc.rtld.nns=2 " SHELL,
		"LD_PRELOAD='%s' GLIBC_TUNABLES=glibc.pthread.rseq=0 " SHELL,
	};

	unsetenv("LD_PRELOAD");
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		snprintf(command, sizeof(command), forms[i], trap_library());
		run_and_expect(command, 7);
	}
}

/* Without the rseq area that glibc registers the CPU comes from elsewhere. */
static void without_rseq_thread(unsigned index)
{
	CHECK(churn(index + 1, 20000, 1000, 300000) == NULL);
}

static void without_rseq(void)
{
	run_threads(4, without_rseq_thread);
}

static void disable_rseq(void)
{
	setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
}

static const struct trap_case cases[] = {
	{ .name = "before_main", .run = before_main },
	{ .name = "after_exit", .run = after_exit },
	{ .name = "after_exit_hardened", .run = after_exit, .conf = "hardened:true" },
	{ .name = "after_exit_with_report", .run = after_exit, .conf = "stats_print:true",
	  .says = "^buddymalloc: report of pid [0-9]+ \\([^)]*\\)\n(buddymalloc: [^\n]*\n)+$" },
	{ .name = "load_and_unload", .run = load_and_unload },
	{ .name = "load_and_unload_in_threads", .run = load_and_unload_in_threads },
	{ .name = "closed_while_in_use", .run = closed_while_in_use, .flags = TRAP_BARE },
	{ .name = "opened_many_times", .run = opened_many_times, .flags = TRAP_BARE },
	{ .name = "started_on_a_low_stack", .run = started_on_a_low_stack, .flags = TRAP_BARE },
	{ .name = "bare_starts", .run = bare_starts },
	{ .name = "without_rseq", .run = without_rseq, .prepare = disable_rseq },
};

TRAP_MAIN(cases)
