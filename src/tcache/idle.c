/*
 * rank 6: what the sheaves of an idle thread hold is reclaimed by others.
 *
 * The fast paths use no atomic operation and must not pay for this. So the thread is led away from
 * its cache rather than locked out of it:
 *
 *  1. Seal. this_tcache of the other thread is made to point at tcache_sealed, a cache without
 *     capacity: whatever it begins from now on goes to the slow path. membarrier(2) makes all its
 *     processors see that.
 *  2. What it had begun before may still go on. In a slow path, busy says so: the thread sets busy
 *     and then looks whether it is sealed, we seal and then look at busy, and the membarrier
 *     between stands for the fence in both. A busy thread is not idle and gets its cache back.
 *  3. On the fast path it can be in the middle of one push or one pop and no more, for as long as
 *     it likes. A pop takes the newest object of one sheaf, a push writes above it. So the newest
 *     object of each sheaf stays, and all others may go. The sheaves are not changed: `stolen` says
 *     how many objects above each bottom are gone, `remote_stolen` the same of the remote ones. The
 *     head that a pop leaves behind may be one of these, but the thread's next call takes the slow
 *     path.
 *  4. The thread's next slow path takes the cache back (tcache_unseal): no fast path is under way
 *     then. What is left moves down to the bottoms.
 *
 * seal_lock protects sealed, stolen and the writing of this_tcache by a stranger. A thread that
 * ends gives up `tls` under it, so nobody writes into thread-local memory that is gone. Objects
 * are copied out under the lock and freed without it; a child of fork finds them with the thread,
 * or lost.
 */
#include "base/options.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"
#include "tcache/internal.h"

/* Caches sealed with one membarrier; by a step of ageing. */
#define SEAL_MOST 64
#define SEAL_IDLE_MOST 8

/* Objects taken from a sheaf at once. */
#define TAKE_MOST 64

/* Who is in need waits so long for another thread that takes from idle caches. */
#define TAKER_MOST_MS 50

static u32 reclaiming;	/* 1 = some thread does; acquire/release */
static u32 reclaim_nr;	/* the number of this reclaim; never 0 */
static u64 reclaim_ms;	/* when it began */
static u32 nr_active;	/* caches that it found in use, its own included */

static size_t remote_bytes(const struct tcache *tc)
{
	size_t bytes = 0;
	u32 i;

	for (i = 0; i < tc->nr_remote; i++)
		bytes += size_classes[tag_class(tag_read(virt_to_pfn(tc->remote[i])))].size;
	return bytes;
}

/* Moves what is left of a sealed cache to where it belongs. seal_lock held. */
static void close_gaps(struct tcache *tc)
{
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++) {
		u32 n = tc->stolen[class], used = sheaf_used(tc, class);
		void **bottom = tc->sheaf[class].bottom;
		u32 left = used - MIN(n, used);

		if (!n)
			continue;
		/* In this order, so that a child of fork never finds what is gone. */
		__atomic_store_n(&tc->sheaf[class].top, bottom, __ATOMIC_RELEASE);
		__atomic_store_n(&tc->stolen[class], 0, __ATOMIC_RELEASE);
		__builtin_memmove(bottom, bottom + n, left * sizeof(*bottom));
		sheaf_set_top(tc, class, bottom + left);
	}
	if (tc->remote_stolen) {
		u32 n = tc->remote_stolen, left = tc->nr_remote - MIN(n, tc->nr_remote);

		__atomic_store_n(&tc->nr_remote, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&tc->remote_stolen, 0, __ATOMIC_RELEASE);
		__builtin_memmove(tc->remote, tc->remote + n, left * sizeof(*tc->remote));
		__atomic_store_n(&tc->nr_remote, left, __ATOMIC_RELEASE);
		count_set(&tc->remote_bytes, remote_bytes(tc));
	}
}

static void unseal_locked(struct tcache *tc)
{
	if (!tc->sealed)
		return;
	close_gaps(tc);
	tc->sealed = 0;
	this_tcache = tc;
}

void tcache_unseal(struct tcache *tc)
{
	lock(&tc->seal_lock, LOCK_SEAL);
	unseal_locked(tc);
	unlock(&tc->seal_lock, LOCK_SEAL);
}

void tcache_forbid_seal(struct tcache *tc)
{
	lock(&tc->seal_lock, LOCK_SEAL);
	unseal_locked(tc);
	tc->tls = NULL;
	unlock(&tc->seal_lock, LOCK_SEAL);
}

void tcache_forbid_seal_for_good(struct tcache *tc)
{
	/* A destructor that comes later may leave a heap. */
	tc->sealable = false;
	tcache_forbid_seal(tc);
}

void tcache_unseal_gone(struct tcache *tc)
{
	lock(&tc->seal_lock, LOCK_SEAL);
	if (tc->sealed)
		close_gaps(tc);
	tc->sealed = 0;
	tc->tls = NULL;
	tc->busy = 0;
	unlock(&tc->seal_lock, LOCK_SEAL);
}

void idle_after_fork(void)
{
	word_reinit(&reclaiming);
}

void tcache_note_thread(struct tcache *tc)
{
	/* System calls that a filter may not let a new thread make. */
	if (options.idle_reclaim) {
		tc->pid = os_pid();
		tc->tid = os_tid();
	}
}

static bool caches_nothing(const struct tcache *tc)
{
	unsigned class, i;

	for (class = 0; class < NR_SHEAVES; class++)
		if (sheaf_used(tc, class) > 1)
			return false;
	for (i = 0; i < KEPT_MOST; i++)
		if (__atomic_load_n(&tc->kept[i], __ATOMIC_RELAXED))
			return false;
	return !__atomic_load_n(&tc->nr_remote, __ATOMIC_RELAXED);
}

/* Changes with nearly every call of the thread. */
static u64 fingerprint(const struct tcache *tc)
{
	u64 sum = __atomic_load_n(&tc->nr_remote, __ATOMIC_RELAXED);
	unsigned class, i;

	for (i = 0; i < KEPT_MOST; i++)
		sum = sum * 31 + (u64)(uintptr_t)__atomic_load_n(&tc->kept[i], __ATOMIC_RELAXED);
	for (class = 0; class < NR_SHEAVES; class++)
		sum = sum * 31 + (u64)(uintptr_t)__atomic_load_n(&tc->sheaf[class].top,
								 __ATOMIC_RELAXED);
	return sum;
}

/* Where nothing ages, caches are looked at for somebody in need only. */
#define IDLE_MS 1000

/* By the clock, not by looks: a program that does little makes few. */
static bool stayed_idle(struct tcache *tc)
{
	u64 now = fingerprint(tc);

	if (now != tc->idle_mark) {
		tc->idle_mark = now;
		tc->idle_since_ms = reclaim_ms;
	}
	return reclaim_ms - tc->idle_since_ms >=
	       (options.decay_ms > 0 ? (u64)options.decay_ms : IDLE_MS);
}

/*
 * A thread that ended by the bare system call took no leave. Of another process
 * that shares the memory, as after vfork, we cannot tell.
 */
static bool thread_is_gone(const struct tcache *tc)
{
	return tc->pid == os_pid() && os_tid_is_gone(tc->tid);
}

/* Reclaims after which ageing asks of an empty cache too whether its thread is still there. */
#define GONE_EVERY 64

/* Whether the cache lay idle; the others, and the caller's own, count as active. */
static bool note_activity(struct tcache *tc)
{
	bool idle = tc != home_tcache && stayed_idle(tc);

	nr_active += !idle;
	return idle;
}

/* Whether the cache's thread took no leave: then it is an orphan. */
static bool bury_if_gone(struct tcache *tc)
{
	if (likely(!thread_is_gone(tc)))
		return false;
	/* A thread that forks must not move it: it drops the seal_locks of the live ones only. */
	if (!lock_is_forking())
		tcache_orphan(tc);
	return true;
}

/* Whether this reclaim is to seal the cache. LOCK_THREADS held: it has a thread. */
static bool is_worth_sealing(struct tcache *tc, enum give how)
{
	bool idle, empty;

	if (tc->seen_by_reclaim == reclaim_nr)
		return false;
	tc->seen_by_reclaim = reclaim_nr;
	idle = note_activity(tc);
	if (tc == home_tcache || (!idle && how != GIVE_ALL))
		return false;
	empty = caches_nothing(tc);
	if (empty && how != GIVE_ALL && reclaim_nr % GONE_EVERY)
		return false;
	return !bury_if_gone(tc) && !empty;
}

/* LOCK_THREADS held. False when its thread is at it, or does not allow it. */
static bool try_seal(struct tcache *tc)
{
	bool done = false;

	lock(&tc->seal_lock, LOCK_SEAL);
	if (tc->tls && !tc->sealed && tc->state == TCACHE_LIVE &&
	    !__atomic_load_n(&tc->busy, __ATOMIC_RELAXED)) {
		tc->sealed = reclaim_nr;
		__atomic_store_n(tc->tls, tcache_shared(&tcache_sealed), __ATOMIC_RELEASE);
		done = true;
	}
	unlock(&tc->seal_lock, LOCK_SEAL);
	return done;
}

/*
 * Takes the lock if the cache is still sealed by this reclaim; false when its
 * thread came back meanwhile.
 */
static bool lock_sealed(struct tcache *tc)
{
	lock(&tc->seal_lock, LOCK_SEAL);
	if (tc->sealed == reclaim_nr)
		return true;
	unlock(&tc->seal_lock, LOCK_SEAL);
	return false;
}

static void give_back_cache(struct tcache *tc)
{
	if (!lock_sealed(tc))
		return;
	tc->sealed = 0;
	__atomic_store_n(tc->tls, tc, __ATOMIC_RELEASE);
	unlock(&tc->seal_lock, LOCK_SEAL);
}

/*
 * Frees all but the newest object of one sheaf, a few at a time: the stack may be
 * the smallest a thread can have. False when the thread is back.
 */
static bool empty_sheaf(struct tcache *tc, unsigned class)
{
	void *objects[TAKE_MOST];
	struct shard *shard;
	u32 used, n;

	do {
		if (!lock_sealed(tc))
			return false;
		shard = tc->shard; /* the thread may come back and enter a heap meanwhile */
		used = sheaf_used(tc, class);
		/* One pop may still come through after we looked. */
		n = used > tc->stolen[class] + 1u ? used - 1 - tc->stolen[class] : 0;
		n = MIN(n, (u32)TAKE_MOST);
		__builtin_memcpy(objects, tc->sheaf[class].bottom + tc->stolen[class],
				 n * sizeof(*objects));
		count_add(&tc->stolen[class], (u16)n);
		unlock(&tc->seal_lock, LOCK_SEAL);
		if (n)
			slab_free(shard, class, objects, n);
		stat_add_shared(objects_reclaimed, n);
	} while (n == TAKE_MOST);
	return true;
}

/* Nobody takes from these but the flush, so that all may go. */
static void empty_remote(struct tcache *tc)
{
	void *objects[REMOTE_MAX];
	u32 n;

	if (!lock_sealed(tc))
		return;
	n = tc->remote_stolen ? 0 : __atomic_load_n(&tc->nr_remote, __ATOMIC_ACQUIRE);
	count_set(&tc->remote_stolen, (u16)n);
	__builtin_memcpy(objects, tc->remote, n * sizeof(*objects));
	unlock(&tc->seal_lock, LOCK_SEAL);
	slab_free_mixed(objects, n);
	stat_add_shared(objects_reclaimed, n);
}

/* Only slow paths touch these. */
static void empty_kept(struct tcache *tc)
{
	struct shard *shard;
	unsigned i;

	for (i = 0; i < KEPT_MOST; i++) {
		unsigned class;
		void *p;

		if (!lock_sealed(tc))
			return;
		shard = tc->shard;
		p = tcache_take_kept(tc, i, &class);
		unlock(&tc->seal_lock, LOCK_SEAL);
		if (!p)
			continue;
		slab_free(shard, class, &p, 1);
		stat_add_shared(objects_reclaimed, 1);
	}
}

static void empty_cache(struct tcache *tc)
{
	unsigned class;

	if (__atomic_load_n(&tc->busy, __ATOMIC_ACQUIRE)) {
		give_back_cache(tc);
		return;
	}
	for (class = 0; class < NR_SHEAVES; class++)
		if (sheaf_used(tc, class) > 1 && !empty_sheaf(tc, class))
			return;
	empty_remote(tc);
	empty_kept(tc);
}

/* One thread at a time. Who is in need must not find nothing because another is taking it. */
static bool begin_reclaiming(enum give how)
{
	unsigned ms = 0;

	while (__atomic_exchange_n(&reclaiming, 1, __ATOMIC_ACQUIRE)) {
		if (how != GIVE_ALL || lock_is_forking() || ms++ == TAKER_MOST_MS)
			return false;
		os_sleep_ms(1);
	}
	return true;
}

/*
 * Seals caches and lists them; how many. A step of ageing looks at all, for their activity, and
 * takes a few; those stay sealed, so that the next step takes others.
 */
static unsigned seal_some(struct tcache *sealed[SEAL_MOST], enum give how)
{
	unsigned n = 0;
	struct tcache *tc;

	lock(&threads_lock, LOCK_THREADS);
	for (tc = threads_live; tc && n < SEAL_MOST; tc = tc->next) {
		if (!is_worth_sealing(tc, how))
			continue;
		if (how == GIVE_IDLE && n == SEAL_IDLE_MOST)
			continue;
		if (try_seal(tc))
			sealed[n++] = tc;
	}
	unlock(&threads_lock, LOCK_THREADS);
	return n;
}

void tcache_shrink_idle(enum give how)
{
	struct tcache *sealed[SEAL_MOST];
	unsigned n, i;

	if (!options.idle_reclaim || !os_can_membarrier() || !begin_reclaiming(how))
		return;
	reclaim_nr = reclaim_nr == UINT32_MAX ? 1 : reclaim_nr + 1;
	reclaim_ms = os_now_ms();
	nr_active = 0;
	do {
		bool seen;

		n = seal_some(sealed, how);
		if (!n)
			break;
		seen = os_membarrier();
		for (i = 0; i < n; i++) {
			if (seen)
				empty_cache(sealed[i]);
			else
				give_back_cache(sealed[i]);
		}
	} while (n == SEAL_MOST);
	__atomic_store_n(&threads_nr_active, nr_active, __ATOMIC_RELAXED);
	__atomic_store_n(&reclaiming, 0, __ATOMIC_RELEASE);
}
