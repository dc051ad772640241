/*
 * launch: run a program under a preloaded library and say what it cost.
 *
 *   launch [-p LIBRARY] [-n TIMES] [-i FILE] [-o FILE] [-e FILE] [-g FILE | -m BYTES]
 *          PROGRAM [ARG...]
 *
 * prints one line on stdout: wall-clock and processor nanoseconds, peak RSS in
 * KiB, page faults, and the exit status, all for TIMES runs (the largest RSS,
 * the last status that is not 0, otherwise sums).
 *
 * This is a program of its own because the kernel carries the peak RSS of a
 * process across execve(): a child of a large script interpreter would seem as
 * large as the interpreter. It also keeps the library out of the tool itself.
 * -g names the cgroup.procs of a control group that the program is to run in; -m kills it
 * once its RSS exceeds so many bytes, as such a group would.
 * SIGTERM is handed on to the program, so that whoever started launch can end
 * a server and still get its figures.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "number.h"

static volatile pid_t child;

static void hand_on(int sig)
{
	if (child > 0)
		kill(child, sig);
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
	_exit(126);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t timeval_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000;
}

static void redirect(int fd, const char *file, int flags)
{
	int opened = open(file, flags, 0600);

	if (opened < 0)
		die(file);
	if (dup2(opened, fd) < 0)
		die("dup2");
	close(opened);
}

/* What is to be run, and how; as the options say. */
struct task {
	const char *preload, *in, *out, *err, *group;
	long times, most; /* most: pages that may be resident; 0: any number */
	char **argv;
};

/* All runs together. */
struct cost {
	uint64_t wall_ns, cpu_ns, faults;
	long peak_kib;
	int status;
};

static void join_group(const char *procs)
{
	int fd = open(procs, O_WRONLY);

	/* 0 is whoever writes it. */
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
}

static _Noreturn void run_child(const struct task *task)
{
	if (task->group)
		join_group(task->group);
	redirect(0, task->in, O_RDONLY);
	redirect(1, task->out, O_WRONLY | O_CREAT | O_TRUNC);
	if (task->err)
		redirect(2, task->err, O_WRONLY | O_CREAT | O_APPEND);
	if (task->preload)
		setenv("LD_PRELOAD", task->preload, 1);
	execvp(task->argv[0], task->argv);
	fprintf(stderr, "launch: %s: %s\n", task->argv[0], strerror(errno));
	_exit(127);
}

/* Pages that are resident. */
static long resident(pid_t pid)
{
	char path[40], text[100] = "";
	long pages = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0 || sscanf(text, "%*d %ld", &pages) != 1)
			pages = 0;
		close(fd);
	}
	return pages;
}

static void kill_above(pid_t pid, long pages)
{
	const struct timespec ms = { 0, 1000000 };
	siginfo_t info = { 0 };

	/* It stays a zombie, for wait4 to tell what it used. */
	while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid) {
		if (resident(pid) > pages)
			kill(pid, SIGKILL);
		nanosleep(&ms, NULL);
	}
}

static _Noreturn void usage(void)
{
	fputs("usage: launch [-p LIBRARY] [-n TIMES] [-i FILE] [-o FILE] [-e FILE]"
	      " [-g FILE | -m BYTES] PROGRAM [ARG...]\n", stderr);
	exit(2);
}

static long number_or_usage(const char *text)
{
	long number;

	if (!parse_number(text, 1, LONG_MAX, &number))
		usage();
	return number;
}

static void read_arguments(int argc, char **argv, struct task *task)
{
	int c;

	while ((c = getopt(argc, argv, "+p:n:i:o:e:g:m:")) != -1) {
		switch (c) {
		case 'p': task->preload = optarg; break;
		case 'n': task->times = number_or_usage(optarg); break;
		case 'i': task->in = optarg; break;
		case 'o': task->out = optarg; break;
		case 'e': task->err = optarg; break;
		case 'g': task->group = optarg; break;
		case 'm': task->most = number_or_usage(optarg) / sysconf(_SC_PAGESIZE); break;
		default: exit(2);
		}
	}
	if (optind == argc)
		usage();
	task->argv = argv + optind;
}

static void run_once(const struct task *task, struct cost *cost)
{
	struct rusage usage;
	uint64_t start = now_ns();
	int ended;

	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		run_child(task);
	if (task->most)
		kill_above(child, task->most);
	while (wait4(child, &ended, 0, &usage) < 0)
		if (errno != EINTR)
			die("wait4");
	cost->wall_ns += now_ns() - start;
	cost->cpu_ns += timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
	cost->faults += (uint64_t)(usage.ru_minflt + usage.ru_majflt);
	if (usage.ru_maxrss > cost->peak_kib)
		cost->peak_kib = usage.ru_maxrss;
	if (WIFSIGNALED(ended))
		cost->status = 128 + WTERMSIG(ended);
	else if (WEXITSTATUS(ended))
		cost->status = WEXITSTATUS(ended);
}

int main(int argc, char **argv)
{
	struct task task = { .in = "/dev/null", .out = "/dev/null", .times = 1 };
	struct sigaction action = { .sa_handler = hand_on };
	struct cost cost = { 0 };

	read_arguments(argc, argv, &task);
	sigaction(SIGTERM, &action, NULL);
	for (long i = 0; i < task.times; i++)
		run_once(&task, &cost);
	printf("%llu %llu %ld %llu %d\n", (unsigned long long)cost.wall_ns,
	       (unsigned long long)cost.cpu_ns, cost.peak_kib, (unsigned long long)cost.faults,
	       cost.status);
	return 0;
}
