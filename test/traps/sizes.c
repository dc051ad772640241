/*
 * sizes.c - alignment, the usable slack, growth in small steps, very many objects
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

/* --------------------------------------------------------------- alignment */

/* Compilers assume 16 bytes even for malloc(1). */
static void every_size_is_aligned_to_16(void)
{
	void *live[64] = { NULL };

	for (size_t n = 0; n < 70000; n++) {
		void **p = &live[n % 64];

		free(*p);
		*p = malloc(n);
		CHECK(*p && (uintptr_t)*p % 16 == 0, "malloc(%zu) = %p", n, *p);
		CHECK(malloc_usable_size(*p) >= n, "usable size of malloc(%zu)", n);
	}
	for (size_t n = 0; n < 70000; n += 7) {
		void **p = &live[n % 64];

		*p = realloc(*p, n + 1);
		CHECK(*p && (uintptr_t)*p % 16 == 0, "realloc to %zu = %p", n + 1, *p);
		free(*p);
		*p = calloc(1, n);
		CHECK(*p && (uintptr_t)*p % 16 == 0, "calloc of %zu = %p", n, *p);
	}
	for (size_t i = 0; i < 64; i++)
		free(live[i]);
}

static void *posix_style(size_t align, size_t size)
{
	void *p;

	return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void *valloc_style(size_t align, size_t size)
{
	(void)align;
	return valloc(size);
}

static void *pvalloc_style(size_t align, size_t size)
{
	void *p = pvalloc(size);

	CHECK(!p || malloc_usable_size(p) >= ((size + align - 1) & -align),
	      "pvalloc(%zu) is whole pages", size);
	return p;
}

static const struct {
	const char *name;
	void *(*f)(size_t align, size_t size);
	size_t align_min, align_max; /* 0: the page size */
} aligned[] = {
	{ "memalign", memalign, 1, (size_t)64 << 20 },
	{ "aligned_alloc", aligned_alloc, 1, (size_t)64 << 20 },
	{ "posix_memalign", posix_style, sizeof(void *), (size_t)64 << 20 },
	{ "valloc", valloc_style, 0, 0 },
	{ "pvalloc", pvalloc_style, 0, 0 },
};

static const size_t aligned_sizes[] = { 0,    1,    15,	   16,	  17,	  48,	 100,	  1000,
					4095, 4096, 4097,  10000, 32768,  40000, 100000,  262144,
					1 << 20, (1 << 20) + 1, 3 << 20, 9 << 20 };
enum { NR_ALIGNED_SIZES = sizeof(aligned_sizes) / sizeof(aligned_sizes[0]) };

/* Several are alive at once, so that one good place is not enough. */
static void one_alignment(size_t which, size_t align)
{
	void *live[NR_ALIGNED_SIZES];

	for (size_t i = 0; i < NR_ALIGNED_SIZES; i++) {
		size_t n = aligned_sizes[i];

		live[i] = aligned[which].f(align, n);
		CHECK(live[i], "%s(%zu, %zu)", aligned[which].name, align, n);
		CHECK((uintptr_t)live[i] % align == 0, "%s(%zu, %zu) = %p",
		      aligned[which].name, align, n, live[i]);
		CHECK((uintptr_t)live[i] % 16 == 0 || n < 16, "%s(%zu, %zu) = %p",
		      aligned[which].name, align, n, live[i]);
		CHECK(malloc_usable_size(live[i]) >= n, "%s(%zu, %zu)",
		      aligned[which].name, align, n);
		fill(live[i], n, i);
	}
	for (size_t i = 0; i < NR_ALIGNED_SIZES; i++) {
		size_t n = aligned_sizes[i];

		CHECK(is_filled(live[i], n, i), "%s(%zu, %zu)", aligned[which].name, align, n);
		if (i % 2) {
			live[i] = realloc(live[i], 2 * n);
			CHECK(live[i] && is_filled(live[i], n & ~(size_t)7, i),
			      "realloc of %s(%zu, %zu)", aligned[which].name, align, n);
		}
		free(live[i]);
	}
}

static void every_alignment(void)
{
	for (size_t i = 0; i < sizeof(aligned) / sizeof(aligned[0]); i++) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		size_t first = aligned[i].align_min ? aligned[i].align_min : page;
		size_t last = aligned[i].align_max ? aligned[i].align_max : page;

		for (size_t align = first; align <= last; align *= 2)
			one_alignment(i, align);
	}
}

/* Up to what no address space has: aligned, or refused. */
static void huge_alignments(void)
{
	size_t i;

	for (i = 0; i < sizeof(aligned) / sizeof(aligned[0]); i++)
		for (unsigned shift = 27; shift < 8 * sizeof(size_t); shift++) {
			size_t align = (size_t)1 << shift;
			char *p[3];

			for (int k = 0; aligned[i].align_max && k < 3; k++) {
				p[k] = aligned[i].f(hide_size(align), 1000 * (size_t)(k + 1));
				CHECK(((uintptr_t)p[k] & (align - 1)) == 0, "%s(2^%u) is %p",
				      aligned[i].name, shift, (void *)p[k]);
				CHECK(p[k] || shift > 30, "%s(2^%u)", aligned[i].name, shift);
				if (p[k])
					fill(p[k], 1000, shift);
			}
			for (int k = 0; aligned[i].align_max && k < 3; k++)
				free(p[k]);
		}
}

/* ------------------------------------------------------------------- slack */

/* Programs write into all of what malloc_usable_size says is theirs. */
static void slack_is_kept_by_realloc(void)
{
	static const size_t factors[] = { 2, 3, 10, 100 };
	uint64_t key = 1;

	for (size_t n = 1; n < (size_t)8 << 20; n += 1 + n / 7) {
		for (size_t i = 0; i < 4; i++) {
			unsigned char *p = malloc(n);
			size_t usable, more = n * factors[i];

			if (more > (size_t)64 << 20)
				break;
			CHECK(p);
			usable = malloc_usable_size(p);
			CHECK(usable >= n);
			fill(p, usable, ++key);
			if (more < usable)
				more = usable;
			p = realloc(p, more);
			CHECK(p && is_filled(p, usable, key), "%zu (usable %zu) to %zu", n,
			      usable, more);
			p = realloc(p, n);
			CHECK(p && is_filled(p, n & ~(size_t)7, key), "%zu back to %zu", more, n);
			free(p);
		}
	}
}

/* A size that was rounded up may be asked for exactly: nothing need move then. */
static void usable_size_is_stable(void)
{
	for (size_t n = 1; n < (size_t)4 << 20; n += 1 + n / 5) {
		void *p = malloc(n), *q;
		size_t usable = malloc_usable_size(p);

		CHECK(p && malloc_usable_size(p) == usable);
		q = realloc(hide(p), usable);
		CHECK(q == hide(p), "realloc of %zu to its usable size %zu", n, usable);
		CHECK(malloc_usable_size(q) == usable, "%zu", n);
		free(q);
	}
}

/* Nor when there is no smaller object to move to: an array of an int becomes one of two. */
static void smallest_objects_stay(void)
{
	void *p = malloc(4);

	for (size_t n = malloc_usable_size(p); n; n--)
		CHECK(realloc(hide(p), n) == hide(p), "realloc to %zu", n);
	free(p);
}

/* ------------------------------------------------------------------ growth */

static void grow_to(size_t last, size_t step, bool with_neighbours)
{
	unsigned char *p = NULL;
	void *neighbours[64] = { NULL };
	size_t filled = 0;

	for (size_t n = step; n <= last; n += step) {
		p = realloc(p, n);
		CHECK(p, "growing to %zu", n);
		if (with_neighbours) {
			void **q = &neighbours[n / step % 64];

			free(*q);
			*q = malloc(n / 3 % 100000);
			CHECK(*q);
		}
		/* A place of its own for each step's bytes: a lost part shows. */
		for (size_t at = filled; at < n; at += step)
			fill(p + at, step, at);
		filled = n;
		if (n / step % 997 == 0)
			for (size_t at = 0; at < n; at += 13 * step)
				CHECK(is_filled(p + at, step, at), "at %zu of %zu", at, n);
	}
	for (size_t at = 0; at < filled; at += step)
		CHECK(is_filled(p + at, step, at), "at %zu of %zu", at, filled);
	while (filled > step) {
		filled = filled / 2 / step * step;
		if (!filled)
			break;
		p = realloc(p, filled);
		CHECK(p);
		for (size_t at = 0; at < filled; at += 7 * step)
			CHECK(is_filled(p + at, step, at), "shrunk to %zu, at %zu", filled, at);
	}
	free(p);
	for (size_t i = 0; i < 64; i++)
		free(neighbours[i]);
}

static void growth_in_small_steps(void)
{
	grow_to((size_t)64 << 20, 4096 - 64, false);
	grow_to((size_t)16 << 20, 1000, true);
	grow_to((size_t)1 << 20, 16, true);
}

static void huge_blocks(void)
{
	/* Beyond what a buddy of 1 GiB serves; only the ends are touched. */
	size_t gib = (size_t)1 << 30;
	unsigned char *p = malloc(gib + 4096), *q;

	if (!p)
		trap_skip("no memory for 1 GiB");
	fill(p, 4096, 1);
	fill(p + gib, 4096, 2);
	q = malloc(3 * gib);
	if (q) {
		fill(q, 4096, 3);
		fill(q + 3 * gib - 4096, 4096, 4);
	}
	p = realloc(p, 2 * gib);
	if (p) {
		CHECK(is_filled(p, 4096, 1) && is_filled(p + gib, 4096, 2));
		p = realloc(p, 100000);
		CHECK(p && is_filled(p, 4096, 1));
	}
	if (q) {
		CHECK(is_filled(q, 4096, 3) && is_filled(q + 3 * gib - 4096, 4096, 4));
		q = realloc(q, 1000);
		CHECK(q && is_filled(q, 1000, 3));
	}
	free(p);
	free(q);
	CHECK(status_kib("VmRSS") < 200 * 1024, "freed blocks go back");
	p = calloc(1, 2 * gib);
	if (p) {
		CHECK(p[0] == 0 && p[gib] == 0 && p[2 * gib - 1] == 0);
		CHECK(status_kib("VmRSS") < 200 * 1024, "calloc touches no fresh page");
	}
	free(p);
}

/* ------------------------------------------------------------ many objects */

enum { NR_MANY = 5000000 };

static void huge_count_of_objects(void)
{
	void **all = mmap(NULL, NR_MANY * sizeof(*all), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long full, empty;

	CHECK(all != MAP_FAILED);
	for (uint32_t i = 0; i < NR_MANY; i++) {
		all[i] = malloc(16 + i % 3 * 16);
		CHECK(all[i]);
		memcpy(all[i], &i, sizeof(i));
	}
	full = status_kib("RssAnon");
	for (uint32_t i = 0; i < NR_MANY; i++)
		CHECK(memcmp(all[i], &i, sizeof(i)) == 0, "object %u", i);
	CHECK(count_lines("/proc/self/maps") < 5000);
	for (uint32_t i = 0; i < NR_MANY; i += 2)
		free(all[i]);
	for (uint32_t i = 1; i < NR_MANY; i += 2)
		CHECK(memcmp(all[i], &i, sizeof(i)) == 0, "object %u", i);
	for (uint32_t i = 1; i < NR_MANY; i += 2)
		free(all[i]);
	munmap(all, NR_MANY * sizeof(*all));
	malloc_trim(0);
	empty = status_kib("RssAnon");
	CHECK(empty < full / 4, "%ld KiB of %ld KiB are still there", empty, full);
}

/*
 * A process may have 65 530 mappings. Blocks freed with holes between them and
 * blocks whose page tables are moved must not use them up.
 */
static void mappings_stay_few(void)
{
	enum { NR = 40000, NR_MOVED = 2000 };
	static void *blocks[NR];
	static size_t size[NR_MOVED];
	uint64_t state = 12345;
	long lines;

	for (size_t i = 0; i < NR; i++) {
		blocks[i] = malloc(33000 + i % 5 * 1000);
		CHECK(blocks[i], "block %zu", i);
	}
	for (size_t i = 0; i < NR; i += 2) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	malloc_trim(0);
	lines = count_lines("/proc/self/maps");
	CHECK(lines < 20000, "%ld mappings with every other block free", lines);
	for (size_t i = 1; i < NR; i += 2) {
		free(blocks[i]);
		blocks[i] = NULL;
	}

	for (size_t i = 0; i < 20000; i++) {
		size_t at = random_below(&state, NR_MOVED);
		size_t n = 65536 + random_below(&state, 1 << 20);
		size_t kept = size[at] < n ? size[at] : n;

		blocks[at] = realloc(blocks[at], n);
		CHECK(blocks[at], "move %zu", i);
		if (kept)
			CHECK(is_filled(blocks[at], 1024, at), "move %zu", i);
		fill(blocks[at], 1024, at);
		size[at] = n;
	}
	lines = count_lines("/proc/self/maps");
	CHECK(lines < 32000, "%ld mappings after 20 000 moves", lines);
	for (size_t i = 0; i < NR_MOVED; i++)
		free(blocks[i]);
}

/* ------------------------------------------------------------ small stays small */

static void small_heap_stays_small(void)
{
	enum { NR = 20000, SIZE = 100 };
	static void *all[NR];
	long before = status_kib("RssAnon"), grown, huge;

	for (size_t i = 0; i < NR; i++) {
		all[i] = malloc(SIZE);
		CHECK(all[i]);
		memset(all[i], 1, SIZE);
	}
	grown = status_kib("RssAnon") - before;
	CHECK(grown < 2 * NR * SIZE / 1024 + 512, "%ld KiB for %d KiB", grown,
	      NR * SIZE / 1024);
	huge = smaps_kib("AnonHugePages");
	CHECK(huge <= 0, "%ld KiB of huge pages in a heap of 2 MiB", huge);
	for (size_t i = 0; i < NR; i++)
		free(all[i]);
}

/* Unused address space would be in every core dump and count against ulimit -v. */
static void address_space_is_not_hoarded(void)
{
	void *p = malloc(100);
	long virtual_kib;

	CHECK(p);
	free(p);
	virtual_kib = status_kib("VmSize");
	CHECK(virtual_kib < 256 * 1024, "%ld KiB mapped by an idle program", virtual_kib);
}

/* Sandboxes, unshare and setns behave differently in a threaded process. */
static void no_thread_unasked(void)
{
	CHECK(churn(1, 200000, 2000, 100000) == NULL);
	CHECK(count_tasks() == 1, "%d threads", count_tasks());
}

/*
 * Objects of 16 bytes 256 MiB apart, 2^24 times their size, freed in one batch: the
 * index of each is reckoned from its own slab, not from the slab of the one before.
 */
#define APART ((uintptr_t)256 << 20)
#define FIRST_NR (1 << 19)	/* 8 MiB of them before a large block */
#define ALL_NR (11 << 19)	/* and 80 MiB behind it, somewhere in them the places wanted */
#define VICTIMS 500

static bool have(const uintptr_t *sorted, uintptr_t at)
{
	return bsearch(&at, sorted, ALL_NR, sizeof(at), by_address) != NULL;
}

static void far_apart_in_one_batch(void)
{
	static uintptr_t all[ALL_NR];
	char *victim[VICTIMS], *wide;
	int i, nr = 0;

	for (i = 0; i < FIRST_NR; i++)
		all[i] = (uintptr_t)malloc(16);
	wide = malloc(APART - (56 << 20));
	CHECK(wide);
	for (; i < ALL_NR; i++)
		all[i] = (uintptr_t)malloc(16);
	qsort(all, ALL_NR, sizeof(all[0]), by_address);
	/* Two of one slab, then one whose place in that slab a third, live one has. */
	for (i = 0; i < ALL_NR && nr < VICTIMS; i += 256) {
		uintptr_t page = all[i] & ~(uintptr_t)4095, live = page + 1600;

		if (!have(all, page + 48) || !have(all, page + 640) || !have(all, live) ||
		    !have(all, live + APART))
			continue;
		victim[nr] = memset((void *)live, 0x55, 16);
		nr++;
		free((void *)(page + 48));
		free((void *)(page + 640));
		free((void *)(live + APART));
	}
	CHECK(nr > 100, "%d pairs", nr);
	for (i = 0; i < 100000; i++)
		memset(hide(malloc(16)), 0xaa, 16);
	for (i = 0; i < nr; i++)
		CHECK(victim[i][0] == 0x55, "number %d was handed out twice", i);
	free(wide);
}

static const struct trap_case cases[] = {
	{ .name = "far_apart_in_one_batch", .run = far_apart_in_one_batch },
	{ .name = "every_size_is_aligned_to_16", .run = every_size_is_aligned_to_16 },
	{ .name = "huge_alignments", .run = huge_alignments },
	{ .name = "every_alignment", .run = every_alignment },
	{ .name = "every_alignment_hardened", .run = every_alignment, .conf = "hardened:true" },
	{ .name = "smallest_objects_stay", .run = smallest_objects_stay },
	{ .name = "slack_is_kept_by_realloc", .run = slack_is_kept_by_realloc },
	{ .name = "usable_size_is_stable", .run = usable_size_is_stable },
	{ .name = "growth_in_small_steps", .run = growth_in_small_steps },
	{ .name = "huge_blocks", .run = huge_blocks },
	{ .name = "huge_count_of_objects", .run = huge_count_of_objects },
	{ .name = "mappings_stay_few", .run = mappings_stay_few },
	{ .name = "small_heap_stays_small", .run = small_heap_stays_small },
	{ .name = "address_space_is_not_hoarded", .run = address_space_is_not_hoarded },
	{ .name = "no_thread_unasked", .run = no_thread_unasked },
};

TRAP_MAIN(cases)
