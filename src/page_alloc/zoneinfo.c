/*
 * rank 4: the zones in the report, as the kernel's /proc/zoneinfo and /proc/pagetypeinfo show its
 * own. Read without a lock, so close rather than exact.
 */
#include <stdio.h>

#include "base/report.h"
#include "buddy/pcp.h"
#include "page_alloc/internal.h"

static void report_zone(const struct report_sink *to, const struct zone *zone, u64 managed)
{
	report_to(to,
		  "zone %s, node %u: managed %lu, free %lu, dirty %lu, in per-CPU lists %lu, "
		  "min %lu, low %lu pages",
		  zone->name, zone->node, (unsigned long)managed,
		  (unsigned long)zone_nr_free(zone), (unsigned long)zone_nr_dirty(zone),
		  (unsigned long)pcp_nr_pages(zone),
		  (unsigned long)__atomic_load_n(&zone->watermark[WMARK_MIN], __ATOMIC_RELAXED),
		  (unsigned long)__atomic_load_n(&zone->watermark[WMARK_LOW], __ATOMIC_RELAXED));
}

/* Free blocks of a migratetype, from order 0 on; nothing where there is none. */
static void report_free_blocks(const struct report_sink *to, const struct zone *zone,
			       enum migratetype mt)
{
	static const char *const names[MIGRATE_PCPTYPES] = { "unmovable", "movable",
							     "reclaimable" };
	char counts[NR_ORDERS * sizeof(" 4294967295")];
	unsigned order;
	bool any = false;
	size_t len = 0;

	for (order = 0; order < NR_ORDERS; order++) {
		u32 nr = __atomic_load_n(&zone->area[order].nr_free[mt], __ATOMIC_RELAXED);

		any |= nr != 0;
		len += (size_t)snprintf(counts + len, sizeof(counts) - len, " %u", nr);
	}
	if (any)
		report_to(to, "zone %s, node %u, %s: free blocks%s", zone->name, zone->node,
			  names[mt], counts);
}

void page_alloc_report(const struct report_sink *to)
{
	unsigned i, mt;

	for (i = 0; i < nr_zones; i++) {
		u64 managed = zone_managed(zone_table[i]);

		if (!managed)
			continue;
		report_zone(to, zone_table[i], managed);
		for (mt = 0; mt < MIGRATE_PCPTYPES; mt++)
			report_free_blocks(to, zone_table[i], mt);
	}
}
