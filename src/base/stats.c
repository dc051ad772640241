/* rank 1: the shared counters and their names; see stats.h. */
#include "base/stats.h"

struct stats stats_shared;

const char *const stat_names[NR_STATS] = {
#define STAT(name, doc) #name,
#include "base/stats.def"
};

void stats_sum(struct stats *total, const struct stats *s)
{
	u64 *to = (u64 *)total;
	const u64 *from = (const u64 *)s;
	size_t i;

	for (i = 0; i < NR_STATS; i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
