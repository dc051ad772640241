/*
 * interface.c - the rules of the malloc family: sizes, errno, zero, failure
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

/* C23's names, which the libc headers of today do not declare. */
typedef void free_sized_fn(void *, size_t);
typedef void free_aligned_sized_fn(void *, size_t, size_t);

static void *symbol(const char *name)
{
	void *address = dlsym(RTLD_DEFAULT, name);

	CHECK(address, "%s is not there", name);
	return address;
}

/* ------------------------------------------------------------------ names */

static const char *const names[] = {
	"malloc", "calloc", "realloc", "reallocarray", "free",
	"aligned_alloc", "posix_memalign", "memalign", "valloc", "pvalloc",
	"malloc_usable_size", "free_sized", "free_aligned_sized",
	"malloc_trim", "mallopt", "malloc_stats",
#ifdef __GLIBC__
	"mallinfo", "mallinfo2", "malloc_info",
	"__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free",
	"__libc_memalign", "__libc_valloc", "__libc_pvalloc", "__posix_memalign",
#endif
	/* operator new and delete: plain, array, nothrow, sized, aligned */
	"_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t",
	"_ZnwmSt11align_val_t", "_ZnamSt11align_val_t",
	"_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
	"_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm",
	"_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t",
	"_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
	"_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
	"_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t",
};

/* One name left to libc and its pointers would meet the wrong free. */
static void every_name_is_ours(void)
{
	Dl_info malloc_info_of, info;

	CHECK(dladdr(symbol("malloc"), &malloc_info_of));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK(dladdr(symbol(names[i]), &info), "%s", names[i]);
		CHECK(info.dli_fbase == malloc_info_of.dli_fbase,
		      "%s comes from %s", names[i], info.dli_fname);
	}
}

#ifdef __GLIBC__
/* Programs that wrap malloc call these, and mix them with the plain names. */
static void libc_names_mix(void)
{
	void *(*libc_malloc)(size_t) = symbol("__libc_malloc");
	void *(*libc_calloc)(size_t, size_t) = symbol("__libc_calloc");
	void *(*libc_realloc)(void *, size_t) = symbol("__libc_realloc");
	void *(*libc_memalign)(size_t, size_t) = symbol("__libc_memalign");
	void *(*libc_valloc)(size_t) = symbol("__libc_valloc");
	void *(*libc_pvalloc)(size_t) = symbol("__libc_pvalloc");
	void (*libc_free)(void *) = symbol("__libc_free");
	int (*posix)(void **, size_t, size_t) = symbol("__posix_memalign");
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p, *q;

	p = libc_malloc(100);
	CHECK(p && malloc_usable_size(p) >= 100);
	free(p);
	p = libc_calloc(10, 10);
	CHECK(p && is_zero(p, 100));
	p = libc_realloc(p, 5000);
	CHECK(p && is_zero(p, 100));
	free(p);
	p = malloc(100);
	libc_free(p);
	p = libc_memalign(4096, 100);
	CHECK(p && (uintptr_t)p % 4096 == 0);
	free(p);
	p = libc_valloc(100);
	q = libc_pvalloc(1);
	CHECK(p && (uintptr_t)p % page == 0);
	CHECK(q && (uintptr_t)q % page == 0 && malloc_usable_size(q) >= page);
	free(p);
	free(q);
	CHECK(posix(&p, 256, 100) == 0 && (uintptr_t)p % 256 == 0);
	free(p);
}
#endif

/* ------------------------------------------------------------------- sizes */

static void zero_sizes(void)
{
	void *a = malloc(hide_size(0)), *b = malloc(hide_size(0));
	void *p;

	CHECK(a && b && a != b, "malloc(0) gives distinct objects: %p %p", a, b);
	free(a);
	free(b);
	CHECK((p = calloc(hide_size(0), 8)));
	free(p);
	CHECK((p = calloc(8, hide_size(0))));
	free(p);
	CHECK((p = realloc(NULL, hide_size(0))));
	free(p);
	CHECK((p = memalign(64, hide_size(0))) && (uintptr_t)p % 64 == 0);
	free(p);
	CHECK((p = aligned_alloc(64, hide_size(0))) && (uintptr_t)p % 64 == 0);
	free(p);
	CHECK(posix_memalign(&p, 64, hide_size(0)) == 0 && (uintptr_t)p % 64 == 0);
	free(p);
	free(NULL);
	CHECK(malloc_usable_size(NULL) == 0);
	((free_sized_fn *)symbol("free_sized"))(NULL, 10);
	((free_aligned_sized_fn *)symbol("free_aligned_sized"))(NULL, 64, 10);
}

#ifdef __GLIBC__
/* Programs for glibc free this way; an object handed back would leak. */
static void realloc_to_zero_frees(void)
{
	for (int i = 0; i < 100000; i++) {
		void *p = malloc(4000);

		CHECK(p);
		memset(p, 1, 4000);
		errno = 0;
		CHECK(realloc(hide(p), hide_size(0)) == NULL);
		CHECK(errno == 0, "it is no failure");
	}
	CHECK(status_kib("VmRSS") < 100 * 1024);
}
#endif

static void calloc_is_zero(void)
{
	static const size_t sizes[] = { 1,     8,	16,	 40,	   100,	    1000,    4096,
					10000, 32768,	40000,	 100000,   1 << 20, 5 << 20, 33 << 20 };

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			size_t n = sizes[i];
			unsigned char *p = malloc(n);

			CHECK(p);
			memset(p, 0xa5, malloc_usable_size(p));
			free(p);
			p = calloc(1, hide_size(n));
			CHECK(p && is_zero(p, n), "%zu bytes of used memory", n);
			memset(p, 0x5a, malloc_usable_size(p));
			free(p);
			p = calloc(n, hide_size(2));
			CHECK(p && is_zero(p, 2 * n), "%zu times 2", n);
			memset(p, 0x5a, 2 * n);
			free(p);
		}
}

static void sized_frees(void)
{
	free_sized_fn *free_sized = symbol("free_sized");
	free_aligned_sized_fn *free_aligned_sized = symbol("free_aligned_sized");

	for (size_t n = 0; n < 100000; n += 1 + n / 9) {
		void *p = malloc(n);

		CHECK(p);
		free_sized(p, n);
		/* What malloc_usable_size says is a size the object may be freed with. */
		p = malloc(n);
		CHECK(p);
		free_sized(p, malloc_usable_size(p));
		for (size_t align = 16; align <= 65536; align *= 4) {
			p = aligned_alloc(align, n);
			CHECK(p);
			free_aligned_sized(p, align, n);
		}
	}
	for (size_t n = 1 << 20; n < (size_t)64 << 20; n *= 2)
		free_sized(malloc(n), n);
}

/* ------------------------------------------------------------------- errno */

static void free_keeps_errno(void)
{
	static const size_t sizes[] = { 0, 1, 100, 5000, 40000, 1 << 20, 100 << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int n = 0; n < (sizes[i] > 100000 ? 20 : 5000); n++) {
			void *p = malloc(sizes[i]);

			CHECK(p);
			/* Given back with madvise or munmap, perhaps. */
			if (sizes[i] > 100000)
				memset(p, 1, 1 << 20);
			errno = 4711;
			free(p);
			CHECK(errno == 4711, "free of %zu bytes", sizes[i]);
		}
	}
	errno = 4711;
	free(NULL);
	CHECK(errno == 4711);
}

/* A success leaves errno alone: callers look at it after other calls too. */
static void success_keeps_errno(void)
{
	for (int i = 0; i < 20000; i++) {
		void *p;

		errno = 4711;
		p = malloc((size_t)i * 10);
		p = realloc(p, (size_t)i * 15 + 1);
		CHECK(p && errno == 4711, "at %d", i);
		free(p);
	}
}

#define FAILS(call)                                                           \
	do {                                                                  \
		errno = 0;                                                    \
		CHECK(hide(call) == NULL);                                    \
		CHECK(errno == ENOMEM, #call);                                \
	} while (0)

static void huge_sizes_fail(void)
{
	static const size_t huge[] = { (size_t)PTRDIFF_MAX + 1, SIZE_MAX,	SIZE_MAX - 1,
				       SIZE_MAX - 15,		SIZE_MAX - 4095, SIZE_MAX - 65536,
				       SIZE_MAX / 2 + 4096,	PTRDIFF_MAX,	PTRDIFF_MAX - 4096,
				       (size_t)1 << 62,		(size_t)1 << 50 };
	char *kept = malloc(100);

	CHECK(kept);
	fill(kept, 100, 7);
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		size_t n = huge[i];
		void *p = &p;

		FAILS(malloc(n));
		FAILS(calloc(1, n));
		FAILS(calloc(n, 1));
		FAILS(realloc(NULL, n));
		FAILS(realloc(hide(kept), n));
		FAILS(reallocarray(hide(kept), 1, n));
		FAILS(memalign(64, n));
		FAILS(memalign(1 << 21, n));
		FAILS(aligned_alloc(4096, n));
		FAILS(valloc(n));
		FAILS(pvalloc(n));
		errno = 4711;
		CHECK(posix_memalign(&p, 64, n) == ENOMEM && errno == ENOMEM);
		CHECK(p == &p, "*memptr is left alone on failure");
	}
	CHECK(is_filled(kept, 100, 7), "a realloc that fails keeps the object");
	free(kept);
}

static void products_that_overflow_fail(void)
{
	static const size_t pairs[][2] = {
		{ SIZE_MAX, 2 },	       { 2, SIZE_MAX },
		{ SIZE_MAX / 2 + 1, 2 },       { (size_t)1 << 32, (size_t)1 << 32 },
		{ ((size_t)1 << 32) + 1, ((size_t)1 << 32) + 1 },
		{ SIZE_MAX / 16 + 2, 16 },     { SIZE_MAX, SIZE_MAX },
		{ (size_t)1 << 33, (size_t)1 << 31 },
	};
	char *kept = malloc(1000);

	CHECK(kept);
	fill(kept, 1000, 9);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		FAILS(calloc(pairs[i][0], pairs[i][1]));
		FAILS(reallocarray(NULL, pairs[i][0], pairs[i][1]));
		FAILS(reallocarray(hide(kept), pairs[i][0], pairs[i][1]));
	}
	CHECK(is_filled(kept, 1000, 9));
	kept = reallocarray(kept, 100, 100);
	CHECK(kept && is_filled(kept, 1000, 9));
	free(kept);
}

static void bad_alignments_fail(void)
{
	/* posix_memalign: a power of two and a multiple of the size of a pointer */
	static const size_t bad[] = { 0, 1, 2, 3, 4, 7, 12, 24, 100, 4095, 4097, SIZE_MAX };
	void *p = &p;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 4711;
		CHECK(posix_memalign(&p, hide_size(bad[i]), 100) == EINVAL, "%zu", bad[i]);
		CHECK(errno == 4711 && p == &p, "posix_memalign touches nothing");
	}
	/* An alignment nothing can have is a failure, never a wrong pointer. */
	errno = 0;
	CHECK(memalign(hide_size((size_t)1 << 63), 100) == NULL);
	CHECK(errno == ENOMEM || errno == EINVAL);
	errno = 0;
	CHECK(aligned_alloc(hide_size((size_t)1 << 62), 100) == NULL);
	CHECK(errno == ENOMEM || errno == EINVAL);
	errno = 4711;
	CHECK(posix_memalign(&p, hide_size((size_t)1 << 63), 100) == ENOMEM);
	CHECK(errno == ENOMEM && p == &p);
}

/* malloc is no cancellation point, whatever system calls it makes. */
static void *cancelled_while_allocating(void *reached)
{
	pthread_cancel(pthread_self());
	for (int i = 0; i < 2000; i++) {
		void *p = malloc((size_t)i * 100), *q = calloc(1, (size_t)i * 1000);

		CHECK(p && q);
		p = realloc(p, (size_t)i * 500 + 1);
		CHECK(p);
		free(p);
		free(q);
	}
	*(int *)reached = 1;
	pthread_testcancel();
	*(int *)reached = 2;
	return NULL;
}

static void no_cancellation_point(void)
{
	pthread_t thread;
	int reached = 0;

	CHECK(pthread_create(&thread, NULL, cancelled_while_allocating, &reached) == 0);
	pthread_join(thread, NULL);
	CHECK(reached == 1, "%d", reached);
}

static const struct trap_case cases[] = {
	{ .name = "every_name_is_ours", .run = every_name_is_ours },
#ifdef __GLIBC__
	{ .name = "libc_names_mix", .run = libc_names_mix },
	{ .name = "realloc_to_zero_frees", .run = realloc_to_zero_frees },
#endif
	{ .name = "zero_sizes", .run = zero_sizes },
	{ .name = "calloc_is_zero", .run = calloc_is_zero },
	{ .name = "calloc_is_zero_when_purged", .run = calloc_is_zero, .conf = "decay_ms:0" },
	{ .name = "sized_frees", .run = sized_frees },
	{ .name = "free_keeps_errno", .run = free_keeps_errno },
	{ .name = "free_keeps_errno_when_purging", .run = free_keeps_errno, .conf = "decay_ms:0" },
	{ .name = "success_keeps_errno", .run = success_keeps_errno },
	{ .name = "huge_sizes_fail", .run = huge_sizes_fail },
	{ .name = "products_that_overflow_fail", .run = products_that_overflow_fail },
	{ .name = "bad_alignments_fail", .run = bad_alignments_fail },
	{ .name = "no_cancellation_point", .run = no_cancellation_point },
};

TRAP_MAIN(cases)
