/*
 * rank 2: sections below 4 GiB, and questions about pfns that may be there.
 *
 * The program itself may lie anywhere below 4 GiB, so a place is found by
 * trying: MAP_FIXED_NOREPLACE harms nobody. The search begins at a random
 * pageblock, goes up to 4 GiB and then from LOW_FIRST up.
 *
 * The mem_map for these pfns is mapped in chunks of 128 MiB, the pageblock
 * array at once. State: `low`, under LOCK_SECTION; has_blocks is stored
 * (release) after the array is mapped.
 */
#include "memmap/internal.h"

#include <errno.h>
#include <string.h>

#include "base/stats.h"
#include "os/os.h"

#define LOW_BLOCKS (LOW_PAGES >> PAGEBLOCK_ORDER)
#define CHUNK_PAGES ((u64)128 << (20 - PAGE_SHIFT))

/* Below 16 MiB the system maps nothing as a rule (vm.mmap_min_addr), and old programs lie. */
#define LOW_FIRST ((u64)8)

static struct {
	bool has_blocks;
	u32 chunks;	/* bit i: tags and struct pages of chunk i are mapped */
	u64 start;	/* where the search begins, in pageblocks; 0: not chosen yet */
} low;
static_assert(LOW_PAGES / CHUNK_PAGES <= 32, "a bit for each chunk");

bool low_pfn_has_block(u64 pfn)
{
	return pfn < window.low + LOW_PAGES && __atomic_load_n(&low.has_blocks, __ATOMIC_ACQUIRE);
}

bool addr_is_ours(const void *p)
{
	u64 pfn = addr_to_pfn(p);
	u8 state;

	/* An address in the mem_map has a pfn that looks low; a low pfn needs a low address. */
	if (!pfn_has_block(pfn) || pfn_is_low(pfn) == ((u64)(uintptr_t)p >> 32 != 0))
		return false;
	state = __atomic_load_n(&pfn_to_block(pfn)->state, __ATOMIC_ACQUIRE);
	return state == BLOCK_PRESENT || state == BLOCK_HIGHMEM;
}

static bool map_low_array(void *start, u64 bytes)
{
	bytes = round_up(bytes, (u64)os_page_size());
	if (!memmap_charge_locked(0, bytes))
		return false;
	if (os_map_at(start, bytes))
		return true;
	memmap_uncharge_locked(0, bytes);
	return false;
}

static void unmap_low_array(void *start, u64 bytes)
{
	bytes = round_up(bytes, (u64)os_page_size());
	os_unmap(start, bytes);
	memmap_uncharge_locked(0, bytes);
}

static bool map_low_chunk(u64 chunk)
{
	u64 pfn = window.low + chunk * CHUNK_PAGES;

	if (low.chunks >> chunk & 1)
		return true;
	if (!map_low_array(tag_of(pfn), CHUNK_PAGES * sizeof(u16)))
		return false;
	if (!map_low_array(pfn_to_page(pfn), CHUNK_PAGES * sizeof(struct page))) {
		unmap_low_array(tag_of(pfn), CHUNK_PAGES * sizeof(u16));
		return false;
	}
	low.chunks |= (u32)1 << chunk;
	return true;
}

/* Makes the mem_map describe the pageblocks [block, block + nr) below 4 GiB. */
static bool map_low_mem_map(u64 block, u64 nr)
{
	u64 per_chunk = CHUNK_PAGES >> PAGEBLOCK_ORDER, chunk;

	for (chunk = block / per_chunk; chunk <= (block + nr - 1) / per_chunk; chunk++)
		if (!map_low_chunk(chunk))
			return false;
	return true;
}

static bool map_low_blocks(void)
{
	if (low.has_blocks)
		return true;
	if (!map_low_array(pfn_to_block(window.low), LOW_BLOCKS * sizeof(struct pageblock)))
		return false;
	low.start = LOW_BLOCKS / 4 + (os_random() >> 13) % (LOW_BLOCKS / 2);
	__atomic_store_n(&low.has_blocks, true, __ATOMIC_RELEASE);
	return true;
}

static struct pageblock *low_block(u64 block)
{
	return pfn_to_block(window.low) + block;
}

static bool is_absent_low(u64 block, u64 nr)
{
	while (nr--)
		if (low_block(block + nr)->state != BLOCK_ABSENT)
			return false;
	return true;
}

/* Maps [block, block + nr) if it can; *full when the system has no memory to give. */
static bool try_map_low(u64 block, u64 nr, u8 zone, bool *full)
{
	u64 bytes = blocks_bytes(nr), i;

	if (!is_absent_low(block, nr))
		return false;
	if (!os_map_at((void *)blocks_bytes(block), bytes)) {
		if (errno == EEXIST) {
			/* One pageblock: it is taken. More: some of it is. */
			if (nr == 1)
				low_block(block)->state = BLOCK_FOREIGN;
			return false;
		}
		*full = errno == ENOMEM;
		return false;
	}
	if (!map_low_mem_map(block, nr)) {
		os_unmap((void *)blocks_bytes(block), bytes);
		*full = true;
		return false;
	}
	for (i = block; i < block + nr; i++) {
		low_block(i)->zone = zone;
		low_block(i)->stale = 0;
		__atomic_store_n(&low_block(i)->state, BLOCK_PRESENT, __ATOMIC_RELEASE);
	}
	return true;
}

/* The first place in [from, to) that can be had; 0 if none. */
static u64 search_low(u64 from, u64 to, u64 nr, u64 align, u8 zone, bool *full)
{
	u64 block;

	for (block = round_up(from, align); block + nr <= to && !*full; block += align)
		if (try_map_low(block, nr, zone, full))
			return block;
	return 0;
}

/* Anywhere below 4 GiB; 0 if there is no such place. */
static u64 find_low(u64 nr, u64 align, u8 zone)
{
	bool full = false;
	u64 block;

	if (!map_low_blocks())
		return 0;
	block = search_low(low.start, LOW_BLOCKS, nr, align, zone, &full);
	/* Below it: what begins there may end beyond. */
	return block ? block : search_low(LOW_FIRST, MIN(low.start + nr - 1, (u64)LOW_BLOCKS), nr,
					  align, zone, &full);
}

u64 section_map_low(u64 nr_blocks, u64 align, u8 zone)
{
	u64 bytes = blocks_bytes(nr_blocks), block = 0;
	int saved = errno;

	lock(&mem_map.lock, LOCK_SECTION);
	if (nr_blocks <= LOW_BLOCKS && align <= LOW_BLOCKS && memmap_charge_locked(bytes, 0)) {
		block = find_low(nr_blocks, align, zone);
		if (!block)
			memmap_uncharge_locked(bytes, 0);
	}
	unlock(&mem_map.lock, LOCK_SECTION);
	if (!block) {
		errno = ENOMEM;
		return 0;
	}
	errno = saved;
	stat_add_shared(zone_grown, 1);
	return window.low + (block << PAGEBLOCK_ORDER);
}

void section_forget(u64 pfn, u64 nr_blocks)
{
	u64 pages = nr_blocks << PAGEBLOCK_ORDER, i;

	lock(&mem_map.lock, LOCK_SECTION);
	for (i = 0; i < nr_blocks; i++)
		memset(pfn_to_block(pfn) + i, 0, sizeof(struct pageblock));
	memset(pfn_to_page(pfn), 0, pages * sizeof(struct page));
	memset(tag_of(pfn), 0, pages * sizeof(u16));
	memmap_uncharge_locked(pages << PAGE_SHIFT, 0);
	unlock(&mem_map.lock, LOCK_SECTION);
}
