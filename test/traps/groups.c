/* Groups, as programs see them: what is charged, limits, and their end. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

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

static const struct trap_case cases[] = {
	{ .name = "group_charges_and_uncharges", .run = group_charges_and_uncharges },
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
	{ .name = "objects_outlive_their_group", .run = objects_outlive_their_group },
	{ .name = "threads_in_a_group", .run = threads_in_a_group },
};

TRAP_MAIN(cases)
