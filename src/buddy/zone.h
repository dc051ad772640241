/*
 * rank 3: zones: the buddy allocator and the per-CPU page lists above it.
 *
 * A zone owns pageblocks of the window, or below 4 GiB. Its free memory is kept as naturally
 * aligned blocks of 1 << order pages, one list for each order and migratetype.
 * Within a list dirty blocks (backed, warm) stand at the front and clean ones
 * (given back to the system, or never touched) at the end, so that warm memory
 * is used first.
 *
 * zone->lock protects everything in struct zone but the pcps, which have locks of
 * their own, and what zone_init writes; the struct pages of free
 * blocks, and in the zone's pageblocks: free, lru links, stamp and migratetype.
 * Dirty bits are atomics: whoever has the pages sets and clears theirs, locked or not.
 * Callers hold the lock for functions that end in _locked; all others take it themselves.
 *
 * Invariants (test/unit/invariants.c walks them):
 *  1. a free block of order o starts at a multiple of 1 << o; no two buddies
 *     of the same order (below MAX_ORDER) and zone are both free;
 *  2. pageblock.free has exactly the bits of pages in free blocks;
 *  3. nr_free and nr_dirty count those pages and those of them with a dirty bit;
 *  4. a pageblock with a dirty free page is on an lru list;
 *  5. a free block smaller than a pageblock is listed as its pageblock's type;
 *  6. each movable run of RUN_LEAST pages or more is in the list of its length, and no other is.
 */
#ifndef BM_BUDDY_ZONE_H
#define BM_BUDDY_ZONE_H

#include "base/lock.h"
#include "base/types.h"
#include "memmap/memmap.h"
#include "memmap/pfn_list.h"

enum migratetype {
	MIGRATE_UNMOVABLE,	/* slabs of many objects, and pages without a mobility flag */
	MIGRATE_MOVABLE,	/* large blocks: freed soon, and whole */
	MIGRATE_RECLAIMABLE,	/* caches that a shrinker can empty */
	MIGRATE_PCPTYPES,
	MIGRATE_ISOLATE = MIGRATE_PCPTYPES,	/* on its way to the system; no free block is */
};

enum zone_type { ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_HIGHMEM, NR_ZONES };

enum { WMARK_MIN, WMARK_LOW, NR_WMARKS };

struct free_area {
	struct pfn_list list[MIGRATE_PCPTYPES];
	u32 nr_free[MIGRATE_PCPTYPES]; /* blocks; reports read it, relaxed */
};

/* Runs of free pages by their length, see run.h. */
#define RUN_LEAST 9
#define NR_RUN_LISTS 128
struct run_lists {
	u64 filled[NR_RUN_LISTS / 64]; /* a bit for each list that has a run */
	u32 first[NR_RUN_LISTS];
};

/* Orders kept in per-CPU lists: those of slabs and small page requests, and whole pageblocks. */
#define PCP_MAX_ORDER 7
#define NR_PCP_ORDERS (PCP_MAX_ORDER + 2)
#define NR_PCPS 64

struct pcp_list {
	u32 first;
	u32 count; /* blocks */
};

struct pcp {
	struct lock lock; /* taken with trylock only, except to drain */
	struct pcp_list lists[NR_PCP_ORDERS][MIGRATE_PCPTYPES];
} __attribute__((aligned(CACHE_LINE)));

/* Pageblocks by number, oldest first. */
struct lru_list {
	u32 first, last;
};

struct zone {
	struct lock lock;
	struct lock grow_lock; /* who grows the zone; the others wait, and look again */
	u8 index; /* in zone_table */
	u8 type;
	u8 node;
	bool refused;	/* by the system, when it last was to grow; relaxed, grow_lock to write */
	const char *name;
	u64 nr_free;	/* pages in free areas; read without the lock by zone_nr_free */
	u64 nr_dirty;	/* of these, with a dirty bit; likewise */
	u64 least_dirty; /* the least that nr_dirty was since reclaim looked last */
	u64 managed;	/* pages of all its pageblocks; likewise */
	u64 watermark[NR_WMARKS]; /* pages; relaxed atomics, written at start and after growth */
	u64 lowmem_reserve[NR_ZONES]; /* pages kept from requests that prefer zone i */
	u32 tick;	/* reclaim's clock, see page_alloc/purge.c */
	struct purge *purges; /* what is being given back just now, see page_alloc/purge.c */
	struct lru_list lru[2]; /* LRU_AGES, LRU_ASIDE; see lru.h */
	u32 nr_pcps;	/* a power of two */
	u32 nr_split;	/* pageblocks that are THP_SPLIT; relaxed atomic */
	u32 too_many_once; /* of THP_ONCE, see thp_split.c; about, relaxed atomic */
	struct free_area area[NR_ORDERS];
	struct run_lists runs[2]; /* movable ones that begin clean, and dirty */
	struct pcp pcps[NR_PCPS];
};

/* One of each node, and two below 4 GiB. */
#define MAX_NODES 64
#define MAX_NR_ZONES (MAX_NODES + 2)
extern struct zone *zone_table[MAX_NR_ZONES] HIDDEN;

static inline struct zone *pfn_zone(u64 pfn)
{
	return zone_table[pfn_to_block(pfn)->zone];
}

/* Whether its free pages go back to the system in time. Locked ones cannot. */
static inline bool zone_ages(const struct zone *zone)
{
	return zone->type != ZONE_DMA;
}

/* Its counts without the lock. */
static inline u64 zone_managed(const struct zone *zone)
{
	return count_read(&zone->managed);
}

static inline u64 zone_nr_free(const struct zone *zone)
{
	return count_read(&zone->nr_free);
}

static inline u64 zone_nr_dirty(const struct zone *zone)
{
	return count_read(&zone->nr_dirty);
}

/* Pages that hold data: in use, or free and dirty. Unlocked, so close rather than exact. */
static inline u64 zone_nr_backed(const struct zone *zone)
{
	return zone_managed(zone) - zone_nr_free(zone) + zone_nr_dirty(zone);
}

void zone_init(struct zone *zone, u8 index, enum zone_type type, u8 node, unsigned nr_cpus);

/* Hands nr_blocks freshly mapped pageblocks to the zone. */
void zone_add_blocks(struct zone *zone, u64 pfn, u64 nr_blocks, enum migratetype mt);

/*
 * Takes a block of 1 << order pages from the zone's lists of migratetype mt,
 * or, when those are empty, from another type's: a whole pageblock at least
 * with `nofragment`, anything otherwise. 0 when there is none.
 */
u64 zone_rmqueue_locked(struct zone *zone, unsigned order, enum migratetype mt, bool nofragment);

/* The same of the type's own lists, if they have pages given back or untouched; else 0. */
u64 zone_rmqueue_cold_locked(struct zone *zone, unsigned order, enum migratetype mt);

/*
 * Takes nr pages from a run of adjacent free pages of type mt, whatever blocks
 * they belong to, the first at a multiple of 1 << align_order. 0 when the search,
 * which is bounded, finds none. (run.c)
 */
u64 zone_rmqueue_run_locked(struct zone *zone, u64 nr, unsigned align_order,
			    enum migratetype mt);

/*
 * nr pages at the start, as aligned as asked for, of the run that the largest warm free block of
 * type mt belongs to: for what is going to grow. 0 when no block is twice as large. (run.c)
 */
u64 zone_rmqueue_roomy_locked(struct zone *zone, u64 nr, unsigned align_order,
			      enum migratetype mt);

/*
 * nr pages from adjacent wholly free pageblocks of any type, which become mt's;
 * align_order at least PAGEBLOCK_ORDER. (run.c)
 */
u64 zone_rmqueue_contig_locked(struct zone *zone, u64 nr, unsigned align_order,
			       enum migratetype mt);

/*
 * Pages [pfn, pfn + nr) were taken for mt: all pageblocks they lie in become
 * mt's, with what is free there.
 */
void zone_retype_locked(struct zone *zone, u64 pfn, u64 nr, enum migratetype mt);

/* Takes exactly [pfn, pfn + nr) if all of it is free; no migratetype changes. */
bool zone_take_range_locked(struct zone *zone, u64 pfn, u64 nr);
/* The same when it is known to be. */
void zone_take_free_range_locked(struct zone *zone, u64 pfn, u64 nr);

/* True if all of [pfn, pfn + nr) lies in free blocks of this zone. */
bool zone_range_is_free_locked(struct zone *zone, u64 pfn, u64 nr);

/* Wholly free pageblocks in a row just below pfn, where one begins; up to `most` are counted. */
u64 zone_free_blocks_below_locked(struct zone *zone, u64 pfn, u64 most);

/* Gives any range of pages back, merging. The pages are of this zone. */
void zone_free_range_locked(struct zone *zone, u64 pfn, u64 nr);
void zone_free_range(struct zone *zone, u64 pfn, u64 nr);

/* The part of [pfn, pfn + nr) that lies in pfn's word of a pageblock bitmap. */
struct piece {
	u64 word;	/* index within the pageblock */
	u64 mask;
	u64 nr;
};

static inline struct piece first_piece(u64 pfn, u64 nr)
{
	unsigned bit = pfn % 64;
	u64 n = MIN(nr, (u64)(64 - bit));

	return (struct piece){
		.word = pfn % PAGEBLOCK_PAGES / 64,
		.mask = (n == 64 ? ~(u64)0 : ((u64)1 << n) - 1) << bit,
		.nr = n,
	};
}

/* Bits of word in a mask of n; mostly all or none, and counting is a call on some processors. */
static inline u64 count_bits(u64 word, u64 mask, u64 n)
{
	word &= mask;
	if (word == mask)
		return n;
	return word ? (u64)__builtin_popcountll(word) : 0;
}

/* Whether [pfn, pfn + nr) begins with a whole pageblock. */
static inline bool begins_whole_block(u64 pfn, u64 nr)
{
	return !(pfn % PAGEBLOCK_PAGES) && nr >= PAGEBLOCK_PAGES;
}

static fast_inline u64 bitmap_word(const u64 *bitmap, u64 i)
{
	return __atomic_load_n(&bitmap[i], __ATOMIC_RELAXED);
}

/* Whether all bits of a pageblock's bitmap are set, as they mostly are of a large block's. */
static inline bool all_bits_set(const u64 *bitmap)
{
	static_assert(PAGEBLOCK_PAGES == 8 * 64, "a pageblock's bitmap is eight words");

	return !~(bitmap_word(bitmap, 0) & bitmap_word(bitmap, 1) & bitmap_word(bitmap, 2) &
		  bitmap_word(bitmap, 3) & bitmap_word(bitmap, 4) & bitmap_word(bitmap, 5) &
		  bitmap_word(bitmap, 6) & bitmap_word(bitmap, 7));
}

/* dirty.c: how many dirty bits are set in [pfn, pfn + nr). */
u64 pages_nr_dirty(u64 pfn, u64 nr);
static inline bool page_is_dirty(u64 pfn)
{
	u64 word = bitmap_word(pfn_to_block(pfn)->dirty, pfn % PAGEBLOCK_PAGES / 64);

	return word >> pfn % 64 & 1;
}
/* Sets them, how many were not, and clears them; the caller owns the pages. */
u64 pages_set_dirty(u64 pfn, u64 nr);
void pages_clear_dirty(u64 pfn, u64 nr);
/* Pages with a dirty bit, in all: what the heap keeps backed at most. */
u64 pages_nr_backed(void);
/* The same for blocks that have no dirty bits, mapped for themselves; negative: unmapped. */
void pages_count_backed(long nr);
/*
 * Gives the pages, which the caller owns and which nobody uses, back to the
 * system and clears their dirty bits; how many had one, 0 when it refuses.
 * But with GIVE_ALL, as the option `free` says. Takes long: no lock is held.
 * From rank 4 on pages_give_back is the way, which knows of huge pages.
 */
u64 dirty_give_back(u64 pfn, u64 nr, enum give how);
/* All pages of the pageblock at pfn came with one of them: those that are free are dirty now. */
void zone_back_block(struct zone *zone, u64 pfn);
/* Writes zeroes over what is dirty of [pfn, pfn + nr) and skips what is known to be zero. */
void pages_zero_dirty(u64 pfn, u64 nr);

/* fork */
void zone_lock_all(struct zone *zone);
void zone_unlock_all(struct zone *zone);
void zone_reinit_locks(struct zone *zone);

#endif
