/* NUMA nodes, of a machine that is as the fake says: whose memory serves whom. */
#include "pages.h"

#include <errno.h>

#include "page_alloc/internal.h"

static void start_nodes(u64 mask)
{
	fake.node_mask = mask;
	fake.random = 77;
	pages_start();
}

static void nodes_and_zonelists(void)
{
	static const unsigned order0[] = { 0, 1, 2, 5 }, order2[] = { 2, 1, 0, 5 };
	unsigned i;

	start_nodes(0x27);
	assert_int_equal(nr_nodes, 4);
	assert_int_equal(nr_zones, 6);
	for (i = 0; i < 4; i++) {
		assert_int_equal(nodes[0]->zonelist[i]->node, order0[i]);
		assert_int_equal(nodes[0]->zonelist[i]->type, ZONE_NORMAL);
		assert_int_equal(nodes[2]->zonelist[i]->node, order2[i]);
	}
	assert_int_equal(nodes[5]->zonelist[4]->type, ZONE_DMA32);
	assert_int_equal(nodes[5]->zonelist[5]->type, ZONE_DMA);
	assert_null(nodes[5]->zonelist[6]);
	assert_true(node_exists(5));
	assert_false(node_exists(3));
	assert_false(node_exists(64));
}

/* Of two that are as far the one onward comes first, lest all nodes fall back to the same. */
static void nodes_that_are_as_far(void)
{
	static const unsigned order[4][4] = {
		{ 0, 1, 2, 3 }, { 1, 2, 0, 3 }, { 2, 3, 1, 0 }, { 3, 2, 1, 0 },
	};
	unsigned nid, i;

	start_nodes(0xf);
	for (nid = 0; nid < 4; nid++)
		for (i = 0; i < 4; i++)
			assert_int_equal(nodes[nid]->zonelist[i]->node, order[nid][i]);
}

static void memory_is_local_and_bound(void)
{
	unsigned nid;

	start_nodes(7);
	for (nid = 0; nid < 3; nid++) {
		u64 pfn;

		fake_node = nid;
		pfn = alloc_pages(BM_GFP_KERNEL, 4);
		assert_int_equal(page_node(pfn), nid);
		assert_int_equal(fake_bound_node(pfn_to_virt(pfn)), nid);
		pfn = alloc_pages_exact(BM_GFP_KERNEL, 5000, 0);
		assert_int_equal(page_node(pfn), nid);
		pfn = alloc_pages_node((int)(nid + 1) % 3, BM_GFP_KERNEL, 4);
		assert_int_equal(page_node(pfn), (nid + 1) % 3);
	}
}

static void nodemask_and_thisnode(void)
{
	u64 pfn, n = 0;

	start_nodes(7);
	pfn = alloc_pages_nodemask(0, BM_GFP_KERNEL, 1, 0, 4);
	assert_int_equal(page_node(pfn), 2);
	assert_int_equal(alloc_pages_nodemask(0, BM_GFP_KERNEL, 1, 0, 8), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(alloc_pages_nodemask(0, BM_GFP_KERNEL | BM_GFP_THISNODE, 1, 0, 6), 0);
	/* The other nodes have pages; a request for this one does not get them. */
	alloc_pages_node(1, BM_GFP_KERNEL, 0);
	fake_fail(FAKE_MAP, 1, FAKE_ALWAYS);
	while ((pfn = alloc_pages_node(2, BM_GFP_KERNEL | BM_GFP_THISNODE, 0))) {
		assert_int_equal(page_node(pfn), 2);
		n++;
	}
	assert_true(n > 500);
	/* Without THISNODE the nearest serves. */
	pfn = alloc_pages_node(2, BM_GFP_KERNEL, 0);
	assert_int_equal(page_node(pfn), 1);
}

static void node_options(void)
{
	unsigned seen[3] = { 0 }, i;

	start_nodes(7);
	fake_node = 1;
	options.numa_node = 2;
	assert_int_equal(page_node(alloc_pages(BM_GFP_KERNEL, 0)), 2);
	options.numa_node = 9; /* there is none */
	assert_int_equal(page_node(alloc_pages(BM_GFP_KERNEL, 0)), 1);
	options.numa_node = -1;
	options.numa_interleave = true;
	for (i = 0; i < 30; i++)
		seen[page_node(alloc_pages(BM_GFP_KERNEL, 3))]++;
	for (i = 0; i < 3; i++)
		assert_int_equal(seen[i], 10);
}

/* One node: nothing asks where it runs, nothing is bound. */
static void one_node_costs_nothing(void)
{
	start_nodes(1);
	alloc_pages(BM_GFP_KERNEL, 4);
	assert_int_equal(fake_calls(FAKE_PREFER), 0);
	assert_int_equal(nr_nodes, 1);
}

UNIT_MAIN(CASE(nodes_and_zonelists), CASE(nodes_that_are_as_far), CASE(memory_is_local_and_bound),
	  CASE(nodemask_and_thisnode), CASE(node_options), CASE(one_node_costs_nothing))
