/*
 * rank 7: what a large block holds goes to another one by page tables, where realloc
 * must move it.
 *
 * Pages that were moved are a mapping of their own, for good, and part what lies
 * around them. vm.max_map_count limits mappings for the whole process (65530 by
 * default), and every fault looks one up: with so many scars in the heap bytes are
 * copied instead. Blocks so large that one more does not count may leave more.
 *
 * A scar is healed when its block is freed, by mapping it anew. That gives warm
 * pages back, which the next block would have used: so the first scars stay.
 *
 * The kernel moves one mapping at a time. A block that was moved and has grown since is
 * several, and so is one that lies across scars; it is moved in pieces.
 *
 * page->map of a large block's head has at MOVED how many pages were moved there, and at
 * SCARS how many mappings they are. They are the owner's.
 */
#include <string.h>

#include "base/stats.h"
#include "buddy/zone.h"
#include "malloc/internal.h"
#include "os/os.h"
#include "page_alloc/scope.h"

/* From here on page tables are moved instead of bytes; and of a piece. */
#define MOVE_LEAST ((size_t)1 << 20)
#define MOVE_PIECE_LEAST ((size_t)64 << 10)

/* With so many scars in the heap bytes are copied; those of a big block only with more. */
#define SCARS_MOST 64
#define BIG_BYTES ((size_t)32 << 20)
#define BIG_SCARS_MOST 4096

/* As many stay when their blocks are freed. */
#define SCARS_KEPT 32

enum { MOVED, SCARS };

static u64 nr_scars; /* relaxed atomic */

void large_never_moved(u64 pfn)
{
	pfn_to_page(pfn)->map[MOVED] = 0;
}

static u64 moved_pages(u64 pfn)
{
	return pfn_to_page(pfn)->map[MOVED];
}

/* The moved pages from `from` on, which are not needed any more, become one with the heap again. */
static bool heal_scars(u64 pfn, u64 from)
{
	return page_kind(pfn_to_page(pfn)) != PAGE_HIGHMEM && scope_may_map() &&
	       pages_renew(pfn + from, moved_pages(pfn) - from);
}

void large_forget_move(u64 pfn)
{
	u64 moved = moved_pages(pfn);

	if (!moved)
		return;
	/* Moved on from here: healing costs next to nothing. */
	if ((pages_nr_dirty(pfn, moved) <= moved / 8 ||
	     __atomic_load_n(&nr_scars, __ATOMIC_RELAXED) > SCARS_KEPT) &&
	    heal_scars(pfn, 0))
		__atomic_fetch_sub(&nr_scars, pfn_to_page(pfn)->map[SCARS], __ATOMIC_RELAXED);
	large_never_moved(pfn);
}

void large_cut_move(u64 pfn, u64 nr)
{
	if (nr >= moved_pages(pfn))
		return;
	/* The part cut off becomes one mapping with the heap again. If that fails the scar stays
	 * with those pages, whoever takes them; this block forgets it. */
	heal_scars(pfn, nr);
	pfn_to_page(pfn)->map[MOVED] = nr;
}

/* Whether pages are worth moving to the new block. */
static bool may_move_to(const struct page *to, size_t bytes)
{
	u64 scars = __atomic_load_n(&nr_scars, __ATOMIC_RELAXED);

	if (bytes < MOVE_LEAST || !scope_may_map() ||
	    scars >= (bytes < BIG_BYTES ? SCARS_MOST : BIG_SCARS_MOST))
		return false;
	/* Moving drops the pages that are there. A copy into warm pages costs an
	 * eighth of the faults that it takes to have them again. */
	return page_kind(to) == PAGE_HIGHMEM || to->private <= bytes >> PAGE_SHIFT >> 1;
}

/* Of a piece, by page tables or bytes. */
static enum os_moved move_piece(u64 to, u64 from, u64 nr)
{
	size_t bytes = nr << PAGE_SHIFT;
	enum os_moved how = OS_NOT_MOVED;

	if (bytes >= MOVE_PIECE_LEAST)
		how = os_move_pages(pfn_to_virt(to), pfn_to_virt(from), bytes);
	if (how == OS_MOVED) {
		pages_moved_to(to, from, nr);
		pages_moved(from, nr);
	} else if (how == OS_NOT_MOVED) {
		memcpy(pfn_to_virt(to), pfn_to_virt(from), bytes);
	}
	return how;
}

bool large_move(u64 to, u64 from, u64 nr)
{
	u64 at, n, moved = 0, pieces = 0;

	if (!may_move_to(pfn_to_page(to), nr << PAGE_SHIFT)) {
		memcpy(pfn_to_virt(to), pfn_to_virt(from), nr << PAGE_SHIFT);
		return true;
	}
	for (at = 0; at < nr; at += n, pieces++) {
		enum os_moved how;

		n = os_mapping_length(pfn_to_virt(from + at), (nr - at) << PAGE_SHIFT) >>
		    PAGE_SHIFT;
		how = move_piece(to + at, from + at, n);
		moved += how == OS_MOVED ? n : 0;
		if (likely(how != OS_TARGET_GONE))
			continue;
		memcpy(pfn_to_virt(from), pfn_to_virt(to), at << PAGE_SHIFT);
		if (page_kind(pfn_to_page(from)) != PAGE_HIGHMEM)
			pages_set_dirty(from, at);
		if (at)
			pages_give_back(to, at, GIVE_ALL);
		return false;
	}
	if (!moved)
		return true;
	if (page_kind(pfn_to_page(to)) != PAGE_HIGHMEM)
		__atomic_fetch_add(&nr_scars, pieces, __ATOMIC_RELAXED);
	pfn_to_page(to)->map[MOVED] = nr;
	pfn_to_page(to)->map[SCARS] = pieces;
	stat_add_shared(large_realloc_moved, 1);
	return true;
}
