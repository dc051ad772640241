/*
 * load.c - what several trap tests put upon the allocator (see load.h)
 */
#include "load.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "trap.h"

static atomic_bool stop;

void *busy_thread(void *index)
{
	const uint64_t seed = (uintptr_t)index * 1000003;

	for (uint64_t i = 1; !atomic_load(&stop); i++) {
		const char *wrong = churn(seed + i, 400, 60, i % 4 ? 3000 : 600000);

		CHECK(!wrong, "%s", wrong);
	}
	return NULL;
}

void stop_busy(void)
{
	atomic_store(&stop, true);
}

void start_busy(pthread_t *threads, unsigned nr)
{
	atomic_store(&stop, false);
	for (unsigned i = 0; i < nr; i++)
		CHECK(pthread_create(&threads[i], NULL, busy_thread,
				     (void *)(uintptr_t)(i + 1)) == 0);
}

void end_busy(pthread_t *threads, unsigned nr)
{
	stop_busy();
	for (unsigned i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
}

void survive_failure_of(size_t n)
{
	void *p = &p;

	errno = 0;
	CHECK(malloc(n) == NULL && errno == ENOMEM, "%zu bytes", n);
	errno = 0;
	CHECK(calloc(1, n) == NULL && errno == ENOMEM, "%zu bytes", n);
	errno = 0;
	CHECK(memalign(1 << 20, n) == NULL && errno == ENOMEM, "%zu bytes", n);
	CHECK(posix_memalign(&p, 4096, n) == ENOMEM && p == &p, "%zu bytes", n);
	CHECK(churn(n, 2000, 200, 20000) == NULL);
}

void peak(void)
{
	enum { NR = 64 };
	void *block[NR];

	for (int i = 0; i < NR; i++) {
		block[i] = malloc(2 * MIB);
		CHECK(block[i]);
		memset(block[i], 1, 2 * MIB);
	}
	CHECK(status_kib("RssAnon") > 100 * 1024);
	for (int i = 0; i < NR; i++)
		free(block[i]);
}
