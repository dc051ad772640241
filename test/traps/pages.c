/* The page interface as programs see it: the family, every flag, and its misuse. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

#define LOW_END ((uintptr_t)1 << 32)

static void every_order(void)
{
	unsigned order;

	for (order = 0; order <= BM_MAX_ORDER; order++) {
		size_t size = BM_PAGE_SIZE << order;
		struct bm_page *page = bm_alloc_pages(BM_GFP_KERNEL, order);
		char *p;

		CHECK(page, "order %u", order);
		p = bm_page_address(page);
		CHECK(((uintptr_t)p & (size - 1)) == 0, "%p, order %u", (void *)p, order);
		CHECK(bm_virt_to_page(p) == page && bm_virt_to_page(p + 100) == page);
		CHECK(bm_page_order(page) == (int)order);
		CHECK(bm_page_node(page) >= 0);
		p[0] = p[size - 1] = 1;
		if (order) {
			struct bm_page *next = bm_virt_to_page(p + BM_PAGE_SIZE);

			CHECK(bm_page_to_pfn(next) == bm_page_to_pfn(page) + 1);
			CHECK(bm_page_order(next) == -1);
		}
		bm_free_pages(p, order);
		CHECK(bm_page_order(page) == -1);
	}
	bm_free_pages(NULL, 0);
	bm_free_page(NULL);
	bm_free_pages_exact(NULL, 5);
	CHECK(!bm_virt_to_page(&order));
}

static void single_and_zeroed_pages(void)
{
	unsigned char *p;
	int i;

	for (i = 0; i < 1000; i++) {
		p = bm_get_zeroed_page(BM_GFP_KERNEL);
		CHECK(p && is_zero(p, BM_PAGE_SIZE));
		memset(p, 0xff, BM_PAGE_SIZE);
		bm_free_page(p);
		p = bm_get_free_page(BM_GFP_KERNEL);
		CHECK(p);
		memset(p, 0xff, BM_PAGE_SIZE);
		bm_free_page(p);
	}
}

static void exact_sizes(void)
{
	size_t size;

	for (size = 1; size < (size_t)9 << 20; size += size / 3 + 1) {
		size_t align = BM_PAGE_SIZE;
		char *p = bm_alloc_pages_exact(size, BM_GFP_KERNEL);

		while (align < size)
			align *= 2;
		CHECK(p && !((uintptr_t)p & (align - 1)), "%p for %zu", (void *)p, size);
		memset(p, 1, size);
		bm_free_pages_exact(p, size);
	}
	errno = 0;
	CHECK(!bm_alloc_pages_exact(0, BM_GFP_KERNEL) && errno == EINVAL);
	errno = 0;
	CHECK(!bm_alloc_pages_exact(SIZE_MAX, BM_GFP_KERNEL) && errno == ENOMEM);
}

static void bulk_and_split(void)
{
	struct bm_page *pages[300] = { NULL }, *kept;
	char *p;
	int i;

	pages[7] = kept = bm_alloc_page(BM_GFP_KERNEL);
	CHECK(bm_alloc_pages_bulk(BM_GFP_KERNEL, 300, pages) == 300);
	CHECK(pages[7] == kept);
	for (i = 0; i < 300; i++)
		bm_free_page(bm_page_address(pages[i]));
	CHECK(bm_alloc_pages_bulk(0x40000000u, 3, pages) == 3); /* none is NULL */
	memset(pages, 0, sizeof(pages));
	errno = 0;
	CHECK(bm_alloc_pages_bulk(0x40000000u, 3, pages) == 0 && errno == EINVAL);

	pages[0] = bm_alloc_pages(BM_GFP_KERNEL, 4);
	p = bm_page_address(pages[0]);
	bm_split_page(pages[0], 4);
	for (i = 15; i >= 0; i--) {
		CHECK(bm_page_order(bm_virt_to_page(p + i * BM_PAGE_SIZE)) == 0);
		bm_free_page(p + i * BM_PAGE_SIZE);
	}
}

/* A block that is mapped for itself is no block of an order. */
static void split_of_a_huge_block(void)
{
	void *p = bm_alloc_pages_exact((size_t)2 << 30, BM_GFP_HIGHUSER_MOVABLE);

	CHECK(p);
	bm_split_page(bm_virt_to_page(p), 19);
}

static void bad_flags(void)
{
	static const bm_gfp_t bad[] = {
		0x40, 0x80, 0x2000000, 0x80000000u, BM_GFP_DMA | BM_GFP_DMA32,
		BM_GFP_DMA32 | BM_GFP_HIGHMEM, BM_GFP_MOVABLE | BM_GFP_RECLAIMABLE,
		BM_GFP_NOFAIL, BM_GFP_KERNEL | BM_GFP_NOFAIL | BM_GFP_NORETRY,
		BM_GFP_COLD | BM_GFP_WRITE,
		BM_GFP_KERNEL | BM_GFP_NOFAIL | BM_GFP_COLD | BM_GFP_WRITE,
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		CHECK(!bm_alloc_pages(bad[i], 0) && errno == EINVAL, "%#x", bad[i]);
	}
	errno = 0;
	CHECK(!bm_alloc_pages_node(63, BM_GFP_KERNEL, 0) && errno == EINVAL);
	errno = 0;
	CHECK(!bm_alloc_pages_node(-2, BM_GFP_KERNEL, 0) && errno == EINVAL);
	errno = 0;
	CHECK(!bm_alloc_pages_nodemask(BM_GFP_KERNEL, 0, BM_NO_NODE, 0) && errno == ENOMEM);
}

static void too_large_an_order(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		errno = 0;
		CHECK(!bm_alloc_pages(BM_GFP_KERNEL | BM_GFP_NOWARN, 19) && errno == EINVAL);
	}
	for (i = 0; i < 3; i++) {
		errno = 0;
		CHECK(!bm_get_free_pages(BM_GFP_KERNEL, 20) && errno == EINVAL);
	}
}

static void below_four_gib(void)
{
	char *p[64];
	unsigned order;
	int i;

	for (order = 0; order <= 10; order++) {
		p[0] = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_DMA32 | BM_GFP_ZERO, order);
		CHECK(p[0] && (uintptr_t)p[0] + (BM_PAGE_SIZE << order) <= LOW_END, "%p", (void *)p[0]);
		CHECK(!((uintptr_t)p[0] & ((BM_PAGE_SIZE << order) - 1)));
		CHECK(is_zero(p[0], BM_PAGE_SIZE << order));
		CHECK(bm_page_address(bm_virt_to_page(p[0])) == p[0]);
		memset(p[0], 0xee, BM_PAGE_SIZE << order);
		bm_free_pages(p[0], order);
	}
	for (i = 0; i < 64; i++) {
		p[i] = bm_get_free_page(BM_GFP_KERNEL | BM_GFP_DMA32);
		CHECK(p[i] && (uintptr_t)p[i] < LOW_END);
		memset(p[i], i, BM_PAGE_SIZE);
	}
	malloc_trim(0);
	for (i = 0; i < 64; i++) {
		CHECK(p[i][0] == i && p[i][BM_PAGE_SIZE - 1] == i);
		bm_free_page(p[i]);
	}
	malloc_trim(0);
}

static bool is_resident(void *p)
{
	unsigned char there = 0;

	return mincore(p, BM_PAGE_SIZE, &there) == 0 && there & 1;
}

static void locked_pages(void)
{
	char *p = bm_get_dma_pages(BM_GFP_KERNEL, 2), *q;
	int status;
	pid_t pid;

	if (!p && errno == ENOMEM)
		trap_skip("memory cannot be locked here");
	CHECK(p && (uintptr_t)p < LOW_END);
	CHECK(is_resident(p) && is_resident(p + 3 * BM_PAGE_SIZE));
	memset(p, 5, 4 * BM_PAGE_SIZE);
	pid = fork();
	if (!pid) {
		/* Not there, but the zone works: pages of the child's own. */
		if (mincore(p, BM_PAGE_SIZE, (unsigned char[1]){ 0 }) == 0 || errno != ENOMEM)
			_exit(1);
		if (bm_virt_to_page(p))
			_exit(2);
		q = bm_get_dma_pages(BM_GFP_KERNEL | BM_GFP_ZERO, 2);
		if (q && !is_zero(q, 4 * BM_PAGE_SIZE))
			_exit(3);
		bm_free_pages(q, 2);
		free(malloc(1000));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0, "%#x", status);
	CHECK(p[0] == 5 && p[4 * BM_PAGE_SIZE - 1] == 5);
	bm_free_pages(p, 2);
	/* Freed, it stays locked: it is not given back. */
	malloc_trim(0);
	CHECK(is_resident(p));
	q = bm_get_dma_pages(BM_GFP_KERNEL, 2);
	CHECK(q);
	bm_free_pages(q, 2);
}

static void written_at_once(void)
{
	char *p = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_WRITE, 6);
	int i;

	CHECK(p);
	for (i = 0; i < 64; i++)
		if (!is_resident(p + i * BM_PAGE_SIZE))
			trap_skip("this system cannot back pages ahead");
	bm_free_pages(p, 6);
}

static void cold_pages_leave_the_warm(void)
{
	char *warm = bm_get_free_pages(BM_GFP_KERNEL, 3), *cold;

	memset(warm, 1, 8 * BM_PAGE_SIZE);
	bm_free_pages(warm, 3);
	cold = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_COLD, 3);
	CHECK(cold && cold != warm && !is_resident(cold));
	CHECK(bm_get_free_pages(BM_GFP_KERNEL, 3) == warm);
}

static void *page_churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	char *p[50] = { NULL };
	unsigned order[50] = { 0 };
	int i;

	for (i = 0; i < 20000; i++) {
		unsigned k = (unsigned)random_below(&seed, 50);

		if (p[k]) {
			CHECK(p[k][0] == (char)k);
			bm_free_pages(p[k], order[k]);
		}
		order[k] = (unsigned)random_below(&seed, 5);
		p[k] = bm_get_free_pages(BM_GFP_KERNEL | (random_below(&seed, 4) ? 0 : BM_GFP_DMA32),
					 order[k]);
		CHECK(p[k]);
		p[k][0] = (char)k;
	}
	for (i = 0; i < 50; i++)
		bm_free_pages(p[i], order[i]);
	return NULL;
}

static void many_threads(void)
{
	pthread_t t[4];
	int i;

	for (i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, page_churn, (void *)(uintptr_t)(i + 1)));
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* At the limit ordinary requests stop, urgent ones get the reserve, a waiting one waits. */
static char *volatile to_free, **to_free_all;

static void *free_later(void *unused)
{
	while (!to_free)
		usleep(1000);
	usleep(200000);
	for (int i = 0; i < 64; i++)
		bm_free_pages(to_free_all[i], 4);
	return unused;
}

static void at_the_limit(void)
{
	static char *p[4096];
	int n = 0, urgent = 0, last = 0;
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, free_later, NULL));
	while (n < 4096 && (p[n] = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_NOWARN, 4)))
		n++;
	CHECK(n > 100 && n < 4096 && errno == ENOMEM, "%d", n);
	while (bm_get_free_page(BM_GFP_KERNEL))
		;
	CHECK(!bm_get_free_page(BM_GFP_KERNEL | BM_GFP_HIGH | BM_GFP_NOMEMALLOC));
	CHECK(!bm_get_free_page(BM_GFP_KERNEL | BM_GFP_NORETRY));
	CHECK(!bm_get_free_page(BM_GFP_NOWAIT));
	while (bm_get_free_page(BM_GFP_ATOMIC))
		urgent++;
	CHECK(urgent > 0);
	while (bm_get_free_page(BM_GFP_KERNEL | BM_GFP_MEMALLOC))
		last++;
	CHECK(last > 0);
	to_free_all = p;
	to_free = p[0];
	CHECK(bm_get_free_page(BM_GFP_KERNEL | BM_GFP_NOFAIL));
	pthread_join(t, NULL);
}

/* A scope takes its means away, not its promise. */
static void must_not_fail_in_a_scope(void)
{
	static char *p[4096];
	bm_scope_t before;
	pthread_t t;
	int n = 0;

	CHECK(!pthread_create(&t, NULL, free_later, NULL));
	/* What is at hand. */
	bm_free_pages(bm_get_free_pages(BM_GFP_KERNEL, 11), 11);
	before = bm_scope_save(BM_SCOPE_NORECLAIM | BM_SCOPE_NOSYSCALL, -1, NULL);
	while (n < 4096 && (p[n] = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_NOWARN, 4)))
		n++;
	CHECK(n >= 64 && n < 4096, "%d", n);
	to_free_all = p;
	to_free = p[0];
	CHECK(bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_NOFAIL, 4));
	bm_scope_restore(before);
	pthread_join(t, NULL);
}

static char *block(unsigned order)
{
	char *p = bm_get_free_pages(BM_GFP_KERNEL, order);

	CHECK(p);
	trap_expect_pointer(p);
	return p;
}

static void freed_by_free(void)
{
	free(hide(block(2)));
}

static void freed_twice(void)
{
	char *p = block(2);

	bm_free_pages(p, 2);
	bm_free_pages(p, 2);
}

static void wrong_order(void)
{
	bm_free_pages(block(2), 1);
}

static void wrong_size(void)
{
	char *p = bm_alloc_pages_exact(20000, BM_GFP_KERNEL);

	trap_expect_pointer(p);
	bm_free_pages_exact(p, 30000);
}

static void size_too_small(void)
{
	char *p = bm_alloc_pages_exact(20000, BM_GFP_KERNEL);

	/* Any size of as many pages is right. */
	bm_free_pages_exact(bm_alloc_pages_exact(20000, BM_GFP_KERNEL), 4 * BM_PAGE_SIZE + 1);
	trap_expect_pointer(p);
	bm_free_pages_exact(p, 4 * BM_PAGE_SIZE);
}

static void malloc_freed_as_pages(void)
{
	char *p = malloc(2 << 20);

	trap_expect_pointer(p);
	bm_free_pages(p, 9);
}

static void object_freed_as_a_page(void)
{
	char *p = malloc(100);

	trap_expect_pointer(p);
	bm_free_page(p);
}

static void inside_an_object(void)
{
	char *p = malloc(100);

	trap_expect_pointer(p + 16);
	bm_free_page(p + 16);
}

static void inside_a_block(void)
{
	char *p = block(2) + BM_PAGE_SIZE;

	trap_expect_pointer(p);
	bm_free_page(p);
}

static void low_freed_by_free(void)
{
	char *p = bm_get_free_page(BM_GFP_KERNEL | BM_GFP_DMA32);

	trap_expect_pointer(p);
	free(hide(p));
}

static void foreign(void)
{
	static char page[2 * 4096];
	char *p = (char *)(((uintptr_t)page + 4095) & ~(uintptr_t)4095);

	trap_expect_pointer(p);
	bm_free_page(p);
}

#define BLOCK_OF_PAGES "a block of the page interface, of [0-9]+ bytes"

static const struct trap_case cases[] = {
	{ .name = "every_order", .run = every_order },
	{ .name = "single_and_zeroed_pages", .run = single_and_zeroed_pages },
	{ .name = "exact_sizes", .run = exact_sizes },
	{ .name = "bulk_and_split", .run = bulk_and_split },
	{ .name = "bad_flags", .run = bad_flags },
	{ .name = "split_of_a_huge_block", .run = split_of_a_huge_block,
	  .dies = "buddymalloc: invalid bm_split_page of 0x[0-9a-f]+: no block of order 19\n" },
	{ .name = "too_large_an_order", .run = too_large_an_order,
	  .says = "buddymalloc: no block has order 20: the largest order is 18\n" },
	{ .name = "below_four_gib", .run = below_four_gib },
	{ .name = "locked_pages", .run = locked_pages },
	{ .name = "written_at_once", .run = written_at_once },
	{ .name = "cold_pages_leave_the_warm", .run = cold_pages_leave_the_warm },
	{ .name = "many_threads", .run = many_threads },
	{ .name = "at_the_limit", .run = at_the_limit, .conf = "hard_limit:32M,min_free:256K" },
	{ .name = "must_not_fail_in_a_scope", .run = must_not_fail_in_a_scope },
	{ .name = "freed_by_free", .run = freed_by_free,
	  .dies = "buddymalloc: invalid free of 0x[0-9a-f]+: " BLOCK_OF_PAGES "\n" },
	{ .name = "freed_twice", .run = freed_twice,
	  .dies = "buddymalloc: invalid bm_free_pages of 0x[0-9a-f]+: in free memory; "
		  "freed before, or never allocated\n" },
	{ .name = "wrong_order", .run = wrong_order,
	  .dies = "buddymalloc: invalid bm_free_pages of 0x[0-9a-f]+: a block of 4 pages freed "
		  "with order 1\n" },
	{ .name = "wrong_size", .run = wrong_size,
	  .dies = "buddymalloc: invalid bm_free_pages_exact of 0x[0-9a-f]+: a block of 5 pages "
		  "freed with 30000 bytes\n" },
	{ .name = "size_too_small", .run = size_too_small,
	  .dies = "buddymalloc: invalid bm_free_pages_exact of 0x[0-9a-f]+: a block of 5 pages "
		  "freed with 16384 bytes\n" },
	{ .name = "malloc_freed_as_pages", .run = malloc_freed_as_pages,
	  .dies = "buddymalloc: invalid bm_free_pages of 0x[0-9a-f]+: memory that malloc gave "
		  "out, of [0-9]+ bytes\n" },
	{ .name = "object_freed_as_a_page", .run = object_freed_as_a_page,
	  .dies = "buddymalloc: invalid bm_free_page of 0x[0-9a-f]+: memory that malloc gave "
		  "out, of 112 bytes\n" },
	{ .name = "inside_an_object", .run = inside_an_object,
	  .dies = "buddymalloc: invalid bm_free_page of 0x[0-9a-f]+: 16 bytes inside the 112-byte "
		  "object at 0x[0-9a-f]+\n" },
	{ .name = "inside_a_block", .run = inside_a_block,
	  .dies = "buddymalloc: invalid bm_free_page of 0x[0-9a-f]+: 4096 bytes inside the block "
		  "of 16384 bytes at 0x[0-9a-f]+\n" },
	{ .name = "low_freed_by_free", .run = low_freed_by_free,
	  .dies = "buddymalloc: invalid free of 0x[0-9a-f]+: " BLOCK_OF_PAGES "\n" },
	{ .name = "foreign", .run = foreign,
	  .dies = "buddymalloc: invalid bm_free_page of 0x[0-9a-f]+: not memory of this "
		  "allocator\n" },
};

TRAP_MAIN(cases)
