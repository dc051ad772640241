/* /proc and dlsym behind process.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t status_kib(const char *text, const char *field)
{
	const char *at = strstr(text, field);
	return at ? strtoull(at + strlen(field), NULL, 10) : 0;
}

void process_memory(struct process_memory *m)
{
	struct rusage usage;
	char text[4096];
	ssize_t len = -1;
	int fd;

	/* VmHWM rather than ru_maxrss: the latter survives execve() and so
	 * would count the peak of whoever started us. */
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[len > 0 ? len : 0] = '\0';
	m->rss_bytes = status_kib(text, "VmRSS:") * 1024;
	m->peak_rss_bytes = status_kib(text, "VmHWM:") * 1024;

	getrusage(RUSAGE_SELF, &usage);
	m->minor_faults = (uint64_t)usage.ru_minflt;
	m->major_faults = (uint64_t)usage.ru_majflt;
}

uint64_t process_rss_bytes(void)
{
	struct process_memory m;

	process_memory(&m);
	return m.rss_bytes;
}

const char *process_malloc_file(void)
{
	Dl_info info;
	void *at = dlsym(RTLD_DEFAULT, "malloc");

	if (!at || !dladdr(at, &info) || !info.dli_fname)
		return "?";
	return info.dli_fname;
}

/*
 * Some peers leave malloc_trim() to glibc, whose heap is then unused, so each
 * is asked by its own name first. 4096 is jemalloc's index for "all arenas".
 */
void process_trim(void)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t);
	void (*collect)(bool);
	void (*release)(void);

	*(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
	if (mallctl) {
		mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
		mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
		return;
	}
	*(void **)&collect = dlsym(RTLD_DEFAULT, "mi_collect");
	if (collect) {
		collect(true);
		return;
	}
	*(void **)&release =
		dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
	if (release) {
		release();
		return;
	}
	malloc_trim(0);
}
