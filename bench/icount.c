/*
 * icount: malloc and free in small batches, for an instruction counter.
 *
 *   icount BYTES ROUNDS        under valgrind --tool=callgrind
 *   icount --empty ... ROUNDS  the same loops around a function that returns
 *
 * callgrind collects inside one of the two functions below, by name. The
 * difference between two numbers of rounds leaves out the first, slow calls;
 * taking off what --empty counts leaves the calls without the loops.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

/* Few enough to stay in any thread cache (glibc keeps 7 of a size): what is
 * counted is the common path. */
#define BATCH 4

void collect_malloc(void *(*alloc)(size_t), size_t size, void **slot);
void collect_free(void (*release)(void *), void **slot);

__attribute__((noinline)) void collect_malloc(void *(*alloc)(size_t),
					      size_t size, void **slot)
{
	for (int i = 0; i < BATCH; i++)
		slot[i] = alloc(size);
}

__attribute__((noinline)) void collect_free(void (*release)(void *),
					    void **slot)
{
	for (int i = 0; i < BATCH; i++)
		release(slot[i]);
}

/* One instruction, the return; what it leaves in place of a result is never
 * looked at. */
static void nothing(void)
{
}

int main(int argc, char **argv)
{
	void *(*alloc)(size_t) = malloc;
	void (*release)(void *) = free;
	void *slot[BATCH];
	long size, rounds;

	if (argc == 4 && !strcmp(argv[1], "--empty")) {
		void (*volatile empty)(void) = nothing;
		alloc = (void *(*)(size_t))empty;
		release = (void (*)(void *))empty;
		argv++, argc--;
	}
	if (argc != 3 || !parse_number(argv[1], 0, LONG_MAX, &size) ||
	    !parse_number(argv[2], 0, LONG_MAX, &rounds)) {
		fputs("usage: icount [--empty] BYTES ROUNDS\n", stderr);
		return 2;
	}
	for (long i = 0; i < rounds; i++) {
		collect_malloc(alloc, (size_t)size, slot);
		collect_free(release, slot);
	}
	return 0;
}
