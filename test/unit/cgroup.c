/*
 * The real reader of control groups' files (src/os/cgroup.c), with a folder of
 * the test's in the place of the system's root.
 */
#include "unit.h"

#include "files.h"
#include "os/os.h"

static const char *unreadable; /* a file whose reading is refused */

static int refusal(const char *path, int flags)
{
	(void)flags;
	return unreadable && !strcmp(path, unreadable) ? EACCES : 0;
}

#define os_container_limit container_limit
#define os_cgroup_limit cgroup_limit
#define os_group_file group_file
void container_limit(struct os_group_limit *out);
void cgroup_limit(struct os_group_limit *out);
bool group_file(const char *name, char path[OS_PATH_MOST]);
#include "os/cgroup.c" /* under other names than the fake's */
#undef syscall

static void expect(void (*ask)(struct os_group_limit *), uint64_t bytes, int error,
		   const char *file)
{
	struct os_group_limit got;

	errno = 77;
	ask(&got);
	assert_int_equal(errno, 77);
	assert_int_equal(got.bytes, bytes);
	assert_int_equal(got.error, error);
	assert_string_equal(got.file, file);
}

#define V2 "/sys/fs/cgroup"
#define V1 "/sys/fs/cgroup/memory"

static void nothing_is_there(void)
{
	start();
	expect(container_limit, UINT64_MAX, 0, "");
	expect(cgroup_limit, UINT64_MAX, ENOENT, "/proc/self/cgroup");
	write_to("/proc/self/cgroup", "");
	expect(cgroup_limit, UINT64_MAX, EINVAL, "/proc/self/cgroup");
	write_to("/proc/self/cgroup", "3:cpu:/a\n4:memory2,mem:/b\nnonsense\n:\n::::");
	expect(cgroup_limit, UINT64_MAX, EINVAL, "/proc/self/cgroup");
	clean_up();
}

static void a_container(void)
{
	start();
	write_to(V2 "/memory.max", "1000000\n");
	expect(container_limit, 1000000, 0, "");
	write_to(V2 "/memory.high", "500000\n");
	expect(container_limit, 500000, 0, "");
	write_to(V2 "/memory.high", "max\n");
	expect(container_limit, 1000000, 0, "");
	write_to(V2 "/memory.max", "max\n");
	expect(container_limit, UINT64_MAX, 0, "");
	write_to("/proc/self/cgroup", "0::/\n");
	expect(cgroup_limit, UINT64_MAX, 0, "");
	clean_up();
}

static void a_container_of_version_1(void)
{
	start();
	write_to(V1 "/memory.limit_in_bytes", "2000000\n");
	expect(container_limit, 2000000, 0, "");
	/* Its group has the name that others see. */
	write_to("/proc/self/cgroup", "4:memory:/docker/1234\n0::/\n");
	expect(cgroup_limit, 2000000, 0, "");
	write_to(V1 "/memory.limit_in_bytes", "9223372036854771712\n");
	expect(container_limit, UINT64_MAX, 0, "");
	expect(cgroup_limit, UINT64_MAX, 0, "");
	clean_up();
}

static void the_least_of_a_group_and_those_above(void)
{
	start();
	write_to("/proc/self/cgroup", "1:name=systemd:/x\n0::/a/b/c\n");
	write_to(V2 "/a/b/c/memory.max", "3000\n");
	write_to(V2 "/a/b/memory.max", "2000\n");
	write_to(V2 "/a/b/memory.high", "2500\n");
	write_to(V2 "/a/memory.max", "max\n");
	expect(cgroup_limit, 2000, 0, "");
	/* Memory of version 1 is not counted in the unified hierarchy too. */
	write_to("/proc/self/cgroup", "0::/a/b/c\n4:cpu,memory:/m/n\n");
	write_to(V1 "/m/memory.limit_in_bytes", "4000\n");
	write_to(V1 "/m/n/memory.limit_in_bytes", "5000");
	expect(cgroup_limit, 4000, 0, "");
	clean_up();
}

static void a_group_without_a_file(void)
{
	start();
	write_to("/proc/self/cgroup", "0::/a/b\n");
	expect(cgroup_limit, UINT64_MAX, ENOENT, V2 "/a/b/memory.max");
	write_to("/proc/self/cgroup", "5:memory:/a/b\n");
	expect(cgroup_limit, UINT64_MAX, ENOENT, V1 "/a/b/memory.limit_in_bytes");
	clean_up();
}

/* Where a file of the group would be; of version 1 only limits are read. */
static void the_path_of_a_file(void)
{
	char path[OS_PATH_MOST];

	start();
	assert_false(group_file("memory.pressure", path));
	write_to("/proc/self/cgroup", "1:cpu:/x\n0::/a/b.service\n");
	assert_true(group_file("memory.pressure", path));
	assert_string_equal(path, "/sys/fs/cgroup/a/b.service/memory.pressure");
	write_to("/proc/self/cgroup", "0::/a\n3:cpuset,memory:/b\n");
	assert_false(group_file("memory.pressure", path));
	clean_up();
}

static void a_refused_file(void)
{
	start();
	write_to("/proc/self/cgroup", "0::/a/b\n");
	write_to(V2 "/a/b/memory.max", "3000\n");
	write_to(V2 "/a/memory.max", "4000\n");
	unreadable = V2 "/a/b/memory.max";
	/* What can be read counts. */
	expect(cgroup_limit, 4000, EACCES, V2 "/a/b/memory.max");
	unreadable = "/proc/self/cgroup";
	expect(cgroup_limit, UINT64_MAX, EACCES, "/proc/self/cgroup");
	write_to(V2 "/memory.max", "3000\n");
	expect(container_limit, 3000, 0, "");
	unreadable = V2 "/memory.max";
	expect(container_limit, UINT64_MAX, EACCES, V2 "/memory.max");
	clean_up();
}

static void nonsense(void)
{
	static const char *const bad[] = { "", "\n", "-1\n", "maximum\n", "1G\n", "12 13\n",
					   "abc", "0\n", " 5\n", "1.5\n", "0x100\n" };
	size_t i;

	start();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_to(V2 "/memory.max", bad[i]);
		expect(container_limit, UINT64_MAX, EINVAL, V2 "/memory.max");
	}
	write_to(V2 "/memory.max", "99999999999999999999999999\n");
	expect(container_limit, UINT64_MAX, 0, "");
	clean_up();
}

UNIT_MAIN(CASE(nothing_is_there),
	  CASE(a_container),
	  CASE(a_container_of_version_1),
	  CASE(the_least_of_a_group_and_those_above),
	  CASE(a_group_without_a_file),
	  CASE(the_path_of_a_file),
	  CASE(a_refused_file),
	  CASE(nonsense))
