/* Random numbers for workloads. */
#ifndef BENCH_RNG_H
#define BENCH_RNG_H

#include <stdint.h>

/* xorshift64*: fast, and the same sequence everywhere. */
struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return r->s * 0x2545f4914f6cdd1dULL;
}

/* Uniform in [0, n), n below 2^32; a multiplication, not a division. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

#endif
