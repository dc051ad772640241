/* rank 0: the start of a small file of the system's: no allocation, no stdio. */
#ifndef BM_OS_READ_FILE_H
#define BM_OS_READ_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Reads the file's first bytes, terminated; 0, or an errno, and nothing was read. */
static inline int read_file(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int error = 0;
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0)
		return errno;
	n = read(fd, buf, room - 1);
	if (n < 0)
		error = errno;
	close(fd);
	buf[n < 0 ? 0 : n] = '\0';
	return error;
}

#endif
