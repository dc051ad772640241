/*
 * rank 6: thread caches without a thread, kept for the next ones.
 *
 * A cache is used again warm, the last one first. What its sheaves lie in goes
 * back to the system when it was not wanted for a while, or somebody is in need: otherwise
 * a program would keep that for each of the most threads that it ever had at once.
 */
#include "page_alloc/page_alloc.h"
#include "tcache/internal.h"

/* How many of those that were not wanted between two looks go at the second. */
#define GIVE_SOME 16

/* LOCK_THREADS, all of it. */
static struct {
	struct tcache *warm;	/* the last one first */
	struct tcache *cold;	/* given back, or about to be */
	u64 nr_warm, least_warm; /* how many there are, and the least since the last look */
} spare;

static void spare_push(struct tcache **list, struct tcache *tc)
{
	tc->next_free = *list;
	__atomic_store_n(list, tc, __ATOMIC_RELEASE);
}

/* NULL: there is none. */
static struct tcache *pop_warm_locked(void)
{
	struct tcache *tc = spare.warm;

	if (tc) {
		spare.warm = tc->next_free;
		spare.nr_warm--;
		spare.least_warm = MIN(spare.least_warm, spare.nr_warm);
	}
	return tc;
}

struct tcache *spare_take_locked(void)
{
	struct tcache *tc = pop_warm_locked(), **link = &spare.cold;

	if (tc)
		return tc;
	while (*link && (*link)->leaving)
		link = &(*link)->next_free;
	tc = *link;
	if (tc)
		*link = tc->next_free;
	return tc;
}

void spare_put_locked(struct tcache *tc)
{
	spare_push(&spare.warm, tc);
	spare.nr_warm++;
}

void spare_totals_locked(struct stats *total)
{
	struct tcache *tc;

	for (tc = spare.warm; tc; tc = tc->next_free)
		stats_sum(total, &tc->stats);
	for (tc = spare.cold; tc; tc = tc->next_free)
		stats_sum(total, &tc->stats);
}

/* The next one to be given back; it is cold from then on, and nobody's until it has left. */
static struct tcache *spare_begin_give(void)
{
	struct tcache *tc;

	lock(&threads_lock, LOCK_THREADS);
	tc = pop_warm_locked();
	if (tc) {
		tc->leaving = true;
		spare_push(&spare.cold, tc);
	}
	unlock(&threads_lock, LOCK_THREADS);
	return tc;
}

static void spare_end_give(struct tcache *tc)
{
	lock(&threads_lock, LOCK_THREADS);
	tc->leaving = false;
	unlock(&threads_lock, LOCK_THREADS);
}

/* So many may go. */
static u64 nr_to_give(enum give how)
{
	u64 nr = UINT64_MAX;

	lock(&threads_lock, LOCK_THREADS);
	if (how == GIVE_IDLE) {
		nr = MIN(spare.least_warm, (u64)GIVE_SOME);
		spare.least_warm = spare.nr_warm - MIN(nr, spare.nr_warm);
	}
	unlock(&threads_lock, LOCK_THREADS);
	return nr;
}

/* Gives back the whole pages of the system that hold nothing but sheaves; how many were in use. */
static u64 give_sheaves(struct tcache *tc)
{
	struct whole_pages whole = whole_pages_in(tc->slots, (char *)tc + tcache_bytes());

	stat_add_shared(purge_calls, whole.from < whole.to);
	return give_back_whole(whole) ? sheaves_touched(tc) : 0;
}

u64 tcache_give_spare(enum give how, u64 most)
{
	u64 nr = nr_to_give(how), given = 0;
	struct tcache *tc;

	while (nr-- && given < most && (tc = spare_begin_give())) {
		given += give_sheaves(tc);
		spare_end_give(tc);
	}
	return given;
}

void spare_after_fork(void)
{
	struct tcache *tc;

	/* Who was reclaiming may have held the seal_lock of a cache given up meanwhile. */
	for (tc = spare.warm; tc; tc = tc->next_free)
		lock_reinit(&tc->seal_lock);
	for (tc = spare.cold; tc; tc = tc->next_free) {
		if (tc->leaving)
			tc->leaving = false;
		lock_reinit(&tc->seal_lock);
	}
}
