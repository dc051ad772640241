/*
 * shadow.h - which bytes of the address space belong to a live object
 *
 * One bit for every 16 bytes. An object claims its bits after it was allocated
 * and gives them up before it is freed, so a bit that is set already means that
 * the allocator gave out the same memory twice: found at once, with both
 * addresses at hand, and not when a pattern turns out to be spoilt.
 *
 * Claims of different threads may run at the same time. The table lies in
 * mappings of its own and allocates nothing.
 */
#ifndef BM_TEST_SHADOW_H
#define BM_TEST_SHADOW_H

#include <stdbool.h>
#include <stddef.h>

/* False when any of the 16-byte granules in [p, p + n) was claimed, or was not. */
bool shadow_claim(const void *p, size_t n);
bool shadow_release(const void *p, size_t n);

/* Granules that are claimed. */
size_t shadow_claimed(void);

#endif
