/*
 * rank 2: growing the mem_map, mapping sections and records; the layout and the rules are
 * in memmap.h.
 */
#include "memmap/internal.h"

#include <errno.h>

#include "base/report.h"
#include "base/stats.h"
#include "os/os.h"

/*
 * The arrays grow in steps: small enough not to count in a small program's
 * VIRT, large enough that a large heap makes few calls.
 */
#define TAG_STEP ((u64)64 << 10)	/* 64 KiB of tags describe 128 MiB */
#define PAGE_STEP ((u64)1 << 20)	/* 1 MiB of struct pages describes 64 MiB */
#define BLOCK_STEP ((u64)64 << 10)	/* 64 KiB of pageblocks describe 680 MiB */
#define RECORD_STEP ((u64)512 << 10)	/* four thread caches */

struct mem_map mem_map;

/* The limits may have been raised meanwhile; where they were lowered, the system says so. */
static bool budget_allows(u64 bytes)
{
	u64 used = mem_map.heap_bytes + mem_map.meta_bytes + bytes;

	if (unlikely(used > mem_map.budget))
		mem_map.budget = MAX(mem_map.budget, os_rlimit_bytes());
	return used <= mem_map.budget;
}

static void note_peak(void)
{
	u64 bytes = mem_map.heap_bytes + mem_map.meta_bytes;

	count_set(&mem_map.peak_bytes, MAX(mem_map.peak_bytes, bytes));
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
			/* Records go round it. */
			if (errno == EEXIST && !mem_map.told &&
			    a != &mem_map.records)
				mem_map.blocked = a->start + a->end;
			return false;
		}
	}
	*spare -= MIN(*spare, len - need);
	a->end += len;
	count_add(&mem_map.meta_bytes, len);
	return true;
}

/* Bytes the mem_map must grow by at least to describe every pageblock below `end`. */
static u64 mem_map_need(u64 end)
{
	u64 pages = end << PAGEBLOCK_ORDER;

	return array_need(&mem_map.tags, pages * sizeof(u16)) +
	       array_need(&mem_map.pages, pages * sizeof(struct page)) +
	       array_need(&mem_map.blocks, end * sizeof(struct pageblock));
}

bool mem_map_grow(u64 end, u64 bytes)
{
	u64 pages = end << PAGEBLOCK_ORDER;
	u64 used = mem_map.heap_bytes + mem_map.meta_bytes + bytes + mem_map_need(end);
	u64 spare = mem_map.budget - MIN(mem_map.budget, used);

	return array_grow(&mem_map.tags, pages * sizeof(u16), TAG_STEP, &spare) &&
	       array_grow(&mem_map.pages, pages * sizeof(struct page), PAGE_STEP, &spare) &&
	       array_grow(&mem_map.blocks, end * sizeof(struct pageblock), BLOCK_STEP, &spare);
}

static enum pageblock_state block_state(u64 block)
{
	/* The array may not be mapped beyond what was ever used. */
	if (block >= mem_map.end)
		return BLOCK_ABSENT;
	return (enum pageblock_state)window.blocks[block].state;
}

/* The first absent run of nr pageblocks at or above `from`, aligned. */
static u64 find_absent(u64 from, u64 nr, u64 align)
{
	u64 last = window.limit >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	/* Addresses are to be aligned, and the window's base is to 1 GiB only. */
	u64 base = (u64)(uintptr_t)window_base >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	u64 at = round_up(base + from, align) - base, i;

	while (at + nr <= last) {
		if (at >= mem_map.end)
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
	u64 bytes = blocks_bytes(nr);
	u64 end = MAX(mem_map.end, block + nr), i;

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
	mem_map.end = end;
	count_add(&mem_map.heap_bytes, bytes);
	note_peak();
	__atomic_store_n(&window.span, blocks_bytes(end), __ATOMIC_RELEASE);
	return true;
}

/*
 * Something else lies in [block, block + nr). One pageblock at a time finds
 * out which are taken; they become holes for good.
 */
static void note_foreign(u64 block, u64 nr)
{
	u64 i;

	if (!mem_map_grow(MAX(mem_map.end, block + nr), 0))
		return;
	mem_map.end = MAX(mem_map.end, block + nr);
	for (i = block; i < block + nr; i++) {
		char *at = pfn_to_virt(i << PAGEBLOCK_ORDER);

		/* A probe that cannot be unmapped again blocks the place too. */
		if (os_map_at(at, PAGEBLOCK_SIZE) ? !os_unmap(at, PAGEBLOCK_SIZE) : errno == EEXIST)
			set_state(i, 1, BLOCK_FOREIGN);
	}
}

/* Drops the lock and says what kept the heap from growing, if that is new. */
static void unlock_and_tell(void)
{
	char *blocked = mem_map.blocked;

	mem_map.told |= blocked != NULL;
	mem_map.blocked = NULL;
	unlock(&mem_map.lock, LOCK_SECTION);
	if (unlikely(blocked))
		report("the heap can grow no more: its tables would, from %p, where the program has mapped something",
		       (void *)blocked);
}

u64 section_map_roomy(u64 nr_blocks, u64 room, u64 align, enum pageblock_state state, u8 zone)
{
	u64 block = 0;
	u64 from;

	lock(&mem_map.lock, LOCK_SECTION);
	while (mem_map.hint < mem_map.end && block_state(mem_map.hint) != BLOCK_ABSENT)
		mem_map.hint++;
	from = mem_map.hint;
	for (;;) {
		block = find_absent(from, nr_blocks + room, align);
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

	lock(&mem_map.lock, LOCK_SECTION);
	done = block + nr_blocks <= window.limit >> PAGE_SHIFT >> PAGEBLOCK_ORDER;
	for (i = block; done && i < block + nr_blocks && i < mem_map.end; i++)
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
	u64 need = array_need(&mem_map.records, end), spare;

	errno = ENOMEM;
	if (end > mem_map.record_room || !budget_allows(need))
		return false;
	spare = mem_map.budget - mem_map.heap_bytes - mem_map.meta_bytes - need;
	return array_grow(&mem_map.records, end, RECORD_STEP, &spare);
}

/* Something else lies in the way: they go on behind it. */
static void records_leap(void)
{
	u64 behind = round_up(mem_map.records.end + RECORD_STEP, RECORD_STEP);
	u64 leap = MIN(behind, mem_map.record_room);

	mem_map.records = (struct array){ mem_map.records.start + leap, 0, 0 };
	mem_map.record_room -= leap;
	mem_map.record_bytes = 0;
}

/* Obstacles of RECORD_STEP that one record goes round. */
#define LEAPS_MOST 64

void *record_take(size_t bytes, bool may_map)
{
	u64 size = round_up(bytes, (u64)PAGE_SIZE);
	int saved = errno;
	unsigned leaps = 0;
	char *record = NULL;
	bool done;

	lock(&mem_map.lock, LOCK_SECTION);
	done = mem_map.record_bytes + size <= mem_map.records.end;
	while (!done && may_map) {
		done = records_grow(mem_map.record_bytes + size);
		if (done || errno != EEXIST || leaps++ == LEAPS_MOST)
			break;
		records_leap();
	}
	if (done) {
		record = mem_map.records.start + mem_map.record_bytes;
		mem_map.record_bytes += size;
		note_peak();
	}
	unlock(&mem_map.lock, LOCK_SECTION);
	errno = record ? saved : ENOMEM;
	return record;
}

bool section_unmap(u64 pfn, u64 nr_blocks)
{
	u64 block = pfn >> PAGEBLOCK_ORDER;
	u64 bytes = blocks_bytes(nr_blocks);

	/* Until the state changes nobody else may map here, so the system call
	 * can go before the lock is taken. */
	if (!os_unmap(pfn_to_addr(pfn), bytes)) {
		/* At the limit of mappings: the range stays ours, but empty. */
		os_give_back(pfn_to_addr(pfn), bytes);
		report_verbose("%lu bytes could not be unmapped; their pages were given back",
			       (unsigned long)bytes);
		return false;
	}
	lock(&mem_map.lock, LOCK_SECTION);
	set_state(block, nr_blocks, BLOCK_ABSENT);
	count_sub(&mem_map.heap_bytes, bytes);
	mem_map.hint = MIN(mem_map.hint, block);
	unlock(&mem_map.lock, LOCK_SECTION);
	return true;
}

void section_adopt(u64 pfn, u64 nr_blocks)
{
	lock(&mem_map.lock, LOCK_SECTION);
	set_state(pfn >> PAGEBLOCK_ORDER, nr_blocks, BLOCK_PRESENT);
	unlock(&mem_map.lock, LOCK_SECTION);
}

bool memmap_charge_locked(u64 heap, u64 meta)
{
	if (!budget_allows(heap + meta)) {
		errno = ENOMEM;
		return false;
	}
	count_add(&mem_map.heap_bytes, heap);
	count_add(&mem_map.meta_bytes, meta);
	note_peak();
	return true;
}

void memmap_uncharge_locked(u64 heap, u64 meta)
{
	count_sub(&mem_map.heap_bytes, heap);
	count_sub(&mem_map.meta_bytes, meta);
}

u64 memmap_heap_bytes(void)
{
	return count_read(&mem_map.heap_bytes);
}

u64 memmap_meta_bytes(void)
{
	return count_read(&mem_map.meta_bytes);
}

u64 memmap_peak_bytes(void)
{
	/* What was mapped at the start was no step of growth. */
	return MAX(count_read(&mem_map.peak_bytes), memmap_heap_bytes() + memmap_meta_bytes());
}

void memmap_lock_all(void)
{
	lock_for_fork(&mem_map.lock, LOCK_SECTION);
}

void memmap_unlock_all(void)
{
	unlock_for_fork(&mem_map.lock, LOCK_SECTION);
}

void memmap_reinit_lock(void)
{
	lock_reinit(&mem_map.lock);
}
