/*
 * shadow.c - which bytes of the address space belong to a live object
 *
 * A trie of two levels over bits 47..16 of an address leads to a chunk: the
 * bits of 64 KiB. Levels are mapped when first needed and never unmapped; the
 * loser of a race unmaps its own.
 */
#define _GNU_SOURCE
#include "shadow.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
	GRANULE_SHIFT = 4,
	CHUNK_SHIFT = 16,
	LEVEL_SHIFT = 16,
	ADDRESS_BITS = CHUNK_SHIFT + 2 * LEVEL_SHIFT,
	CHUNK_WORDS = (1 << (CHUNK_SHIFT - GRANULE_SHIFT)) / 64,
};

struct chunk {
	_Atomic(uint64_t) words[CHUNK_WORDS];
};

struct level {
	_Atomic(struct chunk *) chunks[1 << LEVEL_SHIFT];
};

static _Atomic(struct level *) root[1 << LEVEL_SHIFT];
static atomic_size_t claimed;

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("the shadow table cannot be mapped");
		_Exit(99);
	}
	return p;
}

static struct chunk *chunk_of(uintptr_t address)
{
	size_t high, low = address >> CHUNK_SHIFT & ((1 << LEVEL_SHIFT) - 1);
	struct level *level, *no_level = NULL;
	struct chunk *chunk, *no_chunk = NULL;

	if (address >> ADDRESS_BITS) {
		fprintf(stderr, "an address beyond %d bits: %#lx\n", ADDRESS_BITS,
			(unsigned long)address);
		_Exit(1);
	}
	high = address >> (CHUNK_SHIFT + LEVEL_SHIFT);
	level = atomic_load(&root[high]);
	if (!level) {
		level = map(sizeof(*level));
		if (!atomic_compare_exchange_strong(&root[high], &no_level, level)) {
			munmap(level, sizeof(*level));
			level = no_level;
		}
	}
	chunk = atomic_load(&level->chunks[low]);
	if (!chunk) {
		chunk = map(sizeof(*chunk));
		if (!atomic_compare_exchange_strong(&level->chunks[low], &no_chunk, chunk)) {
			munmap(chunk, sizeof(*chunk));
			chunk = no_chunk;
		}
	}
	return chunk;
}

/* Sets or clears the bits of [p, p + n); tells whether all of them changed. */
static bool change(const void *p, size_t n, bool set)
{
	uintptr_t at = (uintptr_t)p >> GRANULE_SHIFT;
	uintptr_t end = ((uintptr_t)p + n + 15) >> GRANULE_SHIFT;
	bool all = true;

	while (at < end) {
		struct chunk *chunk = chunk_of(at << GRANULE_SHIFT);
		size_t word = at / 64 % CHUNK_WORDS;

		do {
			unsigned first = at % 64;
			size_t nr = 64 - first < end - at ? 64 - first : end - at;
			uint64_t mask = (nr == 64 ? ~0ULL : (1ULL << nr) - 1) << first;
			uint64_t old;

			if (set) {
				old = atomic_fetch_or(&chunk->words[word], mask);
				all = all && !(old & mask);
			} else {
				old = atomic_fetch_and(&chunk->words[word], ~mask);
				all = all && (old & mask) == mask;
			}
			at += nr;
			word++;
		} while (at < end && word < CHUNK_WORDS);
	}
	return all;
}

bool shadow_claim(const void *p, size_t n)
{
	/* Even an object of no bytes has an address of its own. */
	n += !n;
	atomic_fetch_add(&claimed, (n + 15) / 16);
	return change(p, n, true);
}

bool shadow_release(const void *p, size_t n)
{
	n += !n;
	atomic_fetch_sub(&claimed, (n + 15) / 16);
	return change(p, n, false);
}

size_t shadow_claimed(void)
{
	return atomic_load(&claimed);
}
