/* Slabs of one object: taken from the next larger class, grown where they lie, known to be zero. */
#include "slabs.h"

#include <errno.h>
#include <string.h>

/* A single object may come from the next larger classes when one is at hand. */
static void single_objects(void)
{
	unsigned class;
	void *p, *q;

	slabs_start(1);
	for (class = NR_PACKED_CLASSES; class < NR_CLASSES; class++) {
		p = slab_alloc_single(shards[0], class, NULL);
		assert_int_equal(tag_class(tag_read(virt_to_pfn(p))), class);
		memset(p, 1, size_classes[class].size);
		slab_free(shards[0], class, &p, 1);
		slabs_check(shards[0]);
		q = slab_alloc_single(shards[0], class, NULL);
		slab_free(shards[0], tag_class(tag_read(virt_to_pfn(q))), &q, 1);
		slab_shrink(GIVE_ALL);
	}
	p = slab_alloc_single(shards[0], CLASS_73728, NULL);
	slab_free(shards[0], CLASS_73728, &p, 1);
	assert_int_equal(shards[0]->nodes[CLASS_73728].nr_empty, 1);
	/* 64 KiB: served by the 72 KiB that are free; 48 KiB: too far away. */
	q = slab_alloc_single(shards[0], CLASS_65536, NULL);
	assert_ptr_equal(q, p);
	slab_free(shards[0], CLASS_73728, &q, 1);
	q = slab_alloc_single(shards[0], CLASS_49152, NULL);
	assert_ptr_not_equal(q, p);
	slab_free(shards[0], CLASS_49152, &q, 1);
	slabs_check_gone(shards[0]);
}

/* One grows into what is free behind it, and is of another class then. */
static void single_objects_grow(void)
{
	struct class_totals t;
	void *p, *behind;
	u64 nr_free;

	slabs_start(1);
	p = slab_alloc_single(shards[0], CLASS_40960, NULL);
	nr_free = zone_table[0]->nr_free;
	memset(p, 1, 40960);
	assert_true(slab_grow_single(p, CLASS_65536));
	assert_int_equal(zone_table[0]->nr_free, nr_free - 6);
	assert_int_equal(tag_read(virt_to_pfn(p)), shards[0]->tag_base + CLASS_65536);
	assert_int_equal(pfn_to_page(virt_to_pfn(p))->nr_pages, 16);
	slab_class_totals(CLASS_40960, NULL, &t);
	assert_int_equal(t.slabs, 0);
	slab_class_totals(CLASS_65536, NULL, &t);
	assert_int_equal(t.slabs, 1);
	slabs_check(shards[0]);
	/* What is behind it now is another's, or it is a slab no more: nothing changes. */
	behind = pfn_to_virt(virt_to_pfn(p) + 16);
	assert_true(zone_take_range_locked(zone_table[0], virt_to_pfn(behind), 1));
	errno = 0;
	assert_false(slab_grow_single(p, CLASS_73728));
	assert_int_equal(errno, 0);
	assert_int_equal(tag_read(virt_to_pfn(p)), shards[0]->tag_base + CLASS_65536);
	zone_free_range_locked(zone_table[0], virt_to_pfn(behind), 1);
	slab_free(shards[0], CLASS_65536, &p, 1);
	assert_false(slab_grow_single(p, CLASS_73728));
	slabs_check_gone(shards[0]);
}

/* Pages taken for zeroed memory are zero, known to be so or cleared; what was kept is not. */
static void zeroed_single_objects(void)
{
	const unsigned class = CLASS_65536, larger = CLASS_98304;
	const size_t size = size_classes[class].size, most = size_classes[larger].size;
	bool zeroed = false;
	char *p, *q;
	void *all;
	size_t i;

	slabs_start(1);
	p = slab_alloc_single(shards[0], class, &zeroed);
	assert_true(zeroed);
	memset(p, 1, size);
	all = p;
	slab_free(shards[0], class, &all, 1);
	zeroed = false;
	assert_ptr_equal(slab_alloc_single(shards[0], class, &zeroed), p);
	assert_false(zeroed);
	slab_free(shards[0], class, &all, 1);
	/* Warm pages are cleared. A mark put into clean ones shows that those are not written. */
	slab_shrink(GIVE_ALL);
	shrink_all();
	for (i = 0; i < most; i += PAGE_SIZE)
		p[i] = 1;
	q = slab_alloc_single(shards[0], larger, &zeroed);
	assert_true(zeroed);
	assert_ptr_equal(q, p);
	for (i = 0; i < most; i += PAGE_SIZE)
		assert_int_equal(q[i], i >= size);
	all = q;
	slab_free(shards[0], larger, &all, 1);
	slabs_check_gone(shards[0]);
}

UNIT_MAIN(CASE(single_objects), CASE(single_objects_grow), CASE(zeroed_single_objects))
