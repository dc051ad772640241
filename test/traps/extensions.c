/*
 * extensions.c - sizes, growth in place and single figures: buddymalloc/malloc.h
 *
 * Options that a program brings along need one that is linked: test/examples/run.sh.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

/* The library is of these sources. */
static void version_is_that_of_the_headers(void)
{
	CHECK(bm_version() == BM_VERSION);
}

/* --------------------------------------------------------------------- sizes */

/* What malloc gives has that size, and so has what it gives for the good size itself. */
static void sizes_are_those_of_malloc(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size, last = 0;

	for (size = 0; size < 200 * MIB; size += 1 + size / 37) {
		size_t good = bm_good_size(size);
		void *p = malloc(size);

		CHECK(p && malloc_usable_size(p) >= good && good >= size, "of %zu bytes", size);
		free(p);
		CHECK(bm_good_size(good) == good, "of %zu bytes", size);
		CHECK(good >= last, "of %zu bytes", size);
		last = good;
		/* An eighth is wasted at most, of large blocks less than a page. */
		CHECK(size < 128 || good - size <= (size > MIB ? page : size / 8), "of %zu bytes", size);
	}
	CHECK(bm_good_size(0) == 16 && bm_good_size(17) == 32 && bm_good_size(1025) == 1152);
	CHECK(bm_good_size(MIB) == MIB && bm_good_size(MIB + 1) == MIB + page);
	/* The window is 1 TiB at least, or an eighth of all addresses. */
	CHECK(bm_good_size((size_t)1 << 35) == (size_t)1 << 35);
	CHECK(bm_good_size((size_t)1 << 40) == 0, "the window has its tags too");
	CHECK(bm_good_size((size_t)PTRDIFF_MAX) == 0 && bm_good_size(SIZE_MAX) == 0);
}

/* ----------------------------------------------------------- growth in place */

static void small_objects_keep_their_size(void)
{
	size_t size;

	for (size = 1; size <= 32 << 10; size = size * 5 / 4 + 1) {
		char *p = malloc(size);
		size_t usable = malloc_usable_size(p);

		fill(p, usable, size);
		CHECK(bm_expand(p, usable) == p && bm_expand(p, 1) == p && bm_expand(p, 0) == p);
		errno = 0;
		CHECK(!bm_expand(p, usable + 1) && errno == ENOMEM, "of %zu bytes", size);
		CHECK(!bm_expand(p, SIZE_MAX));
		CHECK(malloc_usable_size(p) == usable && is_filled(p, usable, size));
		free(p);
	}
}

/* Objects above 32 KiB take the pages behind them, up to 1 MiB. */
static void objects_of_pages_grow(void)
{
	char *p = malloc(1), *fence;
	size_t size = 40000;

	free(p);
	p = malloc(size);
	CHECK(p);
	fill(p, size, 1);
	/* The heap is fresh, and free behind it. */
	for (; size <= MIB; size += size / 2) {
		CHECK(bm_expand(p, size) == p && malloc_usable_size(p) >= size, "to %zu", size);
		CHECK(is_filled(p, 40000, 1));
		CHECK(realloc(p, malloc_usable_size(p) - 1) == p);
	}
	errno = 0;
	CHECK(!bm_expand(p, MIB + 1) && errno == ENOMEM);
	free(p);
	/* Not when what is behind is used. */
	p = malloc(100000);
	do {
		fence = malloc(100000);
		CHECK(fence);
	} while (fence != p + malloc_usable_size(p) && fence < p + (64 << 20));
	if (fence == p + malloc_usable_size(p)) {
		errno = 0;
		CHECK(!bm_expand(p, 200000) && errno == ENOMEM);
		CHECK(malloc_usable_size(p) < 200000);
	}
	/* It stays whole, and is freed as what it was before. */
	free(fence);
	free(p);
}

static void large_blocks_grow_and_shrink(void)
{
	char *p = malloc(8 * MIB), *fence;

	CHECK(p);
	fill(p, 8 * MIB, 1);
	/* There is room behind it: it has just been given back. */
	CHECK(bm_expand(p, 2 * MIB) == p && malloc_usable_size(p) == 2 * MIB);
	CHECK(bm_expand(p, 6 * MIB) == p && malloc_usable_size(p) == 6 * MIB);
	CHECK(is_filled(p, 2 * MIB, 1));
	CHECK(bm_expand(p, 2 * MIB) == p);
	do {
		fence = malloc(2 * MIB);
		CHECK(fence);
	} while (fence != p + 2 * MIB && fence < p + (1 << 30));
	if (fence == p + 2 * MIB) {
		errno = 0;
		CHECK(!bm_expand(p, 3 * MIB) && errno == ENOMEM);
		CHECK(malloc_usable_size(p) == 2 * MIB && is_filled(p, 2 * MIB, 1));
	}
	CHECK(!bm_expand(p, SIZE_MAX) && !bm_expand(p, (size_t)PTRDIFF_MAX));
	/* It may become as small as a page. */
	CHECK(bm_expand(p, 0) == p && malloc_usable_size(p) == (size_t)sysconf(_SC_PAGESIZE));
	free(p);
}

/* Growth is charged like anything else. */
static void a_group_s_limit_holds(void)
{
	struct bm_group *group = bm_group_create("limited", 8 * MIB);
	bm_scope_t before = bm_group_enter(group);
	char *p = malloc(6 * MIB);

	CHECK(p && bm_expand(p, 2 * MIB) == p);
	CHECK(bm_expand(p, 5 * MIB) == p);
	errno = 0;
	CHECK(!bm_expand(p, 9 * MIB) && errno == ENOMEM);
	CHECK(malloc_usable_size(p) == 5 * MIB);
	free(p);
	bm_group_leave(before);
}

static void no_pointer_is_no_block(void)
{
	errno = 0;
	CHECK(!bm_expand(NULL, 100) && errno == EINVAL);
}

static void foreign_pointers_are_reported(void)
{
	static char bytes[100];

	trap_expect_pointer(bytes);
	bm_expand(hide(bytes), 10);
}

/* ------------------------------------------------------------------- figures */

static uint64_t figure(const char *name)
{
	uint64_t value = 0x5a5a;

	CHECK(bm_stat_get(name, &value) == 0, "%s", name);
	return value;
}

static void figures_have_the_report_s_names(void)
{
	uint64_t used = figure("used_bytes"), large = figure("large_bytes"), value = 7;
	uint64_t allocated = figure("large_allocated");
	char *p = malloc(32 * MIB);

	CHECK(p);
	CHECK(figure("large_bytes") == large + 32 * MIB);
	CHECK(figure("used_bytes") >= used + 32 * MIB && figure("used_bytes") < used + 33 * MIB);
	CHECK(figure("large_allocated") == allocated + 1);
	CHECK(figure("heap_bytes") >= 32 * MIB && figure("threads") == 1);
	free(p);
	CHECK(figure("large_bytes") == large && figure("large_freed") >= 1);
	errno = 0;
	CHECK(bm_stat_get("no_such_figure", &value) == -1 && errno == ENOENT && value == 7);
	CHECK(bm_stat_get("", &value) == -1 && bm_stat_get("class 48", &value) == -1);
}

/* What comes out of slabs and what goes back is counted alike, however large. */
static void objects_add_up(void)
{
	static const size_t sizes[] = { 100, 5000, 40000, 600000 };
	enum { NR = 200 };
	void *p[NR];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t refilled = figure("objects_refilled"), flushed = figure("objects_flushed");
		int n;

		for (n = 0; n < NR; n++)
			p[n] = malloc(sizes[i]);
		refilled = figure("objects_refilled") - refilled;
		CHECK(refilled >= NR, "%zu bytes: %" PRIu64, sizes[i], refilled);
		while (n)
			free(p[--n]);
		malloc_trim(0);
		flushed = figure("objects_flushed") - flushed;
		CHECK(flushed == refilled, "%zu bytes: %" PRIu64 " came, %" PRIu64 " went", sizes[i],
		      refilled, flushed);
	}
}

/* What a heap gave out and nobody freed goes back with it. */
static void objects_of_a_heap_add_up(void)
{
	uint64_t held = figure("objects_refilled") - figure("objects_flushed");
	struct bm_heap *h = bm_heap_create();
	bm_scope_t scope;
	int n;

	CHECK(h);
	for (n = 0; n < 1000; n++)
		CHECK(bm_heap_malloc(h, n % 10 ? 100 : 40000));
	scope = bm_heap_set_default(h);
	for (n = 0; n < 1000; n++)
		CHECK(hide(malloc(5000)));
	bm_scope_restore(scope);
	CHECK(figure("objects_refilled") - figure("objects_flushed") == held + 2000);
	CHECK(bm_heap_destroy(h) == 0);
	CHECK(figure("objects_refilled") - figure("objects_flushed") == held);
}

static const struct trap_case cases[] = {
	{ .name = "version_is_that_of_the_headers", .run = version_is_that_of_the_headers },
	{ .name = "sizes_are_those_of_malloc", .run = sizes_are_those_of_malloc },
	{ .name = "small_objects_keep_their_size", .run = small_objects_keep_their_size },
	{ .name = "small_objects_keep_their_size_hardened", .run = small_objects_keep_their_size,
	  .conf = "hardened:true" },
	{ .name = "objects_of_pages_grow", .run = objects_of_pages_grow },
	{ .name = "objects_of_pages_grow_hardened", .run = objects_of_pages_grow,
	  .conf = "hardened:true" },
	{ .name = "large_blocks_grow_and_shrink", .run = large_blocks_grow_and_shrink },
	{ .name = "a_group_s_limit_holds", .run = a_group_s_limit_holds },
	{ .name = "objects_add_up", .run = objects_add_up, .conf = "decay_ms:-1" },
	{ .name = "objects_of_a_heap_add_up", .run = objects_of_a_heap_add_up },
	{ .name = "no_pointer_is_no_block", .run = no_pointer_is_no_block },
	{ .name = "foreign_pointers_are_reported", .run = foreign_pointers_are_reported,
	  .dies = "^buddymalloc: invalid bm_expand of 0x[0-9a-f]+: not memory of this allocator\n$" },
	{ .name = "figures_have_the_report_s_names", .run = figures_have_the_report_s_names },
};

TRAP_MAIN(cases)
