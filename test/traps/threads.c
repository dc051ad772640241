/*
 * threads.c - objects that change hands, thread exit and late TLS destructors, signals, small
 * stacks, changing sets of CPUs
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

/* ---------------------------------------------------- objects change hands */

enum { NR_HANDED = 20000 };
static void *handed[8][NR_HANDED];

static void make_objects(unsigned index)
{
	for (size_t i = 0; i < NR_HANDED; i++) {
		size_t n = 1 + i * 31 % 3000;

		handed[index][i] = malloc(n);
		CHECK(handed[index][i]);
		fill(handed[index][i], n, i);
	}
}

static void free_anothers_objects(unsigned index)
{
	unsigned from = (index + 1) % 8;

	for (size_t i = 0; i < NR_HANDED; i++) {
		CHECK(is_filled(handed[from][i], 1 + i * 31 % 3000, i), "object %zu", i);
		free(handed[from][i]);
	}
}

/* The makers are gone when their objects are freed. */
static void objects_outlive_their_thread(void)
{
	long first = 0, last = 0;

	for (int round = 0; round < 6; round++) {
		run_threads(8, make_objects);
		last = status_kib("RssAnon");
		if (round == 1)
			first = last;
		run_threads(8, free_anothers_objects);
	}
	CHECK(last < first + first / 4, "%ld KiB grew to %ld KiB", first, last);
}

/* --------------------------------------------------------- TLS destructors */

enum { NR_KEYS = 24 };
static pthread_key_t keys[NR_KEYS];
static atomic_uint late_runs;
static _Atomic(char *) left_behind;

/*
 * Whatever order the library's own clean-up runs in, some of these run after
 * it: POSIX repeats the round while destructors set values again.
 */
static void late_destructor(void *value)
{
	char *p = value, *q;
	unsigned round = (unsigned char)p[0];

	CHECK(is_filled(p + 8, 56, round));
	CHECK(churn(round, 200, 50, 20000) == NULL);
	free(p);
	atomic_fetch_add(&late_runs, 1);
	if (round == 1) {
		q = malloc(500);
		CHECK(q);
		fill(q, 500, 77);
		q = atomic_exchange(&left_behind, q);
		CHECK(!q || is_filled(q, 500, 77), "an object of a thread that is gone");
		free(q);
		return;
	}
	p = malloc(64);
	CHECK(p);
	p[0] = (char)(round - 1);
	fill(p + 8, 56, round - 1);
	/* Any key will do to be called again in the next round. */
	CHECK(pthread_setspecific(keys[round % NR_KEYS], p) == 0);
}

static void use_keys(unsigned index)
{
	CHECK(churn(index + 1, 500, 50, 5000) == NULL);
	for (size_t i = 0; i < NR_KEYS; i += 1 + index % 5) {
		char *p = malloc(64);

		CHECK(p);
		p[0] = 3;
		fill(p + 8, 56, 3);
		CHECK(pthread_setspecific(keys[i], p) == 0);
	}
}

static void destructors_allocate_late(void)
{
	unsigned runs;

	/* Half before, half after this thread's first allocation from a slab. */
	for (size_t i = 0; i < NR_KEYS; i++) {
		CHECK(pthread_key_create(&keys[i], late_destructor) == 0);
		if (i == NR_KEYS / 2)
			CHECK(churn(1, 500, 50, 5000) == NULL);
	}
	for (int i = 0; i < 100; i++)
		run_threads(8, use_keys);
	runs = atomic_load(&late_runs);
	CHECK(runs > 800 * 3, "%u", runs);
	free(left_behind);
}

/* A thread's very first and only use of malloc may be in a destructor. */
static void first_use(void *value)
{
	char *p = malloc(100);

	(void)value;
	CHECK(p);
	fill(p, 100, 5);
	p = atomic_exchange(&left_behind, p);
	if (p)
		CHECK(is_filled(p, 100, 5));
	free(p);
}

static void set_only(unsigned index)
{
	CHECK(pthread_setspecific(keys[0], (void *)(uintptr_t)(index + 1)) == 0);
}

static void first_use_in_a_destructor(void)
{
	long before, grown;

	CHECK(pthread_key_create(&keys[0], first_use) == 0);
	for (int i = 0; i < 20; i++)
		run_threads(8, set_only);
	before = status_kib("RssAnon");
	for (int i = 0; i < 500; i++)
		run_threads(8, set_only);
	grown = status_kib("RssAnon") - before;
	CHECK(grown < 8 * 1024, "%ld KiB lost by 4 000 threads", grown);
	free(left_behind);
}

/* -------------------------------------------------------------- odd places */

/* The slow paths too must do with the smallest stack a thread can have. */
static void *on_small_stack(void *unused)
{
	void *p, *q;

	(void)unused;
	for (size_t n = 1; n < (size_t)4 << 20; n += 1 + n / 4) {
		p = malloc(n);
		q = memalign(4096, n);
		CHECK(p && q);
		p = realloc(p, 2 * n);
		CHECK(p);
		free(p);
		free(q);
	}
	return NULL;
}

static void small_stacks(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	CHECK(pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_create(&thread, &attr, on_small_stack, NULL) == 0);
		pthread_join(thread, NULL);
	}
}

static void *leaves_without_a_word(void *unused)
{
	void *p[500];

	for (size_t i = 0; i < 500; i++)
		CHECK((p[i] = malloc(16 + i * 3)));
	for (size_t i = 0; i < 500; i++)
		free(p[i]);
	syscall(SYS_exit, 0);
	return unused;
}

/*
 * No destructor runs, and most of the stacks with their thread-local memory are
 * unmapped when the trim looks at what the threads had cached.
 */
static void bare_exits(void)
{
	pthread_t threads[64];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 64; i++)
			CHECK(pthread_create(&threads[i], NULL, leaves_without_a_word, NULL) == 0);
		for (int i = 0; i < 64; i++)
			pthread_join(threads[i], NULL);
		malloc_trim(0);
	}
}

static atomic_uint signals_seen;
static atomic_bool storming;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&signals_seen, 1);
}

static void signalled(unsigned index)
{
	if (index == 0) {
		while (atomic_load(&storming)) {
			kill(getpid(), SIGUSR1);
			sched_yield();
		}
		return;
	}
	for (int i = 0; i < 20; i++) {
		const char *wrong = churn(index + 1 + (unsigned)i * 10, 5000, 300, 200000);

		CHECK(!wrong, "%s", wrong);
	}
	atomic_store(&storming, false);
}

/* System calls and locks of the allocator are interrupted all the time. */
static void signals_interrupt(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	storming = true;
	run_threads(4, signalled);
	CHECK(signals_seen > 100, "%u", signals_seen);
}

static cpu_set_t all_cpus;

static void hop(unsigned index)
{
	int cpu = -1;

	for (unsigned i = 0; i < 300; i++) {
		cpu_set_t one;
		const char *wrong;

		do
			cpu = (cpu + 1) % CPU_SETSIZE;
		while (!CPU_ISSET(cpu, &all_cpus));
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK(sched_setaffinity(0, sizeof(one), &one) == 0, "CPU %d", cpu);
		wrong = churn(index * 1000 + i + 1, 300, 100, 50000);
		CHECK(!wrong, "%s", wrong);
	}
}

static void cpus_change(void)
{
	CHECK(sched_getaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
	run_threads(4, hop);
}

/* Counting CPUs at start gives one here; threads use the others later. */
static void start_on_one_cpu(void)
{
	cpu_set_t one, all;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &one);
			break;
		}
	sched_setaffinity(0, sizeof(one), &one);
}

static void more_cpus_than_at_start(void)
{
	long nr = sysconf(_SC_NPROCESSORS_ONLN);

	CPU_ZERO(&all_cpus);
	for (int cpu = 0; cpu < nr; cpu++)
		CPU_SET(cpu, &all_cpus);
	if (sched_setaffinity(0, sizeof(all_cpus), &all_cpus) != 0)
		trap_skip("the set of CPUs cannot be widened here");
	CHECK(sched_getaffinity(0, sizeof(all_cpus), &all_cpus) == 0);
	run_threads(4, hop);
}

static const struct trap_case cases[] = {
	{ .name = "objects_outlive_their_thread", .run = objects_outlive_their_thread },
	{ .name = "destructors_allocate_late", .run = destructors_allocate_late },
	{ .name = "destructors_allocate_late_hardened", .run = destructors_allocate_late,
	  .conf = "hardened:true" },
	{ .name = "first_use_in_a_destructor", .run = first_use_in_a_destructor },
	{ .name = "small_stacks", .run = small_stacks },
	{ .name = "bare_exits", .run = bare_exits },
	{ .name = "signals_interrupt", .run = signals_interrupt },
	{ .name = "cpus_change", .run = cpus_change },
	{ .name = "more_cpus_than_at_start", .run = more_cpus_than_at_start,
	  .prepare = start_on_one_cpu },
};

TRAP_MAIN(cases)
