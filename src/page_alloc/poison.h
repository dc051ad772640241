/*
 * rank 4: who wants to see every block of pages: tracing, the page_poison option,
 * and decay_ms:0, which leaves none in the lists of the CPUs. All cost the common
 * path one test together: whether each block makes a detour.
 */
#ifndef BM_PAGE_ALLOC_POISON_H
#define BM_PAGE_ALLOC_POISON_H

#include "base/types.h"

extern bool page_detour HIDDEN; /* relaxed atomic */

/* After trace_hook or an option of these changed. */
void page_detour_update(void);

/* Fills pages that are about to be free, as far as they may hold data. */
void pages_poison(u64 pfn, u64 nr);
/*
 * Reports the first byte of pages about to be handed out that somebody wrote
 * to while they were free. Pages that were given back meanwhile are zero.
 */
void pages_check_poison(u64 pfn, u64 nr);

#endif
