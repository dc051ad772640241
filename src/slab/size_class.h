/*
 * rank 5: size classes, from size_class.def: which class serves a request, and
 * where in a slab an object lies.
 */
#ifndef BM_SLAB_SIZE_CLASS_H
#define BM_SLAB_SIZE_CLASS_H

#include "base/types.h"

/* Every object is aligned to this: compilers assume it even of malloc(1). */
#define MIN_ALIGN 16

struct size_class {
	u32 size;	/* bytes of an object */
	u16 nr_objects;	/* in a slab */
	u8 order;	/* the slab's head is aligned to it */
	bool unaligned;	/* each of its pages knows how far the head is: page->from_head */
	u16 nr_pages;	/* of the slab; 1 << order unless unaligned or a single object */
	/*
	 * ceil(2^40 / size). Of offset * recip the bits from 40 upward are the
	 * object's index, and those below are less than recip exactly when the
	 * offset is a multiple of size: for index * size they are index * e with
	 * e = recip * size - 2^40 < size, at most 2^23; each further byte adds
	 * recip, at least 2^25; and size - 1 of them stay below 2^40. (A slab of
	 * one object has index 0 alone, and the same holds.) For offsets within a
	 * slab only: from 2^24 * size on the product wraps.
	 */
	u64 recip;
};

enum {
#define CLASS(size, objects, order, pages) CLASS_##size,
#include "slab/size_class.def"
#undef CLASS
	NR_CLASSES
};

/*
 * Slabs of larger objects are as many pages as these fill, cut from a run of free pages
 * (see buddy/run.h); those of smaller ones are buddy blocks.
 */
static inline bool cut_to_measure(const struct size_class *sc)
{
	return sc->unaligned || sc->nr_objects == 1;
}

/* Requests up to here are served from slabs, larger ones from pages. */
#define MAX_CLASS_SIZE ((size_t)1 << 20)

/* Classes above this have one object to a slab. */
#define MAX_PACKED_SIZE ((size_t)32 << 10)
#define NR_PACKED_CLASSES (CLASS_32768 + 1)

extern const struct size_class size_classes[NR_CLASSES] HIDDEN;

/* The smallest class that holds `size` bytes; 1 <= size <= MAX_CLASS_SIZE. */
static fast_inline unsigned size_to_class(size_t size)
{
	unsigned shift;

	if (size <= 128)
		return (unsigned)((size - 1) >> 4);
	/* Three bits below the leading one of size - 1 choose the step. */
	shift = ilog2(size - 1) - 3;
	return (unsigned)((size - 1) >> shift) + shift * 8 - 32;
}

/* The index of the object that begins or lies at `offset` bytes into a slab. */
static fast_inline u32 object_index(const struct size_class *sc, u32 offset)
{
	return (u32)((offset * sc->recip) >> 40);
}

/*
 * What to ask for so that the object is a multiple of `align`, a power of two, and with it where
 * it lies: slabs begin at page boundaries. Classes are multiples of their step, a power of two: one
 * that is not smaller than align makes each of them aligned; if it is smaller, a multiple of align
 * is a class itself.
 */
static fast_inline size_t aligned_size(size_t size, size_t align)
{
	return round_up(MAX(size, align), align);
}

/*
 * The smallest class for `size` bytes at a multiple of `align` (a power of
 * two, at most the page size), or -1 when only whole pages serve.
 */
int size_to_class_aligned(size_t size, size_t align);

#endif
