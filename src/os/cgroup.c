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
#include <string.h>

#include "os/os.h"
#include "os/read_file.h"

/* The first trouble is told; a file that is simply not there is none. */
static void note_trouble(struct os_group_limit *out, int error, const char *file)
{
	size_t len;

	if (out->error)
		return;
	len = strnlen(file, sizeof(out->file) - 1);
	out->error = error;
	memcpy(out->file, file, len);
	out->file[len] = '\0';
}

/*
 * A decimal number; "max" and what is too large for any machine are no limit.
 * False for anything else. Nobody can live in a group of nothing, so 0 is a mistake.
 */
static bool parse_group_limit(const char *s, uint64_t *out)
{
	uint64_t n = 0;

	*out = UINT64_MAX;
	if (!strcmp(s, "max\n") || !strcmp(s, "max"))
		return true;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			n = UINT64_MAX;
	if (n >> 60 == 0)
		*out = n;
	return n && (*s == '\n' || !*s);
}

/* What one file says; true if it is there. */
static bool ask_file(const char *path, struct os_group_limit *out)
{
	char text[32];
	uint64_t limit;
	int error = read_file(path, text, sizeof(text));

	if (error == ENOENT || error == ENOTDIR)
		return false;
	if (error)
		note_trouble(out, error, path);
	else if (!parse_group_limit(text, &limit))
		note_trouble(out, EINVAL, path);
	else if (limit < out->bytes)
		out->bytes = limit;
	return true;
}

/* root + group + "/" + file, by hand: snprintf alone costs a short program three page faults. */
static bool join_path(char path[OS_PATH_MOST], const char *root, const char *group,
		      const char *file)
{
	size_t root_len = strlen(root), group_len = strlen(group), file_len = strlen(file);

	if (root_len + group_len + file_len + 2 > OS_PATH_MOST)
		return false;
	memcpy(path, root, root_len);
	path += root_len;
	memcpy(path, group, group_len);
	path += group_len;
	*path++ = '/';
	memcpy(path, file, file_len + 1);
	return true;
}

/*
 * The least limit of the group at root + group and of those above it; not of
 * the root, which has none, unless a namespace made this group look like it.
 * True if there was any file to ask.
 */
static bool ask_groups(const char *root, char *group, const char *const *files,
		       struct os_group_limit *out)
{
	bool found = false;

	for (;;) {
		char path[OS_PATH_MOST];
		const char *const *file;
		char *slash;

		for (file = files; *file; file++)
			if (join_path(path, root, group, *file))
				found |= ask_file(path, out);
		slash = strrchr(group, '/');
		if (!slash || slash == group)
			return found;
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

static bool ask_container(struct os_group_limit *out)
{
	char root[] = "";

	if (may_access("/sys/fs/cgroup/memory.max", F_OK))
		return ask_groups("/sys/fs/cgroup", root, v2, out);
	return ask_groups("/sys/fs/cgroup/memory", root, v1, out);
}

void os_container_limit(struct os_group_limit *out)
{
	int saved = errno;

	*out = (struct os_group_limit){ .bytes = UINT64_MAX };
	ask_container(out);
	errno = saved;
}

/* The path in the line of /proc/self/cgroup that is about memory; NULL: there is none. */
static char *find_group(char *text, bool *unified)
{
	char *line, *next, *found = NULL;

	/* Each line is number:controllers:path, and 0::path the unified hierarchy. */
	for (line = text; line && *line; line = next) {
		char *list = strchr(line, ':');
		char *group = list ? strchr(list + 1, ':') : NULL;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (!group || group[1] != '/')
			continue;
		if (group == list + 1) {
			*unified = true;
			found = group + 1;
		} else if (has_memory(list + 1, group)) {
			/* Memory is controlled in one hierarchy only. */
			*unified = false;
			return group + 1;
		}
	}
	return found;
}

static const char own_groups[] = "/proc/self/cgroup";

bool os_group_file(const char *name, char path[OS_PATH_MOST])
{
	char text[4096];
	int saved = errno;
	bool unified = false;
	char *group = read_file(own_groups, text, sizeof(text)) ? NULL : find_group(text, &unified);

	errno = saved;
	return group && unified && join_path(path, "/sys/fs/cgroup", group, name);
}

void os_cgroup_limit(struct os_group_limit *out)
{
	char text[4096], first[OS_PATH_MOST];
	int saved = errno, error;
	bool unified = false, found, is_root;
	const char *root;
	char *group;

	*out = (struct os_group_limit){ .bytes = UINT64_MAX };
	/* A container that still sees its group's outer name has it here only. */
	found = ask_container(out);
	error = read_file(own_groups, text, sizeof(text));
	group = error ? NULL : find_group(text, &unified);
	if (!group) {
		note_trouble(out, error ? error : EINVAL, own_groups);
		errno = saved;
		return;
	}
	root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
	if (!join_path(first, root, group, unified ? v2[0] : v1[0]))
		memcpy(first, own_groups, sizeof(own_groups));
	is_root = !strcmp(group, "/");
	found |= ask_groups(root, group, unified ? v2 : v1, out);
	if (!found && !is_root)
		note_trouble(out, ENOENT, first);
	errno = saved;
}
