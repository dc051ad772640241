/*
 * rank 0: files, above all the start of a small one of the system's: no allocation, no stdio.
 * The first allocation reads some, so neither may a thread be cancelled here, nor a library that
 * puts its own open before libc's, and is perhaps not ready, be asked.
 */
#ifndef BM_OS_READ_FILE_H
#define BM_OS_READ_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Reads the file's first bytes, terminated; 0, or an errno, and nothing was read. */
static inline int read_file(const char *path, char *buf, size_t room)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	int error = 0;
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0)
		return errno;
	n = syscall(SYS_read, fd, buf, room - 1);
	if (n < 0)
		error = errno;
	syscall(SYS_close, fd);
	buf[n < 0 ? 0 : n] = '\0';
	return error;
}

/*
 * Another descriptor of the same file, closed on exec, where programs that count on low numbers do
 * not meet it; -1 if there is none.
 */
static inline int duplicate_high(int fd)
{
	enum { LEAST = 500 };

	return fcntl(fd, F_DUPFD_CLOEXEC, LEAST);
}

/* Whether it is that file still: a program may close it, and open another by its number. */
static inline bool is_still(int fd, const struct stat *was)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == was->st_dev &&
	       st.st_ino == was->st_ino;
}

/* mode: F_OK, R_OK. */
static inline bool may_access(const char *path, int mode)
{
	return syscall(SYS_faccessat, AT_FDCWD, path, mode) == 0;
}

#endif
