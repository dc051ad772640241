/*
 * jemalloc.c - jemalloc's calls beyond malloc: buddymalloc/jemalloc.h
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

/* --------------------------------------------------------------------- flags */

static bool is_aligned(const void *p, unsigned lg)
{
	return !((uintptr_t)p & (((uintptr_t)1 << lg) - 1));
}

/* What lay there before must not show. */
static void make_dirty(size_t size, int flags)
{
	void *p[3];

	for (int i = 0; i < 3; i++) {
		p[i] = mallocx(size, flags);
		CHECK(p[i]);
		memset(p[i], 0x5a, malloc_usable_size(p[i]));
	}
	free(p[0]);
	dallocx(p[1], flags);
	sdallocx(p[2], size, flags);
}

static void flags_do_what_they_say(void)
{
	for (size_t size = 1; size < 3 * MIB; size += 1 + size / 3)
		for (unsigned lg = 0; lg <= 16; lg += 4)
			for (int zero = 0; zero <= MALLOCX_ZERO; zero += MALLOCX_ZERO) {
				int flags = MALLOCX_LG_ALIGN(lg) | zero | MALLOCX_TCACHE_NONE;
				size_t good = nallocx(size, flags), usable;
				void *p;

				make_dirty(size, flags);
				p = mallocx(size, flags);
				CHECK(p && is_aligned(p, lg), "%zu bytes, %u", size, lg);
				usable = sallocx(p, flags);
				CHECK(usable == malloc_usable_size(p));
				CHECK(usable >= good && good >= size, "%zu bytes, %u", size, lg);
				CHECK(!zero || is_zero(p, usable), "%zu bytes, %u", size, lg);
				fill(p, usable, size);
				CHECK(is_filled(p, usable, size));
				free(p);
			}
	CHECK(MALLOCX_ALIGN(4096) == MALLOCX_LG_ALIGN(12));
	CHECK(nallocx(hide_size(0), 0) == 16);
}

static void what_cannot_be_fails(void)
{
	static const size_t sizes[] = { SIZE_MAX, (size_t)PTRDIFF_MAX + 1, (size_t)1 << 46 };
	void *p = mallocx(100, 0);

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 0;
		CHECK(!mallocx(hide_size(sizes[i]), 0) && errno == ENOMEM);
		errno = 0;
		CHECK(!mallocx(hide_size(sizes[i]), MALLOCX_ZERO | MALLOCX_LG_ALIGN(13)) && errno == ENOMEM);
		errno = 0;
		CHECK(!rallocx(p, hide_size(sizes[i]), 0) && errno == ENOMEM);
		CHECK(!rallocx(p, hide_size(sizes[i]), MALLOCX_ZERO));
		CHECK(nallocx(sizes[i], 0) == 0 && nallocx(sizes[i], MALLOCX_LG_ALIGN(5)) == 0);
	}
	CHECK(!mallocx(1, MALLOCX_LG_ALIGN(63)) && nallocx(1, MALLOCX_LG_ALIGN(63)) == 0);
	errno = 0;
	CHECK(!mallocx(1, MALLOCX_ARENA(77)) && errno == EINVAL);
	errno = 0;
	CHECK(!rallocx(p, 1000, MALLOCX_ARENA(77)) && errno == EINVAL);
	free(p);
}

/* Byte for byte what was there, and behind it zeroes. */
static void moved_blocks_grow_by_zeroes(void)
{
	static const unsigned lgs[] = { 0, 7, 12, 15 };

	for (unsigned i = 0; i < sizeof(lgs) / sizeof(lgs[0]); i++)
		for (size_t size = 1, next; size < 9 * MIB; size = next) {
			int flags = MALLOCX_LG_ALIGN(lgs[i]) | MALLOCX_ZERO;
			size_t old, kept, usable;
			char *p;

			next = size * 3 / 2 + 1;
			make_dirty(next, MALLOCX_LG_ALIGN(lgs[i]));
			p = mallocx(size, flags);
			old = malloc_usable_size(p);
			fill(p, old, size);
			errno = 0;
			p = rallocx(p, next, flags);
			CHECK(p && !errno, "of %zu bytes", size);
			usable = malloc_usable_size(p);
			CHECK(is_aligned(p, lgs[i]) && usable >= next);
			/* Of slack that was not asked for again nothing is promised. */
			kept = old < next ? old : next;
			CHECK(is_filled(p, kept, size), "of %zu bytes", size);
			CHECK(next < old || is_zero(p + old, usable - old), "of %zu bytes", size);
			/* And smaller again. */
			p = rallocx(p, size, flags);
			CHECK(p && is_aligned(p, lgs[i]) && is_filled(p, size, size));
			free(p);
		}
}

static void a_null_pointer_is_allocated(void)
{
	void *p = rallocx(NULL, 100, 0), *q = rallocx(NULL, 100, MALLOCX_ZERO | MALLOCX_ALIGN(256));

	CHECK(p && q && is_zero(q, 100) && is_aligned(q, 8));
	/* Where jemalloc says nothing, no block is lost. */
	p = rallocx(p, hide_size(0), 0);
	CHECK(p);
	free(p);
	free(q);
	dallocx(NULL, 0);
}

static void sizes_change_in_place(void)
{
	char *small = malloc(100), *large = malloc(hide_size(1)), *fence;
	size_t usable = malloc_usable_size(small);

	free(large);
	fill(small, usable, 1);
	CHECK(xallocx(small, 50, 0, 0) == usable && xallocx(small, 200, 1000, 0) == usable);
	CHECK(xallocx(small, 10, SIZE_MAX - 10, 0) == usable && is_filled(small, usable, 1));
	/* The heap is fresh, and free behind it. */
	large = malloc(4 * MIB);
	fill(large, 4 * MIB, 2);
	CHECK(xallocx(large, 5 * MIB, 0, MALLOCX_ZERO) == 5 * MIB);
	CHECK(is_filled(large, 4 * MIB, 2) && is_zero(large + 4 * MIB, MIB));
	CHECK(xallocx(large, 2 * MIB, MIB, 0) == 3 * MIB && malloc_usable_size(large) == 3 * MIB);
	/* More would do, but less has to: up to the next block. */
	fence = large;
	do {
		char *last = fence;

		fence = malloc(2 * MIB);
		CHECK(fence);
		if (last != large)
			free(last);
	} while (fence < large);
	usable = xallocx(large, 3 * MIB, (size_t)1 << 45, 0);
	CHECK(usable >= 3 * MIB && is_filled(large, 3 * MIB, 2));
	CHECK(xallocx(large, 3 * MIB, 0, MALLOCX_LG_ALIGN(40)) == usable);
	free(small);
	free(large);
	free(fence);
}

static void foreign_pointers_are_reported(void)
{
	static char foreign[64];

	trap_expect_pointer(foreign);
	rallocx(hide(foreign), 100, 0);
}

/* --------------------------------------------------------------------- names */

enum type { VOID, BOOL, UNSIGNED, U32, SIZE, SSIZE, U64, STRING };

static const struct entry {
	const char *name;
	enum type type;
	bool reads, sets;
} entries[] = {
#define CTL_R(name, type, get, doc) { name, type, true, false },
#define CTL_W(name, type, set, doc) { name, type, false, true },
#define CTL_RW(name, type, get, set, doc) { name, type, true, true },
#define CTL_DO(name, act, doc) { name, VOID, false, true },
#include "malloc/mallctl.def"
};
#define NR_ENTRIES (sizeof(entries) / sizeof(entries[0]))

static const size_t sizes[] = { 0, sizeof(bool), sizeof(unsigned), 4, sizeof(size_t),
				sizeof(ssize_t), 8, sizeof(char *) };

/* With every number `number`. */
static const char *name_with(const struct entry *e, unsigned number)
{
	static char name[100];
	char *out = name;

	for (const char *in = e->name; *in; in++)
		out += *in == '*' ? sprintf(out, "%u", number) : sprintf(out, "%c", *in);
	return name;
}

static bool makes_something(const struct entry *e)
{
	return !strcmp(e->name, "arenas.create");
}

/* Each can be read with its size, and with no other; and what cannot be set says so. */
static void every_name_is_what_the_table_says(void)
{
	free(malloc(hide_size(1)));
	for (size_t i = 0; i < NR_ENTRIES; i++) {
		const struct entry *e = &entries[i];
		const char *name = name_with(e, 0);
		char value[16], small[16];
		size_t len = sizes[e->type], short_len = len - 1, long_len = 16;

		if (makes_something(e))
			continue;
		if (e->type == VOID) {
			CHECK(mallctl(name, value, &len, NULL, 0) == EPERM, "%s", name);
			CHECK(mallctl(name, NULL, NULL, value, 1) == EPERM, "%s", name);
			continue;
		}
		memset(value, 0x77, sizeof(value));
		memset(small, 0x77, sizeof(small));
		if (!e->reads) {
			CHECK(mallctl(name, value, &len, NULL, 0) == EPERM, "%s", name);
		} else {
			CHECK(mallctl(name, value, &len, NULL, 0) == 0, "%s", name);
			CHECK(len == sizes[e->type], "%s", name);
			CHECK(mallctl(name, small, &short_len, NULL, 0) == EINVAL, "%s", name);
			CHECK(short_len == len - 1 && small[len - 1] == 0x77, "%s", name);
			CHECK(mallctl(name, small, &long_len, NULL, 0) == EINVAL, "%s", name);
			CHECK(long_len == len && small[len] == 0x77 && value[len] == 0x77, "%s", name);
		}
		CHECK(mallctl(name, NULL, NULL, value, sizes[e->type] + 1) ==
			      (e->sets ? EINVAL : EPERM), "%s", name);
	}
}

static void numbers_that_are_none_are_not_found(void)
{
	static const char *const none[] = {
		"", ".", "stats", "stats.", "stats.allocatedx", "stats.allocated.", "epochs", "arenas.bin.size",
		"arenas.bin.x.size", "arenas.bin..size", "arenas.bin.-1.size", "arenas.bin.1000.size",
		"arenas.bin.99999999999999999999999.size", "arena.5000.purge", "stats.arenas.3.pactive",
		"arenas.bin.*.size", "thread.allocatedp",
	};
	size_t value, len, mib[8], miblen;

	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		len = sizeof(value);
		CHECK(mallctl(none[i], &value, &len, NULL, 0) == ENOENT ||
			      (mallctl(none[i], NULL, NULL, NULL, 0) == ENOENT), "%s", none[i]);
	}
	miblen = 8;
	CHECK(mallctlnametomib("no.such", mib, &miblen) == ENOENT);
	mib[0] = 12345;
	CHECK(mallctlbymib(mib, 1, NULL, NULL, NULL, 0) == ENOENT);
	CHECK(mallctlbymib(mib, 0, NULL, NULL, NULL, 0) == ENOENT);
}

static unsigned parts_of(const char *name)
{
	unsigned n = 1;

	for (; *name; name++)
		n += *name == '.';
	return n;
}

/* The row of numbers leads to the same value; and a number in it may be exchanged. */
static void rows_of_numbers_are_names(void)
{
	size_t mib[8], miblen, len = sizeof(size_t), size;

	for (size_t i = 0; i < NR_ENTRIES; i++) {
		const char *name = name_with(&entries[i], 0);
		char by_name[8] = { 0 }, by_mib[8] = { 0 };
		size_t len2 = sizes[entries[i].type], len3 = len2;

		miblen = 8;
		CHECK(mallctlnametomib(name, mib, &miblen) == 0, "%s", name);
		CHECK(miblen == parts_of(name), "%s: %zu parts", name, miblen);
		CHECK(mallctlbymib(mib, miblen - 1, NULL, NULL, NULL, 0) == ENOENT || miblen == 1);
		CHECK(mallctlbymib(mib, miblen + 1, NULL, NULL, NULL, 0) == ENOENT);
		if (!entries[i].reads || makes_something(&entries[i]))
			continue;
		CHECK(mallctl(name, by_name, &len2, NULL, 0) == 0, "%s", name);
		CHECK(mallctlbymib(mib, miblen, by_mib, &len3, NULL, 0) == 0, "%s", name);
		CHECK(len2 == len3 && !memcmp(by_name, by_mib, len2), "%s", name);
	}
	miblen = 8;
	CHECK(mallctlnametomib("arenas.bin.3.size", mib, &miblen) == 0 && mib[2] == 3);
	for (mib[2] = 0; mib[2] < 8; mib[2]++) {
		CHECK(mallctlbymib(mib, miblen, &size, &len, NULL, 0) == 0);
		CHECK(size == 16 * (mib[2] + 1) && len == sizeof(size));
	}
	/* Less room than parts: as many as there is room for. */
	miblen = 2;
	mib[2] = 99;
	CHECK(mallctlnametomib("arenas.bin.3.size", mib, &miblen) == 0 && miblen == 2 && mib[2] == 99);
}

static size_t read_size(const char *name)
{
	size_t value, len = sizeof(value);

	CHECK(mallctl(name, &value, &len, NULL, 0) == 0, "%s", name);
	return value;
}

static unsigned read_unsigned(const char *name)
{
	unsigned value;
	size_t len = sizeof(value);

	CHECK(mallctl(name, &value, &len, NULL, 0) == 0, "%s", name);
	return value;
}

static int call(const char *name)
{
	return mallctl(name, NULL, NULL, NULL, 0);
}

static void the_version_names_both(void)
{
	const char *version;
	size_t len = sizeof(version);

	CHECK(mallctl("version", &version, &len, NULL, 0) == 0);
	CHECK(!strncmp(version, "5.3.0 (libbuddymalloc ", 22), "%s", version);
}

/* Redis asks for this as it starts, and every so often. */
static void bins_add_up(void)
{
	unsigned nr = read_unsigned("arenas.nbins"), i;
	size_t sum = 0, small;
	char name[80];
	void *p[100];

	for (i = 0; i < 100; i++)
		CHECK((p[i] = mallocx(100 * i + 1, 0)));
	for (i = 0; i < nr; i++) {
		size_t size, used, slabs, len = sizeof(size);
		uint32_t regs;

		sprintf(name, "arenas.bin.%u.size", i);
		size = read_size(name);
		sprintf(name, "stats.arenas.%u.bins.%u.curregs", MALLCTL_ARENAS_ALL, i);
		used = read_size(name);
		sprintf(name, "stats.arenas.%u.bins.%u.curslabs", MALLCTL_ARENAS_ALL, i);
		slabs = read_size(name);
		sprintf(name, "arenas.bin.%u.nregs", i);
		len = sizeof(regs);
		CHECK(mallctl(name, &regs, &len, NULL, 0) == 0);
		CHECK(used <= slabs * regs, "bin %u", i);
		sprintf(name, "arenas.bin.%u.slab_size", i);
		CHECK(read_size(name) >= regs * size);
		sum += used * size;
	}
	sprintf(name, "stats.arenas.%u.small.allocated", MALLCTL_ARENAS_ALL);
	small = read_size(name);
	CHECK(sum == small && small >= 100 * 99 / 2 * 100, "%zu and %zu", sum, small);
	for (i = 0; i < 100; i++)
		free(p[i]);
}

static void figures_follow_what_is_allocated(void)
{
	size_t before, active, large;
	char *p;

	free(malloc(hide_size(1)));
	before = read_size("stats.allocated");
	active = read_size("stats.active");
	large = read_size("stats.arenas.0.large.allocated");
	p = malloc(20 * MIB);
	CHECK(read_size("stats.allocated") == before + 20 * MIB);
	CHECK(read_size("stats.active") >= active + 20 * MIB);
	CHECK(read_size("stats.arenas.0.large.allocated") == large + 20 * MIB);
	memset(p, 1, 20 * MIB);
	free(p);
	CHECK(read_size("stats.allocated") == before && read_size("stats.active") <= active);
	CHECK(read_size("stats.resident") >= 20 * MIB);
	CHECK(call("arena.0.purge") == 0);
	CHECK(read_size("stats.resident") < 20 * MIB && read_size("stats.retained") >= 20 * MIB);
	CHECK(status_kib("VmRSS") < 20 << 10);
}

/* How all arenas were once told: by the number behind the last. */
static void purge_gives_back(const char *name)
{
	char *p = malloc(20 * MIB);

	memset(p, 1, 20 * MIB);
	free(p);
	CHECK(status_kib("VmRSS") > 20 << 10);
	CHECK(call(name) == 0);
	CHECK(status_kib("VmRSS") < 20 << 10, "after %s", name);
}

static void all_arenas_have_two_numbers(void)
{
	char name[40];

	purge_gives_back("arena.4096.purge");
	sprintf(name, "arena.%u.purge", read_unsigned("arenas.narenas"));
	purge_gives_back(name);
	CHECK(call("arena.0.decay") == 0 && call("arena.7.decay") == ENOENT);
}

static void caches_are_flushed(void)
{
	uint64_t cached, after;
	unsigned tcache = 99;
	void *p[50];

	for (int i = 0; i < 50; i++)
		CHECK((p[i] = malloc(100)));
	for (int i = 0; i < 50; i++)
		free(p[i]);
	CHECK(bm_stat_get("cached_objects", &cached) == 0 && cached);
	CHECK(call("thread.tcache.flush") == 0);
	CHECK(bm_stat_get("cached_objects", &after) == 0 && after == 0);
	tcache = read_unsigned("tcache.create");
	free(mallocx(100, MALLOCX_TCACHE(tcache)));
	CHECK(bm_stat_get("cached_objects", &after) == 0 && after);
	CHECK(mallctl("tcache.flush", NULL, NULL, &tcache, sizeof(tcache)) == 0);
	CHECK(bm_stat_get("cached_objects", &after) == 0 && after == 0);
	CHECK(mallctl("tcache.destroy", NULL, NULL, &tcache, sizeof(tcache)) == 0);
	tcache = 3;
	CHECK(mallctl("tcache.destroy", NULL, NULL, &tcache, sizeof(tcache)) == EFAULT);
}

static void count_lines_of(void *opaque, const char *line)
{
	size_t len = strlen(line);

	CHECK(len > 1 && line[len - 1] == '\n' && !strncmp(line, "buddymalloc: ", 13), "%s", line);
	++*(unsigned *)opaque;
}

static void reports_go_where_they_are_told(void)
{
	unsigned lines = 0;

	malloc_stats_print(count_lines_of, &lines, "gmdablxe");
	CHECK(lines > 40, "%u lines", lines);
}

/* -------------------------------------------------------------------- arenas */

static const char *arena_name(const char *form, unsigned arena)
{
	static char name[80];

	snprintf(name, sizeof(name), form, arena);
	return name;
}

static size_t used(void)
{
	call("thread.tcache.flush");
	return read_size("stats.allocated");
}

static void arenas_are_given_back_whole(void)
{
	size_t before = used();
	unsigned a = read_unsigned("arenas.create"), b = read_unsigned("arenas.create");
	int flags = MALLOCX_ARENA(a);

	CHECK(a != b && a && b && read_unsigned("arenas.narenas") > (a > b ? a : b));
	for (int i = 0; i < 1000; i++) {
		char *p = mallocx(1 + 100 * i, flags | (i % 2 ? MALLOCX_ZERO : 0));

		CHECK(p && (i % 2 == 0 || is_zero(p, 100 * i)));
		if (i % 10 == 0)
			p = rallocx(p, 300 * i + 1, flags);
		if (i % 20 == 10)
			p = rallocx(p, 400 * i + 1, flags | MALLOCX_ALIGN(64));
		CHECK(p);
		memset(p, 1, 100 * i);
		if (i % 3 == 0)
			sdallocx(p, 1, flags);
	}
	CHECK(mallocx(7 * MIB, flags));
	CHECK(read_size(arena_name("stats.arenas.%u.large.allocated", a)) >= 7 * MIB);
	CHECK(read_size(arena_name("stats.arenas.%u.small.allocated", a)) > 600000);
	CHECK(read_size(arena_name("stats.arenas.%u.pactive", a)) * read_size("arenas.page") > 30 * MIB);
	CHECK(read_size(arena_name("stats.arenas.%u.pactive", b)) == 0);
	CHECK(read_size("stats.arenas.4096.pactive") ==
	      read_size("stats.arenas.0.pactive") + read_size(arena_name("stats.arenas.%u.pactive", a)));
	CHECK(used() > before + 30 * MIB);
	CHECK(call(arena_name("arena.%u.reset", a)) == 0);
	CHECK(used() == before && read_size(arena_name("stats.arenas.%u.pactive", a)) == 0);
	CHECK(mallocx(100, flags) && used() > before);
	CHECK(call(arena_name("arena.%u.destroy", a)) == 0 && used() == before);
	CHECK(call(arena_name("arena.%u.destroy", a)) == ENOENT && !mallocx(100, flags));
	CHECK(call(arena_name("arena.%u.reset", a)) == ENOENT);
	CHECK(call("arena.0.destroy") == EFAULT && call("arena.0.reset") == EFAULT);
	/* Its number is another's. */
	CHECK(read_unsigned("arenas.create") == a && mallocx(100, flags));
}

/* Past the arena, as jemalloc's do who serve from what the cache has first. */
static void a_cache_of_its_own_is_of_the_common_heap(void)
{
	unsigned a = read_unsigned("arenas.create");
	int flags = MALLOCX_ARENA(a) | MALLOCX_TCACHE(read_unsigned("tcache.create"));
	char *p = mallocx(100, flags), *q = mallocx(100, MALLOCX_ARENA(a) | MALLOCX_TCACHE_NONE);

	CHECK(p && q && read_size(arena_name("stats.arenas.%u.bins.6.curregs", a)) == 1);
	fill(p, 100, 5);
	CHECK(call(arena_name("arena.%u.destroy", a)) == 0 && is_filled(p, 100, 5));
	dallocx(p, flags);
}

static void threads_have_an_arena(void)
{
	unsigned a = read_unsigned("arenas.create"), zero = 0, none = 200, was = 99;
	size_t len = sizeof(was);
	char *p;

	CHECK(read_unsigned("thread.arena") == 0);
	CHECK(mallctl("thread.arena", NULL, NULL, &none, sizeof(none)) == EFAULT);
	CHECK(mallctl("thread.arena", &was, &len, &a, sizeof(a)) == 0 && was == 0);
	CHECK(read_unsigned("thread.arena") == a);
	CHECK(read_unsigned(arena_name("stats.arenas.%u.nthreads", a)) == 1);
	p = malloc(5 * MIB);
	CHECK(read_size(arena_name("stats.arenas.%u.large.allocated", a)) >= 5 * MIB);
	CHECK(call(arena_name("arena.%u.destroy", a)) == EFAULT);
	CHECK(malloc_usable_size(p) >= 5 * MIB && hide(malloc(10)));
	CHECK(mallctl("thread.arena", NULL, NULL, &zero, sizeof(zero)) == 0);
	CHECK(read_unsigned("thread.arena") == 0);
	CHECK(call(arena_name("arena.%u.destroy", a)) == 0);
}

/* There are so many at most, and those that were made go on. */
static void arenas_run_out(void)
{
	unsigned nr = 0, arena, first = read_unsigned("arenas.create");
	size_t len = sizeof(arena);
	int error;

	while ((error = mallctl("arenas.create", &arena, &len, NULL, 0)) == 0) {
		CHECK(mallocx(50, MALLOCX_ARENA(arena)), "arena %u", arena);
		CHECK(++nr < 5000);
	}
	CHECK(error == EAGAIN && nr >= 100, "%d after %u", error, nr);
	CHECK(mallocx(50, MALLOCX_ARENA(first)));
	CHECK(call(arena_name("arena.%u.destroy", first)) == 0);
	CHECK(read_unsigned("arenas.create") == first);
}

static void create_and_destroy(unsigned index)
{
	for (int i = 0; i < 200; i++) {
		unsigned a = read_unsigned("arenas.create");
		char name[40];

		for (int k = 0; k < 20; k++) {
			char *p = mallocx(16 + 100 * k, MALLOCX_ARENA(a));

			CHECK(p);
			fill(p, 16 + 100 * k, index);
			CHECK(is_filled(p, 16 + 100 * k, index));
			if (k % 2)
				free(p);
		}
		sprintf(name, "arena.%u.%s", a, i % 3 ? "destroy" : "reset");
		CHECK(call(name) == 0, "%s", name);
		if (i % 3)
			continue;
		sprintf(name, "arena.%u.destroy", a);
		CHECK(call(name) == 0, "%s", name);
	}
}

static void threads_make_arenas_side_by_side(void)
{
	run_threads(4, create_and_destroy);
	CHECK(read_unsigned("arenas.narenas") <= 5);
}

static void arenas_survive_a_fork(void)
{
	unsigned a = read_unsigned("arenas.create");
	char *p = mallocx(1000, MALLOCX_ARENA(a));
	pid_t child;

	fill(p, 1000, 1);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK(is_filled(p, 1000, 1) && mallocx(1000, MALLOCX_ARENA(a)));
		CHECK(read_unsigned("arenas.create") != a);
		CHECK(call(arena_name("arena.%u.destroy", a)) == 0);
		_exit(0);
	}
	CHECK(wait_exit(child) == 0 && is_filled(p, 1000, 1));
}

/* --------------------------------------------------------- background thread */

static bool set_background(bool on)
{
	return mallctl("background_thread", NULL, NULL, &on, sizeof(on)) == 0;
}

static bool has_background(void)
{
	bool on;
	size_t len = sizeof(on);

	CHECK(mallctl("background_thread", &on, &len, NULL, 0) == 0);
	return on;
}

static void allocate_some(void)
{
	for (int i = 0; i < 300; i++)
		free(hide(malloc(100000 + 1000 * i)));
}

/* It comes and goes, gives back what is free while the program sleeps, and is there in a child. */
static void the_background_thread_can_be_set(void)
{
	char *p;
	pid_t child;

	CHECK(!has_background() && count_tasks() == 1);
	for (int i = 0; i < 3; i++) {
		CHECK(set_background(true) && set_background(true));
		CHECK(has_background() && count_tasks() == 2);
		CHECK(set_background(false) && set_background(false));
		CHECK(!has_background() && count_tasks() == 1);
	}
	CHECK(set_background(true));
	p = malloc(30 * MIB);
	memset(p, 1, 30 * MIB);
	free(p);
	CHECK(status_kib("VmRSS") > 30 << 10);
	for (int i = 0; status_kib("VmRSS") > 15 << 10; i++) {
		CHECK(i < 100);
		usleep(100000);
	}
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		allocate_some();
		CHECK(count_tasks() == 2 && has_background());
		CHECK(set_background(false) && count_tasks() == 1);
		CHECK(set_background(true) && count_tasks() == 2);
		_exit(0);
	}
	CHECK(wait_exit(child) == 0);
	CHECK(set_background(false));
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		allocate_some();
		CHECK(count_tasks() == 1 && !has_background());
		_exit(0);
	}
	CHECK(wait_exit(child) == 0);
	CHECK(set_background(true) && count_tasks() == 2);
}

static void where_nothing_ages_there_is_none(void)
{
	CHECK(!set_background(true) && !has_background() && count_tasks() == 1);
	CHECK(set_background(false));
}

static void toggle(unsigned index)
{
	for (int i = 0; i < 30; i++)
		set_background((i + index) % 2);
}

static void threads_set_it_side_by_side(void)
{
	run_threads(3, toggle);
	CHECK(set_background(true) && has_background());
	CHECK(set_background(false) && !has_background());
}

static const struct trap_case cases[] = {
	{ .name = "flags_do_what_they_say", .run = flags_do_what_they_say },
	{ .name = "flags_do_what_they_say_hardened", .run = flags_do_what_they_say,
	  .conf = "hardened:true" },
	{ .name = "what_cannot_be_fails", .run = what_cannot_be_fails },
	{ .name = "moved_blocks_grow_by_zeroes", .run = moved_blocks_grow_by_zeroes },
	{ .name = "moved_blocks_grow_by_zeroes_poisoned", .run = moved_blocks_grow_by_zeroes,
	  .conf = "hardened:true,page_poison:true" },
	{ .name = "a_null_pointer_is_allocated", .run = a_null_pointer_is_allocated },
	{ .name = "sizes_change_in_place", .run = sizes_change_in_place },
	{ .name = "foreign_pointers_are_reported", .run = foreign_pointers_are_reported,
	  .dies = "^buddymalloc: invalid rallocx of 0x[0-9a-f]+: not memory of this allocator\n$" },
	{ .name = "every_name_is_what_the_table_says", .run = every_name_is_what_the_table_says },
	{ .name = "numbers_that_are_none_are_not_found", .run = numbers_that_are_none_are_not_found },
	{ .name = "rows_of_numbers_are_names", .run = rows_of_numbers_are_names,
	  .conf = "decay_ms:-1" },
	{ .name = "the_version_names_both", .run = the_version_names_both },
	{ .name = "bins_add_up", .run = bins_add_up },
	{ .name = "figures_follow_what_is_allocated", .run = figures_follow_what_is_allocated,
	  .conf = "thp:never" },
	{ .name = "all_arenas_have_two_numbers", .run = all_arenas_have_two_numbers },
	{ .name = "caches_are_flushed", .run = caches_are_flushed },
	{ .name = "reports_go_where_they_are_told", .run = reports_go_where_they_are_told },
	{ .name = "arenas_are_given_back_whole", .run = arenas_are_given_back_whole },
	{ .name = "arenas_are_given_back_whole_hardened", .run = arenas_are_given_back_whole,
	  .conf = "hardened:true" },
	{ .name = "a_cache_of_its_own_is_of_the_common_heap",
	  .run = a_cache_of_its_own_is_of_the_common_heap },
	{ .name = "threads_have_an_arena", .run = threads_have_an_arena },
	{ .name = "arenas_run_out", .run = arenas_run_out },
	{ .name = "threads_make_arenas_side_by_side", .run = threads_make_arenas_side_by_side },
	{ .name = "arenas_survive_a_fork", .run = arenas_survive_a_fork },
	{ .name = "the_background_thread_can_be_set", .run = the_background_thread_can_be_set },
	{ .name = "where_nothing_ages_there_is_none", .run = where_nothing_ages_there_is_none,
	  .conf = "decay_ms:-1",
	  .says = "^buddymalloc: background_thread: not started, as with decay_ms:-1 nothing ages\n$" },
	{ .name = "threads_set_it_side_by_side", .run = threads_set_it_side_by_side },
};

TRAP_MAIN(cases)
