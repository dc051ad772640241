/*
 * setuid.c - a set-uid program takes no orders from its caller's environment
 *
 * ld.so ignores LD_PRELOAD of a path there, so the helper has the library
 * linked in. Only root can make the helper set-uid to somebody else.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#define SOMEBODY 65534
#define HELPER "setuid-helper"
#define HELPER_IS_SECURE 10
#define HELPER_IS_NOT_SECURE 11

static void copy_file(const char *from, const char *to, mode_t mode)
{
	static char bytes[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	ssize_t n;

	CHECK(in >= 0, "%s", from);
	CHECK(out >= 0, "%s", to);
	while ((n = read(in, bytes, sizeof(bytes))) > 0)
		CHECK(write(out, bytes, (size_t)n) == n);
	CHECK(n == 0);
	if (mode & S_ISUID)
		CHECK(fchown(out, SOMEBODY, SOMEBODY) == 0);
	CHECK(fchmod(out, mode) == 0);
	close(in);
	close(out);
}

/* The helper lies beside this program. */
static void put_helper(char *path, size_t size, mode_t mode)
{
	char self[PATH_MAX] = "", from[PATH_MAX + 20];
	const char *directory = getenv("BM_TEST_DIRECTORY");
	char *slash;

	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	slash = strrchr(self, '/');
	CHECK(slash && directory);
	*slash = '\0';
	snprintf(from, sizeof(from), "%s/" HELPER, self);
	snprintf(path, size, "%s/helper", directory);
	CHECK(chmod(directory, 0755) == 0);
	copy_file(from, path, mode);
}

/* Runs the helper with orders that would show on stderr; tells what showed. */
static int run_helper(const char *path, char *said, size_t size)
{
	int err[2];
	ssize_t n;
	size_t len = 0;
	pid_t pid;

	CHECK(pipe2(err, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(err[1], STDERR_FILENO);
		setenv("BUDDYMALLOC_CONF", "stats_print:true,nosuch:1,hard_limit:4M", 1);
		execl(path, path, (char *)NULL);
		_exit(126);
	}
	close(err[1]);
	while ((n = read(err[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(err[0]);
	return wait_exit(pid);
}

static void plain_program_listens(void)
{
	static char said[16384];
	char path[PATH_MAX];
	int status;

	put_helper(path, sizeof(path), 0755);
	status = run_helper(path, said, sizeof(said));
	CHECK(status == HELPER_IS_NOT_SECURE, "%d: %s", status, said);
	CHECK(strstr(said, "nosuch") && strstr(said, "buddymalloc: report of pid"), "%s", said);
}

static void setuid_program_does_not(void)
{
	static char said[16384];
	char path[PATH_MAX];
	int status;

	if (geteuid() != 0)
		trap_skip("only root can make a program set-uid to somebody else");
	put_helper(path, sizeof(path), 04755);
	status = run_helper(path, said, sizeof(said));
	if (status == HELPER_IS_NOT_SECURE)
		trap_skip("set-uid has no effect in %s", getenv("BM_TEST_DIRECTORY"));
	CHECK(status == HELPER_IS_SECURE, "%d: %s", status, said);
	CHECK(said[0] == '\0', "%s", said);
}

static const struct trap_case cases[] = {
	{ .name = "plain_program_listens", .run = plain_program_listens,
	  .flags = TRAP_BARE | TRAP_DIRECTORY },
	{ .name = "setuid_program_does_not", .run = setuid_program_does_not,
	  .flags = TRAP_BARE | TRAP_DIRECTORY },
};

TRAP_MAIN(cases)
