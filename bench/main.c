/*
 * workloads: run the rows named on the command line under whatever malloc the
 * process was started with, one row after the other, and report through Google
 * Benchmark. bench/compare starts one process per row and allocator.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "process.h"
#include "row.h"
#include "shim.h"

static const struct row *const groups[] = {
	rows_table, rows_small, rows_data, rows_thread, rows_large, rows_memory,
};

#define NR_GROUPS (sizeof(groups) / sizeof(groups[0]))

static struct bench_state *running;

void row_report_rss(const char *name, uint64_t bytes)
{
	bench_set_counter(running, name, (double)bytes);
}

_Noreturn void bench_die(const char *what)
{
	fprintf(stderr, "workloads: %s: %s\n", what, strerror(errno));
	exit(1);
}

void *bench_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		bench_die("mmap");
	return p;
}

void bench_unmap(void *p, size_t bytes)
{
	munmap(p, bytes);
}

void *bench_malloc(size_t size)
{
	void *p = malloc(size);
	if (!p)
		bench_die("malloc");
	return p;
}

pthread_t bench_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, fn, arg);
	if (errno)
		bench_die("pthread_create");
	return thread;
}

void bench_threads(int n, void *(*fn)(void *), void **args)
{
	pthread_t thread[n];

	for (int i = 0; i < n; i++)
		thread[i] = bench_thread(fn, args[i]);
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

/* One row, from setup to teardown; called back by Google Benchmark. */
static void row_run(struct bench_state *state, const void *arg)
{
	const struct row *row = arg;
	struct process_memory before, after;
	int64_t passes = 0;
	uint64_t trimmed;
	void *ctx;

	running = state;
	process_memory(&before);
	ctx = row->setup ? row->setup(row) : NULL;
	if (!row->cold)
		row->pass(ctx);
	while (bench_keep_running(state)) {
		row->pass(ctx);
		passes++;
	}
	if (row->teardown)
		row->teardown(ctx);
	process_memory(&after);
	process_trim();
	trimmed = process_rss_bytes();

	bench_set_items(state, passes * row->ops);
	bench_set_counter(state, "rss_before", (double)before.rss_bytes);
	bench_set_counter(state, "rss_peak", (double)after.peak_rss_bytes);
	bench_set_counter(state, "rss_freed", (double)after.rss_bytes);
	bench_set_counter(state, "rss_trimmed", (double)trimmed);
	bench_set_counter(state, "faults",
			  (double)(after.minor_faults - before.minor_faults +
				   after.major_faults - before.major_faults));
	bench_set_label(state, process_malloc_file());
}

static bool wanted(const char *name, char **patterns, int n)
{
	for (int i = 0; i < n; i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return n == 0;
}

static void usage(FILE *to)
{
	fputs("usage: workloads [--list] [--scale X] [--benchmark_...] [ROW...]\n"
	      "Run ROWs (shell patterns such as 'table/*'; all without any) under the\n"
	      "malloc the program was started with; LD_PRELOAD chooses another.\n"
	      "  --list      name, metric (time or rss) and meaning of each row\n"
	      "  --scale X   do X times the usual number of passes\n",
	      to);
}

int main(int argc, char **argv)
{
	char **patterns = argv + 1;
	int nr_patterns = 0, nr_rows = 0, nr_ours = 1;
	double scale = 1;
	bool list = false;

	/* Options of Google Benchmark stay in argv for it to read. */
	char *theirs[argc + 1];
	theirs[0] = argv[0];
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			return 0;
		} else if (!strcmp(argv[i], "--list")) {
			list = true;
		} else if (!strcmp(argv[i], "--scale") && i + 1 < argc) {
			char *end;
			scale = strtod(argv[++i], &end);
			if (*end || !isfinite(scale) || scale <= 0) {
				fprintf(stderr, "workloads: --scale wants a number above 0, not '%s'\n",
					argv[i]);
				return 2;
			}
		} else if (!strncmp(argv[i], "--benchmark_", 12)) {
			theirs[nr_ours++] = argv[i];
		} else if (argv[i][0] == '-') {
			fprintf(stderr, "workloads: unknown option '%s'; see --help\n",
				argv[i]);
			return 2;
		} else {
			patterns[nr_patterns++] = argv[i];
		}
	}
	theirs[nr_ours] = NULL;

	for (size_t g = 0; g < NR_GROUPS; g++)
		for (const struct row *r = groups[g]; r->name; r++) {
			int64_t passes = (int64_t)((double)r->passes * scale);
			if (!wanted(r->name, patterns, nr_patterns))
				continue;
			nr_rows++;
			if (list)
				printf("%s\t%s\t%s\n", r->name,
				       r->metric == ROW_RSS ? "rss" : "time",
				       r->about);
			else
				bench_register(r->name, row_run, r,
					       passes > 0 ? passes : 1);
		}
	if (!nr_rows) {
		fprintf(stderr, "workloads: no such row; see --list\n");
		return 2;
	}
	if (list)
		return 0;
	return bench_run(nr_ours, theirs) < 0 ? 2 : 0;
}
