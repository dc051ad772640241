/*
 * trap.h - cases that each run in a process of their own
 *
 * A malloc fails in ways that take the process with it, and much of what it
 * must get right happens before main, at exit, or under limits that can only
 * be set once. So a test program here is a table of cases; run without
 * arguments it starts itself once for every case, with the library preloaded,
 * the case's BUDDYMALLOC_CONF set and stdout and stderr caught, and judges the
 * exit status and what was written. `PROGRAM NAME...` runs the named cases
 * only.
 *
 * The library is $BM_LIB, or else the one of the build tree.
 */
#ifndef BM_TEST_TRAP_H
#define BM_TEST_TRAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct trap_case {
	const char *name;
	void (*run)(void);	/* in the case's own process */
	const char *conf;	/* BUDDYMALLOC_CONF; NULL: not set */

	/*
	 * Extended regular expressions for the whole of stderr. With `dies` the
	 * case must end in SIGABRT after exactly one line; otherwise it must
	 * exit 0, and without `says` it must write nothing.
	 */
	const char *dies;
	const char *says;

	void (*prepare)(void);	/* in the child before exec: limits, signals */
	unsigned flags;
	int seconds;		/* before the case is killed; 0 means 60 */
};

enum {
	TRAP_BARE = 1,		/* no preload: the case loads the library itself */
	TRAP_DIRECTORY = 2,	/* a directory of its own: $BM_TEST_DIRECTORY, @ in conf */
};

int trap_main(int argc, char **argv, const struct trap_case *cases, size_t nr);

#define TRAP_MAIN(cases)                                                      \
	int main(int argc, char **argv)                                       \
	{                                                                     \
		return trap_main(argc, argv, cases,                           \
				 sizeof(cases) / sizeof(cases[0]));           \
	}

#define MIB ((size_t)1 << 20)

/* Path of the library under test. */
const char *trap_library(void);

/* The line the case dies with, or says, must contain this pointer as %p prints it. */
void trap_expect_pointer(const void *p);

/* End the case: as failed, or as not possible here. Neither allocates. */
void trap_fail(const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((noreturn, format(printf, 4, 5)));
void trap_skip(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

#define CHECK(condition, ...)                                                 \
	do {                                                                  \
		if (!(condition))                                             \
			trap_fail(__FILE__, __LINE__, #condition,             \
				  " " __VA_ARGS__);                           \
	} while (0)

/*
 * The compiler knows malloc and its attributes and would warn of, or remove,
 * exactly the misuse that is tested.
 */
static inline void *hide(const void *p)
{
	void *q = (void *)(uintptr_t)p;

	__asm__ volatile("" : "+r"(q) : : "memory");
	return q;
}

static inline size_t hide_size(size_t n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

#ifdef __cplusplus
}
#endif

#endif
