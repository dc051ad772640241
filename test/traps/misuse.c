/*
 * misuse.c - invalid and double frees end in one line and abort
 *
 * Every case tells the runner the pointer it misuses; the line must name it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#define POINTER "0x[0-9a-f]+"
#define FOREIGN "^buddymalloc: invalid free of " POINTER ": not memory of this allocator\n$"
#define INSIDE(bytes, what)                                                   \
	"^buddymalloc: invalid free of " POINTER ": " bytes " bytes inside the " what " at " \
	POINTER "\n$"
#define IN_TAIL "^buddymalloc: invalid free of " POINTER ": in the unused tail of a slab of "
#define DOUBLE                                                                \
	"^buddymalloc: double free of " POINTER ": an object of 112 bytes that is free already\n$"
/* The page was given back, and may have been used again since. */
#define PAGE_IS_FREE                                                          \
	"^buddymalloc: invalid free of " POINTER                              \
	": in free memory; freed before, or never allocated\n$"
/* Kept by its shard, or given back at once: that is the allocator's choice. */
#define DOUBLE_LARGE                                                          \
	"^buddymalloc: (double free|invalid (free|realloc)) of " POINTER      \
	": (an object of 1048576 bytes that is free already|in free memory; freed before, or never allocated)\n$"

static char static_bytes[4096] __attribute__((aligned(4096)));

/* What is wrong may be found when a cache is emptied: give it reason to. */
static void free_many_of(size_t size)
{
	enum { NR = 20000 };
	static void *all[NR];

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < NR; i++) {
			all[i] = malloc(size);
			CHECK(all[i]);
		}
		for (size_t i = 0; i < NR; i++)
			free(all[i]);
	}
}

static void free_wrong(void *p)
{
	trap_expect_pointer(p);
	free(hide(p));
}

/* ---------------------------------------------------------- foreign pointers */

static void free_mapped(void)
{
	void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	free_wrong(p);
}

static void free_stack(void)
{
	char bytes[100] __attribute__((aligned(16))) = { 0 };

	free_wrong(bytes);
}

static void free_static(void)
{
	free_wrong(static_bytes);
}

static void free_text(void)
{
	free_wrong((void *)(uintptr_t)free_text);
}

static void free_low(void)
{
	free_wrong((void *)16);
}

static void free_high(void)
{
	free_wrong((void *)-16);
}

static void free_not_canonical(void)
{
	free_wrong((void *)((uintptr_t)1 << 62));
}

/* Before the first allocation the initial thread cache has no window yet. */
static void free_foreign_first(void)
{
	free_wrong(static_bytes + 64);
}

/* libc's own allocator is still reachable: RTLD_DEEPBIND plug-ins get there. */
static void free_of_libc_malloc(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY);
	void *(*libc_malloc)(size_t);

	if (!libc)
		trap_skip("no libc.so.6 here");
	libc_malloc = dlsym(libc, "malloc");
	CHECK(libc_malloc);
	free_wrong(libc_malloc(100));
}

static void realloc_foreign(void)
{
	trap_expect_pointer(static_bytes);
	if (realloc(hide(static_bytes), 100))
		free_many_of(100);
}

static void usable_size_of_foreign(void)
{
	trap_expect_pointer(static_bytes);
	CHECK(malloc_usable_size(hide(static_bytes)) == 0);
}

static void thread_frees_foreign(unsigned index)
{
	(void)index;
	free_wrong(static_bytes + 128);
}

static void free_foreign_in_a_thread(void)
{
	run_threads(1, thread_frees_foreign);
}

/* --------------------------------------------------------- interior pointers */

static void free_interior(size_t size, size_t offset)
{
	char *p = malloc(size);

	CHECK(p);
	free_wrong(p + offset);
	free_many_of(size);
}

static void free_interior_16(void)
{
	free_interior(100, 16);
}

static void free_interior_unaligned(void)
{
	free_interior(100, 1);
}

static void free_interior_8(void)
{
	free_interior(16, 8);
}

static void free_interior_page(void)
{
	free_interior(20000, 4096);
}

static void free_interior_large(void)
{
	free_interior(1 << 20, 16);
}

static void free_interior_large_page(void)
{
	free_interior(1 << 20, 65536);
}

static void free_interior_huge(void)
{
	free_interior((size_t)2 << 30, 1 << 30);
}

/* A slab of 48-byte objects, of two pages, has 32 bytes left over at its end. */
static void free_tail_of_slab(void)
{
	char *p = malloc(48);

	CHECK(p);
	/* It is aligned to its size. */
	free_wrong((char *)((uintptr_t)p & ~(uintptr_t)8191) + 8176);
	free_many_of(48);
}

/* There another object would begin, if there were room for it. */
static void free_start_of_tail(void)
{
	char *p = malloc(48);

	CHECK(p);
	free_wrong((char *)((uintptr_t)p & ~(uintptr_t)8191) + 8160);
	free_many_of(48);
}

static void realloc_interior(void)
{
	char *p = malloc(100);

	CHECK(p);
	trap_expect_pointer(p + 16);
	if (realloc(hide(p + 16), 1000))
		free_many_of(100);
}

/* --------------------------------------------------------------- double free */

static void double_free(size_t size)
{
	void *p = malloc(size);

	CHECK(p);
	trap_expect_pointer(p);
	free(p);
	free(hide(p));
}

static void double_free_at_once(void)
{
	double_free(100);
	free_many_of(100);
}

static void double_free_no_more_calls(void)
{
	double_free(100);
}

static void double_free_large(void)
{
	double_free(1 << 20);
}

static void double_free_huge(void)
{
	double_free((size_t)2 << 30);
}

static void double_free_later(void)
{
	void *p = malloc(100), *kept[1000];

	CHECK(p);
	for (size_t i = 0; i < 1000; i++)
		kept[i] = malloc(100);
	trap_expect_pointer(p);
	free(p);
	for (size_t i = 0; i < 1000; i++)
		free(kept[i]);
	free(hide(p));
	free_many_of(100);
}

static void double_free_large_later(void)
{
	void *p = malloc(1 << 20);

	CHECK(p);
	free_many_of(5000);
	trap_expect_pointer(p);
	free(p);
	free_many_of(5000);
	free(hide(p));
}

static void *shared;

static void free_shared(unsigned index)
{
	(void)index;
	free(hide(shared));
	free_many_of(100);
}

static void double_free_by_two_threads(void)
{
	shared = malloc(100);
	CHECK(shared);
	trap_expect_pointer(shared);
	run_threads(1, free_shared);
	run_threads(1, free_shared);
	free_shared(0);
}

/* Objects of many classes, whose thread is there still: they wait for it. */
static void *theirs[127];
static pthread_barrier_t allocated;

static void *allocate_and_stay(void *arg)
{
	for (size_t i = 0; i < 127; i++)
		theirs[i] = malloc(16 + i % 32 * 32);
	pthread_barrier_wait(&allocated);
	pause();
	return arg;
}

static void double_free_of_another_threads(void)
{
	pthread_t thread;

	free_many_of(200);
	pthread_barrier_init(&allocated, NULL, 2);
	CHECK(!pthread_create(&thread, NULL, allocate_and_stay, NULL));
	pthread_barrier_wait(&allocated);
	trap_expect_pointer(theirs[35]);
	for (size_t i = 0; i < 127; i++)
		free(theirs[i]);
	free(hide(theirs[35]));
}

/*
 * The thread was led away from its cache, where the second free waits with the newest objects,
 * and calls nothing any more: it is found at the end of the process.
 */
static volatile int led_away;

static void *lead_away_and_stay(void *arg)
{
	pthread_barrier_wait(&allocated);
	malloc_trim(0);
	led_away = 1;
	pause();
	return arg;
}

static void double_free_of_a_thread_led_away(void)
{
	pthread_t thread;
	void *p = malloc(100);

	/* One that keeps their slab. */
	shared = malloc(100);
	pthread_barrier_init(&allocated, NULL, 2);
	CHECK(!pthread_create(&thread, NULL, lead_away_and_stay, NULL));
	trap_expect_pointer(p);
	free(p);
	free(hide(p));
	pthread_barrier_wait(&allocated);
	while (!led_away)
		usleep(1000);
}

/* The last one freed of this size is kept by the thread, while another thread frees it too. */
static void double_free_of_a_kept_one(void)
{
	void *other = malloc(40000);

	shared = malloc(200000);
	CHECK(shared && other);
	trap_expect_pointer(shared);
	free(shared);
	run_threads(1, free_shared);
	free(other);
}

static void realloc_after_free(void)
{
	void *p = malloc(1 << 20);

	CHECK(p);
	trap_expect_pointer(p);
	free(p);
	if (realloc(hide(p), 2 << 20))
		free_many_of(100);
}

/* ------------------------------------------------------------- going on */

/* abort_on_corruption:false ignores the call; the heap must be none the worse. */
static void misuse_and_go_on(void)
{
	char *large = malloc(1 << 20);

	CHECK(large);
	fill(large, 1 << 20, 2);
	free(hide(static_bytes));
	free(hide(large + 4096));
	CHECK(churn(1, 20000, 1000, 100000) == NULL);
	CHECK(is_filled(large, 1 << 20, 2));
	free(large);
	free(hide(large));
	CHECK(churn(2, 20000, 1000, 100000) == NULL);
}

/* Only without caches is a small object's misuse found before it can do harm. */
static void misuse_of_small_and_go_on(void)
{
	char *small = malloc(100);

	CHECK(small);
	fill(small, 100, 1);
	free(hide(small + 16));
	free(hide(small + 1));
	CHECK(churn(1, 20000, 1000, 1000) == NULL);
	CHECK(is_filled(small, 100, 1));
	free(small);
	free(hide(small));
	CHECK(churn(2, 20000, 1000, 1000) == NULL);
}

/*
 * Nothing of the allocator's lies in user memory: a use after free or an
 * overflow may spoil the program's data but never the allocator.
 */
static void writes_after_free_are_harmless(void)
{
	enum { NR = 2000 };
	static char *all[NR];

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < NR; i++) {
			all[i] = malloc(16 + i % 60 * 16);
			CHECK(all[i]);
		}
		for (size_t i = 0; i < NR; i++)
			free(all[i]);
		for (size_t i = 0; i < NR; i++) {
			char *p = hide(all[i]);

			memset(p, 0xff, 16 + i % 60 * 16);
		}
		CHECK(churn((uint64_t)round + 1, 20000, 1000, 1000) == NULL);
	}
}

/* As large as it was: there is no need to move it, and yet it is looked at. */
static void realloc_small_after_free(void)
{
	char *p = malloc(100);

	free(p);
	p = realloc(hide(p), 100);
}

static void realloc_interior_in_place(void)
{
	char *p = malloc(100);

	p = realloc((char *)hide(p) + 16, 100);
}

static void usable_size_after_free(void)
{
	void *p = malloc(100);

	free(p);
	CHECK(malloc_usable_size(hide(p)) == 1);
}

static void usable_size_in_a_large_block(void)
{
	char *p = malloc(2 << 20);

	CHECK(malloc_usable_size((char *)hide(p) + 16) == 1);
}

#define DIES(test, how) { .name = #test, .run = test, .dies = how }
#define DIES_HARDENED(test, how)                                              \
	{ .name = #test "_hardened", .run = test, .dies = how, .conf = "hardened:true" }

static const struct trap_case cases[] = {
	DIES(free_mapped, FOREIGN),
	DIES(free_stack, FOREIGN),
	DIES(free_static, FOREIGN),
	DIES(free_text, FOREIGN),
	DIES(free_low, FOREIGN),
	DIES(free_high, FOREIGN),
	DIES(free_not_canonical, FOREIGN),
	DIES(free_foreign_first, FOREIGN),
	DIES_HARDENED(free_foreign_first, FOREIGN),
	DIES(free_of_libc_malloc, FOREIGN),
	DIES(free_foreign_in_a_thread, FOREIGN),
	DIES(realloc_foreign,
	     "^buddymalloc: invalid realloc of " POINTER ": not memory of this allocator\n$"),
	DIES(usable_size_of_foreign, "^buddymalloc: invalid malloc_usable_size of " POINTER
	     ": not memory of this allocator\n$"),

	DIES(free_interior_16, INSIDE("16", "112-byte object")),
	DIES_HARDENED(free_interior_16, INSIDE("16", "112-byte object")),
	DIES(free_interior_8, INSIDE("8", "16-byte object")),
	DIES(free_interior_unaligned, INSIDE("1", "112-byte object")),
	DIES(free_interior_page, INSIDE("4096", "20480-byte object")),
	DIES(free_interior_large, INSIDE("16", "1048576-byte object")),
	DIES(free_interior_large_page, INSIDE("65536", "block of 1048576 bytes")),
	DIES(free_interior_huge, INSIDE("1073741824", "block of 2147483648 bytes")),
	DIES(realloc_interior, INSIDE("16", "112-byte object")),
	DIES_HARDENED(realloc_interior, "^buddymalloc: invalid realloc of " POINTER
		      ": 16 bytes inside the 112-byte object at " POINTER "\n$"),
	DIES(free_tail_of_slab, IN_TAIL "48-byte objects\n$"),
	DIES(free_start_of_tail, IN_TAIL "48-byte objects\n$"),
	DIES_HARDENED(free_start_of_tail, IN_TAIL "48-byte objects\n$"),

	DIES(double_free_at_once, DOUBLE),
	DIES(double_free_no_more_calls, DOUBLE),
	DIES_HARDENED(double_free_no_more_calls, DOUBLE),
	DIES(double_free_later, DOUBLE),
	DIES_HARDENED(double_free_later, DOUBLE),
	DIES(double_free_by_two_threads, DOUBLE),
	DIES_HARDENED(double_free_by_two_threads, DOUBLE),
	DIES(double_free_of_another_threads, DOUBLE),
	DIES_HARDENED(double_free_of_another_threads, DOUBLE),
	DIES(double_free_of_a_thread_led_away, DOUBLE),
	DIES(double_free_of_a_kept_one, "^buddymalloc: double free of " POINTER
	     ": its slab of 212992-byte objects is gone already\n$"),
	DIES(double_free_large, DOUBLE_LARGE),
	DIES(double_free_large_later, "^buddymalloc: (double|invalid) free of " POINTER ": [^\n]*\n$"),
	DIES(double_free_huge, PAGE_IS_FREE),
	DIES(realloc_after_free, DOUBLE_LARGE),
	DIES_HARDENED(realloc_small_after_free, "^buddymalloc: invalid realloc of " POINTER
		      ": an object of 112 bytes that is free already\n$"),
	DIES_HARDENED(realloc_interior_in_place, "^buddymalloc: invalid realloc of " POINTER
		      ": 16 bytes inside the 112-byte object at " POINTER "\n$"),
	DIES_HARDENED(usable_size_after_free, "^buddymalloc: invalid malloc_usable_size of " POINTER
		      ": an object of 112 bytes that is free already\n$"),

	DIES(usable_size_in_a_large_block, "^buddymalloc: invalid malloc_usable_size of " POINTER
	     ": 16 bytes inside the block of 2097152 bytes at " POINTER "\n$"),

	{ .name = "misuse_and_go_on", .run = misuse_and_go_on,
	  .conf = "abort_on_corruption:false", .says = "^(buddymalloc: invalid free of [^\n]*\n){3}$" },
	{ .name = "misuse_of_small_and_go_on", .run = misuse_of_small_and_go_on,
	  .conf = "abort_on_corruption:false,hardened:true",
	  .says = "^(buddymalloc: invalid free of [^\n]*\n){2}"
		  "buddymalloc: (invalid|double) free of [^\n]*\n$" },
	{ .name = "writes_after_free_are_harmless", .run = writes_after_free_are_harmless },
};

TRAP_MAIN(cases)
