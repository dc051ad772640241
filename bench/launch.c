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
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

struct files {
	const char *preload, *in, *out, *err, *group;
};

static void join_group(const char *procs)
{
	int fd = open(procs, O_WRONLY);

	/* 0 is whoever writes it. */
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
}

static _Noreturn void run_child(const struct files *files, char **argv)
{
	if (files->group)
		join_group(files->group);
	redirect(0, files->in, O_RDONLY);
	redirect(1, files->out, O_WRONLY | O_CREAT | O_TRUNC);
	if (files->err)
		redirect(2, files->err, O_WRONLY | O_CREAT | O_APPEND);
	if (files->preload)
		setenv("LD_PRELOAD", files->preload, 1);
	execvp(argv[0], argv);
	fprintf(stderr, "launch: %s: %s\n", argv[0], strerror(errno));
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

int main(int argc, char **argv)
{
	struct files files = { NULL, "/dev/null", "/dev/null", NULL, NULL };
	struct sigaction action = { .sa_handler = hand_on };
	uint64_t wall = 0, cpu = 0, faults = 0;
	long times = 1, peak_kib = 0, most = 0;
	int status = 0, c;

	while ((c = getopt(argc, argv, "+p:n:i:o:e:g:m:")) != -1) {
		switch (c) {
		case 'p': files.preload = optarg; break;
		case 'n': times = atol(optarg); break;
		case 'i': files.in = optarg; break;
		case 'o': files.out = optarg; break;
		case 'e': files.err = optarg; break;
		case 'g': files.group = optarg; break;
		case 'm': most = atol(optarg) / sysconf(_SC_PAGESIZE); break;
		default: return 2;
		}
	}
	if (optind == argc || times < 1) {
		fputs("usage: launch [-p LIBRARY] [-n TIMES] [-i FILE] [-o FILE] [-e FILE]"
		      " [-g FILE | -m BYTES] PROGRAM [ARG...]\n", stderr);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);

	for (long i = 0; i < times; i++) {
		struct rusage usage;
		uint64_t start = now_ns();
		int ended;

		child = fork();
		if (child < 0)
			die("fork");
		if (child == 0)
			run_child(&files, argv + optind);
		if (most)
			kill_above(child, most);
		while (wait4(child, &ended, 0, &usage) < 0)
			if (errno != EINTR)
				die("wait4");
		wall += now_ns() - start;
		cpu += timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
		faults += (uint64_t)(usage.ru_minflt + usage.ru_majflt);
		if (usage.ru_maxrss > peak_kib)
			peak_kib = usage.ru_maxrss;
		if (WIFSIGNALED(ended))
			status = 128 + WTERMSIG(ended);
		else if (WEXITSTATUS(ended))
			status = WEXITSTATUS(ended);
	}
	printf("%llu %llu %ld %llu %d\n", (unsigned long long)wall,
	       (unsigned long long)cpu, peak_kib, (unsigned long long)faults,
	       status);
	return 0;
}
