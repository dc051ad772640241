/*
 * rank 0: memory pressure, as /proc/pressure/memory or a control group's
 * memory.pressure tells it.
 *
 * A trigger is written to the file, which poll(2) then reports: tasks that stood
 * still for THRESHOLD_US within WINDOW_US. Without privilege a window must be a
 * multiple of 2 s. Where it is refused (a read-only file in a container, a kernel
 * before 6.5 without privilege) the average over ten seconds is read instead.
 *
 * It is set after a second only: to close a file with a trigger took 16 ms (Linux 6.18), and
 * each child of a server that forks for each connection would wait for that at its end.
 *
 * Which file that is a service manager tells in MEMORY_PRESSURE_WATCH (the protocol is
 * systemd's, "Memory Pressure Handling"); what it tells to write there is not used, since
 * the threshold is ours. So a FIFO or socket, which it may name too, is not for us.
 *
 * A program may close all descriptors, and open others by the same number: so
 * this one is polled, never read or written again, and closed only if it is
 * still the same file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"
#include "os/read_file.h"

#define THRESHOLD_US "150000"
#define WINDOW_US "2000000"
#define READ_EVERY_MS 2000
#define SET_AFTER_MS 1000
/* The threshold's share of the window, in hundredths of a percent. */
#define AVERAGE_LEAST 750

static struct {
	const char *file;
	char path[OS_PATH_MOST]; /* what file may point to: the environment may be written over */
	int fd;		/* with the trigger; -1: the average is read */
	struct stat stat;
	uint64_t set_at;  /* when the trigger is to be set; UINT64_MAX: that was tried */
	uint64_t read_at; /* when the average is due */
} watch = { .fd = -1 };

static void set_trigger(const char *file)
{
	static const char trigger[] = "some " THRESHOLD_US " " WINDOW_US;
	int fd = open(file, O_RDWR | O_NONBLOCK | O_CLOEXEC), high;

	if (fd < 0)
		return;
	/* With its end, as the kernel wants it. */
	if (write(fd, trigger, sizeof(trigger)) == (ssize_t)sizeof(trigger)) {
		high = duplicate_high(fd);
		if (high >= 0 && fstat(high, &watch.stat) == 0)
			watch.fd = high;
		else if (high >= 0)
			close(high);
	}
	close(fd);
}

static bool trigger_is_ours(void)
{
	return is_still(watch.fd, &watch.stat);
}

static void drop_trigger(void)
{
	if (trigger_is_ours())
		close(watch.fd);
	watch.fd = -1;
}

/* "some avg10=1.23 ..." in hundredths of a percent; 0 where it does not say so. */
static unsigned read_average(const char *file)
{
	static const char before[] = "some avg10=";
	char text[128], *at;
	unsigned value;

	if (read_file(file, text, sizeof(text)) || strncmp(text, before, sizeof(before) - 1))
		return 0;
	value = (unsigned)strtoul(text + sizeof(before) - 1, &at, 10) * 100;
	if (at[0] == '.' && at[1] >= '0' && at[1] <= '9' && at[2] >= '0' && at[2] <= '9')
		value += (unsigned)(at[1] - '0') * 10 + (unsigned)(at[2] - '0');
	return value;
}

static const char *if_readable(const char *file)
{
	return may_access(file, R_OK) ? file : NULL;
}

/* We write there: nothing but a file of the kernel's that tells of pressure. */
static bool tells_of_pressure(const char *file)
{
	static const char groups[] = "/sys/fs/cgroup/", all[] = "/proc/pressure/";

	return !strstr(file, "/..") && (!strncmp(file, groups, sizeof(groups) - 1) ||
					!strncmp(file, all, sizeof(all) - 1));
}

/* Of the group that the process is in; NULL: none that can be read. */
static const char *find_group_file(void)
{
	const char *file = NULL;

	if (os_group_file("memory.pressure", watch.path))
		file = if_readable(watch.path);
	/* A container that still sees its group's outer name has it here only. */
	return file ? file : if_readable("/sys/fs/cgroup/memory.pressure");
}

const char *os_pressure_open(bool group)
{
	/* Whoever starts a privileged program must not make it open files. */
	const char *told = group && !os_secure() ? getenv("MEMORY_PRESSURE_WATCH") : NULL;
	int saved = errno;

	watch.file = NULL;
	watch.fd = -1;
	watch.set_at = watch.read_at = os_now_ms() + SET_AFTER_MS;
	if (told && !strcmp(told, "/dev/null"))
		return NULL;
	if (told && tells_of_pressure(told) && strlen(told) < sizeof(watch.path)) {
		strcpy(watch.path, told);
		watch.file = if_readable(watch.path);
	}
	if (!watch.file && group)
		watch.file = find_group_file();
	if (!watch.file)
		watch.file = if_readable("/proc/pressure/memory");
	errno = saved;
	return watch.file;
}

static bool look_at_average(void)
{
	uint64_t now = os_now_ms();

	if (now < watch.read_at)
		return false;
	watch.read_at = now + READ_EVERY_MS;
	return read_average(watch.file) >= AVERAGE_LEAST;
}

bool os_pressure_wait(uint64_t ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
	struct pollfd p = { .events = POLLPRI };
	int saved = errno;
	bool pressure = false;

	if (watch.file && os_now_ms() >= watch.set_at) {
		watch.set_at = UINT64_MAX;
		set_trigger(watch.file);
	}
	/* A negative descriptor is none: then this only sleeps. */
	p.fd = watch.fd;
	if (ppoll(&p, 1, &t, NULL) > 0) {
		if (p.revents & ~POLLPRI || !trigger_is_ours())
			/* The group is gone, or somebody closed what he did not open. */
			drop_trigger();
		else
			pressure = p.revents & POLLPRI;
	} else if (watch.fd < 0 && watch.file) {
		pressure = look_at_average();
	}
	errno = saved;
	return pressure;
}

void os_pressure_close(void)
{
	int saved = errno;

	if (!watch.file)
		return;
	drop_trigger();
	watch.file = NULL;
	errno = saved;
}
