/* Heaps, groups and scopes, as programs see them. */
#include <buddymalloc/heap.h>
#include <buddymalloc/page_alloc.h>

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"
#include "trap.h"

#pragma weak bm_heap_create
#pragma weak bm_heap_malloc
#pragma weak bm_heap_calloc
#pragma weak bm_heap_realloc
#pragma weak bm_heap_memalign
#pragma weak bm_heap_set_default
#pragma weak bm_heap_destroy
#pragma weak bm_scope_save
#pragma weak bm_scope_restore
#pragma weak bm_group_create
#pragma weak bm_group_enter
#pragma weak bm_group_leave
#pragma weak bm_group_usage
#pragma weak bm_group_peak
#pragma weak bm_group_failures
#pragma weak bm_group_limit
#pragma weak bm_group_name
#pragma weak bm_group_destroy
#pragma weak bm_get_free_pages
#pragma weak bm_free_pages
#pragma weak bm_free_page
#pragma weak bm_split_page
#pragma weak bm_virt_to_page

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

/* A child has groups of its own, and its parent's. */
static void groups_in_a_child(void)
{
	struct bm_group *g = bm_group_create("parent", 0), *own;
	bm_scope_t before = bm_group_enter(g);
	void *p = malloc(MIB), *q;
	pid_t pid = fork();

	CHECK(p && pid >= 0);
	if (!pid) {
		own = bm_group_create("child", 8 * MIB);
		bm_group_enter(own);
		q = malloc(4 * MIB);
		CHECK(q && bm_group_usage(own) == 4 * MIB);
		bm_scope_restore(before);
		free(q);
		CHECK(bm_group_destroy(own) == 0);
		free(p);
		CHECK(bm_group_usage(g) == 0 && bm_group_destroy(g) == 0);
		_exit(0);
	}
	bm_scope_restore(before);
	CHECK(wait_exit(pid) == 0);
	free(p);
	CHECK(bm_group_destroy(g) == 0);
}

/* Those that ended together become others, one by one, as new as any. */
static void many_groups_at_once(void)
{
	enum { NR_GROUPS = 20 };
	struct bm_group *g[NR_GROUPS];
	bm_scope_t before;
	int round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < NR_GROUPS; i++) {
			g[i] = bm_group_create(round % 2 ? "odd" : "even", (size_t)(i + 1) * MIB);
			CHECK(g[i] && bm_group_usage(g[i]) == 0 && bm_group_peak(g[i]) == 0);
			before = bm_group_enter(g[i]);
			free(malloc(100000));
			bm_group_leave(before);
		}
		for (i = 0; i < NR_GROUPS; i++) {
			CHECK(bm_group_limit(g[i]) == (size_t)(i + 1) * MIB);
			CHECK(bm_group_peak(g[i]) >= 100000 && bm_group_destroy(g[i]) == 0);
		}
	}
}

/* Each part of a block that was split is charged until it is freed. */
static void parts_of_a_split_block(void)
{
	struct bm_group *g = bm_group_create("split", 0);
	bm_scope_t before = bm_group_enter(g);
	char *p = bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 3);
	size_t i;

	bm_group_leave(before);
	CHECK(p && bm_group_usage(g) == 8 * BM_PAGE_SIZE);
	bm_split_page(bm_virt_to_page(p), 3);
	for (i = 0; i < 8; i++) {
		CHECK(bm_group_usage(g) == (8 - i) * BM_PAGE_SIZE, "%zu", bm_group_usage(g));
		bm_free_page(p + i * BM_PAGE_SIZE);
	}
	CHECK(bm_group_usage(g) == 0 && bm_group_destroy(g) == 0);
}

/* Locked pages are not in the child, and not charged there. */
static void pages_that_a_child_has_not(void)
{
	struct bm_group *g = bm_group_create("locked", 0);
	bm_scope_t before = bm_group_enter(g);
	void *p = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_ACCOUNT | BM_GFP_DMA, 3);
	pid_t pid;

	bm_group_leave(before);
	if (!p)
		trap_skip("no page can be locked here");
	CHECK(bm_group_usage(g) == 8 * 4096);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(bm_group_usage(g) != 0);
	CHECK(wait_exit(pid) == 0);
	CHECK(bm_group_usage(g) == 8 * 4096);
}

/* What is tried, and then had in another way, has not failed. */
static void failures_are_failures(void)
{
	struct bm_group *g = bm_group_create("tries", 24 * MIB);
	bm_scope_t before = bm_group_enter(g);
	char *p = malloc(10 * MIB), *q, *in_the_way[40];
	int i;

	bm_group_leave(before);
	for (i = 0; i < 40; i++)
		in_the_way[i] = malloc(1200000);
	before = bm_group_enter(g);
	q = realloc(p, 12 * MIB);
	CHECK(q && bm_group_failures(g) == 0, "%zu failures", bm_group_failures(g));
	CHECK(!realloc(q, 30 * MIB) && bm_group_failures(g) == 1, "%zu failures",
	      bm_group_failures(g));
	bm_group_leave(before);
	for (i = 0; i < 40; i++)
		free(in_the_way[i]);
}

static void destroyed_twice(void)
{
	struct bm_heap *h = bm_heap_create(), *a, *b;
	struct bm_group *g = bm_group_create("twice", 0), *other;
	bm_scope_t before = bm_group_enter(g);
	void *p = malloc(100);

	bm_group_leave(before);
	CHECK(bm_heap_destroy(h) == 0 && bm_group_destroy(g) == 0);
	errno = 0;
	CHECK(bm_heap_destroy(h) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(bm_group_destroy(g) == -1 && errno == EINVAL);
	/* The object that was its last goes, and all that it was. */
	free(p);
	CHECK(bm_group_destroy((other = bm_group_create("other", 0))) == 0 && other != g);
	malloc_trim(0);
	errno = 0;
	CHECK(bm_group_destroy(g) == -1 && errno == EINVAL);
	a = bm_heap_create();
	b = bm_heap_create();
	CHECK(a && b && a != b);
}

/* What realloc would like beyond what it was asked for is no failure of the program's. */
static void growth_is_no_failure(void)
{
	struct bm_group *g = bm_group_create("growth", MIB);
	bm_scope_t before = bm_group_enter(g);
	char *p = malloc(300000), *beside = malloc(300000);

	CHECK(p && beside);
	CHECK((p = realloc(p, 360000)) && bm_group_failures(g) == 0);
	CHECK(!realloc(p, 900000) && bm_group_failures(g) == 1);
	bm_group_leave(before);
	free(p);
	free(beside);
	CHECK(bm_group_destroy(g) == 0);
}

/* Who must not fail goes beyond a group's limit, as in the kernel. */
static void nofail_in_a_group(void)
{
	struct bm_group *g = bm_group_create("must", 4 * 4096);
	bm_scope_t before = bm_group_enter(g);
	int i;

	for (i = 0; i < 10; i++)
		CHECK(bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT | BM_GFP_NOFAIL, 0));
	CHECK(!bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 0));
	CHECK(bm_group_usage(g) == 10 * 4096);
	bm_group_leave(before);
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

static void group_charges_and_uncharges(void)
{
	struct bm_group *g = bm_group_create("tenant", 0);
	void *small[1000], *large, *pages, *plain;
	bm_scope_t scope;
	int i;

	CHECK(g && !strcmp(bm_group_name(g), "tenant") && bm_group_limit(g) == 0);
	CHECK(bm_group_usage(g) == 0);
	scope = bm_group_enter(g);
	for (i = 0; i < 1000; i++)
		CHECK((small[i] = malloc(100)));
	CHECK(bm_group_usage(g) >= 100 * 1000 && bm_group_usage(g) <= 300 * 1000);
	CHECK((large = malloc(5 * MIB)));
	CHECK(bm_group_usage(g) >= 5 * MIB + 100 * 1000);
	large = realloc(large, 9 * MIB);
	CHECK(bm_group_usage(g) >= 9 * MIB && bm_group_usage(g) < 10 * MIB);
	plain = bm_get_free_pages(BM_GFP_KERNEL, 8);
	CHECK(bm_group_usage(g) < 10 * MIB);
	pages = bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 8);
	CHECK(bm_group_usage(g) >= 10 * MIB);
	bm_group_leave(scope);
	CHECK(bm_group_peak(g) >= bm_group_usage(g));
	bm_free_pages(pages, 8);
	bm_free_pages(plain, 8);
	free(large);
	CHECK(bm_group_usage(g) < MIB);
	free(malloc(3 * MIB));
	for (i = 0; i < 1000; i++)
		free(small[i]);
	CHECK(bm_group_usage(g) == 0, "%zu", bm_group_usage(g));
	CHECK(bm_group_peak(g) >= 10 * MIB && bm_group_failures(g) == 0);
	CHECK(bm_group_destroy(g) == 0);
}

/* Room that realloc would leave for more growth is not the group's, not for a moment. */
static void peak_of_realloc(void)
{
	struct bm_group *g = bm_group_create("peak", 0);
	bm_scope_t scope = bm_group_enter(g);
	char *p = malloc(2 * MIB), *fence = malloc(2 * MIB);

	CHECK(p && fence);
	p = realloc(p, 100 * MIB);
	CHECK(p && malloc_usable_size(p) == 100 * MIB);
	bm_group_leave(scope);
	CHECK(bm_group_peak(g) <= 105 * MIB, "%zu", bm_group_peak(g));
	free(p);
	free(fence);
	CHECK(bm_group_destroy(g) == 0);
}

/* What is no multiple of a page is rounded up, so no limit looks like none. */
static void least_limit(void)
{
	struct bm_group *g = bm_group_create("least", 1);
	bm_scope_t scope;

	CHECK(g && bm_group_limit(g) == 4096);
	scope = bm_group_enter(g);
	CHECK(bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 0));
	CHECK(!bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 0));
	bm_group_leave(scope);
}

static void group_limit(void)
{
	struct bm_group *g = bm_group_create("small", 2 * MIB), *other;
	static void *p[100000];
	bm_scope_t scope, inner;
	int n = 0, i;

	CHECK(bm_group_limit(g) == 2 * MIB);
	scope = bm_group_enter(g);
	while (n < 100000 && (p[n] = malloc(100)))
		n++;
	CHECK(n > 15000 && n < 21000 && errno == ENOMEM, "%d", n);
	CHECK(!malloc(2 * MIB) && !malloc(50000) && !calloc(1, 100000));
	errno = 0;
	CHECK(!bm_get_free_pages(BM_GFP_KERNEL_ACCOUNT, 4) && errno == ENOMEM);
	CHECK(bm_group_failures(g) >= 4 && bm_group_usage(g) <= 2 * MIB);
	/* Others are not concerned. */
	other = bm_group_create("other", 10 * MIB);
	inner = bm_group_enter(other);
	CHECK((p[n] = malloc(3 * MIB)));
	errno = 0;
	CHECK(bm_group_destroy(other) == -1 && errno == EBUSY);
	bm_group_leave(inner);
	CHECK(!malloc(3 * MIB));
	free(p[n]);
	/* What is freed, though cached, makes room for other sizes: of who may give it back. */
	for (i = 0; i < n; i++)
		free(p[i]);
	inner = bm_scope_save(BM_SCOPE_NORECLAIM, -1, NULL);
	CHECK(!malloc(2 * MIB));
	bm_scope_restore(inner);
	CHECK((p[0] = malloc(2 * MIB)));
	free(p[0]);
	bm_group_leave(scope);
	CHECK((p[0] = malloc(3 * MIB)));
	free(p[0]);
	CHECK(bm_group_usage(g) == 0, "%zu", bm_group_usage(g));
	CHECK(bm_group_destroy(g) == 0 && bm_group_destroy(other) == 0);
}

static void objects_outlive_their_group(void)
{
	static char *p[200][20];
	int round, i;

	/* More groups in turn than there are at a time. */
	for (round = 0; round < 2000; round++) {
		struct bm_group *g = bm_group_create("brief", MIB);
		bm_scope_t scope;

		CHECK(g, "round %d", round);
		for (i = 0; i < 20 && round >= 200; i++) {
			CHECK(is_filled(p[round % 200][i], 3000, (uint64_t)(round - 200)));
			free(p[round % 200][i]);
		}
		scope = bm_group_enter(g);
		for (i = 0; i < 20; i++) {
			CHECK((p[round % 200][i] = malloc(3000)));
			fill(p[round % 200][i], 3000, (uint64_t)round);
		}
		bm_group_leave(scope);
		CHECK(bm_group_destroy(g) == 0);
	}
}

static struct bm_group *shared;

static void tenant(unsigned index)
{
	bm_scope_t scope = bm_group_enter(shared);

	CHECK(!churn(index, 30000, 200, 20000));
	/* Some threads end inside. */
	if (index % 2)
		bm_group_leave(scope);
}

static void threads_in_a_group(void)
{
	pid_t pid;

	shared = bm_group_create("shared", 0);
	run_threads(6, tenant);
	CHECK(bm_group_usage(shared) == 0, "%zu", bm_group_usage(shared));
	CHECK(bm_group_peak(shared) > 0);
	bm_group_enter(shared);
	pid = fork();
	if (!pid) {
		free(malloc(100));
		_exit(bm_group_usage(shared) > MIB);
	}
	CHECK(wait_exit(pid) == 0);
	CHECK(!churn(1, 30000, 200, 20000));
}

static void scopes(void)
{
	bm_scope_t outer, inner;
	char *p;

	CHECK(bm_scope_save(4, -1, NULL) == BM_SCOPE_FAILED && errno == EINVAL);
	CHECK(bm_scope_save(0, 62, NULL) == BM_SCOPE_FAILED && errno == EINVAL);
	outer = bm_scope_save(BM_SCOPE_NORECLAIM, 0, NULL);
	/* Nothing that failed is gone back to. */
	bm_scope_restore(BM_SCOPE_FAILED);
	CHECK((p = malloc(3 * MIB)));
	inner = bm_scope_save(BM_SCOPE_NOSYSCALL, -1, NULL);
	/* What is at hand serves; nothing is mapped. */
	CHECK(!malloc(500 * MIB) && errno == ENOMEM);
	CHECK(!realloc(p, 500 * MIB) && errno == ENOMEM);
	free(malloc(10));
	free(p);
	bm_scope_restore(inner);
	CHECK((p = malloc(50 * MIB)));
	free(p);
	bm_scope_restore(outer);
}

/* A thread ends within a heap or group; what its last destructor allocates is nobody's. */
static pthread_key_t end_key;
static struct bm_heap *end_heap;
static struct bm_group *end_group;
static char *from_the_end;
static bm_scope_t end_scope; /* as it is within */

static void at_the_end(void *rounds)
{
	if ((uintptr_t)rounds < 3) {
		pthread_setspecific(end_key, (char *)rounds + 1);
		return;
	}
	/* The thread's cache is gone by now, and has left. It cannot come back, and nobody is told. */
	errno = 77;
	bm_scope_restore(end_scope);
	CHECK(errno == 77);
	CHECK(end_heap ? bm_heap_destroy(end_heap) == 0 : bm_group_destroy(end_group) == 0);
	from_the_end = malloc(3 * MIB);
	CHECK(from_the_end);
	fill(from_the_end, 3 * MIB, 1);
}

static void *ends_within(void *unused)
{
	pthread_setspecific(end_key, (void *)1);
	if (end_heap)
		bm_heap_set_default(end_heap);
	else
		bm_group_enter(end_group);
	end_scope = bm_scope_save(0, -1, NULL);
	free(malloc(100));
	return unused;
}

static void end_a_thread_within(void)
{
	pthread_t thread;

	CHECK(pthread_key_create(&end_key, at_the_end) == 0);
	CHECK(pthread_create(&thread, NULL, ends_within, NULL) == 0);
	pthread_join(thread, NULL);
}

static void threads_that_end_in_a_heap(void)
{
	struct bm_heap *next;
	char *other;

	end_heap = bm_heap_create();
	end_a_thread_within();
	next = bm_heap_create();
	CHECK(bm_heap_destroy(next) == 0);
	other = malloc(3 * MIB);
	memset(other, 2, 3 * MIB);
	CHECK(is_filled(from_the_end, 3 * MIB, 1));
	free(from_the_end);
}

static void threads_that_end_in_a_group(void)
{
	struct bm_group *next;

	end_group = bm_group_create("ends", 0);
	end_a_thread_within();
	next = bm_group_create("next", 64 * MIB);
	CHECK(bm_group_usage(next) == 0);
	free(from_the_end);
	CHECK(bm_group_usage(next) == 0, "%zu", bm_group_usage(next));
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

/*
 * Threads for whose caches there is no room in the address space work without. What needs no
 * cache succeeds and leaves errno alone; a group needs one. The first threads may find room.
 */
#define CACHELESS 64

static struct bm_group *cacheless_group;
static pthread_barrier_t no_room, all_have_entered;
static unsigned nr_refused; /* atomic */

static void *enter_without_a_cache(void *unused)
{
	bm_scope_t scope, inner;

	pthread_barrier_wait(&no_room);
	errno = 0;
	scope = bm_scope_save(BM_SCOPE_NORECLAIM, -1, NULL);
	CHECK(scope != BM_SCOPE_FAILED && errno == 0);
	inner = bm_scope_save(0, -1, NULL);
	CHECK(inner != BM_SCOPE_FAILED && inner != scope && errno == 0);
	if (bm_group_enter(cacheless_group) == BM_SCOPE_FAILED) {
		CHECK(errno == ENOMEM);
		__atomic_fetch_add(&nr_refused, 1, __ATOMIC_RELAXED);
	}
	/* Nobody leaves a cache to another before that. */
	pthread_barrier_wait(&all_have_entered);
	bm_scope_restore(scope);
	return unused;
}

static void scopes_without_a_cache(void)
{
	struct rlimit none = { 0, 0 }, old;
	pthread_t thread[CACHELESS];

	CHECK((cacheless_group = bm_group_create(NULL, 0)));
	CHECK(!pthread_barrier_init(&no_room, NULL, CACHELESS + 1));
	CHECK(!pthread_barrier_init(&all_have_entered, NULL, CACHELESS));
	CHECK(!getrlimit(RLIMIT_AS, &old));
	none.rlim_max = old.rlim_max;
	for (int i = 0; i < CACHELESS; i++)
		CHECK(!pthread_create(&thread[i], NULL, enter_without_a_cache, NULL));
	CHECK(!setrlimit(RLIMIT_AS, &none));
	pthread_barrier_wait(&no_room);
	for (int i = 0; i < CACHELESS; i++)
		pthread_join(thread[i], NULL);
	CHECK(!setrlimit(RLIMIT_AS, &old));
	CHECK(nr_refused > 0);
	/* All are out of it, or never were in. */
	CHECK(bm_group_destroy(cacheless_group) == 0);
}

/* What ended within an outer scope is not gone back to, nor what has its place. */
static void ended_in_an_outer_scope(void)
{
	struct bm_heap *heap = bm_heap_create(), *next;
	bm_scope_t outer = bm_heap_set_default(heap), inner, none;
	struct bm_group *group = bm_group_create("inner", 0);
	char *p;

	inner = bm_group_enter(group);
	CHECK(bm_heap_destroy(heap) == 0);
	next = bm_heap_create();
	bm_scope_restore(inner);
	p = malloc(100);
	strcpy(p, "stays");
	CHECK(bm_heap_destroy(next) == 0, "errno %d", errno);
	CHECK(strcmp(p, "stays") == 0);
	free(p);
	/* The same of a group, of which something is left. */
	none = bm_group_enter(group);
	inner = bm_heap_set_default(next = bm_heap_create());
	CHECK(bm_group_destroy(group) == 0);
	bm_scope_restore(inner);
	free(malloc(100));
	bm_scope_restore(none);
	bm_scope_restore(outer);
	CHECK(bm_heap_destroy(next) == 0);
}

static const struct trap_case cases[] = {
	{ .name = "ended_in_an_outer_scope", .run = ended_in_an_outer_scope },
	{ .name = "heap_calls", .run = heap_calls },
	{ .name = "heap_destroy_gives_all_back", .run = heap_destroy_gives_all_back },
	{ .name = "heap_objects_freed_elsewhere", .run = heap_objects_freed_elsewhere },
	{ .name = "heap_objects_freed_elsewhere_hardened", .run = heap_objects_freed_elsewhere,
	  .conf = "hardened:true" },
	{ .name = "too_many_heaps", .run = too_many_heaps },
	{ .name = "group_charges_and_uncharges", .run = group_charges_and_uncharges },
	{ .name = "heap_realloc_of_large_blocks", .run = heap_realloc_of_large_blocks },
	{ .name = "heap_realloc_of_what_is_not_ours", .run = heap_realloc_of_what_is_not_ours,
	  .conf = "abort_on_corruption:false",
	  .says = "^(buddymalloc: invalid bm_heap_realloc of 0x[0-9a-f]+: [^\n]*\n){3}$" },
	{ .name = "heap_realloc_shrinks_when_full", .run = heap_realloc_shrinks_when_full,
	  .conf = "hard_limit:32M" },
	{ .name = "group_limit", .run = group_limit },
	{ .name = "peak_of_realloc", .run = peak_of_realloc },
	{ .name = "least_limit", .run = least_limit },
	{ .name = "failures_are_failures", .run = failures_are_failures },
	{ .name = "growth_is_no_failure", .run = growth_is_no_failure },
	{ .name = "destroyed_twice", .run = destroyed_twice, .conf = "abort_on_corruption:false",
	  .says = "^buddymalloc: invalid bm_heap_destroy of 0x[0-9a-f]+: it was destroyed before\n"
		  "(buddymalloc: invalid bm_group_destroy of 0x[0-9a-f]+: it was destroyed before\n){2}$" },
	{ .name = "nofail_in_a_group", .run = nofail_in_a_group },
	{ .name = "groups_in_a_child", .run = groups_in_a_child },
	{ .name = "many_groups_at_once", .run = many_groups_at_once },
	{ .name = "parts_of_a_split_block", .run = parts_of_a_split_block },
	{ .name = "pages_that_a_child_has_not", .run = pages_that_a_child_has_not },
	{ .name = "a_heap_of_a_thread_that_is_not_here",
	  .run = a_heap_of_a_thread_that_is_not_here },
	{ .name = "objects_outlive_their_group", .run = objects_outlive_their_group },
	{ .name = "threads_in_a_group", .run = threads_in_a_group },
	{ .name = "scopes", .run = scopes },
	{ .name = "scopes_without_a_cache", .run = scopes_without_a_cache },
	{ .name = "threads_that_end_in_a_heap", .run = threads_that_end_in_a_heap },
	{ .name = "threads_that_end_in_a_group", .run = threads_that_end_in_a_group },
	{ .name = "heaps_destroyed_beside_others", .run = heaps_destroyed_beside_others,
	  .conf = "mobility:false" },
};

TRAP_MAIN(cases)
