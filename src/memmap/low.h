/* rank 2: what memmap.c gives low.c: the section lock and the budget. */
#ifndef BM_MEMMAP_LOW_H
#define BM_MEMMAP_LOW_H

#include "memmap/memmap.h"

void memmap_lock(void);
void memmap_unlock(void);

/* Counts bytes of heap and of mem_map; false with ENOMEM beyond the budget. */
bool memmap_charge_locked(u64 heap, u64 meta);
void memmap_uncharge_locked(u64 heap, u64 meta);

#endif
