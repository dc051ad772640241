/*
 * cache: a server's cache at its capacity, for the rows that limit memory.
 *
 *   cache MIB
 *
 * holds at most so many MiB of values, counted as they were asked of malloc, and drops the
 * oldest for new ones, as caches do. The threads of a server take turns at that, and with each
 * turn the sizes of the values are others: what was dropped, the next thread has a use for only
 * if it can become blocks of other sizes, and of another thread's. A program that counts its
 * memory cannot do more to stay below a limit.
 *
 * Ends with status 0 after the last turn, with 1 where malloc fails; prints how many values it
 * stored, the same with every allocator.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"
#include "rng.h"

#define THREADS 8
#define TURNS 8
#define LEAST_SIZE 32
#define SIZE_STEPS 6	/* each doubles */
#define LARGE_ONE_IN 64
#define LARGE_LEAST 4096
#define LARGE_MOST (32 << 10)

struct value {
	struct value *next;	/* the next younger one */
	size_t size;		/* of the whole, this head included */
};

static struct {
	size_t capacity, bytes;
	uint64_t stored;
	struct value *oldest, **youngest_next;
} cache = { .youngest_next = &cache.oldest };

/* Turns are one after the other: whoever has it uses the cache alone. */
static pthread_barrier_t turn_is_over;

static void drop_oldest(void)
{
	struct value *v = cache.oldest;

	cache.oldest = v->next;
	if (!cache.oldest)
		cache.youngest_next = &cache.oldest;
	cache.bytes -= v->size;
	free(v);
}

static void store(size_t size)
{
	struct value *v;

	while (cache.oldest && cache.bytes + size > cache.capacity)
		drop_oldest();
	v = malloc(size);
	if (!v) {
		fprintf(stderr, "cache: no memory for %zu bytes, %zu are in use\n", size,
			cache.bytes);
		exit(1);
	}
	memset(v, 1, size);
	v->next = NULL;
	v->size = size;
	*cache.youngest_next = v;
	cache.youngest_next = &v->next;
	cache.bytes += size;
	cache.stored++;
}

static void take_turn(unsigned turn)
{
	struct rng rng = { 1000 + turn };
	uint32_t least = LEAST_SIZE << turn % SIZE_STEPS, spread = least * (2 + turn % 3);
	size_t put = 0;

	/* Half as much again as it holds: of the turn before nothing remains. */
	while (put < cache.capacity + cache.capacity / 2) {
		size_t size = rng_below(&rng, LARGE_ONE_IN) ?
			least + rng_below(&rng, spread) :
			LARGE_LEAST + rng_below(&rng, LARGE_MOST);

		store(size);
		put += size;
	}
}

static void *serve(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg, turn;

	for (turn = 0; turn < TURNS; turn++) {
		if (turn % THREADS == thread)
			take_turn(turn);
		pthread_barrier_wait(&turn_is_over);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uintptr_t i;
	long mib;

	if (argc != 2 || !parse_number(argv[1], 1, 1 << 20, &mib)) {
		fputs("usage: cache MIB, from 1 to 1048576\n", stderr);
		return 2;
	}
	cache.capacity = (size_t)mib << 20;
	pthread_barrier_init(&turn_is_over, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, serve, (void *)i)) {
			fputs("cache: no thread\n", stderr);
			return 1;
		}
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%llu values\n", (unsigned long long)cache.stored);
	return 0;
}
