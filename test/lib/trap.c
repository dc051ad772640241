/*
 * trap.c - runs and judges the cases of a test program (see trap.h)
 *
 * The parent is never preloaded: it must survive whatever the library does.
 */
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_FLAG "--case"
#define SKIPPED 77
#define SPOKEN_MAX 16384

struct spoken {
	int fd;
	size_t len;
	char text[SPOKEN_MAX + 1];
};

struct outcome {
	int status;
	bool timed_out;
	struct spoken out, err;
};

/* Ends of the child, so that a stuck case never outlives the test. */
static volatile pid_t running;

const char *trap_library(void)
{
	const char *path = getenv("BM_LIB");

	return path && *path ? path : BM_LIB_DEFAULT;
}

/* Neither allocates nor uses stdio's streams: it may run in a broken process. */
static void complain(const char *place, const char *format, va_list args)
{
	char line[1024];
	int len, at = snprintf(line, sizeof(line) - 1, "%s", place);

	if (at < 0 || (size_t)at > sizeof(line) - 2)
		at = 0;
	len = vsnprintf(line + at, sizeof(line) - 1 - (size_t)at, format, args);
	if (len < 0)
		return;
	len += at;
	if ((size_t)len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return;
}

void trap_fail(const char *file, int line, const char *condition, const char *format, ...)
{
	char place[512];
	va_list args;

	snprintf(place, sizeof(place), "%s:%d: not so: %s (errno %d)", file, line,
		 condition, errno);
	va_start(args, format);
	complain(place, format, args);
	va_end(args);
	_exit(1);
}

void trap_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain("", format, args);
	va_end(args);
	_exit(SKIPPED);
}

void trap_expect_pointer(const void *p)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%p\n", p);

	CHECK(write(STDOUT_FILENO, text, (size_t)len) == len, "telling of %p", p);
}

/* A case that another malloc served proves nothing. */
static void require_library(void)
{
	char want[PATH_MAX], got[PATH_MAX];
	Dl_info info;

	CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) &&
	      realpath(info.dli_fname, got), "whose malloc is this?");
	CHECK(realpath(trap_library(), want), "no library at %s", trap_library());
	CHECK(strcmp(want, got) == 0, "malloc comes from %s, not from %s", got, want);
}

static int run_case_here(const struct trap_case *c)
{
	if (!(c->flags & TRAP_BARE))
		require_library();
	c->run();
	return 0;
}

/* BUDDYMALLOC_CONF of the case, with the directory in the place of @. */
static void set_conf(const char *conf, const char *directory)
{
	char text[PATH_MAX + 256];
	const char *at = conf ? strchr(conf, '@') : NULL;

	if (!conf)
		unsetenv("BUDDYMALLOC_CONF");
	else if (!at)
		setenv("BUDDYMALLOC_CONF", conf, 1);
	else {
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - conf), conf, directory,
			 at + 1);
		setenv("BUDDYMALLOC_CONF", text, 1);
	}
}

static void start_case(const struct trap_case *c, const char *directory, int out, int err)
{
	char flag[] = CASE_FLAG, self[PATH_MAX] = "";
	char *args[] = { self, flag, (char *)(uintptr_t)c->name, NULL };
	struct rlimit no_core = { 0, 0 };
	int null = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	/* A case about cores may raise it again. */
	if (getrlimit(RLIMIT_CORE, &no_core) == 0)
		no_core.rlim_cur = 0;
	setrlimit(RLIMIT_CORE, &no_core);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
		_exit(126);

	setenv("BM_LIB", trap_library(), 1);
	if (!(c->flags & TRAP_BARE))
		setenv("LD_PRELOAD", trap_library(), 1);
	set_conf(c->conf, directory);
	setenv("BM_TEST_DIRECTORY", directory, 1);
	if (c->prepare)
		c->prepare();
	/* Not argv[0], which may be relative to another place or found in PATH. */
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		_exit(126);
	execv(self, args);
	_exit(126);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads what is there; false at the end of file. What exceeds the buffer is dropped. */
static bool listen_to(struct spoken *s)
{
	char chunk[4096];
	ssize_t n = read(s->fd, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	if ((size_t)n > SPOKEN_MAX - s->len)
		n = (ssize_t)(SPOKEN_MAX - s->len);
	memcpy(s->text + s->len, chunk, (size_t)n);
	s->len += (size_t)n;
	s->text[s->len] = '\0';
	return true;
}

static void wait_for_case(pid_t pid, int seconds, struct outcome *o)
{
	double deadline = now() + seconds;
	struct pollfd fds[2] = { { .fd = o->out.fd, .events = POLLIN },
				 { .fd = o->err.fd, .events = POLLIN } };
	struct spoken *ears[2] = { &o->out, &o->err };

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		double left = deadline - now();

		if (left <= 0) {
			o->timed_out = true;
			break;
		}
		if (poll(fds, 2, (int)(left * 1000) + 1) < 0 && errno != EINTR)
			break;
		for (int i = 0; i < 2; i++)
			if (fds[i].fd >= 0 && fds[i].revents && !listen_to(ears[i]))
				fds[i].fd = -1;
	}
	/* It may have closed both and go on. */
	while (!o->timed_out && waitpid(pid, &o->status, WNOHANG) == 0) {
		usleep(1000);
		o->timed_out = now() > deadline;
	}
	if (o->timed_out) {
		kill(-pid, SIGKILL);
		while (waitpid(pid, &o->status, 0) < 0 && errno == EINTR)
			;
	}
	/* Whatever of its own children a case left behind ends with it. */
	kill(-pid, SIGKILL);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static bool spawn_and_wait(const struct trap_case *c, struct outcome *o)
{
	const char *tmp = getenv("TMPDIR");
	char directory[PATH_MAX] = "";
	int out[2], err[2];
	pid_t pid;

	memset(o, 0, sizeof(*o));
	if (c->flags & TRAP_DIRECTORY) {
		snprintf(directory, sizeof(directory), "%s/buddymalloc-XXXXXX",
			 tmp && *tmp ? tmp : "/tmp");
		if (!mkdtemp(directory))
			return false;
	}
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0)
		start_case(c, directory, out[1], err[1]);
	setpgid(pid, pid);
	running = pid;
	close(out[1]);
	close(err[1]);
	o->out.fd = out[0];
	o->err.fd = err[0];
	wait_for_case(pid, c->seconds ? c->seconds : 60, o);
	running = 0;
	close(out[0]);
	close(err[0]);
	if (*directory)
		nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	return true;
}

static bool matches(const char *pattern, const char *text)
{
	regex_t re;
	bool ok;

	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
		printf("# bad expression in the test: %s\n", pattern);
		return false;
	}
	ok = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return ok;
}

static bool is_one_line(const char *text)
{
	const char *end = strchr(text, '\n');

	return end && end[1] == '\0' && end > text;
}

/* Every pointer the case named must be in what was said. */
static bool names_pointers(const struct outcome *o)
{
	char line[64];
	const char *p = o->out.text;

	while (*p) {
		size_t len = strcspn(p, "\n");

		if (len < sizeof(line)) {
			memcpy(line, p, len);
			line[len] = '\0';
			if (!strstr(o->err.text, line))
				return false;
		}
		p += len + (p[len] == '\n');
	}
	return true;
}

/* Why the outcome is not the wanted one, or NULL. */
static const char *verdict(const struct trap_case *c, const struct outcome *o)
{
	const char *err = o->err.text;

	if (o->timed_out)
		return "did not end in time";
	if (WIFEXITED(o->status) && WEXITSTATUS(o->status) == 1)
		return "failed";
	if (c->dies) {
		if (!WIFSIGNALED(o->status) || WTERMSIG(o->status) != SIGABRT)
			return "should have ended in abort";
		if (!is_one_line(err))
			return "should have said exactly one line";
		if (!matches(c->dies, err))
			return "died with the wrong words";
	} else {
		if (!WIFEXITED(o->status) || WEXITSTATUS(o->status) != 0)
			return "should have exited 0";
		if (c->says && !matches(c->says, err))
			return "said the wrong words";
		if (!c->says && *err)
			return "should have said nothing";
	}
	if (!names_pointers(o))
		return "did not name the pointer";
	return NULL;
}

static void explain(const struct trap_case *c, const struct outcome *o)
{
	if (WIFSIGNALED(o->status))
		printf("#   ended by signal %d (%s)\n", WTERMSIG(o->status),
		       strsignal(WTERMSIG(o->status)));
	else
		printf("#   exit status %d\n", WEXITSTATUS(o->status));
	if (c->dies || c->says)
		printf("#   wanted on stderr: %s\n", c->dies ? c->dies : c->says);
	if (o->out.len)
		printf("#   stdout: %s\n", o->out.text);
	printf("#   stderr: %s\n", o->err.len ? o->err.text : "(nothing)");
}

static bool wanted(int argc, char **argv, const char *name)
{
	if (argc < 2)
		return true;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

static void end_running_case(int sig)
{
	if (running > 0)
		kill(-running, SIGKILL);
	_exit(128 + sig);
}

int trap_main(int argc, char **argv, const struct trap_case *cases, size_t nr)
{
	static struct outcome o;
	int passed = 0, failed = 0, skipped = 0;

	if (argc == 3 && strcmp(argv[1], CASE_FLAG) == 0) {
		for (size_t i = 0; i < nr; i++)
			if (strcmp(argv[2], cases[i].name) == 0)
				return run_case_here(&cases[i]);
		return 125;
	}

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGINT, end_running_case);
	signal(SIGTERM, end_running_case);
	if (access(trap_library(), R_OK) != 0) {
		printf("no library at %s\n", trap_library());
		return 99;
	}
	for (size_t i = 0; i < nr; i++) {
		const char *why;

		if (!wanted(argc, argv, cases[i].name))
			continue;
		if (!spawn_and_wait(&cases[i], &o)) {
			perror("cannot start a case");
			return 99;
		}
		if (!o.timed_out && WIFEXITED(o.status) &&
		    WEXITSTATUS(o.status) == SKIPPED) {
			printf("SKIP %s: %s", cases[i].name, o.err.text);
			skipped++;
			continue;
		}
		why = verdict(&cases[i], &o);
		printf("%s %s%s%s\n", why ? "FAIL" : "ok", cases[i].name,
		       why ? ": " : "", why ? why : "");
		if (why) {
			explain(&cases[i], &o);
			failed++;
		} else {
			passed++;
		}
	}
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	if (failed || passed + skipped == 0)
		return 1;
	return passed ? 0 : SKIPPED;
}
