/*
 * rank 4: what is dropped: a program that drops its data, and then waits or computes, makes no
 * call on which ageing could ride. So of what comes to the zones while nothing is taken from them
 * only so much waits to age. One that builds anew what it dropped would pay for that each time:
 * when half of what went is taken again within decay_ms, as much more waits from then on. When it
 * is not, or what waited was not wanted for so long, half of that waits.
 *
 * What goes lies in long ranges. Where objects are freed in random order the heap is full of holes
 * for a while, each of which would cost a system call; in the end all of it lies in long ranges.
 *
 * State: `drop`, all relaxed atomics; an update that is lost does no harm. drop.busy is acquired
 * and released by who gives back.
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"

#define MIB_PAGES (((u64)1 << 20) >> PAGE_SHIFT)

/* What waits at first, and at least: the trim threshold that glibc's malloc may come to. */
#define DROP_LEAST (64 * MIB_PAGES)
#define DROP_MOST (UINT64_MAX / 4)

/* So much comes between two looks for what may go, and the pages in a row that are worth a call. */
#define DROP_BATCH (8 * MIB_PAGES)
#define DROP_RANGE (MIB_PAGES / 2)

/* So many came while nothing was taken: the next call that can is to age, as there may be few. */
#define DROP_MUCH MIB_PAGES

static struct {
	u64 most;	/* pages that wait */
	u64 pages;	/* that came since some were taken, and were not given back by anybody */
	u64 look_at;	/* as many are looked at */
	u64 given;	/* that went for this, until as many could have been taken again */
	u64 taken;	/* since then, about */
	u64 given_ms;	/* when the last of them went */
	u64 came_ms;	/* when the last came of more than the least that waits */
	u32 busy;	/* 1 = some thread gives back; acquire/release */
} drop = { .most = DROP_LEAST, .look_at = DROP_LEAST + DROP_BATCH };

bool drop_is_much(void)
{
	return __atomic_load_n(&drop.pages, __ATOMIC_RELAXED) >= DROP_MUCH;
}

static bool is_recent(const u64 *ms)
{
	return os_now_ms() - __atomic_load_n(ms, __ATOMIC_RELAXED) < (u64)options.decay_ms;
}

/* So many wait now: the next look is a batch later. */
static void look_later(u64 pages)
{
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED);

	__atomic_store_n(&drop.look_at, MAX(pages, most) + DROP_BATCH, __ATOMIC_RELAXED);
}

static void wait_less(void)
{
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED);

	__atomic_store_n(&drop.most, MAX(most / 2, DROP_LEAST), __ATOMIC_RELAXED);
}

/* Too little waits. */
static void wait_more(u64 more)
{
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED);

	__atomic_store_n(&drop.most, MIN(most + MAX(most, more), DROP_MOST), __ATOMIC_RELAXED);
}

/* Of `pages` that waited `left` do: they were more than the least, perhaps for nothing. */
static void judge_wait(u64 pages, u64 left)
{
	if (pages > DROP_LEAST && left <= DROP_LEAST && !is_recent(&drop.came_ms))
		wait_less();
	look_later(left);
}

void drop_uncount(u64 given)
{
	u64 pages = __atomic_load_n(&drop.pages, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&drop.pages, &pages, pages - MIN(given, pages), true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	judge_wait(pages, pages - MIN(given, pages));
}

/* What went is judged: it was taken again soon, or it was not. */
static void judge_given(bool soon)
{
	if (soon)
		wait_more(__atomic_load_n(&drop.given, __ATOMIC_RELAXED));
	else
		wait_less();
	__atomic_store_n(&drop.given, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&drop.taken, 0, __ATOMIC_RELAXED);
}

/* A block of a small order comes with others that wait in the per-CPU list. */
#define TAKEN_LEAST ((u64)16)

static out_of_line void count_taken_again(u64 nr)
{
	u64 taken = __atomic_add_fetch(&drop.taken, MAX(nr, TAKEN_LEAST), __ATOMIC_RELAXED);

	if (taken < __atomic_load_n(&drop.given, __ATOMIC_RELAXED) / 2)
		return;
	judge_given(is_recent(&drop.given_ms));
	look_later(0);
}

void drop_pages_taken(u64 nr)
{
	u64 pages = __atomic_load_n(&drop.pages, __ATOMIC_RELAXED);

	if (pages) {
		__atomic_store_n(&drop.pages, 0, __ATOMIC_RELAXED);
		if (unlikely(pages > DROP_LEAST))
			judge_wait(pages, 0);
	}
	if (unlikely(__atomic_load_n(&drop.given, __ATOMIC_RELAXED)))
		count_taken_again(nr);
}

static void count_given(u64 given)
{
	/* What went longer ago tells nothing of how soon this is taken again. */
	if (__atomic_load_n(&drop.given, __ATOMIC_RELAXED) && !is_recent(&drop.given_ms))
		judge_given(false);
	__atomic_fetch_add(&drop.given, given, __ATOMIC_RELAXED);
	__atomic_store_n(&drop.given_ms, os_now_ms(), __ATOMIC_RELAXED);
}

static void give_excess(u64 excess)
{
	u64 given = zones_purge(excess, DROP_RANGE, GIVE_AGED);

	if (given)
		count_given(given);
	/* What does not go now, refused or too small, is not tried each time. */
	drop_uncount(given);
}

static out_of_line void give_dropped(u64 pages)
{
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED), excess;

	/* One does so of several that drop at once. */
	if (__atomic_exchange_n(&drop.busy, 1, __ATOMIC_ACQUIRE))
		return;
	excess = pages > most ? reclaim_may_go(pages - most) : 0;
	if (excess)
		give_excess(excess);
	__atomic_store_n(&drop.busy, 0, __ATOMIC_RELEASE);
}

void drop_pages_came(u64 nr)
{
	u64 pages = __atomic_add_fetch(&drop.pages, nr, __ATOMIC_RELAXED);

	/* The background thread needs no call. */
	if (likely(pages <= DROP_LEAST) || kswapd_is_running())
		return;
	__atomic_store_n(&drop.came_ms, os_now_ms(), __ATOMIC_RELAXED);
	if (pages >= __atomic_load_n(&drop.look_at, __ATOMIC_RELAXED))
		give_dropped(pages);
}

void drop_reinit(void)
{
	word_reinit(&drop.busy);
}
