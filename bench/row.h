/*
 * What a workload is, and what workloads share.
 *
 * A row is one workload, run alone in its own process, so that its peak RSS and
 * its page faults are its own. It does a fixed amount of work from a fixed seed:
 * every allocator sees the same calls, and figures compare between allocators.
 *
 * The life of a row: setup, one pass that is not timed (it warms caches and
 * faults memory in; rows that measure just that set `cold`), `passes` timed
 * passes, teardown, which frees everything. RSS is read at the ends.
 *
 * Memory of the workload's own (slots, rings) comes from bench_map(), never
 * from malloc: the allocator under test serves only what is measured.
 */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rng.h"

enum row_metric {
	ROW_TIME, /* the row's figure is ns per operation */
	ROW_RSS,  /* the row's figure is memory; its time is only reported */
};

struct row {
	const char *name;  /* group/row */
	const char *about; /* one line for --list */
	int64_t passes;
	int64_t ops; /* malloc+free pairs (or what the row counts) in a pass */
	size_t size; /* bytes of an object, where the row has one size */
	uint32_t count; /* objects, slots or threads, as the row's setup says */
	void *(*setup)(const struct row *row);
	void (*pass)(void *ctx);
	void (*teardown)(void *ctx);
	enum row_metric metric;
	bool cold;
};

/* Groups, each an array that ends with a row without a name. */
extern const struct row rows_table[];   /* the short table for tuning */
extern const struct row rows_small[];   /* pairs, batches, size mixes */
extern const struct row rows_data[];    /* trees, hash tables, lists */
extern const struct row rows_thread[];  /* objects that change threads */
extern const struct row rows_large[];   /* big blocks, realloc, calloc, aligned */
extern const struct row rows_memory[];  /* how much comes back, and when */

/* What ROW_RSS rows report, in bytes. */
void row_report_rss(const char *name, uint64_t bytes);

void *bench_map(size_t bytes);
void bench_unmap(void *p, size_t bytes);

/* These end the program when there is no memory: a workload has no use for
 * half of its objects, and the driver reports the row as failed. */
void *bench_malloc(size_t size);
void *bench_realloc(void *p, size_t size);
_Noreturn void bench_die(const char *what);

/* rows_small.c: `count` objects of `size` bytes are allocated, then freed in the same order. */
void *batch_setup(const struct row *row);
void batch_fifo_pass(void *ctx);
void batch_teardown(void *ctx);

pthread_t bench_thread(void *(*fn)(void *), void *arg);

/* Run fn(args[i]) in n threads at once and wait for all of them. */
void bench_threads(int n, void *(*fn)(void *), void **args);

/* Programs write to what they allocate. The volatile store also keeps the
 * compiler from removing a malloc whose result is otherwise unused. */
static inline void touch(void *p)
{
	*(volatile uint64_t *)p = (uint64_t)(uintptr_t)p;
}

/* A byte in every 4 KiB, and the last: the smallest use of the whole block. */
static inline void touch_pages(void *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 4096)
		*(volatile char *)((char *)p + i) = 1;
	((volatile char *)p)[bytes - 1] = 1;
}

#endif
