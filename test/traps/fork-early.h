/*
 * Handlers of fork that fork-early.so, which the program is linked with, registers before
 * any constructor of what is preloaded. They do nothing before they are told what.
 */
#ifndef BM_TEST_FORK_EARLY_H
#define BM_TEST_FORK_EARLY_H

#include <pthread.h>

/* Called by all three handlers; registered so that nobody preloaded sees it. */
extern __attribute__((visibility("default"))) void (*early_unseen)(void);

/* Taken before each fork and dropped after it, on both sides; by pthread_atfork. */
extern __attribute__((visibility("default"))) pthread_mutex_t *early_mutex;

#endif
