/*
 * load.h - what several trap tests put upon the allocator; what goes wrong fails the case
 */
#ifndef BM_TEST_LOAD_H
#define BM_TEST_LOAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Threads that allocate, check and free until end_busy: small and large, so that every lock
 * of the allocator is often held.
 */
void start_busy(pthread_t *threads, unsigned nr);
void end_busy(pthread_t *threads, unsigned nr);

/* The same for who makes the thread himself: its function, and what makes all of them end. */
void *busy_thread(void *index);
void stop_busy(void);

/* Requests of n bytes fail with ENOMEM, of whatever kind, and the heap is as good as before. */
void survive_failure_of(size_t n);

/* Large blocks of 128 MiB in all are written to, and freed. */
void peak(void);

#endif
