/* A library with handlers of fork; see fork-early.h. It is initialised before what is preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

#include "fork-early.h"

typedef void (*handler)(void);

void (*early_unseen)(void);
pthread_mutex_t *early_mutex;

static void unseen(void)
{
	if (early_unseen)
		early_unseen();
}

static void take(void)
{
	if (early_mutex)
		pthread_mutex_lock(early_mutex);
}

static void drop(void)
{
	if (early_mutex)
		pthread_mutex_unlock(early_mutex);
}

__attribute__((constructor)) static void register_handlers(void)
{
	/* Next is what comes behind this library: the C library's. What is preloaded is before. */
	int (*next)(handler, handler, handler, void *) =
		(int (*)(handler, handler, handler, void *))dlsym(RTLD_NEXT, "__register_atfork");

	if (next && next(unseen, unseen, unseen, NULL) != 0)
		abort();
	if (pthread_atfork(take, drop, drop) != 0)
		abort();
}
