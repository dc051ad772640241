/*
 * rank 0: the memory limit of the process's control group; no allocation, no
 * stdio.
 *
 * A container sees its own group where others see the root: there one or two
 * files tell all. To find any other group /proc/self/cgroup must be read, for which
 * the kernel takes a lock of the whole system, and which costs a short program a
 * tenth of its time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

#define PATH_MOST 1024

/* Reads the file's first bytes, terminated; false when it cannot be. */
static bool read_file(const char *path, char *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, room - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

/* A decimal number; "max" and what is too large for any machine are no limit. */
static uint64_t parse_limit(const char *s)
{
	uint64_t n = 0;

	if (*s < '0' || *s > '9')
		return UINT64_MAX;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return UINT64_MAX;
	return n >> 60 ? UINT64_MAX : n;
}

/*
 * The least limit of the group at root + group and of those above it; not of
 * the root, which has none, unless a namespace made this group look like it.
 */
static uint64_t least_limit(const char *root, char *group, const char *const *files)
{
	uint64_t least = UINT64_MAX;

	for (;;) {
		char path[PATH_MOST], text[32];
		const char *const *file;
		char *slash;

		for (file = files; *file; file++) {
			int n = snprintf(path, sizeof(path), "%s%s/%s", root, group, *file);

			if (n > 0 && (size_t)n < sizeof(path) &&
			    read_file(path, text, sizeof(text))) {
				uint64_t limit = parse_limit(text);

				least = limit < least ? limit : least;
			}
		}
		slash = strrchr(group, '/');
		if (!slash || slash == group)
			return least;
		*slash = '\0';
	}
}

/* True for the line of /proc/self/cgroup whose controllers have memory among them. */
static bool has_memory(const char *list, const char *end)
{
	while (list < end) {
		const char *comma = memchr(list, ',', (size_t)(end - list));
		size_t len = (size_t)((comma ? comma : end) - list);

		if (len == 6 && !memcmp(list, "memory", 6))
			return true;
		list += len + 1;
	}
	return false;
}

static const char *const v2[] = { "memory.max", "memory.high", NULL };
static const char *const v1[] = { "memory.limit_in_bytes", NULL };

uint64_t os_container_bytes(void)
{
	char root[] = "";
	int saved = errno;
	uint64_t least;

	if (access("/sys/fs/cgroup/memory.max", R_OK) == 0)
		least = least_limit("/sys/fs/cgroup", root, v2);
	else
		least = least_limit("/sys/fs/cgroup/memory", root, v1);
	errno = saved;
	return least;
}

uint64_t os_cgroup_bytes(void)
{
	char text[4096];
	uint64_t least = UINT64_MAX;
	int saved = errno;
	char *line, *next, *group = NULL, *unified = NULL;

	if (!read_file("/proc/self/cgroup", text, sizeof(text))) {
		errno = saved;
		return least;
	}
	/* Each line is number:controllers:path, and 0::path the unified hierarchy. */
	for (line = text; line && *line; line = next) {
		char *list = strchr(line, ':');

		group = list ? strchr(list + 1, ':') : NULL;
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (!group)
			continue;
		if (group == list + 1)
			unified = group + 1;
		else if (has_memory(list + 1, group))
			break;
		group = NULL;
	}
	/* Memory is controlled in one hierarchy only. */
	if (group)
		least = least_limit("/sys/fs/cgroup/memory", group + 1, v1);
	else if (unified)
		least = least_limit("/sys/fs/cgroup", unified, v2);
	errno = saved;
	return least;
}
