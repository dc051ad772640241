/*
 * What the unit tests share.
 *
 * The library's layers keep their state in static variables, so each case runs
 * in a process of its own, forked from the test program: it finds the layers
 * as they are at start and may leave them in any state. A cmocka assertion that
 * fails there ends that process and fails the case.
 */
#ifndef BM_TEST_UNIT_H
#define BM_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_os.h"
#include "helpers.h"

struct unit_case {
	void (*run)(void);
};

void unit_run_case(void **state);

/* An entry of the program's table of cases; the fake system is reset before each. */
#define CASE(f)                                                               \
	{                                                                     \
		.name = #f, .test_func = unit_run_case,                       \
		.initial_state = &(struct unit_case){ f }                     \
	}

#define UNIT_MAIN(...)                                                        \
	int main(void)                                                        \
	{                                                                     \
		const struct CMUnitTest cases[] = { __VA_ARGS__ };            \
                                                                              \
		return cmocka_run_group_tests(cases, NULL, NULL);             \
	}

/* Ends the case, which is skipped, and says why. */
void unit_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/*
 * Skips the case on a machine whose pages are larger than these: it counts pages of
 * this size that go back to the system. The others run with the machine's own.
 */
void unit_needs_pages_of(size_t bytes);

/* The seed of random runs: $BM_SEED, or one from the clock; printed on failure. */
uint64_t unit_seed(void);

/* Called when the case fails, to say on stderr how it got there. */
void unit_on_failure(void (*describe)(void));

/*
 * Runs f(arg) in a child. It must end in os_abort after one message, which is
 * "buddymalloc: ", the text given, and the end of the line.
 */
void unit_dies(void (*f)(void *), void *arg, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, if only some part of the message is known. */
void unit_dies_somehow(void (*f)(void *), void *arg, const char *part);

/* The messages since the last call are exactly this text, which has its own prefixes. */
void unit_said(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Runs f() in a child that must come to its end, with the caller's state. */
void unit_in_child(void (*f)(void));
/* The same, but what the calling thread has begun is not gone on with there. */
void unit_in_child_of_another_thread(void (*f)(void));

/* Forks as a signal's handler may, and goes on in both: true in the child. */
bool unit_fork_midst(void);
/* Where the case ends in both: the child must have come so far. */
void unit_both_end(void);

/* Calls f() once, the next time that pages are given back: in the midst of it. */
void unit_at_give_back(void (*f)(void));
/* The same in a child that another thread forks there. */
void unit_fork_at_give_back(void (*f)(void));

#endif
