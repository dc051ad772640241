/*
 * rank 2: the window of address space and the arrays that describe it.
 *
 *   window_base                                       window.limit
 *   | tag[pfn], 2 bytes each | sections of pageblocks ... | struct page[] | pageblock[] | records |
 *   pfn 0                     window.first     span >>
 *
 * A page frame number (pfn) counts 4 KiB pages from window_base. The tag array
 * stands at the base itself, so that free() needs one base register for the
 * window test and for the tag; the pages it stands on have tags too, all zero,
 * which is why pfn 0 is never a page of the heap and serves as nil in lists.
 *
 * Addresses below 4 GiB, for who must have such (BM_GFP_DMA32), lie outside the
 * window. Their pfns follow the window's, from window.low on, and the three
 * arrays have room for them, so that all that describes such a page is found in the
 * same way. Only its address is not: pfn_to_addr and addr_to_pfn serve where such pages
 * may come. malloc's own blocks are never among them.
 *
 * Records are what the layers above know things by: thread caches, shards, groups, nodes.
 * They lie here because no object does: whatever a program writes beyond one, it
 * does not reach them.
 *
 * Nothing is reserved. The arrays, the records and the heap grow by mapping what is
 * needed at its fixed place, so VIRT stays near RSS. A pageblock where some
 * foreign mapping already lies is a hole and stays one.
 *
 * Owned state: struct window, the state of each pageblock. LOCK_SECTION
 * protects all changes. window_base never changes after memmap_init;
 * window.span only grows, and is stored (release) after the tags below it are
 * mapped, so whoever reads it may read those tags.
 */
#ifndef BM_MEMMAP_MEMMAP_H
#define BM_MEMMAP_MEMMAP_H

#include "base/lock.h"
#include "base/types.h"
#include "os/os.h"

/* What a struct page heads; 0 for a page that heads nothing. */
enum page_kind {
	PAGE_NONE,
	PAGE_BUDDY,	/* a free block of 1 << order pages, in a free area */
	PAGE_PCP,	/* a free block in a per-CPU list */
	PAGE_PAGES,	/* handed out by alloc_pages: nr_pages pages */
	PAGE_SLAB,	/* a slab: nr_pages pages, objects of one size class */
	PAGE_LARGE,	/* a large block of malloc's: nr_pages pages */
	PAGE_HIGHMEM,	/* a large block mapped for itself */
};

/*
 * One for each 4 KiB page; only the head of a block is filled in. The fields
 * belong to whoever owns the block: the zone (zone lock), a pcp list (its
 * lock), a slab's node (node lock), else the caller of the allocation.
 */
struct page {
	u32 next, prev;	/* pfns; free area, pcp list or partial list */
	u8 kind;	/* enum page_kind; relaxed atomic, read by reports */
	u8 flags;	/* PAGE_SLAB: SLAB_ISOLATED, SLAB_TAKEN; PAGE_LARGE: LARGE_ZEROED */
	u16 owner;	/* of an allocated block: who pays, see page_alloc/scope.h; else 0, as
			 * bm_heap_destroy may look at any time */
	union {
		struct {
			u8 order;	/* of a PAGE_BUDDY or PAGE_PCP block */
			u8 migratetype;	/* PAGE_PCP: the list it goes back to */
		};
		u16 nr_free;	/* PAGE_SLAB: bits set in map */
	};
	u8 nr_clean;	/* PAGE_SLAB: its pages without a dirty bit, see slab/punch.c */
	u8 from_head;	/* of every page of a slab that is not aligned: pages back to its head */
	u64 nr_pages;	/* of an allocated block */
	u64 private;	/* the owner's. At first pages warm when taken; PAGE_SLAB: slab/punch.c;
			 * PAGE_HIGHMEM: pageblocks mapped */
	union {
		u64 map[4];	/* PAGE_SLAB: 1 = the object is free; PAGE_LARGE: malloc/move.c */
		struct {	/* of a free run's first page, see buddy/run.h */
			/* Keeps map[0]: a single object freed twice in a race is found by it. */
			u64 map_stays;
			u32 run_next, run_prev;
			u16 run_nr;
			u8 run_warm;
		};
	};
};
static_assert(sizeof(struct page) == CACHE_LINE, "a slab's head and map are one cache line");

/* A slab that is off its partial list while pages of it are given back. */
#define SLAB_ISOLATED 1
/* Objects were taken from it since slab/punch.c saw it last. */
#define SLAB_TAKEN 2

/* The block was asked for as zeroes. */
#define LARGE_ZEROED 1

/* Objects a slab can hold at most: the bits of page.map. */
#define SLAB_MAX_OBJECTS 256

enum pageblock_state {
	BLOCK_ABSENT,	/* nothing is mapped */
	BLOCK_FOREIGN,	/* somebody else's mapping lies there */
	BLOCK_PRESENT,	/* belongs to a zone */
	BLOCK_HIGHMEM,	/* part of a block that is mapped for itself */
	BLOCK_LEAVING,	/* was a zone's, and is being unmapped; set under that zone's lock */
};

/* Which list of pageblocks with dirty free pages it is on, see buddy/lru.h. */
enum lru { LRU_NONE, LRU_AGES, LRU_ASIDE };

/*
 * What the system was told of huge pages. THP_DEFAULT: nothing; THP_OWN: nothing, as it uses
 * them of its own accord. To use none any more, see thp_split.c: THP_SPLIT, since part of the
 * pageblock was given back; THP_FORMER, with the whole zone, and what is huge is so still;
 * THP_ONCE, the same, and it is huge no more.
 */
enum thp { THP_DEFAULT, THP_OWN, THP_HUGE, THP_SMALL, THP_SPLIT, THP_FORMER, THP_ONCE };

/* One for each 2 MiB. */
struct pageblock {
	/*
	 * 1 = the page may hold data, so it is backed and not known to be zero.
	 * Without it the page costs no memory and is zero, unless the pageblock
	 * is stale: then the system may not have taken yet what was given to it.
	 * Set (atomic or) when a page is handed out, cleared (atomic and) by who
	 * has the page when it was given back to the system; neither needs a lock.
	 */
	u64 dirty[PAGEBLOCK_PAGES / 64];
	/* 1 = the page is free in the buddy. Zone lock. */
	u64 free[PAGEBLOCK_PAGES / 64];
	u32 lru_next, lru_prev;	/* pageblocks with dirty free pages; zone lock */
	u32 stamp;		/* tick when it came to the list's end; zone lock */
	/* enum thp; relaxed atomic, see page_alloc/thp.c. Some processors exchange no bytes. */
	u32 thp;
	u8 state;		/* enum pageblock_state; section lock, stored last (release);
				 * from BLOCK_PRESENT to BLOCK_LEAVING zone lock */
	u8 migratetype;		/* zone lock */
	u8 zone;		/* index of the zone; written once, by growth */
	u8 lru;			/* enum lru; zone lock */
	u8 stale;		/* pages without the dirty bit may hold data; relaxed atomic */
	u8 pad[43];
};
static_assert(sizeof(struct pageblock) == 3 * CACHE_LINE, "no pageblock shares a line");

/*
 * Tags. 0 is a page that heads nothing a free() may name. TAG_LARGE heads a
 * large block; TAG_PAGES heads pages of the page interface. From TAG_SLABS on:
 * TAG_SLABS + shard * classes + class.
 *
 * A tag is written by the owner of its pages before the first pointer into
 * them is handed out and cleared after the last came back, so relaxed loads
 * suffice for any valid pointer.
 */
enum { TAG_NONE, TAG_LARGE, TAG_PAGES, TAG_SLABS = 16 };

struct window {
	u64 span;	/* bytes from base that may be the heap's; acquire/release */
	/* Read-only after memmap_init: */
	struct page *pages;
	struct pageblock *blocks;
	u64 limit;	/* bytes from base the window may grow to */
	u64 first;	/* offset of the heap in bytes */
	u64 low;	/* pfn of address 0; the last pfns are those below 4 GiB */
};

extern struct window window HIDDEN;

/* Apart, so that free loads it with one instruction. */
extern char *window_base HIDDEN;

static fast_inline u16 *tag_of(u64 pfn)
{
	return (u16 *)(void *)window_base + pfn;
}

static fast_inline u16 tag_read(u64 pfn)
{
	return __atomic_load_n(tag_of(pfn), __ATOMIC_RELAXED);
}

static fast_inline void tag_write(u64 pfn, u16 tag)
{
	__atomic_store_n(tag_of(pfn), tag, __ATOMIC_RELAXED);
}

/* Takes a block's tag off its first page, if it is this one: of two who free it at once one may. */
static inline bool tag_claim(u64 pfn, u16 tag)
{
#ifdef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_2
	return __atomic_compare_exchange_n(tag_of(pfn), &tag, TAG_NONE, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
#else
	/* gcc would call libatomic for two bytes (riscv64): the neighbour's tag goes along. */
	u32 *pair = (u32 *)(void *)tag_of(round_down(pfn, (u64)2));
	u32 old = __atomic_load_n(pair, __ATOMIC_RELAXED);
	const bool swapped = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
	const unsigned shift = 16 * (unsigned)((pfn & 1) ^ swapped);

	do {
		if ((u16)(old >> shift) != tag)
			return false;
	} while (!__atomic_compare_exchange_n(pair, &old, old & ~((u32)0xffff << shift), true,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return true;
#endif
}

/* True for any address whose tag may be read. */
static fast_inline bool in_window(const void *p)
{
	return (u64)((const char *)p - window_base) <
	       __atomic_load_n(&window.span, __ATOMIC_RELAXED);
}

static fast_inline u64 virt_to_pfn(const void *p)
{
	return (u64)((const char *)p - window_base) >> PAGE_SHIFT;
}

static fast_inline char *pfn_to_virt(u64 pfn)
{
	return window_base + (pfn << PAGE_SHIFT);
}

/* Pages below 4 GiB: section_map_low made the pageblock. */
#define LOW_PAGES ((u64)1 << (32 - PAGE_SHIFT))

static inline bool pfn_is_low(u64 pfn)
{
	return pfn >= window.low;
}

/* As pfn_to_virt and virt_to_pfn, for pages below 4 GiB too. */
static inline char *pfn_to_addr(u64 pfn)
{
	return pfn_is_low(pfn) ? (char *)((pfn - window.low) << PAGE_SHIFT) : pfn_to_virt(pfn);
}

static inline u64 addr_to_pfn(const void *p)
{
	return (u64)(uintptr_t)p >> 32 ? virt_to_pfn(p) :
					 window.low + ((u64)(uintptr_t)p >> PAGE_SHIFT);
}

/*
 * True when the pageblock of pfn, any number, has a struct pageblock. low.c knows
 * those behind the window.
 */
bool low_pfn_has_block(u64 pfn);
static inline bool pfn_has_block(u64 pfn)
{
	if (likely(pfn < window.low))
		return pfn >= window.first >> PAGE_SHIFT &&
		       pfn < __atomic_load_n(&window.span, __ATOMIC_ACQUIRE) >> PAGE_SHIFT;
	return low_pfn_has_block(pfn);
}
/* True when p lies in a pageblock that is mapped, so its tag may be read. */
bool addr_is_ours(const void *p);

static fast_inline struct page *pfn_to_page(u64 pfn)
{
	return &window.pages[pfn];
}

static fast_inline u64 page_to_pfn(const struct page *page)
{
	return (u64)(page - window.pages);
}

static fast_inline struct pageblock *pfn_to_block(u64 pfn)
{
	return &window.blocks[pfn >> PAGEBLOCK_ORDER];
}

static inline u64 block_to_pfn(const struct pageblock *block)
{
	return (u64)(block - window.blocks) << PAGEBLOCK_ORDER;
}

/* Where the pageblock of pfn begins, and ends. */
static inline u64 pageblock_start(u64 pfn)
{
	return round_down(pfn, (u64)PAGEBLOCK_PAGES);
}

static inline u64 pageblock_end(u64 pfn)
{
	return pageblock_start(pfn) + PAGEBLOCK_PAGES;
}

static inline u64 blocks_bytes(u64 nr_blocks)
{
	return nr_blocks << PAGEBLOCK_ORDER << PAGE_SHIFT;
}

/* Pages of ours that one of the system's has: only as many together go back to it. */
static inline u64 system_page_pages(void)
{
	return os_page_size() >> PAGE_SHIFT;
}

/* The whole pages of the system within some bytes; `to` is not above `from` if there are none. */
struct whole_pages {
	char *from, *to;
};

static inline struct whole_pages whole_pages_in(void *start, void *end)
{
	uintptr_t unit = os_page_size();

	return (struct whole_pages){ (char *)round_up((uintptr_t)start, unit),
				     (char *)round_down((uintptr_t)end, unit) };
}

/* Gives them back; false if there are none, or the system refuses. */
static inline bool give_back_whole(struct whole_pages pages)
{
	return pages.from < pages.to &&
	       os_give_back(pages.from, (size_t)(pages.to - pages.from));
}

/* Whether something of the heap's may lie in the pageblock of pfn, which is below the span. */
static inline bool block_is_mapped(u64 pfn)
{
	return __atomic_load_n(&pfn_to_block(pfn)->state, __ATOMIC_ACQUIRE) > BLOCK_FOREIGN;
}

/* Whether the pageblock is that zone's. Another zone's thread may map it meanwhile. */
static inline bool block_is_of(const struct pageblock *block, u8 zone)
{
	return __atomic_load_n(&block->state, __ATOMIC_ACQUIRE) == BLOCK_PRESENT &&
	       block->zone == zone;
}

static inline enum page_kind page_kind(const struct page *page)
{
	return (enum page_kind)__atomic_load_n(&page->kind, __ATOMIC_RELAXED);
}

static inline void page_set_kind(struct page *page, enum page_kind kind)
{
	__atomic_store_n(&page->kind, (u8)kind, __ATOMIC_RELAXED);
}

/*
 * Places the window and maps the first part of the arrays; false without memory: who asks for a
 * section or a record maps them then, if nobody has mapped anything there meanwhile.
 */
bool memmap_init(void);

/*
 * Maps nr_blocks pageblocks of heap with their mem_map, each in the given state, the
 * first at a multiple of `align` pageblocks (a power of two). Returns the first
 * pfn, or 0 with errno ENOMEM. The new pages are zero; their struct pages, tags
 * and bitmaps are zero too. Behind them lie `room` absent pageblocks, to grow into
 * (section_map_at) as long as nobody else does.
 */
u64 section_map_roomy(u64 nr_blocks, u64 room, u64 align, enum pageblock_state state, u8 zone);
static inline u64 section_map(u64 nr_blocks, u64 align, enum pageblock_state state, u8 zone)
{
	return section_map_roomy(nr_blocks, 0, align, state, zone);
}

/*
 * Extends the heap by the nr_blocks pageblocks that begin at pfn `at`, if nothing lies
 * there; false otherwise. For blocks that grow in place, and heaps behind their end.
 */
bool section_map_at(u64 at, u64 nr_blocks, enum pageblock_state state, u8 zone);

/*
 * As section_map with BLOCK_PRESENT, below 4 GiB. The place is random as far as other
 * mappings leave a choice.
 */
u64 section_map_low(u64 nr_blocks, u64 align, u8 zone);

/* In a child after fork: pageblocks that the system did not give to it are gone. */
void section_forget(u64 pfn, u64 nr_blocks);

/*
 * Unmaps nr_blocks pageblocks; their struct pages and tags must be zero again. False
 * when the system refuses: they stay as they are, given back unless they are locked.
 */
bool section_unmap(u64 pfn, u64 nr_blocks);

/* Pageblocks mapped as BLOCK_HIGHMEM belong to their zone from now on. */
void section_adopt(u64 pfn, u64 nr_blocks);

/*
 * Zeroed pages for a record, for good: whoever needs it no more keeps it for the next.
 * Without may_map only what is mapped already serves. NULL with errno ENOMEM.
 */
void *record_take(size_t bytes, bool may_map);

/* Takes the resource limits as they are now. */
void memmap_set_budget(void);

/* Bytes of heap and of all that lies beside it mapped now, and the most of both together ever. */
u64 memmap_heap_bytes(void);
u64 memmap_meta_bytes(void);
u64 memmap_peak_bytes(void);

/* fork */
void memmap_lock_all(void);
void memmap_unlock_all(void);
void memmap_reinit_lock(void);

#endif
