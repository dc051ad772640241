/*
 * rank 2: placing the window, growing the mem_map and mapping sections; the
 * layout and the rules are in memmap.h.
 */
#include "memmap/memmap.h"

#include <errno.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "memmap/low.h"
#include "os/os.h"

/* Every free reads these: no line of theirs holds what others write. */
struct window window __attribute__((aligned(CACHE_LINE)));
char *window_base __attribute__((aligned(CACHE_LINE)));

/*
 * The arrays grow in steps: small enough not to count in a small program's
 * VIRT, large enough that a large heap makes few calls.
 */
#define TAG_STEP ((u64)64 << 10)	/* 64 KiB of tags describe 128 MiB */
#define PAGE_STEP ((u64)1 << 20)	/* 1 MiB of struct pages describes 64 MiB */
#define BLOCK_STEP ((u64)64 << 10)	/* 64 KiB of pageblocks describe 680 MiB */
#define RECORD_STEP ((u64)512 << 10)	/* four thread caches */

/* An array of the mem_map: of its bytes [from, end) are mapped. */
struct array {
	char *start;
	u64 from, end;
};

static struct {
	struct lock lock;
	struct array tags, pages, blocks, records;
	u64 record_bytes, record_room; /* handed out, and the most that there can be */
	u64 hint;	/* no absent pageblock below this one, in pageblocks */
	u64 end;	/* first pageblock never mapped */
	u64 heap_bytes, meta_bytes, peak_bytes;
	u64 budget;
	char *blocked;	/* where an array met another's mapping; told once, without the lock */
	bool told;
} map;

static bool budget_allows(u64 bytes)
{
	return map.heap_bytes + map.meta_bytes + bytes <= map.budget;
}

/* Bytes the array must grow by at least to reach `end`. */
static u64 array_need(const struct array *a, u64 end)
{
	return end > a->end ? round_up(end - a->end, os_page_size()) : 0;
}

/*
 * Maps the array up to `end` bytes; what is there already stays. What a step
 * maps beyond the need comes off `spare`.
 */
static bool array_grow(struct array *a, u64 end, u64 step, u64 *spare)
{
	u64 need = array_need(a, end);
	u64 len = round_up(need, MAX(step, os_page_size()));

	if (!need)
		return true;
	/* Near a limit the step may be too much where the need is not. */
	if (len - need > *spare || !os_map_at(a->start + a->end, len)) {
		len = need;
		if (!os_map_at(a->start + a->end, len)) {
			/* While the window is being placed a collision is no news; records go round it. */
			if (errno == EEXIST && window.span && !map.told && a != &map.records)
				map.blocked = a->start + a->end;
			return false;
		}
	}
	*spare -= MIN(*spare, len - need);
	a->end += len;
	map.meta_bytes += len;
	return true;
}

static void array_drop(struct array *a)
{
	if (a->end > a->from)
		os_unmap(a->start + a->from, a->end - a->from);
}

/* Bytes the mem_map must grow by at least to describe every pageblock below `end`. */
static u64 mem_map_need(u64 end)
{
	u64 pages = end << PAGEBLOCK_ORDER;

	return array_need(&map.tags, pages * sizeof(u16)) +
	       array_need(&map.pages, pages * sizeof(struct page)) +
	       array_need(&map.blocks, end * sizeof(struct pageblock));
}

/* Makes it describe them, leaving room in the budget for `bytes` of heap. */
static bool mem_map_grow(u64 end, u64 bytes)
{
	u64 pages = end << PAGEBLOCK_ORDER;
	u64 used = map.heap_bytes + map.meta_bytes + bytes + mem_map_need(end);
	u64 spare = map.budget - MIN(map.budget, used);

	return array_grow(&map.tags, pages * sizeof(u16), TAG_STEP, &spare) &&
	       array_grow(&map.pages, pages * sizeof(struct page), PAGE_STEP, &spare) &&
	       array_grow(&map.blocks, end * sizeof(struct pageblock), BLOCK_STEP, &spare);
}

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
	map.budget = os_rlimit_bytes();
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
	struct layout l = { .nr_window = nr_window, .nr_pages = nr_window + LOW_PAGES, .pages = size };

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
	u64 before = round_down((l->first >> PAGE_SHIFT) * sizeof(struct page), (u64)os_page_size());

	window_base = (char *)at;
	window.pages = (struct page *)(at + l->pages);
	window.blocks = (struct pageblock *)(void *)(window.pages + l->nr_pages);
	window.limit = l->nr_window << PAGE_SHIFT;
	window.low = l->nr_window;
	window.first = l->first;
	map.tags = (struct array){ window_base, 0, 0 };
	map.pages = (struct array){ (char *)window.pages, before, before };
	/* Pageblocks have a state from 0 on: the buddy of a large block
	 * at the heap's start lies before it. */
	map.blocks = (struct array){ (char *)window.blocks, 0, 0 };
	map.records = (struct array){ window_base + l->records, 0, 0 };
	map.record_bytes = 0;
	map.record_room = l->extent - l->records;
	map.hint = map.end = l->first >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	map.meta_bytes = 0;
}

/* Maps what describes the heap's first pageblock; errno EEXIST when another's mapping is in the way. */
static bool map_first_steps(void)
{
	int error;

	if (mem_map_grow(map.end + 1, 0))
		return true;
	error = errno;
	array_drop(&map.tags);
	array_drop(&map.pages);
	array_drop(&map.blocks);
	errno = error;
	return false;
}

/* Places that are tried before it is given up. */
#define PLACE_TRIES 64

/*
 * Programs load at 0x55.. or low, the system maps from 0x7f.. downward: from 1/16 to 9/16 of
 * the address space lies what neither uses. 1 GiB alignment makes pfn alignment address
 * alignment for every order.
 */
bool memmap_init(void)
{
	const struct layout l = plan_window();
	u64 unit = (u64)1 << (PAGE_SHIFT + MAX_ORDER);
	u64 space = (u64)1 << os_address_bits();
	u64 choices = MAX(space / 2 / unit, (u64)1);
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

static enum pageblock_state block_state(u64 block)
{
	/* The array may not be mapped beyond what was ever used. */
	return block < map.end ? (enum pageblock_state)window.blocks[block].state : BLOCK_ABSENT;
}

/* The first absent run of nr pageblocks at or above `from`, aligned. */
static u64 find_absent(u64 from, u64 nr, u64 align)
{
	u64 last = window.limit >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	/* Addresses are to be aligned, and the window's base is to 1 GiB only. */
	u64 base = (u64)(uintptr_t)window_base >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	u64 at = round_up(base + from, align) - base, i;

	while (at + nr <= last) {
		if (at >= map.end)
			return at;
		for (i = 0; i < nr && block_state(at + i) == BLOCK_ABSENT; i++)
			;
		if (i == nr)
			return at;
		at = round_up(base + at + i + 1, align) - base;
	}
	return 0;
}

static void set_state(u64 block, u64 nr, enum pageblock_state state)
{
	u64 i;

	for (i = block; i < block + nr; i++)
		__atomic_store_n(&window.blocks[i].state, (u8)state, __ATOMIC_RELEASE);
}

/* Maps the pageblocks [block, block + nr), absent so far. Section lock held. */
static bool map_blocks(u64 block, u64 nr, enum pageblock_state state, u8 zone)
{
	u64 bytes = nr << PAGEBLOCK_ORDER << PAGE_SHIFT;
	u64 end = MAX(map.end, block + nr), i;

	if (!budget_allows(bytes + mem_map_need(end)) || !mem_map_grow(end, bytes)) {
		errno = ENOMEM;
		return false;
	}
	if (!os_map_at(pfn_to_virt(block << PAGEBLOCK_ORDER), bytes))
		return false;
	for (i = block; i < block + nr; i++) {
		window.blocks[i].zone = zone;
		window.blocks[i].stale = 0;
	}
	set_state(block, nr, state);
	map.end = end;
	map.heap_bytes += bytes;
	map.peak_bytes = MAX(map.peak_bytes, map.heap_bytes + map.meta_bytes);
	__atomic_store_n(&window.span, end << PAGEBLOCK_ORDER << PAGE_SHIFT, __ATOMIC_RELEASE);
	return true;
}

/*
 * Something else lies in [block, block + nr). One pageblock at a time finds
 * out which are taken; they become holes for good.
 */
static void note_foreign(u64 block, u64 nr)
{
	u64 i;

	if (!mem_map_grow(MAX(map.end, block + nr), 0))
		return;
	map.end = MAX(map.end, block + nr);
	for (i = block; i < block + nr; i++) {
		char *at = pfn_to_virt(i << PAGEBLOCK_ORDER);

		/* What cannot be unmapped again is in the way as well: nobody's. */
		if (os_map_at(at, PAGEBLOCK_SIZE) ? !os_unmap(at, PAGEBLOCK_SIZE) : errno == EEXIST)
			set_state(i, 1, BLOCK_FOREIGN);
	}
}

/* Drops the lock and says what kept the heap from growing, if that is new. */
static void unlock_and_tell(void)
{
	char *blocked = map.blocked;

	map.told |= blocked != NULL;
	map.blocked = NULL;
	unlock(&map.lock, LOCK_SECTION);
	if (unlikely(blocked))
		report("the heap can grow no more: its tables would, from %p, where the program has mapped something",
		       (void *)blocked);
}

u64 section_map(u64 nr_blocks, u64 align, enum pageblock_state state, u8 zone)
{
	u64 block = 0;
	u64 from;

	lock(&map.lock, LOCK_SECTION);
	while (map.hint < map.end && block_state(map.hint) != BLOCK_ABSENT)
		map.hint++;
	from = map.hint;
	for (;;) {
		block = find_absent(from, nr_blocks, align);
		if (!block) {
			errno = ENOMEM;
			break;
		}
		if (map_blocks(block, nr_blocks, state, zone))
			break;
		if (errno != EEXIST) {
			block = 0;
			break;
		}
		note_foreign(block, nr_blocks);
		from = block + 1;
	}
	unlock_and_tell();
	if (block)
		stat_add_shared(zone_grown, 1);
	return block << PAGEBLOCK_ORDER;
}

bool section_map_at(u64 at, u64 nr_blocks, enum pageblock_state state, u8 zone)
{
	u64 block = at >> PAGEBLOCK_ORDER, i;
	bool done;

	lock(&map.lock, LOCK_SECTION);
	done = block + nr_blocks <= window.limit >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	for (i = block; done && i < block + nr_blocks && i < map.end; i++)
		done = block_state(i) == BLOCK_ABSENT;
	done = done && map_blocks(block, nr_blocks, state, zone);
	unlock_and_tell();
	if (done)
		stat_add_shared(zone_grown, 1);
	return done;
}

/* Maps records up to `end`, within the limits. */
static bool records_grow(u64 end)
{
	u64 used = map.heap_bytes + map.meta_bytes + array_need(&map.records, end);
	u64 spare = map.budget - MIN(map.budget, used);

	errno = ENOMEM;
	return end <= map.record_room && used <= map.budget &&
	       array_grow(&map.records, end, RECORD_STEP, &spare);
}

/* Something else lies in the way: they go on behind it. */
static void records_leap(void)
{
	u64 leap = MIN(round_up(map.records.end + RECORD_STEP, RECORD_STEP), map.record_room);

	map.records = (struct array){ map.records.start + leap, 0, 0 };
	map.record_room -= leap;
	map.record_bytes = 0;
}

/* Obstacles of RECORD_STEP that one record goes round. */
#define LEAPS_MOST 64

void *record_alloc(size_t bytes, bool may_map)
{
	u64 size = round_up(bytes, (u64)PAGE_SIZE);
	int saved = errno;
	unsigned leaps = 0;
	char *record = NULL;
	bool done;

	lock(&map.lock, LOCK_SECTION);
	done = map.record_bytes + size <= map.records.end;
	while (!done && may_map) {
		done = records_grow(map.record_bytes + size);
		if (done || errno != EEXIST || leaps++ == LEAPS_MOST)
			break;
		records_leap();
	}
	if (done) {
		record = map.records.start + map.record_bytes;
		map.record_bytes += size;
		map.peak_bytes = MAX(map.peak_bytes, map.heap_bytes + map.meta_bytes);
	}
	unlock(&map.lock, LOCK_SECTION);
	errno = record ? saved : ENOMEM;
	return record;
}

bool section_unmap(u64 pfn, u64 nr_blocks)
{
	u64 block = pfn >> PAGEBLOCK_ORDER;
	u64 bytes = nr_blocks << PAGEBLOCK_ORDER << PAGE_SHIFT;

	/* Until the state changes nobody else may map here, so the system call
	 * can go before the lock is taken. */
	if (!os_unmap(pfn_to_addr(pfn), bytes)) {
		/* At the limit of mappings: the range stays ours, but empty. */
		os_purge(pfn_to_addr(pfn), bytes);
		report_verbose("%lu bytes could not be unmapped; their pages were given back",
			       (unsigned long)bytes);
		return false;
	}
	lock(&map.lock, LOCK_SECTION);
	set_state(block, nr_blocks, BLOCK_ABSENT);
	map.heap_bytes -= bytes;
	map.hint = MIN(map.hint, block);
	unlock(&map.lock, LOCK_SECTION);
	return true;
}

void section_adopt(u64 pfn, u64 nr_blocks)
{
	lock(&map.lock, LOCK_SECTION);
	set_state(pfn >> PAGEBLOCK_ORDER, nr_blocks, BLOCK_PRESENT);
	unlock(&map.lock, LOCK_SECTION);
}

bool memmap_charge_locked(u64 heap, u64 meta)
{
	if (!budget_allows(heap + meta)) {
		errno = ENOMEM;
		return false;
	}
	map.heap_bytes += heap;
	map.meta_bytes += meta;
	map.peak_bytes = MAX(map.peak_bytes, map.heap_bytes + map.meta_bytes);
	return true;
}

void memmap_uncharge_locked(u64 heap, u64 meta)
{
	map.heap_bytes -= heap;
	map.meta_bytes -= meta;
}

void memmap_lock(void)
{
	lock(&map.lock, LOCK_SECTION);
}

void memmap_unlock(void)
{
	unlock(&map.lock, LOCK_SECTION);
}

u64 memmap_heap_bytes(void)
{
	return __atomic_load_n(&map.heap_bytes, __ATOMIC_RELAXED);
}

u64 memmap_meta_bytes(void)
{
	return __atomic_load_n(&map.meta_bytes, __ATOMIC_RELAXED);
}

u64 memmap_peak_bytes(void)
{
	/* What was mapped at the start was no step of growth. */
	return MAX(__atomic_load_n(&map.peak_bytes, __ATOMIC_RELAXED),
		   memmap_heap_bytes() + memmap_meta_bytes());
}

void memmap_lock_all(void)
{
	lock_for_fork(&map.lock, LOCK_SECTION);
}

void memmap_unlock_all(void)
{
	unlock_for_fork(&map.lock, LOCK_SECTION);
}

void memmap_reinit_lock(void)
{
	lock_reinit(&map.lock);
}
