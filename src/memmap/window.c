/* rank 2: how large the window is, what lies where in it, and where it is placed. */
#include <errno.h>

#include "memmap/internal.h"
#include "os/os.h"

/* Every free reads these: no line of theirs holds what others write. */
struct window window __attribute__((aligned(CACHE_LINE)));
char *window_base __attribute__((aligned(CACHE_LINE)));

/*
 * 1 TiB for most machines; four times the memory of those that have more, as
 * far as 32-bit pfns reach. Narrow address spaces (39 bits on some arm64 and
 * RISC-V kernels) get an eighth of what there is.
 */
static u64 window_size(void)
{
	u64 size = (u64)1 << 40, most = (u64)1 << 44;
	u64 memory = os_memory_bytes();

	while (size < most && size < memory * 4)
		size <<= 1;
	while (size > (u64)1 << (os_address_bits() - 3))
		size >>= 1;
	return size;
}

void memmap_set_budget(void)
{
	mem_map.budget = os_rlimit_bytes();
}

/* What lies where, from the window's base on, in bytes. */
struct layout {
	u64 nr_window;	/* pages that have a place in it */
	u64 nr_pages;	/* those below 4 GiB as well */
	u64 pages;	/* the struct pages, behind the window; the pageblocks follow */
	u64 records, extent;
	u64 first;	/* the heap, after the tags */
};

static struct layout plan_window(void)
{
	u64 size = window_size(), describes;
	/* pfns have 32 bits, those below 4 GiB of address included. */
	u64 nr_window = MIN(size >> PAGE_SHIFT, ((u64)1 << 32) - LOW_PAGES);
	struct layout l = {
		.nr_window = nr_window, .nr_pages = nr_window + LOW_PAGES, .pages = size
	};

	describes = l.nr_pages * sizeof(struct page) +
		    (l.nr_pages >> PAGEBLOCK_ORDER) * sizeof(struct pageblock);
	l.records = size + round_up(describes, PAGEBLOCK_SIZE);
	l.extent = l.records + size / 16;
	/*
	 * The tags of the tag array itself: nothing of the heap is there. The
	 * heap begins at a rounder place, where larger blocks are aligned too.
	 */
	l.first = round_up(l.nr_pages * sizeof(u16), (u64)64 << 20);
	return l;
}

/* Nothing is mapped yet. */
static void place_window(const struct layout *l, u64 at)
{
	/* What describes the tag array's own pages is never touched. */
	u64 before = round_down((l->first >> PAGE_SHIFT) * sizeof(struct page),
				(u64)os_page_size());

	window_base = (char *)at;
	window.pages = (struct page *)(at + l->pages);
	window.blocks = (struct pageblock *)(void *)(window.pages + l->nr_pages);
	window.limit = l->nr_window << PAGE_SHIFT;
	window.low = l->nr_window;
	window.first = l->first;
	mem_map.tags = (struct array){ window_base, 0, 0 };
	mem_map.pages = (struct array){ (char *)window.pages, before, before };
	/* Pageblocks have a state from 0 on: the buddy of a large block
	 * at the heap's start lies before it. */
	mem_map.blocks = (struct array){ (char *)window.blocks, 0, 0 };
	mem_map.records = (struct array){ window_base + l->records, 0, 0 };
	mem_map.record_bytes = 0;
	mem_map.record_room = l->extent - l->records;
	mem_map.hint = mem_map.end = l->first >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	mem_map.meta_bytes = 0;
}

static void array_drop(struct array *a)
{
	if (a->end > a->from)
		os_unmap(a->start + a->from, a->end - a->from);
	a->end = a->from;
}

/* Maps what describes the heap's first pageblock; EEXIST when another's mapping is in the way. */
static bool map_first_steps(void)
{
	int error;

	if (mem_map_grow(mem_map.end + 1, 0))
		return true;
	error = errno;
	array_drop(&mem_map.tags);
	array_drop(&mem_map.pages);
	array_drop(&mem_map.blocks);
	mem_map.meta_bytes = 0;
	/* No news: there are other places. */
	mem_map.blocked = NULL;
	errno = error;
	return false;
}

/* Places that are tried before it is given up. */
#define PLACE_TRIES 64

/*
 * Programs load at 0x55.. or low, the system maps from 0x7f.. downward: from 1/16 to 9/16 of
 * the address space lies what neither uses, as a rule. 1 GiB alignment makes pfn alignment address
 * alignment for every order.
 */
bool memmap_init(void)
{
	const struct layout l = plan_window();
	u64 unit = (u64)1 << (PAGE_SHIFT + MAX_ORDER);
	u64 space = (u64)1 << os_address_bits();
	u64 room = space / 2 - MIN(space / 2, l.extent);
	u64 choices = MAX(room / unit, (u64)1);
	u64 seed = os_random();
	int tries;

	memmap_set_budget();
	for (tries = 0; tries < PLACE_TRIES; tries++, seed = seed * 0x9e3779b97f4a7c15u + 1) {
		u64 at = space / 16 + (seed >> 20) % choices * unit;

		if (at + l.extent > space)
			continue;
		place_window(&l, at);
		if (map_first_steps())
			return true;
		if (errno != EEXIST)
			return false;
	}
	return false;
}
