/*
 * rank 3: the dirty bits of pageblocks: which pages may hold data. A page
 * without the bit is known to be zero and costs no memory. Setting happens
 * without the zone lock, on pages the caller owns, beside other owners' bits
 * in the same word: hence the atomic or.
 *
 * With free:lazy the system takes pages when it needs them, and nobody can tell
 * whether it has. They lose the dirty bit all the same: what can be taken at any
 * time without asking counts for no limit, and it is not to be given back again.
 * But their pageblock becomes stale, and as long as it is mapped none of its pages
 * is taken for zero any more. One flag for 512 pages is enough: those that age have
 * been in use, and so have most of their neighbours. It is the same with an
 * emulator in which madvise only pretends.
 */
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "buddy/zone.h"
#include "os/os.h"

/* Relaxed atomic; changes only where bits do. On a line of its own, as all threads write it. */
static u64 nr_backed __attribute__((aligned(CACHE_LINE)));

u64 pages_nr_backed(void)
{
	return __atomic_load_n(&nr_backed, __ATOMIC_RELAXED);
}

void pages_count_backed(long nr)
{
	__atomic_fetch_add(&nr_backed, (u64)nr, __ATOMIC_RELAXED);
}

u64 pages_nr_dirty(u64 pfn, u64 nr)
{
	u64 count = 0;

	while (nr) {
		const struct pageblock *block = pfn_to_block(pfn);
		struct piece p;

		if (begins_whole_block(pfn, nr) && all_bits_set(block->dirty)) {
			count += PAGEBLOCK_PAGES;
			pfn += PAGEBLOCK_PAGES;
			nr -= PAGEBLOCK_PAGES;
			continue;
		}
		p = first_piece(pfn, nr);
		count += count_bits(bitmap_word(block->dirty, p.word), p.mask, p.nr);
		pfn += p.nr;
		nr -= p.nr;
	}
	return count;
}

u64 pages_set_dirty(u64 pfn, u64 nr)
{
	u64 fresh = 0;

	while (nr) {
		struct pageblock *block = pfn_to_block(pfn);
		struct piece p;
		u64 *word;

		if (begins_whole_block(pfn, nr) && all_bits_set(block->dirty)) {
			pfn += PAGEBLOCK_PAGES;
			nr -= PAGEBLOCK_PAGES;
			continue;
		}
		p = first_piece(pfn, nr);
		word = &block->dirty[p.word];
		if ((__atomic_load_n(word, __ATOMIC_RELAXED) & p.mask) != p.mask)
			fresh += (u64)__builtin_popcountll(
				p.mask & ~__atomic_fetch_or(word, p.mask, __ATOMIC_RELAXED));
		pfn += p.nr;
		nr -= p.nr;
	}
	if (fresh)
		pages_count_backed((long)fresh);
	return fresh;
}

void pages_clear_dirty(u64 pfn, u64 nr)
{
	while (nr) {
		struct piece p = first_piece(pfn, nr);
		u64 gone = p.mask & __atomic_fetch_and(&pfn_to_block(pfn)->dirty[p.word], ~p.mask,
						       __ATOMIC_RELAXED);

		/* Word by word, so that a fork in between leaves the child at most 64 pages off. */
		if (gone)
			pages_count_backed(-(long)__builtin_popcountll(gone));
		pfn += p.nr;
		nr -= p.nr;
	}
}

/* Before a page is given: whoever gets it next must find the flag. */
static void mark_stale(u64 pfn, u64 nr)
{
	u64 at;

	for (at = pageblock_start(pfn); at < pfn + nr; at += PAGEBLOCK_PAGES)
		__atomic_store_n(&pfn_to_block(at)->stale, 1, __ATOMIC_RELAXED);
}

/* The caller has the pages still: whoever gets them next finds the flag. */
static cold_path void given_in_vain(u64 pfn, u64 nr)
{
	static u32 told;

	mark_stale(pfn, nr);
	if (!__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
		report_verbose("madvise leaves data in pages that were given back (in an emulator?): calloc clears them, but memory does not become less");
}

u64 dirty_give_back(u64 pfn, u64 nr, enum give how)
{
	size_t bytes = (size_t)nr << PAGE_SHIFT;
	u64 dirty = pages_nr_dirty(pfn, nr);
	bool done = false;

	stat_add_shared(purge_calls, 1);
	if (how != GIVE_ALL && options.free == option_free_lazy) {
		mark_stale(pfn, nr);
		done = os_give_back_lazily(pfn_to_addr(pfn), bytes);
	}
	if (!done && !os_give_back(pfn_to_addr(pfn), bytes))
		return 0;
	if (unlikely(!os_give_back_clears()))
		given_in_vain(pfn, nr);
	pages_clear_dirty(pfn, nr);
	return dirty;
}

void pages_zero_dirty(u64 pfn, u64 nr)
{
	u64 end = pfn + nr;

	while (pfn < end) {
		struct piece p = first_piece(pfn, end - pfn);
		const struct pageblock *block = pfn_to_block(pfn);
		bool stale = __atomic_load_n(&block->stale, __ATOMIC_RELAXED);
		u64 dirty = bitmap_word(block->dirty, p.word);
		u64 bits = stale ? p.mask : dirty & p.mask;
		u64 base = round_down(pfn, (u64)64);

		while (bits) {
			unsigned from, run = first_bit_run(bits, &from);

			memset(pfn_to_addr(base + from), 0, (size_t)run << PAGE_SHIFT);
			bits &= ~bit_run(from, run);
		}
		pfn += p.nr;
	}
}
