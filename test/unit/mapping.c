/* Mappings and their pages, on a real kernel: made, given back, renewed, locked, prepared. */
#include "real_mapping.h"

/* ------------------------------------------------------------------ mapping */

static void a_place_is_mapped_once(void)
{
	char *p = pages(3);

	assert_true(unmap(p, 3 * page()));
	assert_false(is_there(p, 1));
	assert_true(map_at(p, 2 * page()));
	assert_true(is_zero(p, 2 * page()));
	p[2 * page() - 1] = 1;
	errno = 0;
	assert_false(map_at(p + page(), 2 * page()));
	assert_int_equal(errno, EEXIST);
	assert_int_equal(p[2 * page() - 1], 1);
	assert_false(is_there(p + 2 * page(), 1));
}

static char *elsewhere;

static long takes_addresses_for_hints(long nr, const unsigned long *arg)
{
	if (nr != SYS_mmap)
		return PASS_ON;
	elsewhere = mmap(NULL, arg[1], PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return (long)elsewhere;
}

static void an_older_kernel_maps_elsewhere(void)
{
	char *p = pages(1);

	assert_true(unmap(p, page()));
	instead = takes_addresses_for_hints;
	errno = 0;
	assert_false(map_at(p, page()));
	assert_int_equal(errno, EEXIST);
	assert_non_null(elsewhere);
	assert_false(is_there(elsewhere, 1));
}

/* -------------------------------------------------------------- giving back */

static void what_is_given_back_reads_as_zero(void)
{
	char *p = pages(4);

	memset(p, 1, 4 * page());
	errno = 77;
	assert_true(give_back(p + page(), 2 * page()));
	assert_true(is_zero(p + page(), 2 * page()));
	assert_int_equal(p[page() - 1], 1);
	assert_int_equal(p[3 * page()], 1);
	/* Up to the last word, behind which nothing is mapped. */
	memset(p + 3 * page(), 0, page());
	assert_true(give_back(p + 3 * page(), page()));
	/* Refused, as nothing is mapped behind. */
	assert_false(give_back(p + 3 * page(), 2 * page()));
	assert_false(give_back_lazily(p + 3 * page(), 2 * page()));
	assert_true(give_back_lazily(p, page()));
	assert_int_equal(errno, 77);
	assert_true(give_back_clears());
}

static long leaves_data_there(long nr, const unsigned long *arg)
{
	return nr == SYS_madvise && (int)arg[2] == MADV_DONTNEED ? 0 : PASS_ON;
}

static long refuses_all(long nr, const unsigned long *arg)
{
	(void)nr;
	(void)arg;
	return refuse(EINVAL);
}

/* One byte anywhere in the first page is enough to see it by. */
static void an_emulator_that_pretends_is_seen(void)
{
	char *p = pages(2);

	instead = leaves_data_there;
	assert_true(give_back(p, 2 * page()));
	assert_true(give_back_clears());
	p[page() - 1] = 1;
	/* A refusal says nothing. */
	instead = refuses_all;
	assert_false(give_back(p, 2 * page()));
	assert_true(give_back_clears());
	instead = leaves_data_there;
	errno = 77;
	assert_true(give_back(p, 2 * page()));
	assert_int_equal(errno, 77);
	assert_false(give_back_clears());
	/* It stays so. */
	instead = NULL;
	assert_true(give_back(p, 2 * page()));
	assert_false(give_back_clears());
}

/* What was seen to be cleared once is believed of all ranges that are as aligned. */
static void ranges_less_aligned_are_looked_at(void)
{
	char *all = pages(32), *p = (char *)round_up((uintptr_t)all, 16 * page());

	*p = 1;
	assert_true(give_back(p, 16 * page()));
	assert_int_equal(*p, 0);
	*p = 1;
	instead = leaves_data_there;
	assert_true(give_back(p, 16 * page()));
	assert_true(give_back_clears());
	assert_true(give_back(p, 15 * page()));
	assert_false(give_back_clears());
}

/* ---------------------------------------------------------------- renewing */

static void renewed_it_is_zero(void)
{
	char *p = pages(3);

	memset(p, 1, 3 * page());
	errno = 77;
	assert_int_equal(renew(p, 2 * page()), OS_RENEWED);
	assert_int_equal(errno, 77);
	assert_true(is_zero(p, 2 * page()));
	assert_int_equal(p[2 * page()], 1);
}

static enum os_renewed renew_refused(char *p, int times, bool unmaps)
{
	enum os_renewed how;

	how_often_refused = times;
	unmaps_first = unmaps;
	instead = refuses_to_map;
	errno = 77;
	how = renew(p, 2 * page());
	assert_int_equal(errno, 77);
	return how;
}

static void a_refusal_may_leave_all_as_it_was(void)
{
	char *p = pages(2);

	memset(p, 1, 2 * page());
	/* The second is of the try to map what seems to be gone. */
	assert_int_equal(renew_refused(p, 2, false), OS_NOT_RENEWED);
	assert_int_equal(p[0] + p[2 * page() - 1], 2);
	assert_int_equal(renew_refused(p, 1, false), OS_NOT_RENEWED);
	assert_int_equal(p[0] + p[2 * page() - 1], 2);
	assert_int_equal(fake_calls(FAKE_SLEEP), 0);
}

static void what_is_lost_is_mapped_again(void)
{
	char *p = pages(2);

	memset(p, 1, 2 * page());
	assert_int_equal(renew_refused(p, 500, true), OS_RENEWED);
	assert_int_equal(fake_calls(FAKE_SLEEP), 499);
	assert_true(is_zero(p, 2 * page()));
	*p = 1;
	somebody_comes = true;
	assert_int_equal(renew_refused(p, 1, true), OS_NOT_RENEWED);
}

/* After a second it is given up. */
static void what_is_lost_for_good(void)
{
	char *p = pages(2);

	assert_int_equal(renew_refused(p, -1, true), OS_RENEWAL_LOST);
	assert_int_equal(fake_calls(FAKE_SLEEP), 1000);
	assert_false(is_there(p, 1));
}

/* ----------------------------------------------------------- other advice */

static unsigned long advised[8];
static unsigned nr_advised;
static long lock_error, advice_error;

static long notes_advice(long nr, const unsigned long *arg)
{
	if (nr == SYS_mlock)
		return lock_error ? refuse((int)lock_error) : 0;
	if (nr != SYS_madvise)
		return PASS_ON;
	assert_true(nr_advised + 3 <= ARRAY_SIZE(advised));
	advised[nr_advised++] = arg[0];
	advised[nr_advised++] = arg[1];
	advised[nr_advised++] = (unsigned)arg[2];
	return advice_error ? refuse((int)advice_error) : 0;
}

static void locked_pages_are_not_the_child_s(void)
{
	char *p = pages(1);

	instead = notes_advice;
	assert_true(lock_pages(p, page()));
	assert_int_equal(calls[SYS_mlock], 1);
	assert_int_equal(nr_advised, 3);
	assert_int_equal(advised[2], MADV_DONTFORK);
	/* Not to be locked they are again. */
	nr_advised = 0;
	lock_error = ENOMEM;
	assert_false(lock_pages(p, page()));
	assert_int_equal(nr_advised, 6);
	assert_int_equal(advised[3], p);
	assert_int_equal(advised[4], page());
	assert_int_equal(advised[5], MADV_DOFORK);
	/* Nor are they locked where a child would have them. */
	nr_advised = 0;
	advice_error = EINVAL;
	assert_false(lock_pages(p, page()));
	assert_int_equal(nr_advised, 3);
	assert_int_equal(calls[SYS_mlock], 2);
}

/* Whole pages of the system, all that the range touches. */
static void populated_are_whole_pages(void)
{
	char *p = pages(4);

	instead = notes_advice;
	advice_error = EINVAL;
	errno = 77;
	populate(p + page() + 1, page());
	assert_int_equal(advised[0], p + page());
	assert_int_equal(advised[1], 2 * page());
	assert_int_equal(advised[2], MADV_POPULATE_WRITE);
	nr_advised = 0;
	populate(p + page(), 2 * page());
	assert_int_equal(advised[0], p + page());
	assert_int_equal(advised[1], 2 * page());
	assert_int_equal(errno, 77);
}

static void huge_pages_are_allowed_or_not(void)
{
	char *p = pages(1);

	instead = notes_advice;
	advice_error = EINVAL;
	errno = 77;
	allow_huge_pages(p, page(), true);
	allow_huge_pages(p, page(), false);
	assert_int_equal(advised[2], MADV_HUGEPAGE);
	assert_int_equal(advised[5], MADV_NOHUGEPAGE);
	assert_int_equal(errno, 77);
}

static const char *huge_mode; /* NULL: there is no such file */

static long tells_the_mode(long nr, const unsigned long *arg)
{
	size_t len;

	switch (nr) {
	case SYS_openat:
		assert_string_equal((const char *)arg[1], "/sys/kernel/mm/transparent_hugepage/enabled");
		return huge_mode ? 700 : refuse(ENOENT);
	case SYS_read:
		assert_int_equal(arg[0], 700);
		len = strlen(huge_mode) < arg[2] ? strlen(huge_mode) : arg[2];
		memcpy((void *)arg[1], huge_mode, len);
		return (long)len;
	case SYS_close:
		return 0;
	default:
		return PASS_ON;
	}
}

static void the_mode_says_how_huge_pages_are_used(void)
{
	static const char *const asked[] = { NULL, "always [madvise] never\n", "", "always" };
	size_t i;

	instead = tells_the_mode;
	errno = 77;
	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		huge_mode = asked[i];
		assert_int_equal(huge_pages(), OS_HUGE_ASKED);
	}
	huge_mode = "always madvise [never]\n";
	assert_int_equal(huge_pages(), OS_HUGE_NEVER);
	huge_mode = "[always] madvise never\n";
	assert_int_equal(huge_pages(), OS_HUGE_UNASKED);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	assert_int_equal(huge_pages(), OS_HUGE_NEVER);
	huge_mode = "always [madvise] never\n";
	assert_int_equal(huge_pages(), OS_HUGE_NEVER);
	assert_int_equal(errno, 77);
}

static long maps_nothing(long nr, const unsigned long *arg)
{
	(void)arg;
	return nr == SYS_mmap ? refuse(ENOMEM) : PASS_ON;
}

static void small_pages_are_timed_if_there_are_some(void)
{
	errno = 77;
	assert_true(small_page_ns() > 0);
	instead = maps_nothing;
	assert_int_equal(small_page_ns(), 0);
	assert_int_equal(errno, 77);
}

UNIT_MAIN(CASE(a_place_is_mapped_once), CASE(an_older_kernel_maps_elsewhere),
	  CASE(what_is_given_back_reads_as_zero), CASE(an_emulator_that_pretends_is_seen),
	  CASE(ranges_less_aligned_are_looked_at), CASE(renewed_it_is_zero),
	  CASE(a_refusal_may_leave_all_as_it_was), CASE(what_is_lost_is_mapped_again),
	  CASE(what_is_lost_for_good), CASE(locked_pages_are_not_the_child_s),
	  CASE(populated_are_whole_pages), CASE(huge_pages_are_allowed_or_not),
	  CASE(the_mode_says_how_huge_pages_are_used),
	  CASE(small_pages_are_timed_if_there_are_some))
