/* rank 3: a zone begins, and its locks around fork. */
#include "buddy/zone.h"

struct zone *zone_table[MAX_NR_ZONES] BULKY;

void zone_init(struct zone *zone, u8 index, enum zone_type type, u8 node, unsigned nr_cpus)
{
	static const char *const names[NR_ZONES] = { "DMA", "DMA32", "Normal", "HighMem" };

	zone->index = index;
	zone->type = (u8)type;
	zone->node = node;
	zone->name = names[type];
	/* CPUs may come later or be numbered beyond the mask seen now; a list is
	 * only ever used under its lock, so sharing one is merely slower. */
	zone->nr_pcps = 1;
	while (zone->nr_pcps < nr_cpus && zone->nr_pcps < NR_PCPS)
		zone->nr_pcps *= 2;
	zone->tick = 1;
	zone_table[index] = zone;
}

void zone_lock_all(struct zone *zone)
{
	unsigned i;

	lock_for_fork(&zone->grow_lock, LOCK_GROW);
	for (i = 0; i < zone->nr_pcps; i++)
		lock_polled_for_fork(&zone->pcps[i].lock, LOCK_PCP);
	lock_for_fork(&zone->lock, LOCK_ZONE);
}

void zone_unlock_all(struct zone *zone)
{
	unsigned i;

	unlock_for_fork(&zone->lock, LOCK_ZONE);
	for (i = 0; i < zone->nr_pcps; i++)
		unlock_for_fork(&zone->pcps[i].lock, LOCK_PCP);
	unlock_for_fork(&zone->grow_lock, LOCK_GROW);
}

void zone_reinit_locks(struct zone *zone)
{
	unsigned i;

	lock_reinit(&zone->grow_lock);
	lock_reinit(&zone->lock);
	for (i = 0; i < zone->nr_pcps; i++)
		lock_reinit(&zone->pcps[i].lock);
}
