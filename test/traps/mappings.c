/*
 * mappings.c - how many mappings the kernel keeps for the heap
 *
 * vm.max_map_count (65530) bounds them for the whole process, and every fault
 * looks one up. The heap is cut up here as badly as can be: what stays must be
 * a few mappings, as pages are given back by madvise, which splits none.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

static long mappings_at_start;

static long mappings(void)
{
	return count_lines("/proc/self/maps");
}

/*
 * The budgets: so many more than at the start, whatever was done. A few are 4 or 5, where huge
 * pages come fast up to 15; blocks whose page tables were moved are mappings of their own, 50 to 110.
 */
enum { A_FEW = 40, MOVED = 200 };

static void check_mappings(const char *after, long budget)
{
	long more = mappings() - mappings_at_start;

	/* The heap is in pieces then, each bound to its node. */
	if (access("/sys/devices/system/node/node1", F_OK) == 0)
		budget = MOVED;
	CHECK(more < budget, "%ld mappings more after %s", more, after);
}

/* Sizes of every scale between 16 bytes and `most`, small ones more often. */
static size_t any_size(uint64_t *seed, size_t most)
{
	size_t limit = 32;

	while (limit < most && random_below(seed, 8))
		limit *= 2;
	return 16 + random_below(seed, limit);
}

struct slots {
	void **block;
	size_t *size;
	size_t nr, bytes;
};

static void drop(struct slots *s, size_t i)
{
	free(s->block[i]);
	s->bytes -= s->size[i];
	s->block[i] = NULL;
	s->size[i] = 0;
}

static void put(struct slots *s, size_t i, size_t size)
{
	s->block[i] = malloc(size);
	CHECK(s->block[i]);
	s->size[i] = size;
	s->bytes += size;
	memset(s->block[i], (int)i, size < 4096 ? size : 4096);
}

/* Fills what is empty up to so many bytes, then frees a random half, again and again. */
static void cut_up(struct slots *s, uint64_t *seed, size_t most_bytes, size_t largest, int rounds)
{
	for (int r = 0; r < rounds; r++) {
		for (size_t i = 0; i < s->nr && s->bytes < most_bytes; i++)
			if (!s->block[i])
				put(s, i, any_size(seed, largest));
		for (size_t i = 0; i < s->nr; i++)
			if (s->block[i] && random_below(seed, 2))
				drop(s, i);
		switch (r % 3) {
		case 0:
			malloc_trim(0);
			break;
		case 1:
			bm_reclaim(MIB);
			break;
		}
	}
}

static struct slots new_slots(size_t nr)
{
	struct slots s = { calloc(nr, sizeof(void *)), calloc(nr, sizeof(size_t)), nr, 0 };

	CHECK(s.block && s.size);
	return s;
}

static void drop_all(struct slots *s)
{
	for (size_t i = 0; i < s->nr; i++)
		if (s->block[i])
			drop(s, i);
	free(s->block);
	free(s->size);
}

static void random_halves(void)
{
	uint64_t seed = 1;
	struct slots s;

	mappings_at_start = mappings();
	s = new_slots(200000);
	cut_up(&s, &seed, 512 * MIB, 4 * MIB, 12);
	check_mappings("blocks up to 4 MiB freed in random halves", A_FEW);
	cut_up(&s, &seed, 512 * MIB, 4096, 6);
	check_mappings("small objects in the gaps", A_FEW);
	drop_all(&s);
	malloc_trim(0);
	check_mappings("freeing all", A_FEW);
}

/* Page by page: every other page of the heap is given back. */
static void every_other_page(void)
{
	enum { NR = 60000 };
	struct slots s;

	mappings_at_start = mappings();
	s = new_slots(NR);
	for (size_t i = 0; i < NR; i++)
		put(&s, i, 4096);
	for (size_t i = 0; i < NR; i += 2)
		drop(&s, i);
	CHECK(malloc_trim(0) == 1);
	check_mappings("every other page given back", A_FEW);
	drop_all(&s);
}

/* Page tables are moved where bytes would cost much, whatever was moved before. */
static void huge_blocks(void)
{
	struct rusage before, after;
	char *p = malloc(80 * MIB), *behind = malloc(MIB);

	CHECK(p && behind);
	memset(p, 1, 80 * MIB);
	getrusage(RUSAGE_SELF, &before);
	p = realloc(p, 400 * MIB);
	CHECK(p && p[80 * MIB - 1] == 1);
	getrusage(RUSAGE_SELF, &after);
	CHECK(after.ru_minflt - before.ru_minflt < 2000, "copied: %ld faults",
	      after.ru_minflt - before.ru_minflt);
	free(p);
	free(behind);
}

/* Blocks that grow in turns are in each other's way: page tables are moved. */
static void moved_blocks(void)
{
	enum { NR = 150 };
	struct slots s;

	mappings_at_start = mappings();
	for (int round = 0; round < 6; round++) {
		s = new_slots(NR);
		for (size_t i = 0; i < NR; i++)
			put(&s, i, MIB + 4096 * (i + 1));
		for (size_t size = 2 * MIB; size <= 4 * MIB; size += MIB)
			for (size_t i = 0; i < NR; i++) {
				s.block[i] = realloc(s.block[i], size + 4096 * i);
				CHECK(s.block[i]);
				s.size[i] = size;
				CHECK(((char *)s.block[i])[0] == (char)i);
				((char *)s.block[i])[size - 1] = 1;
			}
		check_mappings("blocks were moved", MOVED);
		/* Cut in two, the rest goes first. */
		for (size_t i = 0; i < NR; i += 2)
			CHECK(realloc(s.block[i], MIB + MIB / 2) == s.block[i]);
		check_mappings("moved blocks shrank", MOVED);
		drop_all(&s);
		malloc_trim(0);
	}
	check_mappings("moved blocks were freed", MOVED);
	huge_blocks();
}

static void *from_thread[4];

static void cut_up_in_thread(unsigned index)
{
	struct bm_group *group = bm_group_create("mappings", 0);
	struct slots s = new_slots(20000);
	uint64_t seed = index + 1;
	bm_scope_t before;

	CHECK(group);
	cut_up(&s, &seed, 64 * MIB, 4 * MIB, 4);
	before = bm_group_enter(group);
	cut_up(&s, &seed, 64 * MIB, 4 * MIB, 4);
	for (unsigned order = 0; order < 10; order++) {
		void *p = bm_get_free_pages(BM_GFP_KERNEL, order);

		CHECK(p);
		bm_free_pages(p, order);
	}
	bm_group_leave(before);
	drop_all(&s);
	CHECK(bm_group_destroy(group) == 0);
	from_thread[index] = malloc(100);
}

static void threads_and_groups(void)
{
	long stacks;

	mappings_at_start = mappings();
	run_threads(4, cut_up_in_thread);
	/* The C library keeps the stacks of threads that ended, two mappings each. */
	stacks = 8;
	mappings_at_start += stacks;
	check_mappings("threads in groups", A_FEW);
	for (int i = 0; i < 4; i++)
		free(from_thread[i]);
}

/*
 * The process has as many mappings as it may: then the kernel refuses to map even what is
 * mapped already, as the free of a moved block asks for.
 */
static void free_at_the_limit_of_mappings(void)
{
	enum { NR = 60 };
	static char *p[NR];
	long page = sysconf(_SC_PAGESIZE), i;
	char *room;

	for (i = 0; i < NR; i++) {
		memset((p[i] = malloc(8 * MIB)), (int)i, 8 * MIB);
		/* In the way, lest the block grows where it is. */
		CHECK(malloc(2 * MIB));
	}
	for (i = 0; i < NR; i++) {
		malloc_trim(0);
		CHECK((p[i] = realloc(p[i], 16 * MIB)));
	}
	room = mmap(NULL, (size_t)200000 * (size_t)page, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(room != MAP_FAILED);
	for (i = 1; i < 200000 && mprotect(room + i * page, (size_t)page, PROT_READ) == 0; i += 2)
		;
	if (i >= 200000)
		trap_skip("the system allows more mappings than are made here");
	for (i = 0; mmap(NULL, (size_t)page, i % 2 ? PROT_READ : PROT_NONE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED; i++)
		;
	for (i = 0; i < NR; i++) {
		CHECK(p[i][8 * MIB - 1] == (char)i);
		free(p[i]);
	}
}

static const struct trap_case cases[] = {
	{ .name = "random_halves", .run = random_halves },
	{ .name = "random_halves_lazily", .run = random_halves, .conf = "free:lazy,decay_ms:0" },
	{ .name = "every_other_page", .run = every_other_page },
	{ .name = "moved_blocks", .run = moved_blocks },
	{ .name = "threads_and_groups", .run = threads_and_groups },
	{ .name = "free_at_the_limit_of_mappings", .run = free_at_the_limit_of_mappings },
};

TRAP_MAIN(cases)
