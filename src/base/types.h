/* rank 1: the words every layer uses: short integer names, sizes, hints. */
#ifndef BM_BASE_TYPES_H
#define BM_BASE_TYPES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static_assert(sizeof(void *) == 8, "the window needs a 64-bit address space");

/*
 * The allocator's page is 4 KiB on every machine. What is handed to the
 * system is rounded to its run-time page size (os_page_size()).
 */
#define PAGE_SHIFT 12
#define PAGE_SIZE ((size_t)1 << PAGE_SHIFT)

/* A pageblock is 2 MiB: one huge page on x86-64 and on arm64 with 4 KiB pages. */
#define PAGEBLOCK_ORDER 9
#define PAGEBLOCK_PAGES ((size_t)1 << PAGEBLOCK_ORDER)
#define PAGEBLOCK_SIZE (PAGEBLOCK_PAGES << PAGE_SHIFT)

/* The largest buddy block is 1 GiB. */
#define MAX_ORDER 18
#define NR_ORDERS (MAX_ORDER + 1)

#define CACHE_LINE 64

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * On the declaration of data that hot code reads: -fvisibility only speaks of
 * definitions, and without this the address would come from the GOT.
 */
#define HIDDEN __attribute__((visibility("hidden")))

/*
 * For variables of some KiB, zero at first: they stand behind the small ones, which so share two or
 * three pages. (The linker sorts by name; a program that is linked otherwise touches a few more.)
 */
#define BULKY __attribute__((section(".bss.bulky")))

/* At the start of a cache line, lest what else is in the library makes its code lie badly. */
#define FAST_ENTRY __attribute__((aligned(CACHE_LINE)))

#define out_of_line __attribute__((__noinline__))
/*
 * For what is done once, at start or at the end, too: the compiler puts such code
 * together, so that a program that allocates little touches few pages of it.
 */
#define cold_path __attribute__((__cold__, __noinline__))
#define fast_inline inline __attribute__((__always_inline__))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define round_up(x, to) (((x) + (to) - 1) & ~((__typeof__(x))(to) - 1))
#define round_down(x, to) ((x) & ~((__typeof__(x))(to) - 1))

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		const __auto_type min_a = (a);                                                     \
		const __auto_type min_b = (b);                                                     \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		const __auto_type max_a = (a);                                                     \
		const __auto_type max_b = (b);                                                     \
		max_a > max_b ? max_a : max_b;                                                     \
	})

/*
 * For a number with one writer at a time, under a lock or as its owner, that others read at any
 * moment, relaxed.
 */
#define count_read(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define count_set(p, n) __atomic_store_n((p), (n), __ATOMIC_RELAXED)
#define count_add(p, n) count_set((p), *(p) + (n))
#define count_sub(p, n) count_set((p), *(p) - (n))

/* Floor of the binary logarithm; x must not be 0. */
static inline unsigned ilog2(u64 x)
{
	return 63 - (unsigned)__builtin_clzll(x);
}

/* n bits, 1 to 64, from bit `from` on; they fit into the word. */
static fast_inline u64 bit_run(unsigned from, unsigned n)
{
	return (~(u64)0 >> (64 - n)) << from;
}

/* The first run of set bits of a word that is not 0: where it begins, and its length. */
static fast_inline unsigned first_bit_run(u64 bits, unsigned *from)
{
	u64 rest;

	*from = (unsigned)__builtin_ctzll(bits);
	rest = ~(bits >> *from);
	return rest ? (unsigned)__builtin_ctzll(rest) : 64;
}

/* The smallest order whose block holds nr pages; nr must not be 0. */
static inline unsigned order_for_pages(u64 nr)
{
	return nr <= 1 ? 0 : ilog2(nr - 1) + 1;
}

/* How much of what lies idle is given back. */
enum give {
	GIVE_IDLE,	/* what nobody touched since the last look, or some of it */
	GIVE_AGED,	/* all: nobody has touched anything for decay_ms */
	GIVE_ALL,	/* all, now: somebody is in need of it */
};

#endif
