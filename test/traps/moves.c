/*
 * moves.c - realloc moves page tables, and the kernel may refuse in the midst of it
 *
 * With MREMAP_FIXED the kernel unmaps the target first and then looks whether it can
 * move: before Linux 6.17 not what is more than one mapping, and never beyond a limit. All
 * the library's calls of mremap and mmap go through syscall(), so this program has one
 * that behaves as other kernels do, or as this one seldom does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static enum {
	AS_IT_IS,
	ONE_MAPPING,	/* is moved, not more: before Linux 6.17 */
	REFUSED,	/* to a fixed place nothing is moved, and the target stays */
	NO_MEMORY,	/* the same, but the target is gone, and nothing can be mapped there */
	UNMAPS_FIRST,	/* mmap over a mapping unmaps it and fails, and then fails for a while:
			 * before Linux 6.12 */
} kernel;
static long moves, refusals, failures_left;
static long moves_left; /* REFUSED, NO_MEMORY: so many succeed first */
static uintptr_t gone;

typedef long syscall_t(long nr, ...);

static syscall_t *real_syscall(void)
{
	static syscall_t *real;

	if (!real)
		real = (syscall_t *)dlsym(RTLD_NEXT, "syscall");
	return real;
}

static bool is_one_mapping(uintptr_t from, uintptr_t to)
{
	static char text[1 << 20];
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t n = 0;
	ssize_t got;
	char *line;

	while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	text[n] = '\0';
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= from && from < end)
			return to <= end;
	}
	return false;
}

/* mremap to a fixed place. */
static long move(const long *arg)
{
	moves++;
	if (kernel == ONE_MAPPING &&
	    !is_one_mapping((uintptr_t)arg[0], (uintptr_t)arg[0] + (size_t)arg[1])) {
		real_syscall()(SYS_munmap, arg[4], arg[2]);
		refusals++;
		errno = EFAULT;
		return -1;
	}
	if ((kernel == REFUSED || kernel == NO_MEMORY) && !moves_left) {
		if (kernel == NO_MEMORY) {
			real_syscall()(SYS_munmap, arg[4], arg[2]);
			gone = (uintptr_t)arg[4];
		}
		refusals++;
		errno = ENOMEM;
		return -1;
	}
	moves_left -= moves_left > 0;
	return real_syscall()(SYS_mremap, arg[0], arg[1], arg[2], arg[3], arg[4]);
}

__attribute__((visibility("default"))) long syscall(long nr, ...)
{
	long arg[6];
	va_list ap;
	int i;

	va_start(ap, nr);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (nr == SYS_mremap && arg[3] & MREMAP_FIXED)
		return move(arg);
	if (nr == SYS_mmap && kernel == UNMAPS_FIRST && arg[3] & MAP_FIXED && !gone) {
		real_syscall()(SYS_munmap, arg[0], arg[1]);
		gone = (uintptr_t)arg[0];
	}
	if (nr == SYS_mmap && gone && (uintptr_t)arg[0] == gone) {
		refusals += kernel == UNMAPS_FIRST;
		if (kernel == UNMAPS_FIRST && !failures_left--)
			gone = 0;
		errno = ENOMEM;
		return -1;
	}
	return real_syscall()(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* Before Linux 5.7 nothing is moved, nor where an emulator loses what it was moved from. */
static void skip_without_moves(void)
{
	char *from = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd[2];

	CHECK(from != MAP_FAILED && pipe(fd) == 0);
	if (mremap(from, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) == MAP_FAILED ||
	    write(fd[1], from, 1) != 1)
		trap_skip("pages cannot be moved here");
}

struct buffer {
	unsigned char *p;
	size_t size;
};

static void fill_buffer(struct buffer *b, size_t from)
{
	for (; from < b->size; from += 512)
		b->p[from] = (unsigned char)(from >> 9 ^ (uintptr_t)b >> 4);
}

static void check_buffer(const struct buffer *b)
{
	size_t i;

	for (i = 0; i < b->size; i += 512)
		CHECK(b->p[i] == (unsigned char)(i >> 9 ^ (uintptr_t)b >> 4), "byte %zu of %zu", i,
		      b->size);
}

static void grow(struct buffer *b, size_t size)
{
	unsigned char *p = realloc(b->p, size);
	size_t old = b->size;

	CHECK(p, "realloc to %zu bytes", size);
	*b = (struct buffer){ p, size };
	fill_buffer(b, old);
}

/* Buffers that grow in turns stand in each other's way, and move again and again. */
static void grow_in_turns(size_t step, size_t most)
{
	struct buffer b[3] = { { NULL, 0 } };
	size_t size, i;

	for (size = step; size <= most; size += step)
		for (i = 0; i < 3; i++)
			grow(&b[i], size);
	for (i = 0; i < 3; i++)
		check_buffer(&b[i]);
	CHECK(moves, "nothing was moved");
	for (i = 0; i < 3; i++)
		free(b[i].p);
}

static void growing(void)
{
	skip_without_moves();
	grow_in_turns(64 << 10, 32 * MIB);
	grow_in_turns(MIB, 64 * MIB);
}

static void growing_with_an_older_kernel(void)
{
	kernel = ONE_MAPPING;
	growing();
	CHECK(!refusals, "%ld of %ld moves were of several mappings", refusals, moves);
}

/* A block of 2 MiB that cannot grow where it is, and free memory elsewhere that is not warm. */
static void block_that_must_move(struct buffer *b)
{
	char *room = malloc(64 * MIB);
	unsigned char *block[16];
	int i, k;

	CHECK(room);
	*b = (struct buffer){ NULL, 2 * MIB };
	for (i = 0; i < 16; i++)
		CHECK((block[i] = malloc(2 * MIB)));
	for (i = 0; i < 16; i++)
		for (k = 0; k < 16; k++)
			if (block[k] == block[i] + 2 * MIB)
				b->p = block[i];
	CHECK(b->p, "no two blocks stand side by side");
	fill_buffer(b, 0);
	free(room);
	malloc_trim(0);
}

static void below_what_there_is(int resource)
{
	static struct buffer b;
	struct rlimit limit;

	block_that_must_move(&b);
	CHECK(getrlimit(resource, &limit) == 0);
	limit.rlim_cur = MIB;
	CHECK(setrlimit(resource, &limit) == 0);
	grow(&b, 4 * MIB);
	check_buffer(&b);
}

static void a_lowered_limit_of_address_space(void)
{
	below_what_there_is(RLIMIT_AS);
}

static void a_lowered_limit_of_data(void)
{
	below_what_there_is(RLIMIT_DATA);
}

static uint64_t figure(const char *name)
{
	uint64_t value = 0;

	CHECK(bm_stat_get(name, &value) == 0, "%s", name);
	return value;
}

/* The place that pages were moved away from is as given back: free, and with nothing behind it. */
static void what_was_moved_away_is_clean(void)
{
	static struct buffer b;
	uint64_t purged;

	skip_without_moves();
	block_that_must_move(&b);
	purged = figure("purged_pages");
	grow(&b, 4 * MIB);
	check_buffer(&b);
	CHECK(figure("large_realloc_moved") == 1);
	malloc_trim(0);
	CHECK(figure("purged_pages") < purged + 100);
}

static void a_refused_move(void)
{
	static struct buffer b;

	skip_without_moves();
	kernel = REFUSED;
	block_that_must_move(&b);
	grow(&b, 4 * MIB);
	check_buffer(&b);
	CHECK(refusals == 1 && figure("large_realloc_moved") == 0);
}

/* The kernel's own memory is short: realloc fails, the block is as it was, and the heap goes on. */
static void a_lost_target(void)
{
	static struct buffer b;
	unsigned char *p;

	skip_without_moves();
	kernel = NO_MEMORY;
	block_that_must_move(&b);
	errno = 0;
	p = realloc(b.p, hide_size(4 * MIB));
	CHECK(!p && errno == ENOMEM && refusals == 1);
	check_buffer(&b);
	kernel = AS_IT_IS;
	gone = 0;
	grow(&b, 6 * MIB);
	check_buffer(&b);
	free(b.p);
	grow_in_turns(MIB, 32 * MIB);
}

/* What is lost counts for no limit. */
static void a_lost_target_at_a_limit(void)
{
	static struct buffer b;

	skip_without_moves();
	kernel = NO_MEMORY;
	block_that_must_move(&b);
	CHECK(!realloc(b.p, hide_size(100 * MIB)) && refusals == 1);
	kernel = AS_IT_IS;
	gone = 0;
	CHECK(malloc(90 * MIB));
}

/* Makes it two mappings, as a program does that gives advice on part of a block. */
static void split(const struct buffer *b)
{
	CHECK(madvise(b->p + MIB, MIB, MADV_DONTDUMP) == 0);
}

/* Part of the block has been moved when the target is lost: it comes back. */
static void a_target_lost_halfway(void)
{
	static struct buffer b;
	unsigned char *p;
	long resident;
	int i;

	skip_without_moves();
	block_that_must_move(&b);
	split(&b);
	kernel = NO_MEMORY;
	moves_left = 1;
	resident = status_kib("RssAnon");
	errno = 0;
	p = realloc(b.p, hide_size(4 * MIB));
	CHECK(!p && errno == ENOMEM && moves == 2 && refusals == 1, "%p, %ld moves", (void *)p,
	      moves);
	check_buffer(&b);
	/* What it was moved to holds nothing any more. */
	CHECK(status_kib("RssAnon") < resident + 512, "%ld KiB, %ld before", status_kib("RssAnon"),
	      resident);
	kernel = AS_IT_IS;
	gone = 0;
	/* Nor is it taken for zero afterwards. */
	free(b.p);
	for (i = 0; i < 16; i++) {
		p = calloc(1, 2 * MIB);
		CHECK(p && is_zero(p, 2 * MIB), "block %d", i);
	}
}

/* Scars of several mappings that are healed do not count for ever: pages go on being moved. */
static void scars_of_several_mappings(void)
{
	enum { ROUNDS = 100 };
	static struct buffer b;
	int i;

	skip_without_moves();
	block_that_must_move(&b);
	for (i = 0; i < ROUNDS; i++) {
		split(&b);
		grow(&b, 4 * MIB);
		free(b.p);
		malloc_trim(0);
		/* Where it was before: that is the shortest run. */
		b = (struct buffer){ malloc(2 * MIB), 2 * MIB };
		CHECK(b.p);
		fill_buffer(&b, 0);
	}
	CHECK(moves == 2 * ROUNDS, "%ld moves", moves);
}

/* What is lost is charged to nobody. */
static void a_lost_target_of_a_group(void)
{
	static struct buffer b;
	struct bm_group *group = bm_group_create("loses", 0);
	bm_scope_t before = bm_group_enter(group);
	size_t usage;
	void *p;

	skip_without_moves();
	kernel = NO_MEMORY;
	block_that_must_move(&b);
	usage = bm_group_usage(group);
	p = realloc(b.p, hide_size(4 * MIB));
	CHECK(!p && refusals == 1, "%p, %ld refusals, %ld moves", (void *)p, refusals, moves);
	CHECK(bm_group_usage(group) == usage, "%zu, %zu before", bm_group_usage(group), usage);
	kernel = AS_IT_IS;
	gone = 0;
	bm_group_leave(before);
}

#define NR 48

/*
 * Blocks that were moved shrink where no mapping may change; what they leave is another's
 * by the time they are freed.
 */
static void a_scar_that_cannot_heal(void)
{
	static struct buffer moved[NR], others[NR];
	bm_scope_t before;
	size_t i;

	skip_without_moves();
	for (i = 0; i < NR; i++) {
		grow(&moved[i], 8 * MIB);
		CHECK(malloc(2 * MIB)); /* in its way */
	}
	for (i = 0; i < NR; i++) {
		malloc_trim(0);
		grow(&moved[i], 12 * MIB);
	}
	CHECK(moves > 40, "%ld moves", moves);
	before = bm_scope_save(BM_SCOPE_NOSYSCALL, -1, NULL);
	for (i = 0; i < NR; i++) {
		moved[i].size = 2 * MIB;
		moved[i].p = realloc(moved[i].p, moved[i].size);
	}
	bm_scope_restore(before);
	for (i = 0; i < NR; i++)
		grow(&others[i], 4 * MIB);
	/* The last first: what they left was taken first, and it is the first that heal. */
	for (i = NR; i-- > 0;) {
		check_buffer(&moved[i]);
		free(moved[i].p);
	}
	for (i = 0; i < NR; i++)
		check_buffer(&others[i]);
}

/* A block that was moved shrinks, and what it leaves is mapped anew. */
static void shrink_with_failures(long failures)
{
	static struct buffer b;

	skip_without_moves();
	block_that_must_move(&b);
	grow(&b, 4 * MIB);
	CHECK(moves == 1);
	kernel = UNMAPS_FIRST;
	failures_left = failures;
	b.size = MIB + MIB / 2;
	b.p = realloc(b.p, b.size);
	CHECK(b.p && refusals > failures);
	kernel = AS_IT_IS;
	grow(&b, 2 * MIB);
	check_buffer(&b);
}

static void a_hole_that_is_filled(void)
{
	shrink_with_failures(20);
	grow_in_turns(MIB, 32 * MIB);
}

static void a_hole_that_stays(void)
{
	shrink_with_failures(LONG_MAX);
}

/* Whether the mapping is locked in memory. (VmLck is not made less where a move unlocks.) */
static bool is_locked(const void *p)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool here = false, locked = false;
	unsigned long from, to;
	char line[512];

	CHECK(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			locked = strstr(line, " lo");
	}
	fclose(smaps);
	return locked;
}

/* With mlockall all is locked: where realloc puts it, and the place where it was. */
static void locked_memory(void)
{
	char *p, *old, *in_the_way;

	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		trap_skip("memory cannot be locked here");
	old = p = malloc(8 * MIB);
	in_the_way = malloc(8 * MIB);
	CHECK(p && in_the_way && is_locked(old));
	memset(p, 7, 8 * MIB);
	p = realloc(p, 24 * MIB);
	CHECK(p && p[8 * MIB - 1] == 7);
	CHECK(is_locked(p) && is_locked(old));
}

static const struct trap_case cases[] = {
	{ .name = "growing", .run = growing },
	{ .name = "growing_with_an_older_kernel", .run = growing_with_an_older_kernel },
	{ .name = "a_lowered_limit_of_address_space", .run = a_lowered_limit_of_address_space },
	{ .name = "a_lowered_limit_of_data", .run = a_lowered_limit_of_data },
	{ .name = "locked_memory", .run = locked_memory },
	{ .name = "what_was_moved_away_is_clean", .run = what_was_moved_away_is_clean,
	  .conf = "decay_ms:-1" },
	{ .name = "a_refused_move", .run = a_refused_move },
	{ .name = "a_lost_target", .run = a_lost_target },
	{ .name = "a_lost_target_at_a_limit", .run = a_lost_target_at_a_limit,
	  .conf = "hard_limit:200M" },
	{ .name = "a_target_lost_halfway", .run = a_target_lost_halfway },
	{ .name = "scars_of_several_mappings", .run = scars_of_several_mappings },
	{ .name = "a_lost_target_of_a_group", .run = a_lost_target_of_a_group },
	{ .name = "a_scar_that_cannot_heal", .run = a_scar_that_cannot_heal },
	{ .name = "a_hole_that_is_filled", .run = a_hole_that_is_filled },
	{ .name = "a_hole_that_stays", .run = a_hole_that_stays,
	  .dies = "^buddymalloc: [0-9]+ bytes at 0x[0-9a-f]+ were unmapped, and the system does "
		  "not map them again\n$" },
};
TRAP_MAIN(cases)
