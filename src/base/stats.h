/*
 * rank 1: event counters, from stats.def.
 *
 * A struct stats has one writer at a time: a thread cache's is written by its
 * thread, so counting is no atomic add; readers may see it a moment late. Events
 * below the thread caches go to stats_shared with an atomic add; they are rare
 * enough. A total is the sum over all of them; nothing is ever reset.
 */
#ifndef BM_BASE_STATS_H
#define BM_BASE_STATS_H

#include "base/types.h"

struct stats {
#define STAT(name, doc) u64 name;
#include "base/stats.def"
};

#define NR_STATS (sizeof(struct stats) / sizeof(u64))

extern struct stats stats_shared HIDDEN;

/* Names in the order of the struct's fields. */
extern const char *const stat_names[NR_STATS];

#define stat_add(s, name, n) count_add(&(s)->name, n)
#define stat_add_shared(name, n) \
	((void)__atomic_fetch_add(&stats_shared.name, (n), __ATOMIC_RELAXED))

/* total += s, field by field. */
void stats_sum(struct stats *total, const struct stats *s);

#endif
