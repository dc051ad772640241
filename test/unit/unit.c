/* What the unit tests share; see unit.h. */
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "page_alloc/scope.h"

/* A case that takes longer than this many seconds hangs. */
#define TIME_LIMIT 300
/* Exit status of a case that is skipped. */
#define SKIPPED 77

/* Rank 7's part of scopes; there are no groups here. */
void owner_reclaim(u16 owner)
{
	(void)owner;
}

static void (*describe)(void);
static uint64_t seed;

void unit_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("skipped: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(NULL);
	_exit(SKIPPED);
}

void unit_needs_pages_of(size_t bytes)
{
	size_t own = (size_t)sysconf(_SC_PAGESIZE);

	if (own > bytes)
		unit_skip("it needs pages of %zu bytes, the machine has %zu", bytes, own);
}

uint64_t unit_seed(void)
{
	const char *given = getenv("BM_SEED");
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = given ? strtoull(given, NULL, 0) :
		       (uint64_t)ts.tv_sec * 1000003 ^ (uint64_t)ts.tv_nsec;
	if (!seed)
		seed = 1;
	return seed;
}

void unit_on_failure(void (*f)(void))
{
	describe = f;
}

static void failing(int sig)
{
	void (*f)(void) = describe;

	/* Not safe in a handler, but the process is lost anyway. */
	signal(sig, SIG_DFL);
	describe = NULL;
	if (seed)
		fprintf(stderr, "repeat with BM_SEED=%llu\n", (unsigned long long)seed);
	if (f)
		f();
	raise(sig);
}

static void run_in_child(void (*f)(void))
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGALRM };
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], failing);
	/* cmocka: a failed assertion prints its message and aborts. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	alarm(TIME_LIMIT);
	f();
	fflush(NULL);
	_exit(0);
}

static int wait_for(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail_msg("no child process");
	return status;
}

void unit_run_case(void **state)
{
	const struct unit_case *c = *state;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		fake_reset();
		run_in_child(c->run);
	}
	status = wait_for(pid);
	if (WIFSIGNALED(status))
		fail_msg("the case ended with signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* How a child that calls f ended. */
static int status_of_child(void (*f)(void))
{
	pid_t pid = fork();

	if (!pid)
		run_in_child(f);
	return wait_for(pid);
}

void unit_in_child(void (*f)(void))
{
	fflush(NULL);
	assert_int_equal(status_of_child(f), 0);
}

static void *fork_here(void *f)
{
	return (void *)(intptr_t)status_of_child(*(void (**)(void))f);
}

void unit_in_child_of_another_thread(void (*f)(void))
{
	pthread_t thread;
	void *status;

	fflush(NULL);
	assert_int_equal(pthread_create(&thread, NULL, fork_here, &f), 0);
	pthread_join(thread, &status);
	assert_null(status);
}

static pid_t copy = -1; /* none yet */

bool unit_fork_midst(void)
{
	fflush(NULL);
	copy = fork();
	return !copy;
}

void unit_both_end(void)
{
	if (!copy)
		_exit(0);
	assert_int_equal(wait_for(copy), 0);
}

static void (*at_give_back)(void), (*in_child_at_give_back)(void);

static void run_at_give_back(void *addr, size_t len)
{
	(void)addr;
	(void)len;
	fake_on_give_back = NULL;
	at_give_back();
}

void unit_at_give_back(void (*f)(void))
{
	at_give_back = f;
	fake_on_give_back = run_at_give_back;
}

static void fork_now(void)
{
	unit_in_child_of_another_thread(in_child_at_give_back);
}

void unit_fork_at_give_back(void (*f)(void))
{
	in_child_at_give_back = f;
	unit_at_give_back(fork_now);
}

/* The exit status of a child that calls f(arg) and may abort. */
static int try_in_child(void (*f)(void *), void *arg)
{
	int status;
	pid_t pid;

	fake_clear_output();
	pid = fork();
	if (!pid) {
		fake.abort_expected = true;
		f(arg);
		_exit(0);
	}
	status = wait_for(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void unit_dies_somehow(void (*f)(void *), void *arg, const char *part)
{
	int status = try_in_child(f, arg);

	if (!strstr(fake_output(), part))
		fail_msg("'%s' is not in: %s", part, fake_output());
	assert_int_equal(status, FAKE_ABORTED);
	fake_clear_output();
}

void unit_dies(void (*f)(void *), void *arg, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n, status;

	n = snprintf(text, sizeof(text), "buddymalloc: ");
	va_start(ap, fmt);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	snprintf(text + n, sizeof(text) - (size_t)n, "\n");

	status = try_in_child(f, arg);
	assert_string_equal(fake_output(), text);
	assert_int_equal(status, FAKE_ABORTED);
	fake_clear_output();
}

void unit_said(const char *fmt, ...)
{
	char text[8192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_string_equal(fake_output(), text);
	fake_clear_output();
}
