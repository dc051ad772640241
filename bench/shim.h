/*
 * The part of Google Benchmark that the benchmarks use, for C.
 *
 * shim.cc is the only file that sees the C++ interface. A benchmark registers
 * a function once; Google Benchmark calls it with a state, and the function
 * loops on bench_keep_running(). Every call crosses from C to C++, so one turn
 * of that loop should be a whole pass of the workload, never one malloc.
 */
#ifndef BENCH_SHIM_H
#define BENCH_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_state;
typedef void bench_fn(struct bench_state *state, const void *arg);

/* The name and the argument must outlive bench_run(). Times are wall clock
 * for the row and processor time summed over all threads of the process. */
void bench_register(const char *name, bench_fn *fn, const void *arg,
		    int64_t iterations);

/* Run what was registered; argv may hold Google Benchmark's own options.
 * Returns the number of benchmarks run, or -1 for an unknown option. */
int bench_run(int argc, char **argv);

bool bench_keep_running(struct bench_state *state);
void bench_set_items(struct bench_state *state, int64_t items);
void bench_set_counter(struct bench_state *state, const char *name,
		       double value);
void bench_set_label(struct bench_state *state, const char *label);

#ifdef __cplusplus
}
#endif

#endif
