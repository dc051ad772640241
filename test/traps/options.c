/*
 * options.c - BUDDYMALLOC_CONF: every option, what is wrong with it, the report
 *
 * A mistake costs one line on stderr and never the program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#define REPORT "buddymalloc: report of pid [0-9]+ \\(options\\)\n(buddymalloc: [^\n]*\n)+$"

static void go_on(void)
{
	CHECK(churn(1, 20000, 500, 50000) == NULL);
}

/* ----------------------------------------------------------------- the report */

static const char *const counters[] = {
#define STAT(name, what) #name,
#include "base/stats.def"
};
enum { NR_COUNTERS = sizeof(counters) / sizeof(counters[0]) };

/* The value of "buddymalloc: NAME VALUE", which must be there exactly once. */
static unsigned long long counter(const char *report, const char *name)
{
	char line[100];
	const char *found;
	int len = snprintf(line, sizeof(line), "\nbuddymalloc: %s ", name);
	char *end;
	unsigned long long value;

	found = strstr(report, line);
	CHECK(found, "no counter %s in the report:\n%s", name, report);
	CHECK(!strstr(found + 1, line), "%s is there twice", name);
	CHECK(found[len] >= '0' && found[len] <= '9', "%s", found + 1);
	value = strtoull(found + len, &end, 10);
	CHECK(*end == '\n', "%s", found + 1);
	return value;
}

/* Runs a child that ends as it is told, and reads its report into text. */
static void report_of_child(const char *directory, void (*end)(void), char *text, size_t size)
{
	char path[200];
	ssize_t len;
	pid_t pid = fork();
	int fd;

	CHECK(pid >= 0);
	if (pid == 0)
		end();
	CHECK(wait_exit(pid) == 0);
	snprintf(path, sizeof(path), "%s/report.%d", directory, (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	text[0] = '\0';
	if (fd < 0)
		return;
	len = read(fd, text, size - 1);
	CHECK(len > 0);
	text[len] = '\0';
	close(fd);
	unlink(path);
}

static void work_in_thread(unsigned index)
{
	CHECK(churn(index + 1, 20000, 500, 50000) == NULL);
}

static void work_and_return(void)
{
	void *kept = malloc(2 * MIB);

	CHECK(kept);
	go_on();
	run_threads(2, work_in_thread);
	free(kept);
	exit(0);
}

static void leave_at_once(void)
{
	_exit(0);
}

/* Pages of the free blocks that the report has for the migratetype; 0: there is no such line. */
static unsigned long pages_in_free_blocks(const char *report, const char *type)
{
	unsigned long pages = 0, nr;
	char begin[80], *at, *end;
	int order;

	snprintf(begin, sizeof(begin), "zone Normal, node 0, %s: free blocks", type);
	at = strstr(report, begin);
	if (!at)
		return 0;
	at += strlen(begin);
	for (order = 0; *at == ' '; order++, at = end) {
		nr = strtoul(at, &end, 10);
		pages += nr << order;
	}
	CHECK(*at == '\n' && order == 19, "%d orders: %s", order, report);
	return pages;
}

/* The program has ended but for the report: the figures are exact. */
static void zones_add_up(const char *report)
{
	const char *zone = strstr(report, "zone Normal, node 0: ");
	unsigned long managed, nr_free, dirty;

	CHECK(zone, "%s", report);
	CHECK(sscanf(zone, "zone Normal, node 0: managed %lu, free %lu, dirty %lu,", &managed,
		     &nr_free, &dirty) == 3,
	      "%s", zone);
	CHECK(managed >= nr_free && nr_free >= dirty && nr_free > 0, "%s", zone);
	CHECK(pages_in_free_blocks(report, "unmovable") +
		      pages_in_free_blocks(report, "movable") ==
	      nr_free, "%s", zone);
}

static void report_goes_to_the_file(void)
{
	static char report[16384];
	const char *directory = getenv("BM_TEST_DIRECTORY");
	char first[100];

	CHECK(directory);
	report_of_child(directory, work_and_return, report, sizeof(report));
	CHECK(sscanf(report, "buddymalloc: report of pid %99s", first) == 1, "%s", report);
	CHECK(strstr(report, " (options)\n"), "%s", report);
	for (size_t i = 0; i < NR_COUNTERS; i++)
		counter(report, counters[i]);
	CHECK(counter(report, "objects_refilled") > 0);
	CHECK(counter(report, "large_allocated") > 0);
	CHECK(counter(report, "zone_grown") > 0);
	CHECK(counter(report, "threads_created") >= 2);
	CHECK(counter(report, "threads_exited") >= 2);
	CHECK(counter(report, "objects_flushed") > 0);
	CHECK(counter(report, "slabs_allocated") > 0);
	zones_add_up(report);
}

static void no_report_without_exit(void)
{
	static char report[1000];
	const char *directory = getenv("BM_TEST_DIRECTORY");

	CHECK(directory);
	report_of_child(directory, leave_at_once, report, sizeof(report));
	CHECK(report[0] == '\0', "_exit is no normal exit");
}

/* Changing the environment of a running program changes nothing. */
static void environment_is_read_once(void)
{
	setenv("BUDDYMALLOC_CONF", "stats_print:true,nosuch:1", 1);
	go_on();
}

/* --------------------------------------------------------------- single options */

static void purges(void)
{
	unsigned char *p = malloc(64 * MIB);
	long full, empty;

	CHECK(p);
	memset(p, 1, 64 * MIB);
	full = status_kib("RssAnon");
	free(p);
	go_on();
	empty = status_kib("RssAnon");
	CHECK(full > 64 * 1024 && empty < full - 48 * 1024, "%ld KiB, then %ld KiB", full, empty);
}

/* The decay time has passed; the next slow paths do the work. */
static void purges_in_time(void)
{
	unsigned char *blocks[64];
	long full, empty;

	for (int i = 0; i < 64; i++) {
		blocks[i] = malloc(MIB);
		CHECK(blocks[i]);
		memset(blocks[i], 1, MIB);
	}
	full = status_kib("RssAnon");
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
	for (int i = 0; i < 8; i++) {
		usleep(100 * 1000);
		go_on();
		free(malloc(200000));
	}
	empty = status_kib("RssAnon");
	CHECK(empty < full / 2, "%ld KiB, then %ld KiB", full, empty);
}

/* Kept pages are warm: freeing and allocating again faults no page in. */
static void never_purges(void)
{
	long full;

	for (int i = 0; i < 20; i++) {
		unsigned char *p = malloc(16 * MIB);

		CHECK(p);
		memset(p, 1, 16 * MIB);
		free(p);
	}
	full = status_kib("RssAnon");
	go_on();
	CHECK(full >= 16 * 1024, "%ld KiB", full);
	CHECK(full < 80 * 1024, "%ld KiB: freed blocks are not used again", full);
}

static void limited_to_32_mib(void)
{
	void *p;

	errno = 0;
	p = malloc(33 * MIB);
	CHECK(!p && errno == ENOMEM);
	p = malloc(20 * MIB);
	CHECK(p);
	CHECK(!malloc(20 * MIB));
	free(p);
	p = malloc(20 * MIB);
	CHECK(p, "the limit is of what is in use");
	free(p);
	go_on();
}

static void not_limited(void)
{
	void *p = malloc(100 * MIB);

	CHECK(p);
	free(p);
	go_on();
}

#define UNKNOWN(name)                                                         \
	"buddymalloc: option '" name "' is unknown; known are: "              \
	"([a-z_]+ )*stats_print( [a-z_]+)*\n"
#define NOT_BOOL(name, value)                                                 \
	"^buddymalloc: option " name ": '" value "' is not accepted; "        \
	"it takes true or false \\(or yes, no, on, off, 1, 0\\)\n$"
#define NOT_DECAY(value)                                                      \
	"^buddymalloc: option decay_ms: '" value "' is not accepted; "        \
	"it takes -1 to 3600000 ms\n$"
#define NOT_LIMIT(value)                                                      \
	"^buddymalloc: option hard_limit: '" value "' is not accepted; "      \
	"it takes bytes, 0 or 4K to 64T \\(K, M, G, T in either case\\), "       \
	"or 1% to 100% of memory\n$"

/* Four of these fit into the option, what they become does not fit into a path. */
#define PIDS "%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p%p"

static const struct trap_case cases[] = {
	/*
	 * What is wrong is named, once, and passed over: one value of each kind, the
	 * others are test/unit/options.c's.
	 */
	{ .name = "unknown_name", .run = go_on, .conf = "nosuch:true",
	  .says = "^" UNKNOWN("nosuch") "$" },
	{ .name = "unknown_empty_name", .run = go_on, .conf = ":true", .says = "^" UNKNOWN("") "$" },
	{ .name = "unknown_prefix", .run = go_on, .conf = "stats:true",
	  .says = "^" UNKNOWN("stats") "$" },
	{ .name = "unknown_longer", .run = go_on, .conf = "verbosely:true",
	  .says = "^" UNKNOWN("verbosely") "$" },
	{ .name = "two_unknown", .run = go_on, .conf = "first:1,second:2",
	  .says = "^" UNKNOWN("first") UNKNOWN("second") "$" },
	{ .name = "known_after_unknown", .run = limited_to_32_mib,
	  .conf = "nosuch:1,hard_limit:32M,other:2",
	  .says = "^" UNKNOWN("nosuch") UNKNOWN("other") "$" },
	{ .name = "bad_bool", .run = go_on, .conf = "verbose:maybe",
	  .says = NOT_BOOL("verbose", "maybe") },
	{ .name = "no_colon", .run = go_on, .conf = "verbose",
	  .says = "^buddymalloc: option verbose has no value; write verbose:VALUE; "
		  "it takes true or false \\(or yes, no, on, off, 1, 0\\)\n$" },
	{ .name = "an_equals_sign", .run = not_limited, .conf = "hard_limit=32M",
	  .says = "^buddymalloc: option hard_limit has '=' in place of a colon; "
		  "write hard_limit:32M; it takes bytes, 0 or 4K to 64T [^\n]*\n$" },
	{ .name = "no_page", .run = not_limited, .conf = "hard_limit:4095",
	  .says = NOT_LIMIT("4095") },
	{ .name = "bad_int", .run = go_on, .conf = "decay_ms:soon", .says = NOT_DECAY("soon") },
	{ .name = "bad_size", .run = not_limited, .conf = "hard_limit:big", .says = NOT_LIMIT("big") },
	{ .name = "too_many_percent", .run = not_limited, .conf = "hard_limit:101%",
	  .says = NOT_LIMIT("101%") },
	{ .name = "empty_file_name", .run = go_on, .conf = "stats_file:",
	  .says = "^buddymalloc: option stats_file: '' is not accepted; "
		  "it takes 1 to [0-9]+ characters, no comma\n$" },
	{ .name = "bad_word", .run = go_on, .conf = "cgroup:1",
	  .says = "^buddymalloc: option cgroup: '1' is not accepted; "
		  "it takes one of auto\\|off\\|any\n$" },
	{ .name = "no_such_node", .run = go_on, .conf = "numa_node:63",
	  .says = "^buddymalloc: numa_node: this process has no node 63, its nodes are the bits of "
		  "0x[0-9a-f]+; memory comes from that of the running CPU\n$" },
	{ .name = "every_word", .run = go_on, .conf = "cgroup:off,cgroup:any,cgroup:auto" },
	{ .name = "empty", .run = go_on, .conf = "" },
	{ .name = "only_commas", .run = go_on, .conf = ",,," },
	{ .name = "stray_commas", .run = limited_to_32_mib, .conf = ",hard_limit:32M,," },
	{ .name = "last_one_holds", .run = limited_to_32_mib, .conf = "hard_limit:1G,hard_limit:32M" },

	{ .name = "environment_is_read_once", .run = environment_is_read_once },
	{ .name = "stats_print", .run = go_on, .conf = "stats_print:true", .says = "^" REPORT },
	{ .name = "stats_print_off", .run = go_on, .conf = "stats_print:false" },
	{ .name = "stats_file", .run = report_goes_to_the_file,
	  .conf = "stats_file:@/report.%p", .flags = TRAP_DIRECTORY },
	{ .name = "stats_file_without_exit", .run = no_report_without_exit,
	  .conf = "stats_file:@/report.%p", .flags = TRAP_DIRECTORY },
	{ .name = "stats_file_in_no_directory", .run = go_on, .conf = "stats_file:/nonexistent/report",
	  .says = "^buddymalloc: stats_file: no report, '/nonexistent/report' cannot be written: "
		  "No such file or directory\n$" },
	{ .name = "stats_file_too_long", .run = go_on, .conf = "stats_file:/" PIDS PIDS PIDS PIDS,
	  .says = "^buddymalloc: stats_file: no report, '/(%p)+' cannot be written: "
		  "File name too long\n$" },
	{ .name = "verbose", .run = go_on, .conf = "verbose:true",
	  .says = "^buddymalloc: version [^\n]*\n(buddymalloc: [^\n]*\n)*$" },
	{ .name = "decay_at_once", .run = purges, .conf = "decay_ms:0" },
	{ .name = "decay_in_time", .run = purges_in_time, .conf = "decay_ms:100" },
	{ .name = "decay_never", .run = never_purges, .conf = "decay_ms:-1" },
	{ .name = "hard_limit_in_M", .run = limited_to_32_mib, .conf = "hard_limit:32M" },
	{ .name = "hard_limit_in_K", .run = limited_to_32_mib, .conf = "hard_limit:32768K" },
	{ .name = "hard_limit_in_bytes", .run = limited_to_32_mib, .conf = "hard_limit:33554432" },
	{ .name = "hard_limit_none", .run = not_limited, .conf = "hard_limit:0" },
	{ .name = "hardened", .run = go_on, .conf = "hardened:true" },
};

TRAP_MAIN(cases)
