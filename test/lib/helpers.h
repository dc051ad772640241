/*
 * helpers.h - what several tests of the allocator need
 *
 * The readers of /proc neither allocate nor use stdio, so that they can look
 * at the allocator from inside the process without changing what they see.
 */
#ifndef BM_TEST_HELPERS_H
#define BM_TEST_HELPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A small fast generator; any state but 0 will do. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static inline size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)(next_random(state) >> 11) % limit;
}

/* Fill [p, p + n) with bytes that depend on key; tell whether they are still there. */
void fill(void *p, size_t n, uint64_t key);
bool is_filled(const void *p, size_t n, uint64_t key);
bool is_zero(const void *p, size_t n);

/*
 * Allocates, checks and frees `rounds` times among `nr` live objects below
 * max_size, and leaves nothing behind. Returns NULL, or what went wrong.
 */
const char *churn(uint64_t seed, unsigned rounds, unsigned nr, size_t max_size);

/* For qsort and bsearch of addresses. */
int by_address(const void *a, const void *b);

/* A line such as VmRSS of /proc/self/status, in KiB; -1 when it is not there. */
long status_kib(const char *name);
/* setrlimit for both limits; ends the program when refused. */
void limit_self(int which, size_t bytes);
/* Lines of a file such as /proc/self/maps. */
long count_lines(const char *path);
/* Threads of this process. */
int count_tasks(void);
/* The sum of a field such as AnonHugePages over /proc/self/smaps_rollup, in KiB. */
long smaps_kib(const char *name);

/* Waits for the child and gives its exit status, or 128 + the signal. */
int wait_exit(pid_t pid);

/* Runs f(0) .. f(nr - 1), each in a thread, and joins them. */
void run_threads(unsigned nr, void (*f)(unsigned index));

#ifdef __cplusplus
}
#endif

#endif
