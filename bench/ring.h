/*
 * A queue of pointers from one thread to one other. Each side publishes its
 * index once per RING_STEP entries: the queue then costs little, and what is
 * measured is the allocator's handling of objects that change threads.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define RING_ENTRIES 4096
#define RING_STEP 64

struct ring {
	_Alignas(64) _Atomic uint32_t head; /* written by the producer */
	_Alignas(64) _Atomic uint32_t tail; /* written by the consumer */
	_Alignas(64) void *entry[RING_ENTRIES];
};

/* The peer may have lost its processor: spin a little, then let it run. */
static inline void ring_wait(int *spins)
{
	if (++*spins < 64) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
		return;
	}
	*spins = 0;
	sched_yield();
}

static inline uint32_t ring_head(struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_acquire);
}

static inline uint32_t ring_tail(struct ring *r)
{
	return atomic_load_explicit(&r->tail, memory_order_acquire);
}

/* The producer's side: wait until RING_STEP entries are free behind `head`. */
static inline void ring_wait_space(struct ring *r, uint32_t head)
{
	int spins = 0;

	while (head - ring_tail(r) > RING_ENTRIES - RING_STEP)
		ring_wait(&spins);
}

/* The consumer's side: wait for entries from `tail` on; returns the head. */
static inline uint32_t ring_wait_entries(struct ring *r, uint32_t tail)
{
	int spins = 0;
	uint32_t head;

	while ((head = ring_head(r)) == tail)
		ring_wait(&spins);
	return head;
}

static inline void ring_publish_head(struct ring *r, uint32_t head)
{
	atomic_store_explicit(&r->head, head, memory_order_release);
}

static inline void ring_publish_tail(struct ring *r, uint32_t tail)
{
	atomic_store_explicit(&r->tail, tail, memory_order_release);
}

#endif
