/*
 * limits.c - running out of memory, and running under limits
 *
 * A refusal of the system is NULL with ENOMEM, and smaller requests go on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "load.h"
#include "trap.h"

/* ENOMEM it is, whatever else was refused on the way: locked pages are not given back. */
static void errno_of_a_failure(void)
{
	char *p = malloc(3 * MIB), *kept;

	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		trap_skip("no memory may be locked");
	memset(p, 1, 3 * MIB);
	kept = malloc(3 * MIB);
	free(p);
	CHECK(kept);
	errno = 0;
	CHECK(!malloc(hide_size(64 * MIB)) && errno == ENOMEM);
}

/* The room behind what grows is wished for: without it there is enough. */
static void grow_within_the_limit(void)
{
	char *p = malloc(20 * MIB);

	CHECK(p);
	p = realloc(p, 30 * MIB);
	CHECK(p);
	p = realloc(p, 10);
	p = realloc(p, 30 * MIB);
	CHECK(p);
}

/* Small ones and pages, that a report may be believed that says there was none. */
static void failures_are_counted(void)
{
	static void *list;

	for (;;) {
		void **p = malloc(100);

		if (!p)
			break;
		*p = list;
		list = p;
	}
	while (list) {
		void *next = *(void **)list;

		free(list);
		list = next;
	}
}

static void absurd_sizes(void)
{
	for (int bits = 46; bits < 64; bits++) {
		survive_failure_of((size_t)1 << bits);
		survive_failure_of(((size_t)1 << bits) - 4096);
	}
}

/*
 * Takes blocks of this size until there are no more; returns how many bytes it
 * got. Then frees all of them, and it must be able to have most of it again.
 */
static size_t exhaust_once(size_t block, size_t give_up, bool oldest_first)
{
	void *list = NULL, *previous = NULL;
	size_t got = 0;

	while (got < give_up) {
		void **p = malloc(block);

		if (!p) {
			CHECK(errno == ENOMEM);
			break;
		}
		memset(p, 0x11, block);
		*p = NULL;
		if (!oldest_first)
			*p = list;
		else if (previous)
			*(void **)previous = p;
		if (!oldest_first || !list)
			list = p;
		previous = p;
		got += block;
	}
	CHECK(got > 0, "not even one block of %zu", block);
	/* Failing again and again is as harmless as failing once. */
	for (int i = 0; i < 50 && got < give_up; i++)
		free(malloc(block + (size_t)16 * MIB));
	while (list) {
		void *next = *(void **)list;

		free(list);
		list = next;
	}
	return got;
}

static void exhaust(size_t limit)
{
	/* The largest is a sixteenth: larger ones are a matter of fragmentation. */
	const size_t blocks[] = { MIB, 100, 40000, 4096, limit / 16, 3000, 64 };

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		size_t got = exhaust_once(blocks[i], 2 * limit, i % 2);
		size_t again = exhaust_once(blocks[i], 2 * limit, !(i % 2));

		CHECK(got < 2 * limit, "the limit does nothing");
		CHECK(got > limit / 4, "blocks of %zu: only %zu of %zu", blocks[i], got, limit);
		CHECK(again > got / 2, "blocks of %zu: %zu, and then only %zu", blocks[i], got,
		      again);
		CHECK(churn(i + 1, 5000, 200, 20000) == NULL);
	}
}

/* ------------------------------------------------------------ system limits */

enum { SYSTEM_LIMIT = 256 };

static void limit_address_space(void)
{
	limit_self(RLIMIT_AS, SYSTEM_LIMIT * MIB);
}

static void limit_data(void)
{
	limit_self(RLIMIT_DATA, SYSTEM_LIMIT * MIB);
}

static void under_system_limit(void)
{
	survive_failure_of(SYSTEM_LIMIT * MIB);
	exhaust(SYSTEM_LIMIT * MIB);
}

/* The limit may also come when the heap is already there. */
static void limit_in_mid_run(void)
{
	void *kept[100];

	for (size_t i = 0; i < 100; i++) {
		kept[i] = malloc(i * 10000 + 1);
		CHECK(kept[i]);
		fill(kept[i], i * 10000 + 1, i);
	}
	limit_self(RLIMIT_AS, (size_t)status_kib("VmSize") * 1024 + 64 * MIB);
	survive_failure_of(128 * MIB);
	for (int i = 0; i < 3; i++) {
		size_t got = exhaust_once(MIB, 1024 * MIB, false);

		CHECK(got < 256 * MIB && got > 16 * MIB, "%zu", got);
	}
	for (size_t i = 0; i < 100; i++) {
		CHECK(is_filled(kept[i], i * 10000 + 1, i));
		kept[i] = realloc(kept[i], 10);
		CHECK(kept[i]);
		free(kept[i]);
	}
}

/* A failed realloc, in place or by moving, leaves the object whole. */
static void realloc_fails_whole(void)
{
	for (size_t n = 16; n < 32 * MIB; n *= 3) {
		unsigned char *p = malloc(n);

		CHECK(p);
		fill(p, n, n);
		errno = 0;
		CHECK(realloc(p, 400 * MIB) == NULL && errno == ENOMEM, "%zu", n);
		CHECK(is_filled(p, n, n), "%zu", n);
		free(p);
	}
}

/* What grows gets some room besides where there is any; where there is not, what it asked for. */
static void growth_that_just_fits(void)
{
	enum { GROWS = 300000, WANTED = 360000 };
	char *p = malloc(GROWS), *last = NULL, *next;

	CHECK(p);
	fill(p, GROWS, 1);
	while ((next = malloc(WANTED)))
		last = next;
	for (size_t n = WANTED / 2; n >= 2048; n /= 2)
		while (malloc(n))
			;
	CHECK(last);
	free(last);
	errno = 0;
	p = realloc(p, WANTED);
	CHECK(p && !errno && is_filled(p, GROWS, 1));
}

/* With no memory left at all, what becomes smaller can stay where it is. */
static void shrink_when_full(size_t size)
{
	enum { NR = 10000 };
	static void *blocks[NR];
	static const size_t smaller[] = { 50000, 20000, 1000, 10 };
	void *rest = NULL;
	size_t nr = 0;

	for (; nr < NR && (blocks[nr] = malloc(size)) != NULL; nr++)
		fill(blocks[nr], size, nr);
	CHECK(nr > 5 && nr < NR, "%zu", nr);
	for (size_t n = size / 2; n >= 16; n /= 2)
		for (void **p; (p = malloc(n)) != NULL; rest = p)
			*p = rest;
	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < sizeof(smaller) / sizeof(smaller[0]); j++) {
			void *p;

			errno = 0;
			p = realloc(blocks[i], smaller[j]);
			CHECK(p && !errno, "block %zu of %zu to %zu, errno %d", i, size,
			      smaller[j], errno);
			CHECK(is_filled(p, smaller[j] & ~(size_t)7, i));
			blocks[i] = p;
		}
	for (size_t i = 0; i < nr; i++)
		free(blocks[i]);
	while (rest) {
		void *next = *(void **)rest;

		free(rest);
		rest = next;
	}
	CHECK(churn(1, 5000, 200, 20000) == NULL);
}

static void shrinking_never_fails(void)
{
	shrink_when_full(60000);
	shrink_when_full(3 * MIB);
}

static void exhaust_in_threads_one(unsigned index)
{
	for (int i = 0; i < 10; i++)
		(void)!exhaust_once(index % 2 ? 10000 : 300000, 1024 * MIB, false);
}

static void exhaust_in_threads(void)
{
	/* Small stacks are inherited from the limit set in prepare. */
	run_threads(4, exhaust_in_threads_one);
	CHECK(churn(1, 5000, 200, 20000) == NULL);
}

static void limit_address_space_and_stack(void)
{
	struct rlimit stack = { MIB, MIB };

	setrlimit(RLIMIT_STACK, &stack);
	limit_address_space();
}

/* A tight limit from the start, as in `ulimit -v 40000; program`. */
static void limit_tightly(void)
{
	limit_self(RLIMIT_AS, 40 * MIB);
}

static void under_tight_limit(void)
{
	size_t got;

	CHECK(churn(1, 20000, 1000, 10000) == NULL);
	got = exhaust_once(10000, 64 * MIB, false);
	CHECK(got >= 8 * MIB, "only %zu bytes below ulimit -v 40960", got);
	CHECK(churn(2, 20000, 1000, 10000) == NULL);
}

/* ------------------------------------------------------------ the own limit */

static void hard_limit(void)
{
	survive_failure_of(64 * MIB);
	exhaust(64 * MIB);
	CHECK(status_kib("VmHWM") < 96 * 1024, "%ld KiB", status_kib("VmHWM"));
}

/* Nothing is touched here: what is handed out counts. */
static void one_percent(void)
{
	struct sysinfo si;
	size_t limit;
	void *p;

	CHECK(sysinfo(&si) == 0);
	limit = (size_t)si.totalram * si.mem_unit / 100;
	survive_failure_of(limit + 32 * MIB);
	p = malloc(limit / 2);
	CHECK(p, "half of the limit");
	survive_failure_of(limit / 2 + 32 * MIB);
	free(p);
	p = malloc(limit / 4 * 3);
	CHECK(p, "three quarters of the limit");
	free(p);
}

static void one_percent_refuses_nothing(void)
{
	struct sysinfo si;
	void *p;

	CHECK(sysinfo(&si) == 0);
	p = malloc((size_t)si.totalram * si.mem_unit / 50);
	CHECK(p);
	free(p);
}

/* --------------------------------------------------------- memory is locked */

static void everything_locked(void)
{
	long locked;

	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		trap_skip("mlockall is not allowed here");
	CHECK(churn(1, 20000, 500, 20000) == NULL);
	locked = status_kib("VmLck");
	CHECK(locked < 128 * 1024, "%ld KiB locked by a small program", locked);
	CHECK(churn(2, 2000, 50, 4 * MIB) == NULL);
}

/* ----------------------------------------------------------------- overcommit */

static void write_setting(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		trap_skip("cannot write %s", path);
	close(fd);
}

/*
 * The setting is the whole machine's: only on request, and put back by a
 * parent which does nothing else.
 */
static void never_overcommit(void)
{
	static const char path[] = "/proc/sys/vm/overcommit_memory";
	char before[16] = "";
	int fd, status;
	pid_t pid;

	if (!getenv("BM_TEST_OVERCOMMIT"))
		trap_skip("changes vm.overcommit_memory; set BM_TEST_OVERCOMMIT=1 to run it");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, before, sizeof(before) - 1) <= 0)
		trap_skip("cannot read %s", path);
	close(fd);
	write_setting(path, "2\n");
	pid = fork();
	if (pid == 0) {
		survive_failure_of((size_t)1 << 42);
		CHECK(churn(1, 20000, 1000, 100000) == NULL);
		CHECK(exhaust_once(MIB, 64 * MIB, false) == 64 * MIB);
		_exit(0);
	}
	status = wait_exit(pid);
	write_setting(path, before);
	CHECK(status == 0, "%d", status);
}

/* The soft limit, which may be raised again. */
static void limit_for_now(int resource, rlim_t bytes)
{
	struct rlimit r;

	CHECK(getrlimit(resource, &r) == 0);
	r.rlim_cur = bytes < r.rlim_max ? bytes : r.rlim_max;
	CHECK(setrlimit(resource, &r) == 0);
}

/* There is no memory even for the heap's own tables when malloc is called first. */
static void nothing_at_first(void)
{
	void *aligned = NULL;

	limit_for_now(RLIMIT_AS, 1);
	errno = 0;
	CHECK(!malloc(50000) && errno == ENOMEM);
	CHECK(!malloc(1) && !calloc(10, 10) && !realloc(NULL, 5000) && !malloc(100 * MIB));
	CHECK(!aligned_alloc(64, 640) && !malloc((size_t)3 << 30));
	CHECK(posix_memalign(&aligned, 4096, 10000) == ENOMEM && !aligned);
	free(NULL);
	CHECK(malloc_trim(0) == 0 && mallinfo2().uordblks == 0);
	CHECK(bm_heap_create() == NULL);
	CHECK(bm_alloc_page(BM_GFP_KERNEL) == NULL);
	limit_for_now(RLIMIT_AS, RLIM_INFINITY);
	CHECK(churn(1, 20000, 1000, 10000) == NULL);
	CHECK((aligned = malloc(100 * MIB)) && bm_alloc_page(BM_GFP_KERNEL));
}

/* What the heap gives back of itself for what it then cannot have leaves no memory behind. */
static void limit_to_60_gib(void)
{
	limit_self(RLIMIT_AS, (size_t)60 << 30);
}

static void returned_address_space_is_not_backed(void)
{
	static char *p[64];
	long before;

	for (int i = 0; i < 64; i++) {
		if (!(p[i] = malloc(512 * MIB)))
			trap_skip("the system does not give so much address space");
		p[i][0] = 1;
	}
	for (int i = 0; i < 64; i++)
		free(p[i]);
	malloc_trim(0);
	before = status_kib("RssAnon");
	CHECK(!malloc(hide_size((size_t)62 << 30)));
	CHECK(status_kib("RssAnon") < before + 8 * 1024, "%ld KiB, then %ld", before,
	      status_kib("RssAnon"));
}

static const struct trap_case cases[] = {
	{ .name = "returned_address_space_is_not_backed",
	  .run = returned_address_space_is_not_backed, .prepare = limit_to_60_gib },
	{ .name = "failures_are_counted", .run = failures_are_counted,
	  .conf = "hard_limit:16M,stats_print:true",
	  .says = "^(buddymalloc: [^\n]*\n)+buddymalloc: failed 1\n(buddymalloc: [^\n]*\n)*$" },
	{ .name = "what_succeeds_has_not_failed", .run = grow_within_the_limit,
	  .conf = "hard_limit:40M,stats_print:true",
	  .says = "^(buddymalloc: [^\n]*\n)+buddymalloc: failed 0\n(buddymalloc: [^\n]*\n)*$" },
	{ .name = "errno_of_a_failure", .run = errno_of_a_failure,
	  .conf = "hard_limit:32M,decay_ms:0" },
	{ .name = "absurd_sizes", .run = absurd_sizes },
	{ .name = "address_space_limited", .run = under_system_limit,
	  .prepare = limit_address_space },
	{ .name = "data_limited", .run = under_system_limit, .prepare = limit_data },
	{ .name = "limit_in_mid_run", .run = limit_in_mid_run },
	{ .name = "realloc_fails_whole", .run = realloc_fails_whole,
	  .prepare = limit_address_space },
	{ .name = "growth_that_just_fits", .run = growth_that_just_fits, .conf = "hard_limit:32M" },
	{ .name = "shrinking_never_fails", .run = shrinking_never_fails,
	  .conf = "hard_limit:64M" },
	{ .name = "shrinking_never_fails_below_a_limit", .run = shrinking_never_fails,
	  .prepare = limit_address_space },
	{ .name = "exhaust_in_threads", .run = exhaust_in_threads,
	  .prepare = limit_address_space_and_stack },
	{ .name = "nothing_at_first", .run = nothing_at_first },
	{ .name = "under_tight_limit", .run = under_tight_limit, .prepare = limit_tightly },
	{ .name = "hard_limit", .run = hard_limit, .conf = "hard_limit:64M" },
	{ .name = "hard_limit_in_percent", .run = one_percent,
	  .conf = "hard_limit:1%,cgroup:off" },
	{ .name = "soft_limit_in_percent", .run = one_percent_refuses_nothing,
	  .conf = "soft_limit:1%,cgroup:off" },
	{ .name = "everything_locked", .run = everything_locked },
	{ .name = "never_overcommit", .run = never_overcommit },
};

TRAP_MAIN(cases)
