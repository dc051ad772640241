/*
 * The system's files (os/read_file.h) lie in a folder of the test's, for what is included after
 * this. The test says which of them are refused.
 */
#ifndef BM_TEST_FILES_H
#define BM_TEST_FILES_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 0, or what opening the file so fails with. */
static int refusal(const char *path, int flags);

static char files_root[] = "/tmp/buddymalloc-files-XXXXXX";

/* Where the file really is, until the next call. */
static const char *real_path(const char *path)
{
	static char real[2048];

	snprintf(real, sizeof(real), "%s%s", files_root, path);
	return real;
}

static int test_open(const char *path, int flags)
{
	int error = refusal(path, flags);

	if (!error)
		return open(real_path(path), flags);
	errno = error;
	return -1;
}

static void write_to(const char *path, const char *text)
{
	char *real = strdup(real_path(path)), *slash = real + strlen(files_root);
	FILE *f;

	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		mkdir(real, 0755);
		*slash = '/';
	}
	f = fopen(real, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	free(real);
}

static void start(void)
{
	assert_non_null(mkdtemp(files_root));
}

static void clean_up(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", files_root);
	if (system(command) != 0)
		fprintf(stderr, "%s is left behind\n", files_root);
}

static long test_syscall(long nr, ...)
{
	const char *path;
	long result = -1;
	va_list args;
	void *buf;
	int fd;

	va_start(args, nr);
	fd = va_arg(args, int);
	switch (nr) {
	case SYS_openat:
		path = va_arg(args, const char *);
		result = test_open(path, va_arg(args, int));
		break;
	case SYS_faccessat:
		path = va_arg(args, const char *);
		result = access(real_path(path), va_arg(args, int));
		break;
	case SYS_read:
		buf = va_arg(args, void *);
		result = read(fd, buf, va_arg(args, size_t));
		break;
	case SYS_close:
		result = close(fd);
		break;
	default:
		fail_msg("system call %ld", nr);
	}
	va_end(args);
	return result;
}

#define syscall test_syscall

#endif
