/* Messages: their prefix, their longest length, who aborts; and the counters' names. */
#include <stdlib.h>
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"

static const char prefix[] = "buddymalloc: ";

static void one_line_with_a_prefix(void)
{
	report("%d and %s", 1, "two");
	unit_said("buddymalloc: 1 and two\n");
	report_to(&(struct report_sink){ .fd = 5 }, "%lu", 3ul);
	unit_said("buddymalloc: 3\n");
	report("%s", "");
	unit_said("buddymalloc: \n");
	assert_int_equal(fake_calls(FAKE_WRITE), 3);
}

static void remember(void *opaque, const char *line)
{
	assert_int_equal(line[strlen(line) - 1], '\n');
	strcat(opaque, line);
}

static void a_function_takes_the_lines(void)
{
	char said[3 * REPORT_LINE] = "", text[2 * REPORT_LINE];
	struct report_sink to = { .write = remember, .opaque = said, .fd = 5 };

	report_to(&to, "%d", 1);
	report_to(&to, "%s", "a\nb");
	assert_string_equal(said, "buddymalloc: 1\nbuddymalloc: a?b\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	said[0] = '\0';
	report_to(&to, "%s", text);
	assert_true(strlen(said) <= REPORT_LINE);
	assert_int_equal(fake_calls(FAKE_WRITE), 0);
}

/* What a user put into a name or a value breaks no line, and moves no cursor. */
static void control_characters_are_shown_as_marks(void)
{
	report("'%s'", "a\nb\tc\x1b[2J\r\x7f\xc3\xa9");
	unit_said("buddymalloc: 'a?b?c?[2J?\x7f\xc3\xa9'\n");
}

/* Whatever its length, a message is one write of at most REPORT_LINE bytes, with its end. */
static void long_messages_are_cut(void)
{
	char text[2 * REPORT_LINE];
	size_t len;

	memset(text, 'x', sizeof(text));
	for (len = REPORT_LINE - 40; len < sizeof(text); len++) {
		size_t written, kept;

		text[len] = '\0';
		report("%s", text);
		text[len] = 'x';
		written = strlen(fake_output());
		assert_true(written <= REPORT_LINE);
		kept = written - strlen(prefix) - 1;
		assert_true(kept == len || (kept < len && written >= REPORT_LINE - 2));
		assert_memory_equal(fake_output(), prefix, strlen(prefix));
		assert_memory_equal(fake_output() + strlen(prefix), text, kept);
		assert_int_equal(fake_output()[written - 1], '\n');
		fake_clear_output();
	}
	assert_int_equal(fake_calls(FAKE_WRITE), sizeof(text) - (REPORT_LINE - 40));
}

static void errno_is_left_alone(void)
{
	errno = EDOM;
	report("%s", strerror(ENOENT));
	report_to(&(struct report_sink){ .fd = 1 }, "x");
	options.abort_on_corruption = false;
	report_corruption("y");
	assert_int_equal(errno, EDOM);
}

static void verbose_messages_are_an_option(void)
{
	report_verbose("quiet");
	unit_said("%s", "");
	options.verbose = true;
	report_verbose("loud %d", 1);
	unit_said("buddymalloc: loud 1\n");
}

static void corruption(void *arg)
{
	report_corruption("corrupt %d", *(int *)arg);
	_Exit(0);
}

static void fatal(void *arg)
{
	report_fatal("fatal %d", *(int *)arg);
}

static void corruption_aborts_unless_told_otherwise(void)
{
	int n = 7;

	unit_dies(corruption, &n, "corrupt 7");
	options.abort_on_corruption = false;
	report_corruption("corrupt %d", 8);
	unit_said("buddymalloc: corrupt 8\n");
	unit_dies(fatal, &n, "fatal 7");
}

static int assertion_line;

static void failing_assertion(void *arg)
{
	assertion_line = __LINE__ + 1;
	bm_assert(*(int *)arg == 8);
}

static void assertions_name_their_place(void)
{
	int n = 8;

	failing_assertion(&n);
	n = 9;
	unit_dies(failing_assertion, &n, "assertion failed: *(int *)arg == 8 (%s:%d)", __FILE__,
		  assertion_line);
}

static void counters_have_names_and_sums(void)
{
	struct stats a, total;
	size_t i;

	for (i = 0; i < NR_STATS; i++) {
		((u64 *)&a)[i] = i + 1;
		((u64 *)&total)[i] = 100;
	}
	stats_sum(&total, &a);
	for (i = 0; i < NR_STATS; i++)
		assert_int_equal(((u64 *)&total)[i], 101 + i);
#define STAT(name, doc)                                                                        \
	assert_string_equal(stat_names[offsetof(struct stats, name) / sizeof(u64)], #name);    \
	stat_add(&a, name, 1000);                                                              \
	assert_int_equal(a.name, 1000 + offsetof(struct stats, name) / sizeof(u64) + 1);       \
	stat_add_shared(name, 5);                                                              \
	assert_int_equal(stats_shared.name, 5);
#include "base/stats.def"
}

UNIT_MAIN(CASE(one_line_with_a_prefix),
	  CASE(a_function_takes_the_lines),
	  CASE(control_characters_are_shown_as_marks),
	  CASE(long_messages_are_cut),
	  CASE(errno_is_left_alone),
	  CASE(verbose_messages_are_an_option),
	  CASE(corruption_aborts_unless_told_otherwise),
	  CASE(assertions_name_their_place),
	  CASE(counters_have_names_and_sums))
