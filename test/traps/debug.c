/* Page poisoning and tracing. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

/*
 * A page of a freed block is locked still: the block is given back in part, and of what is
 * refused the pages in front of that one are gone as well.
 */
static void poison_and_locked_pages(void)
{
	const size_t n = (size_t)2 << 20;
	char *p = aligned_alloc(4096, n);

	memset(p, 1, n);
	if (mlock(p + n / 2 + 5 * 4096, 4096) != 0)
		trap_skip("no memory may be locked");
	free(p);
	malloc_trim(0);
	CHECK(malloc(n) == hide(p));
}

static void poison_is_harmless(void)
{
	char *p = bm_get_free_pages(BM_GFP_KERNEL, 3);
	unsigned i;

	memset(p, 1, 8 * BM_PAGE_SIZE);
	bm_free_pages(p, 3);
	for (i = 0; i < 8 * BM_PAGE_SIZE; i++)
		CHECK((unsigned char)p[i] == 0xaa, "byte %u is %#x", i, p[i]);
	p = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_ZERO, 3);
	CHECK(is_zero(p, 8 * BM_PAGE_SIZE));
	bm_free_pages(p, 3);
	CHECK(!churn(7, 300, 50, 3 << 20));
	malloc_trim(0);
	CHECK(!churn(8, 20000, 300, 30000));
}

static void written_after_free(void)
{
	char *p = bm_get_free_pages(BM_GFP_KERNEL, 2);

	memset(p, 1, 4 * BM_PAGE_SIZE);
	bm_free_pages(p, 2);
	((char *)hide(p))[2 * BM_PAGE_SIZE + 77] = 5;
	trap_expect_pointer(p + 2 * BM_PAGE_SIZE);
	CHECK(bm_get_free_pages(BM_GFP_KERNEL, 2) != p);
}

static void large_written_after_free(void)
{
	char *p = malloc(3 << 20);

	memset(p, 1, 3 << 20);
	free(p);
	((char *)hide(p))[4096 * 500] = 5;
	trap_expect_pointer(p + 4096 * 500);
	free(malloc(3 << 20));
	CHECK(!churn(7, 20000, 300, 3 << 20));
}

/* What a block leaves when it shrinks is free, and looked at when it grows again. */
static void tail_written_after_free(void)
{
	char *p = malloc(4 << 20);

	memset(p, 1, 4 << 20);
	CHECK(bm_expand(p, 2 << 20) == p);
	p[(3 << 20) + 9] = 5;
	trap_expect_pointer(p + (3 << 20));
	CHECK(bm_expand(p, 4 << 20) == p);
}

static uint64_t seen[BM_NR_TRACE_EVENTS], pages_out, pages_in;

static void count(enum bm_trace_event event, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	__atomic_fetch_add(&seen[event], 1, __ATOMIC_RELAXED);
	if (event == BM_TRACE_MM_PAGE_ALLOC)
		pages_out += b;
	if (event == BM_TRACE_MM_PAGE_FREE)
		pages_in += b;
	(void)a;
	(void)c;
	(void)d;
}

/* Volatile: the compiler knows that realloc changes no variable of the program's. */
static volatile uint64_t large_out, large_in;

static void count_large(enum bm_trace_event event, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	if (event == BM_TRACE_MALLOC_LARGE)
		large_out += b;
	if (event == BM_TRACE_FREE_LARGE)
		large_in += b;
	(void)a;
	(void)c;
	(void)d;
}

/* However blocks are resized, what came less what went is what is there. */
static void large_blocks_add_up(void)
{
	char *p;

	CHECK(bm_trace_set(count_large) == NULL);
	p = malloc((3 << 20) + 1);
	CHECK(p && large_out == (3 << 20) + 4096 && large_in == 0);
	CHECK((p = realloc(p, 20 << 20)) && large_out - large_in == 20 << 20);
	CHECK((p = realloc(p, 15 << 20)) && large_out - large_in == 15 << 20);
	free(p);
	CHECK(large_out == large_in);
	CHECK(bm_trace_set(NULL) == count_large);
}

static void every_event_is_seen(void)
{
	char *p[200];
	int i, n;

	CHECK(bm_trace_set(count) == NULL);
	p[0] = bm_get_free_pages(BM_GFP_KERNEL, 5);
	bm_free_pages(p[0], 5);
	CHECK(seen[BM_TRACE_MM_PAGE_ALLOC] == 1 && seen[BM_TRACE_MM_PAGE_FREE] == 1);
	CHECK(pages_out == 32 && pages_in == 32);
	for (i = 0; i < 200; i++)
		CHECK((p[i] = bm_get_free_pages(BM_GFP_KERNEL, 0)));
	for (i = 0; i < 200; i++)
		bm_free_pages(p[i], 0);
	free(malloc(3 << 20));
	CHECK(!churn(3, 50000, 3000, 500));
	/* Where the heap cannot grow, types mix. */
	limit_self(RLIMIT_AS, (size_t)status_kib("VmSize") * 1024);
	for (n = 0; n < 200 && (p[n] = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_MOVABLE, 6)); n++)
		;
	bm_free_pages(p[0], 6);
	CHECK(bm_get_free_pages(BM_GFP_KERNEL, 0));
	for (i = 0; i < BM_NR_TRACE_EVENTS; i++)
		CHECK(seen[i], "event %d", i);
	CHECK(bm_trace_set(NULL) == count);
	i = (int)seen[BM_TRACE_MM_PAGE_FREE];
	bm_free_pages(p[1], 6);
	CHECK((int)seen[BM_TRACE_MM_PAGE_FREE] == i);
}

#define CHANGED                                                               \
	"buddymalloc: page 0x[0-9a-f]+, in a block of order [0-9]+ at 0x[0-9a-f]+, was " \
	"written to after it was freed: byte "

static const struct trap_case cases[] = {
	{ .name = "poison_and_locked_pages", .run = poison_and_locked_pages,
	  .conf = "page_poison:true" },
	{ .name = "poison_is_harmless", .run = poison_is_harmless, .conf = "page_poison:true" },
	{ .name = "written_after_free", .run = written_after_free, .conf = "page_poison:true",
	  .dies = CHANGED "77 is 0x05\n" },
	{ .name = "large_written_after_free", .run = large_written_after_free,
	  .conf = "page_poison:true", .dies = CHANGED "0 is 0x05\n" },
	{ .name = "tail_written_after_free", .run = tail_written_after_free,
	  .conf = "page_poison:true", .dies = CHANGED "9 is 0x05\n" },
	{ .name = "large_blocks_add_up", .run = large_blocks_add_up },
	{ .name = "every_event_is_seen", .run = every_event_is_seen },
};

TRAP_MAIN(cases)
