/*
 * rank 6: orphans: thread caches whose thread is gone without a word. In a child of fork those
 * of all other threads are; and a thread may end by the bare system call (idle.c).
 *
 * What an orphan holds goes to its shards, and then the cache is as one whose thread has ended.
 * LOCK_THREADS protects the list; whoever empties an orphan has it to itself (`reaped`).
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/scope.h"
#include "tcache/internal.h"

struct tcache *orphans;

/*
 * Allocations beyond the thread's cache, and steps of ageing, that a child of fork makes before
 * it reaps orphans: enough for the way to exec, few enough not to hoard for long.
 */
#define REAP_AFTER 64
static u32 reap_after;

void tcache_orphan(struct tcache *tc)
{
	tcache_unseal_gone(tc);
	tcache_unlink_locked(tc);
	tc->next_free = orphans;
	__atomic_store_n(&orphans, tc, __ATOMIC_RELEASE);
}

/*
 * The cache of the thread that forked. If it is sealed it stays so until its next slow path: a
 * signal's handler may have called fork in the midst of a pop, which would bring back what was
 * taken.
 */
static void own_in_child(struct tcache *tc)
{
	tc->in_child = true;
	tcache_note_thread(tc);
}

void tcache_after_fork(void)
{
	struct tcache *tc, *next;

	lock_reinit(&threads_lock);
	for (tc = orphans; tc; tc = tc->next_free) {
		tc->reaped = false;
		lock_reinit(&tc->seal_lock);
	}
	spare_after_fork();
	idle_after_fork();
	/*
	 * A child that only calls exec must not pay for its parent's threads:
	 * their caches are put aside here and emptied when memory is sought.
	 */
	for (tc = threads_live; tc; tc = next) {
		next = tc->next;
		lock_reinit(&tc->seal_lock);
		if (tc == home_tcache)
			own_in_child(tc);
		else
			tcache_orphan(tc);
	}
	/* For these, and for the background thread, which late_in_child starts. */
	if (orphans || options.background_thread)
		__atomic_store_n(&reap_after, REAP_AFTER, __ATOMIC_RELAXED);
}

/* One step of those that a child makes before; whether it was the last, for one thread only. */
static bool count_step(u32 left)
{
	return __atomic_compare_exchange_n(&reap_after, &left, left - 1, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED) && left == 1;
}

bool tcache_late_in_child(void)
{
	u32 left = __atomic_load_n(&reap_after, __ATOMIC_RELAXED);

	if (likely(!left))
		return false;
	/* What a new thread allocates is not to be a heap's that is destroyed before it. */
	if ((left == 1 && (!scope_may_map() || this_scope.owner)) || !count_step(left))
		return false;
	tcache_reap_orphans();
	if (tcache_hooks.late_in_child)
		tcache_hooks.late_in_child();
	return true;
}

/* The orphan that is to be emptied next, by the caller alone; NULL. */
static struct tcache *begin_reap(void)
{
	struct tcache *tc;

	lock(&threads_lock, LOCK_THREADS);
	for (tc = orphans; tc && tc->reaped; tc = tc->next_free)
		;
	if (tc)
		tc->reaped = true;
	unlock(&threads_lock, LOCK_THREADS);
	return tc;
}

/* Whether there are orphans: after tcache_reap_orphans, those that other threads empty. */
static bool has_orphans(void)
{
	bool some;

	lock(&threads_lock, LOCK_THREADS);
	some = orphans;
	unlock(&threads_lock, LOCK_THREADS);
	return some;
}

/* It stays an orphan until then: a child that is forked in between empties it once more. */
static void end_reap(struct tcache *tc)
{
	struct tcache **link = &orphans;
	struct shard *home = tc->home;

	lock(&threads_lock, LOCK_THREADS);
	while (*link && *link != tc)
		link = &(*link)->next_free;
	/* In a child that a signal's handler forked in the midst of it, somebody else may have. */
	if (*link) {
		*link = tc->next_free;
		tc->reaped = false;
		tcache_retire_locked(tc);
	}
	unlock(&threads_lock, LOCK_THREADS);
	slab_forsake(home);
}

void tcache_reap_orphans(void)
{
	struct tcache *tc;

	while ((tc = begin_reap())) {
		if (tc->state == TCACHE_LIVE)
			tcache_flush(tc);
		end_reap(tc);
	}
}

void tcache_age_orphans(void)
{
	u32 left = __atomic_load_n(&reap_after, __ATOMIC_RELAXED);

	/*
	 * The last step is an allocation's, as it makes a thread: that takes locks under which the
	 * C library frees (the stacks of threads that ended, and what lies beside them).
	 */
	if (left > 1)
		count_step(left);
	else
		tcache_reap_orphans();
}

/* How long another thread that empties an orphan is waited for: it may have been stopped. */
#define LEFT_MOST_MS 100

bool tcache_wait_all_left(struct shard *shard)
{
	unsigned ms;

	for (ms = 0; shard_users(shard); ms++) {
		tcache_reap_orphans();
		if (!shard_users(shard))
			break;
		if (ms == LEFT_MOST_MS || !has_orphans())
			return false;
		os_sleep_ms(1);
	}
	return true;
}
