/* What the files of the fake share. */
#ifndef BM_TEST_FAKE_INTERNAL_H
#define BM_TEST_FAKE_INTERNAL_H

#include <pthread.h>

#include "fake_os.h"

/* Over the lists of mappings, and the output. */
extern pthread_mutex_t fake_mutex;

/* The library breaks the rules of os.h: a message, and the end. */
void fake_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Counts the call; true when it is to fail. */
bool fake_enter(enum fake_call call);

/* The part of fake_reset that is about mappings. */
void fake_mapping_reset(void);

#endif
