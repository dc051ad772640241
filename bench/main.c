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

void *bench_realloc(void *p, size_t size)
{
	p = realloc(p, size);
	if (!p)
		bench_die("realloc");
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

struct arguments {
	char **patterns;	/* of rows; in argv */
	char **theirs;		/* Google Benchmark's, argv[0] first, NULL last */
	int nr_patterns, nr_theirs;
	double scale;
	bool list;
};

static double parse_scale(const char *text)
{
	char *end;
	double scale = strtod(text, &end);

	if (*end || !isfinite(scale) || scale <= 0) {
		fprintf(stderr, "workloads: --scale wants a number above 0, not '%s'\n", text);
		exit(2);
	}
	return scale;
}

/* Sorts argv, into args and, for Google Benchmark, into theirs. Ends the program if it is wrong. */
static void parse_arguments(int argc, char **argv, struct arguments *args)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			exit(0);
		} else if (!strcmp(argv[i], "--list")) {
			args->list = true;
		} else if (!strcmp(argv[i], "--scale") && i + 1 < argc) {
			args->scale = parse_scale(argv[++i]);
		} else if (!strncmp(argv[i], "--benchmark_", 12)) {
			args->theirs[args->nr_theirs++] = argv[i];
		} else if (argv[i][0] == '-') {
			fprintf(stderr, "workloads: unknown option '%s'; see --help\n", argv[i]);
			exit(2);
		} else {
			args->patterns[args->nr_patterns++] = argv[i];
		}
	}
	args->theirs[args->nr_theirs] = NULL;
}

static void register_row(const struct row *row, const struct arguments *args)
{
	int64_t passes = (int64_t)((double)row->passes * args->scale);

	if (args->list)
		printf("%s\t%s\t%s\n", row->name, row->metric == ROW_RSS ? "rss" : "time",
		       row->about);
	else
		bench_register(row->name, row_run, row, passes > 0 ? passes : 1);
}

/* Those that are wanted, or a list of them; how many. */
static int register_rows(const struct arguments *args)
{
	int nr = 0;

	for (size_t g = 0; g < NR_GROUPS; g++)
		for (const struct row *row = groups[g]; row->name; row++) {
			if (!wanted(row->name, args->patterns, args->nr_patterns))
				continue;
			register_row(row, args);
			nr++;
		}
	return nr;
}

int main(int argc, char **argv)
{
	char *theirs[argc + 1];
	struct arguments args = { .patterns = argv + 1, .theirs = theirs, .nr_theirs = 1,
				  .scale = 1 };

	theirs[0] = argv[0];
	parse_arguments(argc, argv, &args);
	if (!register_rows(&args)) {
		fprintf(stderr, "workloads: no such row; see --list\n");
		return 2;
	}
	if (args.list)
		return 0;
	return bench_run(args.nr_theirs, theirs) < 0 ? 2 : 0;
}
