/*
 * What the kernel says of this process, and what the preloaded allocator can
 * be asked. None of these calls allocates.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_memory {
	uint64_t rss_bytes;
	uint64_t peak_rss_bytes;
	uint64_t minor_faults;
	uint64_t major_faults;
};

void process_memory(struct process_memory *m);
uint64_t process_rss_bytes(void);

/* The file that malloc() comes from: the proof that a preload took effect. */
const char *process_malloc_file(void);

/* Ask the allocator, in its own way, to give back all it can. */
void process_trim(void);

#endif
