/*
 * rank 4: what is dropped: a program that drops its data, and then waits or computes, makes no
 * call on which ageing could ride. So of what comes to the zones while nothing is taken from them
 * only so much waits to age. One that builds anew what it dropped would pay for that each time:
 * when half of what went is taken again within decay_ms, twice as much waits from then on, and
 * half of that when it is not.
 *
 * State: `drop`, all relaxed atomics; an update that is lost does no harm.
 */
#include <errno.h>

#include "base/options.h"
#include "os/os.h"
#include "page_alloc/internal.h"

#define DROP_LEAST (((u64)256 << 20) >> PAGE_SHIFT)

static struct {
	u64 most;	/* pages that wait */
	u64 pages;	/* that came since some were taken, and were not given back by anybody */
	u64 given;	/* that went for this, until as many could have been taken again */
	u64 taken;	/* since then, about */
	u64 given_ms;	/* when the last of them went */
} drop = { .most = DROP_LEAST };

/* Pages that, while nothing is taken, the next call which can is to age: there may be few. */
#define DROP_MUCH (((u64)1 << 20) >> PAGE_SHIFT)

bool drop_is_much(void)
{
	return __atomic_load_n(&drop.pages, __ATOMIC_RELAXED) >= DROP_MUCH;
}

void drop_uncount(u64 given)
{
	u64 pages = __atomic_load_n(&drop.pages, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&drop.pages, &pages, pages - MIN(given, pages), true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* A block of a small order comes with others that wait in the per-CPU list. */
#define TAKEN_LEAST ((u64)16)

/* Of what went half was taken again: within a decay time, so too little waits; or it was not. */
static void drop_judge(bool soon)
{
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED);

	most = soon ? MIN(2 * most, UINT64_MAX / 4) : MAX(most / 2, DROP_LEAST);
	__atomic_store_n(&drop.most, most, __ATOMIC_RELAXED);
	__atomic_store_n(&drop.given, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&drop.taken, 0, __ATOMIC_RELAXED);
}

static bool drop_is_recent(u64 now)
{
	return now - __atomic_load_n(&drop.given_ms, __ATOMIC_RELAXED) < (u64)options.decay_ms;
}

static out_of_line void count_taken_again(u64 nr)
{
	u64 taken = __atomic_add_fetch(&drop.taken, MAX(nr, TAKEN_LEAST), __ATOMIC_RELAXED);

	if (taken >= __atomic_load_n(&drop.given, __ATOMIC_RELAXED) / 2)
		drop_judge(drop_is_recent(os_now_ms()));
}

void drop_pages_taken(u64 nr)
{
	if (__atomic_load_n(&drop.pages, __ATOMIC_RELAXED))
		__atomic_store_n(&drop.pages, 0, __ATOMIC_RELAXED);
	if (unlikely(__atomic_load_n(&drop.given, __ATOMIC_RELAXED)))
		count_taken_again(nr);
}

static void count_given(u64 given)
{
	u64 now = os_now_ms();

	/* What went longer ago tells nothing of how soon this is taken again. */
	if (__atomic_load_n(&drop.given, __ATOMIC_RELAXED) && !drop_is_recent(now))
		drop_judge(false);
	__atomic_fetch_add(&drop.given, given, __ATOMIC_RELAXED);
	__atomic_store_n(&drop.given_ms, now, __ATOMIC_RELAXED);
}

/*
 * Takes what is beyond the bound and may go off the count: one does so of several that drop at
 * once.
 */
static u64 claim_excess(u64 pages, u64 most)
{
	u64 excess;

	do
		excess = pages > most ? reclaim_may_go(pages - most) : 0;
	while (excess && !__atomic_compare_exchange_n(&drop.pages, &pages, pages - excess, true,
						      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return excess;
}

static out_of_line void give_dropped(u64 pages, u64 most)
{
	u64 excess = claim_excess(pages, most), given;
	int saved = errno;

	if (!excess)
		return;
	given = zones_purge(excess, GIVE_AGED);
	/* It may be more, as pageblocks go whole. What is refused is not tried each time. */
	if (!given || given > excess)
		drop_uncount(given ? given - excess : UINT64_MAX);
	if (given)
		count_given(given);
	errno = saved; /* the system refuses to take what is locked */
}

void drop_pages_came(u64 nr)
{
	u64 pages = __atomic_add_fetch(&drop.pages, nr, __ATOMIC_RELAXED);
	u64 most = __atomic_load_n(&drop.most, __ATOMIC_RELAXED);

	/* The background thread needs no call. */
	if (likely(pages <= most) || kswapd_is_running())
		return;
	give_dropped(pages, most);
}
