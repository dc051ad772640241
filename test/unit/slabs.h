/* What the tests of slabs share. */
#ifndef BM_TEST_SLABS_H
#define BM_TEST_SLABS_H

#include "pages.h"

#include "slab/internal.h"

/* Brings up ranks 2 to 5, with a shard for each CPU at most. */
static inline void slabs_start(unsigned nr_cpus)
{
	pages_start();
	shards_init(nr_cpus);
}

static inline u64 slab_of(const void *p, unsigned class)
{
	return slab_head(p, &size_classes[class]);
}

/* The shard's invariants, and its sums over the nodes. */
static inline void slabs_check(struct shard *shard)
{
	u64 packed = 0, single = 0, all_single = 0;
	unsigned class;

	slab_check(shard);
	for (class = 0; class < NR_CLASSES; class++) {
		const struct cache_node *node = &shard->nodes[class];
		u64 bytes = (u64)size_classes[class].nr_pages << PAGE_SHIFT;

		if (size_classes[class].nr_objects > 1) {
			packed += node->nr_empty * bytes;
			continue;
		}
		single += node->nr_empty * bytes;
		all_single += node_nr_slabs(node) * bytes;
	}
	assert_int_equal(shard->empty_packed.bytes, packed);
	assert_int_equal(shard->empty_single.bytes, single);
	assert_int_equal(shard->single_bytes, all_single);
}

/* No slab is left: every page is free. */
static inline void slabs_check_gone(struct shard *shard)
{
	struct class_totals t;
	unsigned class;
	u64 pfn;

	slab_shrink(GIVE_ALL);
	slabs_check(shard);
	assert_int_equal(shard->empty_packed.bytes + shard->single_bytes, 0);
	for (class = 0; class < NR_CLASSES; class++) {
		slab_class_totals(class, NULL, &t);
		assert_int_equal(t.slabs, 0);
		assert_int_equal(t.free, 0);
	}
	/* And none has left a tag. */
	for (pfn = window.first >> PAGE_SHIFT; pfn < window.span >> PAGE_SHIFT; pfn++)
		assert_true(!tag_is_slab(tag_read(pfn)));
}

#endif
