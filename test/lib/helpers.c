/*
 * helpers.c - what several tests of the allocator need (see helpers.h)
 */
#define _GNU_SOURCE
#include "helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

static inline uint64_t word_of(uint64_t key, size_t index)
{
	return (key + index) * 0x9e3779b97f4a7c15ULL;
}

void fill(void *p, size_t n, uint64_t key)
{
	unsigned char *bytes = p;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		uint64_t w = word_of(key, i / 8);

		memcpy(bytes + i, &w, 8);
	}
	if (i < n) {
		uint64_t w = word_of(key, i / 8);

		memcpy(bytes + i, &w, n - i);
	}
}

bool is_filled(const void *p, size_t n, uint64_t key)
{
	const unsigned char *bytes = p;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		uint64_t w;

		memcpy(&w, bytes + i, 8);
		if (w != word_of(key, i / 8))
			return false;
	}
	if (i < n) {
		uint64_t w = word_of(key, i / 8);

		return memcmp(bytes + i, &w, n - i) == 0;
	}
	return true;
}

int by_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

bool is_zero(const void *p, size_t n)
{
	const unsigned char *bytes = p;

	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

struct churned {
	void *p;
	size_t size;
	uint64_t key;
};

static const char *churn_one(struct churned *c, uint64_t *state, size_t max_size)
{
	if (c->p && !is_filled(c->p, c->size, c->key))
		return "the content of an object changed";
	if (c->p && next_random(state) % 4 == 0) {
		size_t size = 1 + random_below(state, max_size);
		size_t kept = size < c->size ? size : c->size;
		void *p = realloc(c->p, size);

		if (!p)
			return "realloc failed";
		c->p = p;
		if (!is_filled(p, kept & ~(size_t)7, c->key))
			return "realloc lost content";
		c->size = size;
	} else {
		free(c->p);
		c->size = 1 + random_below(state, max_size);
		/* Mostly small, as programs are. */
		if (next_random(state) % 8)
			c->size = 1 + c->size % 512;
		c->p = malloc(c->size);
		if (!c->p)
			return "malloc failed";
		if ((uintptr_t)c->p % 16)
			return "malloc gave a pointer that is not aligned to 16";
	}
	c->key = next_random(state);
	fill(c->p, c->size, c->key);
	return NULL;
}

const char *churn(uint64_t seed, unsigned rounds, unsigned nr, size_t max_size)
{
	uint64_t state = seed * 2654435761u + 88172645463325252ULL;
	struct churned *objects = malloc(nr * sizeof(*objects));
	const char *wrong = objects ? NULL : "malloc failed";

	/* Not calloc: a test that spoils freed memory would spoil its zeroes too. */
	if (objects)
		memset(objects, 0, nr * sizeof(*objects));
	for (unsigned i = 0; i < rounds && !wrong; i++)
		wrong = churn_one(&objects[random_below(&state, nr)], &state, max_size);
	for (unsigned i = 0; i < nr && objects && !wrong; i++) {
		if (objects[i].p && !is_filled(objects[i].p, objects[i].size, objects[i].key))
			wrong = "the content of an object changed";
		free(objects[i].p);
	}
	free(objects);
	return wrong;
}

/* The number after "NAME:" at the start of a line. */
static long field_of(const char *path, const char *name)
{
	char text[8192];
	size_t len = 0, name_len = strlen(name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	while (len < sizeof(text) - 1 &&
	       (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = '\0';
	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, name, name_len) == 0 && p[name_len] == ':')
			return strtol(p + name_len + 1, NULL, 10);
	}
	return -1;
}

void limit_self(int which, size_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	if (setrlimit(which, &limit) != 0)
		_exit(125);
}

long status_kib(const char *name)
{
	return field_of("/proc/self/status", name);
}

long smaps_kib(const char *name)
{
	return field_of("/proc/self/smaps_rollup", name);
}

long count_lines(const char *path)
{
	char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long lines = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

int count_tasks(void)
{
	return (int)field_of("/proc/self/status", "Threads");
}

int wait_exit(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct started {
	pthread_t thread;
	unsigned index;
	void (*f)(unsigned);
};

static void *run_one(void *arg)
{
	struct started *s = arg;

	s->f(s->index);
	return NULL;
}

void run_threads(unsigned nr, void (*f)(unsigned index))
{
	struct started started[nr];

	for (unsigned i = 0; i < nr; i++) {
		int error;

		started[i] = (struct started){ .index = i, .f = f };
		error = pthread_create(&started[i].thread, NULL, run_one, &started[i]);
		CHECK(error == 0, "pthread_create: %s", strerror(error));
	}
	for (unsigned i = 0; i < nr; i++)
		pthread_join(started[i].thread, NULL);
}
