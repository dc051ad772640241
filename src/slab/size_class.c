/* rank 5: the table of size classes; see size_class.h. */
#include "slab/size_class.h"

#include "memmap/memmap.h"

const struct size_class size_classes[NR_CLASSES] = {
#define CLASS(size, objects, order, pages)                                   \
	{ size, objects, order, (objects) > 1 && (pages) > 1 << (order), pages, \
	  (((u64)1 << 40) + (size) - 1) / (size) },
#include "slab/size_class.def"
#undef CLASS
};

#define CLASS(size, objects, order, pages)                                                     \
	static_assert((u64)(objects) * (size) <= (u64)(pages) << PAGE_SHIFT, "objects fit");    \
	static_assert((pages) == 1 << (order) || (order) == 0, "a block, or as many as needed"); \
	static_assert((pages) < 256 || (objects) == 1, "page->from_head and nr_clean are bytes"); \
	static_assert((objects) <= SLAB_MAX_OBJECTS, "they have a bit each");                   \
	static_assert((size) % MIN_ALIGN == 0, "objects are aligned");
#include "slab/size_class.def"
#undef CLASS

int size_to_class_aligned(size_t size, size_t align)
{
	if (align > PAGE_SIZE || size > MAX_CLASS_SIZE)
		return -1;
	size = aligned_size(size, align);
	return size <= MAX_CLASS_SIZE ? (int)size_to_class(size) : -1;
}
