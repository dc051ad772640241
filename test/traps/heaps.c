/* Heaps, as programs see them: what they give out, and their end. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

static void heap_calls(void)
{
	struct bm_heap *h = bm_heap_create();
	size_t size;
	char *p;

	CHECK(h);
	for (size = 0; size < 8 * MIB; size += size / 2 + 1) {
		p = bm_heap_malloc(h, size);
		CHECK(p && ((uintptr_t)p & 15) == 0 && malloc_usable_size(p) >= size);
		fill(p, size, size);
		p = bm_heap_realloc(h, p, size * 3 + 1);
		CHECK(p && is_filled(p, size, size));
		if (size % 3)
			free(p);
		p = bm_heap_calloc(h, 3, size);
		CHECK(p && is_zero(p, 3 * size));
		memset(p, 1, 3 * size);
		if (size % 5)
			free(p);
	}
	for (size = 1; size < 4 * MIB; size *= 2) {
		p = bm_heap_memalign(h, size, 100);
		CHECK(p && ((uintptr_t)p & (size - 1)) == 0);
	}
	CHECK(bm_heap_realloc(h, NULL, 10));
	errno = 0;
	CHECK(!bm_heap_calloc(h, SIZE_MAX / 2, 3) && errno == ENOMEM);
	CHECK(bm_heap_destroy(h) == 0);
}

/* A large block grows where it is or moves by page tables, as with realloc. */
static void heap_realloc_of_large_blocks(void)
{
	struct bm_heap *h = bm_heap_create();
	char *p = bm_heap_malloc(h, 2 * MIB), *in_the_way = NULL, *q;
	size_t size;
	int moves = 0;

	for (size = 2 * MIB; size < 32 * MIB; size += MIB / 16) {
		memset(p + size - MIB / 16, (int)(size >> 16), MIB / 16);
		q = bm_heap_realloc(h, p, size + MIB / 16);
		CHECK(q);
		moves += q != p;
		p = q;
	}
	for (size = 2 * MIB; size < 32 * MIB; size += MIB / 16)
		CHECK(p[size - 1] == (char)(size >> 16), "at %zu", size);
	CHECK(moves < 20, "%d moves", moves);
	in_the_way = malloc(32 * MIB);
	q = bm_heap_realloc(h, in_the_way, 64 * MIB);
	CHECK(q);
	q = bm_heap_realloc(h, q, 10);
	CHECK(q);
	CHECK(bm_heap_destroy(h) == 0);
}

static void heap_realloc_of_what_is_not_ours(void)
{
	static char foreign[64];
	struct bm_heap *h = bm_heap_create();
	char *p = bm_heap_malloc(h, 4 * MIB);

	errno = 0;
	CHECK(!bm_heap_realloc(h, foreign, 100) && errno == EINVAL);
	errno = 0;
	CHECK(!bm_heap_realloc(h, p + 4096, 100) && errno == EINVAL);
	errno = 0;
	CHECK(!bm_heap_realloc(h, p + 16, 2 * MIB) && errno == EINVAL);
	CHECK(bm_heap_realloc(h, p, 5 * MIB));
}

/* With nothing left to move to, what becomes smaller stays. */
static void heap_realloc_shrinks_when_full(void)
{
	struct bm_heap *h = bm_heap_create();
	void *p = bm_heap_malloc(h, 1000), *big = bm_heap_malloc(h, 3 * MIB);
	size_t n;

	CHECK(p && big);
	for (n = 8 * MIB; n >= 16; n /= 2)
		while (malloc(n))
			;
	CHECK(bm_heap_realloc(h, p, 20) == p);
	CHECK(bm_heap_realloc(h, big, 100));
}

/* Small and large objects, full slabs and others, all go at once; again and again. */
static void heap_destroy_gives_all_back(void)
{
	size_t before = 0;
	int round, i;

	for (round = 0; round < 30; round++) {
		struct bm_heap *h = bm_heap_create();

		CHECK(h);
		for (i = 0; i < 20000; i++)
			memset(bm_heap_malloc(h, 1 + (size_t)i % 900), 1, 1);
		for (i = 0; i < 10; i++)
			memset(bm_heap_malloc(h, (size_t)i * MIB + 100000), 2, 100000);
		CHECK(bm_heap_destroy(h) == 0);
		if (round == 2)
			before = mallinfo2().uordblks + mallinfo2().hblkhd;
	}
	CHECK(mallinfo2().uordblks + mallinfo2().hblkhd <= before + 4096,
	      "%zu, %zu", mallinfo2().uordblks + mallinfo2().hblkhd, before);
}

static void *free_all(void *arg)
{
	char **p = arg;
	int i;

	for (i = 0; i < 5000; i++)
		free(p[i]);
	return NULL;
}

/* What other threads freed, or this one has cached, is no one's after the end. */
static void heap_objects_freed_elsewhere(void)
{
	static char *p[5000];
	int round, i;

	for (round = 0; round < 10; round++) {
		struct bm_heap *h = bm_heap_create();
		bm_scope_t scope;
		pthread_t t;

		scope = bm_heap_set_default(h);
		for (i = 0; i < 5000; i++) {
			p[i] = malloc(1 + (size_t)i % 300);
			free(malloc(50));
		}
		errno = 0;
		CHECK(bm_heap_destroy(h) == -1 && errno == EBUSY);
		bm_scope_restore(scope);
		CHECK(!pthread_create(&t, NULL, free_all, p));
		pthread_join(t, NULL);
		for (i = 0; i < 3000; i++)
			p[i] = bm_heap_malloc(h, 64);
		for (i = 0; i < 1000; i++)
			free(p[i]);
		CHECK(bm_heap_destroy(h) == 0);
		CHECK(!churn((uint64_t)round, 2000, 200, 2000));
	}
}

static struct bm_heap *elsewhere;
static pthread_barrier_t entered;

static void *sits_in_the_heap(void *arg)
{
	bm_scope_t before = bm_heap_set_default(elsewhere);

	free(malloc(10));
	pthread_barrier_wait(&entered);
	pthread_barrier_wait(&entered);
	bm_scope_restore(before);
	return arg;
}

/* A child has not the threads that were in a heap or group. */
static void a_heap_of_a_thread_that_is_not_here(void)
{
	pthread_t thread;
	pid_t pid;

	elsewhere = bm_heap_create();
	CHECK(elsewhere && !pthread_barrier_init(&entered, NULL, 2));
	CHECK(!pthread_create(&thread, NULL, sits_in_the_heap, NULL));
	pthread_barrier_wait(&entered);
	CHECK(bm_heap_destroy(elsewhere) == -1 && errno == EBUSY);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(bm_heap_destroy(elsewhere) != 0);
	CHECK(wait_exit(pid) == 0);
	pthread_barrier_wait(&entered);
	pthread_join(thread, NULL);
	CHECK(bm_heap_destroy(elsewhere) == 0);
}

static void too_many_heaps(void)
{
	static struct bm_heap *h[2000];
	int n = 0, again;

	while (n < 2000 && (h[n] = bm_heap_create()))
		n++;
	CHECK(errno == EAGAIN && n >= 200 && n < 2000, "%d", n);
	for (again = 0; again < n; again++)
		CHECK(bm_heap_destroy(h[again]) == 0);
	CHECK(bm_heap_create());
}

/* Heaps go while others free large blocks, whose pages then are of the zone's. */
static volatile bool enough;

static void *uses_large_blocks(void *seed)
{
	uint64_t s = (uintptr_t)seed;
	char *p[16] = { NULL };

	while (!enough) {
		size_t i = random_below(&s, 16), n = (2 + random_below(&s, 3)) * MIB;

		if (p[i])
			CHECK(p[i][0] == (char)i + 1);
		free(p[i]);
		p[i] = malloc(n);
		CHECK(p[i]);
		p[i][0] = (char)i + 1;
	}
	return NULL;
}

static void heaps_destroyed_beside_others(void)
{
	pthread_t thread[2];
	struct bm_heap *first[4], *h[10];
	time_t end = time(NULL) + 5;
	size_t i;

	/* So that the heaps' numbers look like orders. */
	for (i = 0; i < 4; i++)
		first[i] = bm_heap_create();
	for (i = 0; i < 2; i++)
		CHECK(pthread_create(&thread[i], NULL, uses_large_blocks, (void *)(i + 1)) == 0);
	while (time(NULL) < end) {
		for (i = 0; i < 10; i++)
			CHECK((h[i] = bm_heap_create()));
		for (i = 0; i < 10; i++)
			CHECK(bm_heap_destroy(h[i]) == 0);
	}
	enough = true;
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < 4; i++)
		CHECK(bm_heap_destroy(first[i]) == 0);
}

static long faults_of_a_heap(void)
{
	struct rusage before, after;
	struct bm_heap *h;

	getrusage(RUSAGE_SELF, &before);
	CHECK((h = bm_heap_create()));
	CHECK(bm_heap_malloc(h, 100) && bm_heap_destroy(h) == 0);
	getrusage(RUSAGE_SELF, &after);
	return after.ru_minflt - before.ru_minflt;
}

/* What is not mapped any more is not looked at: the tags of 8 GiB are 16 MiB. */
static void heap_destroyed_after_a_very_large_block(void)
{
	void *block = hide(malloc(8192 * MIB));
	long faults;

	if (!block)
		trap_skip("no 8 GiB of address space");
	free(block);
	faults = faults_of_a_heap();
	CHECK(faults < 500, "%ld page faults", faults);
}

static const struct trap_case cases[] = {
	{ .name = "heap_calls", .run = heap_calls },
	{ .name = "heap_destroy_gives_all_back", .run = heap_destroy_gives_all_back },
	{ .name = "heap_objects_freed_elsewhere", .run = heap_objects_freed_elsewhere },
	{ .name = "heap_objects_freed_elsewhere_hardened", .run = heap_objects_freed_elsewhere,
	  .conf = "hardened:true" },
	{ .name = "heap_destroyed_after_a_very_large_block",
	  .run = heap_destroyed_after_a_very_large_block },
	{ .name = "too_many_heaps", .run = too_many_heaps },
	{ .name = "heap_realloc_of_large_blocks", .run = heap_realloc_of_large_blocks },
	{ .name = "heap_realloc_of_what_is_not_ours", .run = heap_realloc_of_what_is_not_ours,
	  .conf = "abort_on_corruption:false",
	  .says = "^(buddymalloc: invalid bm_heap_realloc of 0x[0-9a-f]+: [^\n]*\n){3}$" },
	{ .name = "heap_realloc_shrinks_when_full", .run = heap_realloc_shrinks_when_full,
	  .conf = "hard_limit:32M" },
	{ .name = "a_heap_of_a_thread_that_is_not_here",
	  .run = a_heap_of_a_thread_that_is_not_here },
	{ .name = "heaps_destroyed_beside_others", .run = heaps_destroyed_beside_others,
	  .conf = "mobility:false" },
};

TRAP_MAIN(cases)
