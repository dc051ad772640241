/* Pages moved by page tables, on a real kernel: which mappings there are, and what a refusal costs. */
#include "real_mapping.h"

/* -------------------------------------------------------- several mappings */

static void mappings_have_their_lengths(void)
{
	enum { NR = 21 };
	char *p = pages(NR);
	size_t at, from;

	errno = 77;
	assert_int_equal(mapping_length(p, NR * page()), NR * page());
	for (at = 1; at < NR; at++) {
		/* What is before it and what is behind it are mappings of their own. */
		assert_int_equal(mprotect(p + at * page(), (NR - at) * page(), PROT_READ), 0);
		for (from = 0; from < at; from++)
			assert_int_equal(mapping_length(p + from * page(), (NR - from) * page()),
					 (at - from) * page());
		assert_int_equal(mapping_length(p + at * page(), (NR - at) * page()),
				 (NR - at) * page());
		assert_int_equal(mprotect(p, NR * page(), PROT_READ | PROT_WRITE), 0);
	}
	assert_int_equal(mapping_length(p, page()), page());
	assert_int_equal(errno, 77);
}

/* ------------------------------------------------------------------ moving */

/* Moves two pages of five: all as it was, or moved. */
static enum os_moved move_some(void)
{
	char *from = pages(4), *to = pages(4);
	enum os_moved how;

	memset(from, 1, 4 * page());
	memset(to, 2, 4 * page());
	how = move_pages(to + page(), from + page(), 2 * page());
	assert_true(is_there(from, 4));
	assert_int_equal(from[0] + from[3 * page()], 2);
	assert_int_equal(to[0] + to[3 * page()], 4);
	if (how == OS_MOVED) {
		assert_int_equal(to[page()] + to[3 * page() - 1], 2);
		assert_true(is_zero(from + page(), 2 * page()));
	} else {
		assert_int_equal(from[page()] + from[3 * page() - 1], 2);
	}
	if (how == OS_NOT_MOVED)
		assert_true(is_there(to, 4));
	return how;
}

/* Then some are. */
static void skip_unless_pages_move(void)
{
	char *from = pages(1);
	long to = syscall(SYS_mremap, from, page(), page(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	if (to == -1 || !is_there(from, 1))
		unit_skip("this kernel moves no pages and leaves their source mapped");
	assert_int_equal(move_some(), OS_MOVED);
}

static long asks_first(long nr, const unsigned long *arg)
{
	(void)arg;
	assert_int_not_equal(nr, SYS_rt_sigprocmask);
	return PASS_ON;
}

/* Whether the source stays is tried with the first move only. */
static void pages_are_moved(void)
{
	skip_unless_pages_move();
	assert_int_equal(calls[SYS_rt_sigprocmask], 1);
	/* What it was tried with is gone: two pages of one mapping, and another one. */
	assert_int_equal(calls[SYS_mmap], 2);
	assert_int_equal(calls[SYS_munmap], 3);
	instead = asks_first;
	assert_int_equal(move_some(), OS_MOVED);
}

static long source_goes(long nr, const unsigned long *arg)
{
	long result;

	if (nr != SYS_mremap || !(arg[3] & MREMAP_DONTUNMAP))
		return PASS_ON;
	result = syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4]);
	if (result != -1)
		munmap((void *)arg[0], arg[1]);
	return result;
}

/* An emulator may unmap it: nothing is moved there, ever. */
static void where_the_source_goes_nothing_is_moved(void)
{
	instead = source_goes;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	instead = NULL;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	assert_int_equal(calls[SYS_mremap], 1);
}

static int mremap_error;
static unsigned mremap_passed; /* before it is refused */

static long refuses_mremap(long nr, const unsigned long *arg)
{
	(void)arg;
	if (nr != SYS_mremap || mremap_passed--)
		return PASS_ON;
	return refuse(mremap_error);
}

/* A kernel before 5.7 says no, and is not asked again. One without memory may say yes later. */
static void an_older_kernel_moves_none(void)
{
	instead = refuses_mremap;
	mremap_error = ENOMEM;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	mremap_passed = 0;
	mremap_error = EINVAL;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	instead = NULL;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	assert_int_equal(calls[SYS_mremap], 2);
	/* What it was tried with is gone. */
	assert_int_equal(calls[SYS_mmap], 2);
	assert_int_equal(calls[SYS_munmap], 2);
}

static long locks_what_is_mapped(long nr, const unsigned long *arg)
{
	(void)arg;
	return nr == SYS_madvise ? refuse(EINVAL) : PASS_ON;
}

/* What would be left behind at the source is not locked any more. */
static void what_is_locked_is_not_moved(void)
{
	unsigned mapped;

	skip_unless_pages_move();
	mapped = calls[SYS_mmap] - calls[SYS_munmap];
	instead = locks_what_is_mapped;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	/* Nor where a limit leaves no page to be mapped. */
	how_often_refused = 1;
	unmaps_first = somebody_comes = false;
	instead = refuses_to_map;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	assert_int_equal(calls[SYS_mmap] - calls[SYS_munmap] - mapped, 1);
}

static bool target_goes;

static long refuses_the_move(long nr, const unsigned long *arg)
{
	if (nr == SYS_mmap && how_often_refused && arg[0]) {
		how_often_refused--;
		return refuse(ENOMEM);
	}
	if (nr != SYS_mremap || !(arg[3] & MREMAP_FIXED))
		return PASS_ON;
	if (target_goes)
		munmap((void *)arg[4], arg[1]);
	return refuse(ENOMEM);
}

/* The kernel unmaps the target before it looks at other limits: it is mapped again, if it can be. */
static void a_refused_move_may_cost_the_target(void)
{
	skip_unless_pages_move();
	instead = refuses_the_move;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	target_goes = true;
	assert_int_equal(move_some(), OS_NOT_MOVED);
	how_often_refused = 1;
	assert_int_equal(move_some(), OS_TARGET_GONE);
}

UNIT_MAIN(CASE(mappings_have_their_lengths), CASE(pages_are_moved),
	  CASE(where_the_source_goes_nothing_is_moved), CASE(an_older_kernel_moves_none),
	  CASE(what_is_locked_is_not_moved), CASE(a_refused_move_may_cost_the_target))
