/*
 * The system's files (os/read_file.h) are the test's: `test_open` and `test_access` say which,
 * for what the file included after this reads.
 */
#ifndef BM_TEST_FILES_H
#define BM_TEST_FILES_H

#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static int test_open(const char *path, int flags);
static int test_access(const char *path, int mode);

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
		result = test_access(path, va_arg(args, int));
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
