/*
 * Giving memory back to the system before it has aged: for a program that knows
 * that its peak is over, or that somebody else needs memory now.
 */
#ifndef BUDDYMALLOC_RECLAIM_H
#define BUDDYMALLOC_RECLAIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Gives at least `bytes` back to the system, if there is as much: free pages
 * first, those that have been free longest before others; then what threads and
 * slabs cache; then idle pages inside slabs. SIZE_MAX asks for everything.
 *
 * Returns the bytes given back, of pages that had been handed out before:
 * fewer than asked for when there are no more, up to 2 MiB more as a pageblock's free pages
 * go together. errno stays as it was. Thread-safe; not async-signal-safe.
 * Takes the time of the madvise calls, and no lock meanwhile.
 * Kernel: a write to memory.reclaim of a control group.
 */
size_t bm_reclaim(size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
