/*
 * statistics.c - mallinfo, malloc_info, malloc_stats, malloc_trim, mallopt
 *
 * These must tell of this allocator, and move when memory is allocated:
 * monitoring tools call them in whatever program they find.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

enum { NR_SMALL = 100000, SMALL = 100 };
static void *small[NR_SMALL];

static void take_small(void)
{
	for (size_t i = 0; i < NR_SMALL; i++) {
		small[i] = malloc(SMALL);
		CHECK(small[i]);
		memset(small[i], 1, SMALL);
	}
}

static void drop_small(void)
{
	for (size_t i = 0; i < NR_SMALL; i++)
		free(small[i]);
}

#ifdef __GLIBC__
/* Tools add up these two: in glibc, hblkhd is of blocks that uordblks does not count. */
static size_t used_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void check_near(size_t figure, size_t wanted, const char *what)
{
	CHECK(figure >= wanted && figure < wanted + wanted / 3 + MIB, "%s: %zu, wanted about %zu",
	      what, figure, wanted);
}

static void mallinfo2_moves(void)
{
	size_t before, blocks, after;
	char *large, *one;

	/* To the byte: what the thread caches is not used. */
	free(hide(malloc(100)));
	before = used_bytes();
	one = malloc(100);
	CHECK(used_bytes() == before + malloc_usable_size(one), "%zu, %zu before", used_bytes(),
	      before);
	free(one);
	CHECK(used_bytes() == before, "%zu, %zu before", used_bytes(), before);
	take_small();
	check_near(used_bytes() - before, (size_t)NR_SMALL * SMALL, "small objects");
	blocks = mallinfo2().hblks;
	large = malloc(10 * MIB);
	CHECK(large);
	CHECK(mallinfo2().hblks == blocks + 1 && mallinfo2().hblkhd >= 10 * MIB);
	check_near(used_bytes() - before, (size_t)NR_SMALL * SMALL + 10 * MIB, "and a large one");
	free(large);
	CHECK(mallinfo2().hblks == blocks);
	drop_small();
	after = used_bytes();
	CHECK(after < before + 2 * MIB, "%zu before, %zu after", before, after);
	large = malloc((size_t)3 << 30);
	if (large)
		check_near(used_bytes() - after, (size_t)3 << 30, "a huge one");
	free(large);
	CHECK(used_bytes() < before + 2 * MIB);
}

static void mallinfo2_adds_up(void)
{
	struct mallinfo2 info;

	take_small();
	for (size_t i = 0; i < NR_SMALL; i += 2) {
		free(small[i]);
		small[i] = NULL;
	}
	info = mallinfo2();
	CHECK(info.arena >= info.uordblks, "%zu, %zu", info.arena, info.uordblks);
	CHECK(info.uordblks + info.fordblks <= info.arena + info.hblkhd, "%zu + %zu, %zu",
	      info.uordblks, info.fordblks, info.arena);
	CHECK(info.fordblks > 0);
	/* What threads cache: their number, and what they take. */
	CHECK(info.smblks > 0 && info.fsmblks >= 16 * info.smblks, "%zu, %zu", info.smblks,
	      info.fsmblks);
	drop_small();
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void mallinfo_agrees(void)
{
	struct mallinfo2 wide;
	struct mallinfo narrow;

	take_small();
	wide = mallinfo2();
	narrow = mallinfo();
	CHECK((size_t)narrow.uordblks == wide.uordblks);
	CHECK((size_t)narrow.arena == wide.arena);
	drop_small();
}
#pragma GCC diagnostic pop

/* ------------------------------------------------------------------ malloc_info */

static size_t write_info(char *text, size_t size)
{
	FILE *stream = tmpfile();
	size_t len;

	CHECK(stream);
	CHECK(malloc_info(0, stream) == 0);
	rewind(stream);
	len = fread(text, 1, size - 1, stream);
	CHECK(len < size - 1, "the report is too long for the test");
	text[len] = '\0';
	fclose(stream);
	return len;
}

/* The size attribute of <system type="..." ...>, the last one in the text. */
static size_t system_bytes(const char *xml, const char *type)
{
	const char *found = NULL, *p = xml;
	char element[64];

	snprintf(element, sizeof(element), "<system type=\"%s\"", type);
	while ((p = strstr(p, element)) != NULL)
		found = p++;
	CHECK(found, "%s", xml);
	p = strstr(found, "size=\"");
	CHECK(p, "%s", found);
	return strtoull(p + 6, NULL, 10);
}

static void malloc_info_moves(void)
{
	static char xml[1 << 18];
	size_t before, after;
	void *p;

	CHECK(write_info(xml, sizeof(xml)) > 50);
	CHECK(strncmp(xml, "<malloc version=\"", 17) == 0, "%s", xml);
	CHECK(strcmp(xml + strlen(xml) - 10, "</malloc>\n") == 0, "%s", xml);
	before = system_bytes(xml, "current");
	take_small();
	write_info(xml, sizeof(xml));
	after = system_bytes(xml, "current");
	CHECK(after >= before + (size_t)NR_SMALL * SMALL, "%zu, then %zu", before, after);
	drop_small();
	/* What was mapped for one block is gone with it, but was there. */
	p = malloc((size_t)3 << 30);
	free(hide(p));
	write_info(xml, sizeof(xml));
	CHECK(system_bytes(xml, "current") < (size_t)3 << 30);
	CHECK(!p || system_bytes(xml, "max") > (size_t)3 << 30);
}

static void malloc_info_refuses_options(void)
{
	errno = 0;
	CHECK(malloc_info(1, stderr) != 0 && errno == EINVAL);
}

static void malloc_info_is_xml(void)
{
	static const char *const parsers[] = {
		"python3 -c 'import sys, xml.etree.ElementTree as e;"
		" r = e.parse(sys.stdin).getroot(); sys.exit(r.tag != \"malloc\")'",
		"xmllint --noout -",
	};
	static char xml[1 << 18];
	int used = 0;

	take_small();
	drop_small();
	write_info(xml, sizeof(xml));
	unsetenv("LD_PRELOAD");
	for (size_t i = 0; i < 2; i++) {
		FILE *parser;

		if (system(i ? "xmllint --version >/dev/null 2>&1" :
			       "python3 --version >/dev/null 2>&1") != 0)
			continue;
		used++;
		parser = popen(parsers[i], "w");
		CHECK(parser && fputs(xml, parser) >= 0);
		CHECK(pclose(parser) == 0, "%s", xml);
	}
	if (!used)
		trap_skip("neither python3 nor xmllint is here");
}
#endif

/* ------------------------------------------------------------------- the others */

static void malloc_stats_speaks(void)
{
	take_small();
	malloc_stats();
	drop_small();
}

static void trim_gives_back(void)
{
	long full, empty;
	char *large = malloc(64 * MIB);

	CHECK(large);
	memset(large, 1, 64 * MIB);
	take_small();
	free(large);
	drop_small();
	full = status_kib("RssAnon");
	CHECK(malloc_trim(0) == 1, "something was given back");
	empty = status_kib("RssAnon");
	CHECK(full > 64 * 1024 && empty < 8 * 1024, "%ld KiB, then %ld KiB", full, empty);
	CHECK(malloc_trim(0) == 0, "nothing was left to give back");
	take_small();
	drop_small();
}

/* Live objects have the same pages as before. */
static void trim_keeps_content(void)
{
	take_small();
	for (size_t i = 0; i < NR_SMALL; i++)
		fill(small[i], SMALL, i);
	for (size_t i = 0; i < NR_SMALL; i++)
		if (i % 200) {
			free(small[i]);
			small[i] = NULL;
		}
	malloc_trim(0);
	for (size_t i = 0; i < NR_SMALL; i += 200)
		CHECK(is_filled(small[i], SMALL, i), "object %zu", i);
	drop_small();
}

static void trim_in_threads_one(unsigned index)
{
	for (unsigned i = 0; i < 30; i++) {
		const char *wrong = churn(index * 100 + i + 1, 3000, 300, 200000);

		CHECK(!wrong, "%s", wrong);
		malloc_trim(0);
#ifdef __GLIBC__
		mallinfo2();
#endif
	}
}

static void trim_in_threads(void)
{
	run_threads(4, trim_in_threads_one);
}

/* What it takes it obeys; what means nothing here it refuses. */
static void mallopt_is_answered(void)
{
	CHECK(mallopt(M_TRIM_THRESHOLD, 65536) == 1);
	CHECK(mallopt(M_TRIM_THRESHOLD, -1) == 1);
	CHECK(mallopt(M_TRIM_THRESHOLD, -2) == 0);
	CHECK(mallopt(12345, 1) == 0);
	CHECK(churn(1, 5000, 500, 300000) == NULL);
}

/* Runs under decay_ms:50; the decay time passes several times. */
static long kept_after_decay(void)
{
	for (int i = 0; i < 48; i++) {
		small[i] = malloc(MIB);
		CHECK(small[i]);
		memset(small[i], 1, MIB);
	}
	for (int i = 0; i < 48; i++)
		free(small[i]);
	for (int i = 0; i < 8; i++) {
		usleep(50 * 1000);
		CHECK(churn((uint64_t)i + 1, 5000, 500, 100000) == NULL);
	}
	return status_kib("RssAnon");
}

static void mallopt_keeps_free_memory(void)
{
	long kept;

	CHECK(mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1);
	kept = kept_after_decay();
	CHECK(kept > 40 * 1024, "%ld KiB", kept);
	CHECK(mallopt(M_TRIM_THRESHOLD, 0) == 1);
	kept = kept_after_decay();
	CHECK(kept < 30 * 1024, "%ld KiB", kept);
}

/*
 * Where a program has closed all descriptors there is no report, and none in a file that it
 * opened by the number of the one that the library had kept.
 */
static void descriptors_of_the_programs(void)
{
	FILE *file = tmpfile();
	pid_t pid;

	CHECK(file);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		for (int fd = 500; fd < 510 && dup2(fileno(file), fd) == fd; fd++)
			;
		close(2);
		exit(0);
	}
	CHECK(wait_exit(pid) == 0);
	CHECK(lseek(fileno(file), 0, SEEK_END) == 0);
	fclose(file);
}

/* The figures of the pages add up, in the order they are told. */
static void blocks_of_pages_are_told(void)
{
	char *p = bm_get_free_pages(BM_GFP_KERNEL, 12);

	CHECK(p);
	free(realloc(malloc(4 << 20), 5 << 20));
	malloc_stats();
	bm_free_pages(p, 12);
}

static const struct trap_case cases[] = {
#ifdef __GLIBC__
	{ .name = "mallinfo2_moves", .run = mallinfo2_moves },
	{ .name = "mallinfo2_moves_hardened", .run = mallinfo2_moves, .conf = "hardened:true" },
	{ .name = "mallinfo2_adds_up", .run = mallinfo2_adds_up },
	{ .name = "mallinfo_agrees", .run = mallinfo_agrees },
	{ .name = "malloc_info_moves", .run = malloc_info_moves },
	{ .name = "malloc_info_refuses_options", .run = malloc_info_refuses_options },
	{ .name = "malloc_info_is_xml", .run = malloc_info_is_xml },
#endif
	{ .name = "malloc_stats_speaks", .run = malloc_stats_speaks,
	  .says = "^buddymalloc: statistics of pid [0-9]+ \\(statistics\\)\n"
		  "(buddymalloc: [^\n]*\n)*"
		  "buddymalloc: used_bytes [1-9][0-9]{6,}\n"
		  "(buddymalloc: [^\n]*\n)*$" },
	{ .name = "blocks_of_pages_are_told", .run = blocks_of_pages_are_told,
	  .says = "(buddymalloc: [^\n]*\n)*"
		  "buddymalloc: page_blocks_bytes 16777216\n"
		  "(buddymalloc: [^\n]*\n)*"
		  "buddymalloc: large_realloc_in_place 1\n"
		  "(buddymalloc: [^\n]*\n)*$" },
	{ .name = "descriptors_of_the_programs", .run = descriptors_of_the_programs,
	  .conf = "stats_print:true",
	  .says = "^buddymalloc: report of pid [0-9]+ \\(statistics\\)\n(buddymalloc: [^\n]*\n)+$" },
	{ .name = "trim_gives_back", .run = trim_gives_back },
	{ .name = "trim_keeps_content", .run = trim_keeps_content },
	{ .name = "trim_in_threads", .run = trim_in_threads },
	{ .name = "mallopt_is_answered", .run = mallopt_is_answered },
	{ .name = "mallopt_keeps_free_memory", .run = mallopt_keeps_free_memory,
	  .conf = "decay_ms:50" },
};

TRAP_MAIN(cases)
