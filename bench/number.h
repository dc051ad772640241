/* Numbers on the command line. */
#ifndef BENCH_NUMBER_H
#define BENCH_NUMBER_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* A whole number from least to most and nothing behind it; else false, and *number stays. */
static inline bool parse_number(const char *text, long least, long most, long *number)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || *end || errno || n < least || n > most)
		return false;
	*number = n;
	return true;
}

#endif
