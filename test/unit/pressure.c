/*
 * The real watcher of memory pressure (src/os/pressure.c), with files of the
 * test's in the place of the system's.
 */
#include "unit.h"

#include <poll.h>
#include <time.h>

#include "files.h"
#include "os/os.h"

static bool refuse_writes;
static short revents;	/* what poll finds */
static int polled_fd;
static long polled_ms;

static int refusal(const char *path, int flags)
{
	(void)path;
	return refuse_writes && (flags & O_ACCMODE) != O_RDONLY ? EROFS : 0;
}

static int test_ppoll(struct pollfd *p, nfds_t nr, const struct timespec *t, const void *mask)
{
	assert_int_equal(nr, 1);
	assert_null(mask);
	polled_fd = p->fd;
	polled_ms = (long)t->tv_sec * 1000 + t->tv_nsec / 1000000;
	p->revents = p->fd < 0 ? 0 : revents;
	if (!p->revents)
		fake.now_ms += (uint64_t)polled_ms;
	return p->revents ? 1 : 0;
}

#define open test_open
#define ppoll test_ppoll
#define os_pressure_open pressure_open
#define os_pressure_wait pressure_wait
#define os_pressure_close pressure_close
const char *pressure_open(bool group);
bool pressure_wait(uint64_t ms);
void pressure_close(void);
#include "os/pressure.c" /* under other names than the fake's */
#undef open
#undef syscall

#define OWN "/sys/fs/cgroup/a.slice/memory.pressure"
#define GROUP "/sys/fs/cgroup/memory.pressure"
#define ALL "/proc/pressure/memory"

static void a_trigger_is_set_and_polled(void)
{
	char text[64] = "";
	FILE *f;

	start();
	write_to(ALL, "");
	assert_string_equal(pressure_open(true), ALL);
	/* Not of a process that ends within a second. */
	assert_false(pressure_wait(100));
	assert_false(pressure_wait(899));
	assert_int_equal(polled_fd, -1);
	f = fopen(real_path(ALL), "r");
	assert_int_equal(fread(text, 1, sizeof(text), f), 0);
	assert_false(pressure_wait(1));
	assert_false(pressure_wait(1234));
	assert_int_equal(polled_ms, 1234);
	rewind(f);
	assert_int_equal(fread(text, 1, sizeof(text), f), sizeof("some 150000 2000000"));
	fclose(f);
	assert_string_equal(text, "some 150000 2000000");
	assert_true(polled_fd >= 500);
	revents = POLLPRI;
	assert_true(pressure_wait(10));
	assert_true(pressure_wait(10));
	revents = 0;
	assert_false(pressure_wait(10));
	pressure_close();
	assert_int_equal(fcntl(polled_fd, F_GETFD), -1);
	clean_up();
}

static void the_group_before_the_system(void)
{
	start();
	assert_null(pressure_open(true));
	write_to(ALL, "");
	write_to(GROUP, "");
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	assert_string_equal(pressure_open(false), ALL);
	pressure_close();
	clean_up();
}

/* Its own group's, wherever that is; of the whole system when groups do not matter. */
static void the_own_group_first(void)
{
	start();
	fake.group = "/a.slice";
	write_to(ALL, "");
	write_to(GROUP, "");
	write_to(OWN, "");
	assert_string_equal(pressure_open(true), OWN);
	pressure_close();
	assert_string_equal(pressure_open(false), ALL);
	pressure_close();
	unlink(real_path(OWN));
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	clean_up();
}

/* The service manager's word counts, but not in a privileged program. */
static void what_the_environment_names(void)
{
	start();
	write_to(ALL, "");
	write_to(GROUP, "");
	setenv("MEMORY_PRESSURE_WATCH", ALL, 1);
	assert_string_equal(pressure_open(true), ALL);
	pressure_close();
	fake.secure = true;
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	fake.secure = false;
	setenv("MEMORY_PRESSURE_WATCH", "/proc/pressure/no-such-file", 1);
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	/* What is no file of the kernel's is not written to. */
	write_to("/tmp/a", "");
	setenv("MEMORY_PRESSURE_WATCH", "/tmp/a", 1);
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	unlink(real_path("/tmp/a"));
	write_to("/sys/fs/cgroup/../../../tmp/a", "");
	setenv("MEMORY_PRESSURE_WATCH", "/sys/fs/cgroup/../../../tmp/a", 1);
	assert_string_equal(pressure_open(true), GROUP);
	pressure_close();
	unlink(real_path("/sys/fs/cgroup/../../../tmp/a"));
	setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1);
	assert_null(pressure_open(true));
	assert_false(pressure_wait(10));
	assert_string_equal(pressure_open(false), ALL);
	pressure_close();
	clean_up();
}

/* Programs that set their title write over the environment they were started with. */
static void what_the_environment_named(void)
{
	static char name[] = "MEMORY_PRESSURE_WATCH=" ALL;

	start();
	write_to(ALL, "some avg10=0.00 avg60=0.00\n");
	refuse_writes = true;
	putenv(name);
	assert_string_equal(pressure_open(true), ALL);
	memset(name, 'x', sizeof(name) - 1);
	write_to(ALL, "some avg10=99.00 avg60=0.00\n");
	fake.now_ms += 2000;
	assert_true(pressure_wait(10));
	pressure_close();
	refuse_writes = false;
	clean_up();
}

/* Where triggers are refused, the average over ten seconds counts, seldom read. */
static void else_the_average_is_read(void)
{
	static const struct {
		const char *text;
		bool pressure;
	} texts[] = {
		{ "some avg10=0.00 avg60=99.00 avg300=0.00 total=0\n", false },
		{ "some avg10=7.49 avg60=0.00 avg300=0.00 total=0\n", false },
		{ "some avg10=7.50 avg60=0.00 avg300=0.00 total=0\n", true },
		{ "some avg10=100.00 avg60=0.00 avg300=0.00 total=0\n", true },
		{ "full avg10=50.00", false }, { "", false }, { "some avg10=", false },
		{ "some avg10=x", false }, { "nonsense", false }, { "some avg10=9", true },
	};
	size_t i;

	start();
	refuse_writes = true;
	write_to(ALL, "");
	assert_string_equal(pressure_open(true), ALL);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		fake.now_ms += 2000;
		write_to(ALL, texts[i].text);
		assert_int_equal(pressure_wait(10), texts[i].pressure);
		assert_int_equal(polled_fd, -1);
		assert_false(pressure_wait(10));
	}
	fake.now_ms += 2000;
	unlink(real_path(ALL));
	assert_false(pressure_wait(10));
	pressure_close();
	clean_up();
}

/* So that the next wait sets the trigger. */
static void open_long_ago(void)
{
	assert_string_equal(pressure_open(false), ALL);
	fake.now_ms += 1000;
}

/* The group went, or the program closed the descriptor, or has another by its number. */
static void a_lost_descriptor(void)
{
	int fd, other;

	start();
	write_to(ALL, "");
	open_long_ago();
	pressure_wait(10);
	fd = polled_fd;
	close(fd);
	revents = POLLNVAL;
	assert_false(pressure_wait(10));
	write_to(ALL, "some avg10=80.00");
	assert_true(pressure_wait(10));
	assert_int_equal(polled_fd, -1);
	/* Another's file is left alone, and so is what it says. */
	revents = POLLPRI;
	open_long_ago();
	assert_true(pressure_wait(10));
	fd = polled_fd;
	other = open("/dev/null", O_RDONLY);
	assert_int_equal(dup2(other, fd), fd);
	assert_false(pressure_wait(10));
	assert_int_equal(polled_fd, fd);
	write_to(ALL, "");
	assert_false(pressure_wait(10));
	assert_int_equal(polled_fd, -1);
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	close(fd);
	revents = POLLHUP;
	open_long_ago();
	assert_false(pressure_wait(10));
	assert_false(pressure_wait(10));
	assert_int_equal(polled_fd, -1);
	revents = 0;
	open_long_ago();
	pressure_wait(10);
	other = open("/dev/null", O_RDONLY);
	assert_int_equal(dup2(other, polled_fd), polled_fd);
	fd = polled_fd;
	pressure_close();
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	clean_up();
}

UNIT_MAIN(CASE(a_trigger_is_set_and_polled),
	  CASE(the_group_before_the_system),
	  CASE(the_own_group_first),
	  CASE(what_the_environment_names),
	  CASE(what_the_environment_named),
	  CASE(else_the_average_is_read),
	  CASE(a_lost_descriptor))
