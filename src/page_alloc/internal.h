/* rank 4: what the files of the folder share. */
#ifndef BM_PAGE_ALLOC_INTERNAL_H
#define BM_PAGE_ALLOC_INTERNAL_H

#include "buddy/zone.h"
#include "page_alloc/page_alloc.h"

/* One NUMA node: its zones and the order in which they are tried. */
struct pgdat {
	struct zone *zones[NR_ZONES];	/* absent ones are NULL */
	struct zone *zonelist[MAX_NODES * NR_ZONES + 1]; /* ends with NULL */
};

extern struct pgdat *nodes[MAX_NODES] HIDDEN; /* by the system's numbers; absent ones are NULL */
extern unsigned nr_nodes HIDDEN;
extern unsigned first_node HIDDEN; /* the one with the small zones */
extern unsigned nr_zones; /* entries of zone_table */

enum alloc_flags {
	ALLOC_WMARK_MIN = 0,
	ALLOC_WMARK_LOW = 1,
	ALLOC_WMARK_MASK = 1,
	ALLOC_NO_WATERMARKS = 2,
	ALLOC_HIGH = 4,		/* half of the mark is available */
	ALLOC_HARDER = 8,	/* and half of the rest */
	ALLOC_NOFRAGMENT = 16,	/* neither mix types in a pageblock nor leave the preferred zone */
};

/* What one allocation wants; filled by prepare_alloc_pages, never changed. */
struct alloc_context {
	bm_gfp_t gfp;
	u64 nr;			/* pages */
	bool roomy;		/* where the longest warm run begins, if any; no reclaim for it */
	unsigned order;		/* of the block to look for; > MAX_ORDER: contiguous run */
	unsigned align_order;
	enum migratetype mt;
	struct zone *const *zonelist;
	enum zone_type highest_zone, lowest_zone;
	u64 nodemask;		/* bit i: node i may serve */
	struct zone *preferred;	/* the first of the zonelist that may; the one that grows */
};

/* Pageblocks that hold so many pages; and to how many what is mapped for the request is aligned. */
static inline u64 blocks_for(u64 nr)
{
	return round_up(nr, (u64)PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER;
}

static inline u64 align_blocks(const struct alloc_context *ac)
{
	return (u64)1 << (MAX(ac->align_order, (unsigned)PAGEBLOCK_ORDER) - PAGEBLOCK_ORDER);
}

/* One walk over the zonelist; the pfn of a block taken off the free lists, or 0. */
u64 get_page_from_freelist(const struct alloc_context *ac, unsigned alloc_flags);
/* True when taking nr pages leaves the zone above the mark. */
bool zone_watermark_ok(struct zone *zone, const struct alloc_context *ac, unsigned alloc_flags);

/* slowpath.c: everything else that can be tried; errno stays. */
u64 alloc_pages_slowpath(const struct alloc_context *ac);

/* Free pages that a block of nr pages has behind it with GFP_ROOMY. */
static inline u64 room_behind(u64 nr)
{
	return nr / 2;
}

/* highmem.c */
u64 highmem_alloc(const struct alloc_context *ac);
void highmem_free(u64 pfn);
bool highmem_resize(u64 pfn, u64 nr);

/* free.c. Pages to their zone. What lay idle ages first, as these were in use until now. */
void free_range(u64 pfn, u64 nr);

/*
 * backing.c. Pages that could not be unmapped are their owner's still: given back if they can be
 * (not if they are locked), else they hold data.
 */
void pages_keep(u64 pfn, u64 nr);

/* clear.c. Pages that their new owner is to find zero; system calls as the scope allows. */
void pages_zero(u64 pfn, u64 nr);

/* in_flight.c. How often pages have arrived: to be noted before a look for them. */
u32 in_flight_arrivals(void);
/*
 * Whether that is `seen` no more, so that another look is worth while. As long as some
 * are in flight it waits for them, but not long.
 */
bool in_flight_wait(u32 seen);
/* In a child after fork. */
void in_flight_reinit(void);
/*
 * Wake-ups in a row after which to give up: one may only mean that some thread came
 * empty-handed while others are still on the way.
 */
#define VAIN_TRIES 10

/*
 * pgdat.c. The node of a request that names none: by option, in turns, or the
 * running CPU's.
 */
unsigned choose_node_slow(void);
static inline unsigned choose_node(void)
{
	return likely(nr_nodes == 1) ? first_node : choose_node_slow();
}
/* Maps nr_blocks pageblocks of the zone's kind of memory; 0 when the system refuses. */
u64 zone_map(struct zone *zone, u64 nr_blocks, u64 align);
/* Maps nr_blocks pageblocks of the window at pfn, if nothing lies there, for the zone. */
bool zone_grow_at(struct zone *zone, u64 pfn, u64 nr_blocks, enum migratetype mt);
/* Lets pageblocks just mapped come from the zone's node, and chooses their pages' size. */
void zone_advise(const struct zone *zone, u64 pfn, u64 nr_blocks);
/* Lets the pages, mapped and not touched, come from their zone's node. */
void pages_bind(u64 pfn, u64 nr);

/* thp.c: whether nr_blocks pageblocks just mapped may have huge pages. */
void thp_choose(const struct zone *zone, u64 pfn, u64 nr_blocks);
static inline enum thp thp_of(u64 pfn)
{
	return (enum thp)__atomic_load_n(&pfn_to_block(pfn)->thp, __ATOMIC_RELAXED);
}
/*
 * Pages are handed out, and dirty now: of a huge page all, as they come with the first of them; or
 * near a limit it becomes none.
 */
void pages_back(u64 pfn, u64 nr);
/* Notes what the system is told of so many pageblocks; thp_repeat tells it. */
void thp_set(u64 pfn, u64 nr_blocks, enum thp thp);
/* Tells the system (again, for pages that were mapped anew). */
void thp_repeat(u64 pfn, u64 nr);
/* The pages came with their mapping, and with what the system was told of that. */
void thp_moved(u64 to, u64 from, u64 nr);
/* Whether the system was told different things of the two ranges, or within one. */
bool thp_differs(u64 a, u64 b, u64 nr);
/* Ageing leaves a pageblock with few idle pages alone: they are part of a huge page in use. */
bool thp_is_hot_locked(u64 pfn);

/*
 * thp_gain.c: of nr_blocks pageblocks, with which the zone is to grow, for how many from the first
 * on huge pages are a gain.
 */
u64 thp_gains(const struct zone *zone, u64 pfn, u64 nr_blocks);
/* In a child after fork: the thread that decided is not here any more. */
void thp_gain_reinit(void);
/* So many small pages are handed out that were clean: they tell how densely the heap is used. */
void thp_count_small(u64 nr);

/*
 * thp_split.c. Pages were given back: the system is told not to bring them back as part of huge
 * ones.
 */
void thp_given(u64 pfn, u64 nr);
/* Of the pageblock at pfn no more is to be there than what is handed out. */
void thp_split(u64 pfn);
/* Pageblocks are about to be unmapped: they count no more, whatever zone grows there next. */
void thp_forget_split(u64 pfn, u64 nr);

/*
 * purge.c. Gives up to nr dirty free pages back, oldest first, of those that lie `least` or more
 * in a row; pages given. But with GIVE_ALL: what the system refused lately is not tried, nor a hot
 * huge page broken up for a little.
 */
u64 zones_purge(u64 nr, u64 least, enum give how);
/* Ageing tries again what was refused. */
void purge_retry(void);
/* In a child after fork: what other threads were giving back comes back. */
void purge_after_fork(void);

/* reclaim.c. Ageing by the caller, even if kswapd runs. */
void reclaim_age_now(bool in_background);
/* The time between two steps. */
u64 reclaim_step_ms(void);
/* Pages that wait to age. */
u64 reclaim_nr_dirty(void);
/* Nothing came or went for two decay times: what layers above keep has aged too. */
void reclaim_when_quiet(void);
/* nr more pages are about to be backed; as many of those free longest go back. */
void reclaim_for_growth(u64 nr);
/* Of nr pages, those that are dirty, free and above what ageing leaves; 0 if it gives none back. */
u64 reclaim_may_go(u64 nr);
/* In a child after fork: whoever was ageing is not here any more. */
void reclaim_reinit(void);

/* drop.c: nr pages were taken from a zone, and perhaps others. */
void drop_pages_taken(u64 nr);
/* nr came to one. */
void drop_pages_came(u64 nr);
/* So many dropped ones wait no more: they were given back. */
void drop_uncount(u64 given);
/* In a child after fork. */
void drop_reinit(void);

/* kswapd.c: tells it that there is work. */
void kswapd_wake(void);

/* Whether the request may have others give back what it needs. */
static inline bool gfp_may_reclaim(bm_gfp_t gfp)
{
	return gfp & BM_GFP_DIRECT_RECLAIM && !(gfp & BM_GFP_NORETRY);
}

/* Who may not wait for reclaim gets deeper into the reserve, and at once. */
static inline bool gfp_is_urgent(bm_gfp_t gfp)
{
	return gfp & BM_GFP_HIGH && !(gfp & BM_GFP_DIRECT_RECLAIM);
}

/* limit.c: the least of all marks in pages, above which a request is looked at. */
extern u64 limit_first_mark HIDDEN;
bool limit_allows_slow(u64 need, bm_gfp_t gfp);
/* No block can have more pages, whatever is given back. */
u64 limit_most(void);
/* In a child after fork. */
void limit_reinit(void);

/* Whether `need` more pages may be backed. Reclaims if gfp lets it; no lock is held. */
static inline bool limit_allows(u64 need, bm_gfp_t gfp)
{
	if (likely(pages_nr_backed() + need <=
		   __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED)))
		return true;
	return !need || limit_allows_slow(need, gfp);
}

/* Whether those of a block's pages that are clean may be backed. */
static inline bool limit_allows_pages(u64 pfn, u64 nr, bm_gfp_t gfp)
{
	/* With all of them far from any mark: they need not be counted. */
	if (likely(pages_nr_backed() + nr <= __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED)))
		return true;
	return limit_allows(nr - pages_nr_dirty(pfn, nr), gfp);
}

#endif
