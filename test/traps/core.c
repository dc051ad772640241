/*
 * core.c - what a core dump of the process holds
 *
 * The kernel writes the pages that are there: what was never touched and what
 * was given back are holes in the file. So a dump is as large as the resident
 * set, whatever the heap's address space, and nothing needs MADV_DONTDUMP.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#define NR_BLOCKS 64

/* The dump must land in the case's own directory, as a file. */
static void require_core_files(void)
{
	const char *directory = getenv("BM_TEST_DIRECTORY");
	struct rlimit limit;
	char pattern[256] = "";
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, pattern, sizeof(pattern) - 1) <= 0)
		trap_skip("cannot read core_pattern");
	close(fd);
	if (pattern[0] == '|' || strchr(pattern, '/') || pattern[0] == '\n')
		trap_skip("core_pattern makes no file here: %s", pattern);
	CHECK(getrlimit(RLIMIT_CORE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max < 1024 * MIB || setrlimit(RLIMIT_CORE, &limit) != 0)
		trap_skip("core files are limited to %lu bytes", (unsigned long)limit.rlim_max);
	CHECK(directory && chdir(directory) == 0);
}

/* 128 MiB that were used and given back, 512 MiB never touched, 16 MiB in use. */
static void make_a_heap(void)
{
	char *block[NR_BLOCKS], *untouched, *used;

	for (int i = 0; i < NR_BLOCKS; i++) {
		block[i] = malloc(2 * MIB);
		CHECK(block[i]);
		memset(block[i], 1, 2 * MIB);
	}
	used = malloc(16 * MIB);
	untouched = malloc(512 * MIB);
	CHECK(used && untouched);
	memset(used, 0x5c, 16 * MIB);
	/* Not two neighbours: what is given back lies between what is not. */
	for (int i = 0; i < NR_BLOCKS; i++)
		if (i % 8)
			free(block[i]);
	malloc_trim(0);
	hide(untouched);
}

static void clean_pages_are_not_in_a_core(void)
{
	struct dirent *entry;
	struct stat st;
	long resident[2];
	bool found = false;
	int to_us[2], status;
	pid_t pid;
	DIR *dir;

	require_core_files();
	CHECK(pipe(to_us) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 1);
		make_a_heap();
		resident[0] = status_kib("VmRSS");
		resident[1] = status_kib("VmSize");
		if (write(to_us[1], resident, sizeof(resident)) != sizeof(resident))
			_exit(1);
		abort();
	}
	CHECK(read(to_us[0], resident, sizeof(resident)) == sizeof(resident));
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (!WCOREDUMP(status))
		trap_skip("no core was dumped");
	dir = opendir(".");
	CHECK(dir);
	while (!found && (entry = readdir(dir)) != NULL)
		found = strncmp(entry->d_name, "core", 4) == 0 && stat(entry->d_name, &st) == 0;
	if (!found)
		trap_skip("the core is not in the current directory");
	closedir(dir);
	CHECK(resident[0] > 32 * 1024 && resident[1] > 600 * 1024, "%ld of %ld KiB", resident[0],
	      resident[1]);
	CHECK(st.st_size > 512 * (long)MIB, "the untouched block has no place in the core");
	/* What is used is in it. */
	CHECK(st.st_blocks / 2 > 32 * 1024, "%ld KiB", (long)st.st_blocks / 2);
	CHECK(st.st_blocks / 2 < resident[0] + 1024, "%ld KiB on disk of a process of %ld KiB",
	      (long)st.st_blocks / 2, resident[0]);
}

static const struct trap_case cases[] = {
	/* Told of huge pages, a block that nobody touched is its own mapping, and not dumped. */
	{ .name = "clean_pages_are_not_in_a_core", .run = clean_pages_are_not_in_a_core,
	  .flags = TRAP_DIRECTORY, .conf = "thp:never" },
};

TRAP_MAIN(cases)
