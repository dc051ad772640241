/* rank 7: what mallctl knows; mallctl.def is the list. */
#ifndef BM_MALLOC_CTL_H
#define BM_MALLOC_CTL_H

#include "base/types.h"

enum ctl_type {
	CTL_VOID, CTL_BOOL, CTL_UNSIGNED, CTL_U32, CTL_SIZE, CTL_SSIZE, CTL_U64, CTL_STRING
};

/* The numbers in a name are given as index[0] and index[1]. */
#define CTL_NUMBERS 2

/* Of the table, without pointers: each would have to be relocated in every process. */
struct ctl {
	char name[34];		/* '*' stands for a number */
	u8 type;		/* enum ctl_type */
	bool reads, sets;
	u16 line;		/* of mallctl.def */
};

extern const struct ctl ctls[] HIDDEN;
extern const unsigned nr_ctls HIDDEN;

/*
 * Values of all types are handed on as a u64, a pointer too. 0, or what mallctl returns. To set
 * what is of type CTL_VOID is to do it.
 */
int ctl_read(const struct ctl *ctl, const size_t *index, u64 *value);
int ctl_set(const struct ctl *ctl, const size_t *index, u64 value);

#endif
