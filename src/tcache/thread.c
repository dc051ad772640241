/*
 * rank 6: thread caches come and go.
 *
 * The initial thread's cache is static. Others are allocated once and reused:
 * a thread that ends leaves its cache, emptied, for the next one (spare.c). Those of threads
 * that took no leave are orphans first (orphan.c).
 */
#include <errno.h>

#include "base/options.h"
#include "base/report.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/scope.h"
#include "tcache/internal.h"

/* Heads are NULL, tops at their limits, and no pointer is in a span of 0. */
const struct tcache tcache_boot = { .state = TCACHE_BOOT };
const struct tcache tcache_none = { .state = TCACHE_NONE };
const struct tcache tcache_sealed = { .state = TCACHE_SEALED };

__thread struct tcache *this_tcache __attribute__((tls_model("initial-exec"))) =
	(struct tcache *)&tcache_boot;
__thread struct tcache *home_tcache __attribute__((tls_model("initial-exec")));

struct lock threads_lock;
struct tcache *threads_live;
static u64 nr_live;
u32 threads_nr_active;

/*
 * Room for the initial thread: the hot part and every sheaf, from a page's start on,
 * which the code finds: if the linker had to, all small variables would begin a page too.
 */
#define MAIN_BYTES (160 << 10)
static char main_room[MAIN_BYTES + PAGE_SIZE] BULKY;
static bool main_taken;

/* When there was no memory for a cache, the next try is so much later. */
#define NO_CACHE_MS 10

/* A new one; NULL without memory, and for a while after that. */
static struct tcache *make_cache(void)
{
	static u64 retry_at; /* relaxed atomic */
	u64 retry = __atomic_load_n(&retry_at, __ATOMIC_RELAXED);
	struct tcache *tc;

	if (unlikely(retry && os_now_ms() < retry))
		return NULL;
	tc = alloc_record(tcache_bytes());
	if (unlikely(!tc && scope_may_map()))
		__atomic_store_n(&retry_at, os_now_ms() + NO_CACHE_MS, __ATOMIC_RELAXED);
	return tc;
}

/* A cache nobody uses, from the free list or new; NULL without memory. */
static struct tcache *tcache_new(void)
{
	struct tcache *tc;

	lock(&threads_lock, LOCK_THREADS);
	if (!main_taken && tcache_bytes() <= MAIN_BYTES) {
		main_taken = true;
		tc = (struct tcache *)round_up((uintptr_t)main_room, PAGE_SIZE);
	} else {
		tc = spare_take_locked();
	}
	unlock(&threads_lock, LOCK_THREADS);
	return tc ? tc : make_cache();
}

static void link_live(struct tcache *tc)
{
	lock(&threads_lock, LOCK_THREADS);
	tc->prev = NULL;
	tc->next = threads_live;
	if (threads_live)
		threads_live->prev = tc;
	/* Last: a child that a signal's handler forks in the midst walks the list. */
	__atomic_store_n(&threads_live, tc, __ATOMIC_RELEASE);
	nr_live++;
	__atomic_fetch_add(&threads_nr_active, 1, __ATOMIC_RELAXED);
	unlock(&threads_lock, LOCK_THREADS);
}

struct shard *tcache_shard(const struct tcache *tc)
{
	return tc->shard ? tc->shard : shards[0];
}

void tcache_set_direct(struct tcache *tc)
{
	if (tc->state != TCACHE_LIVE)
		return;
	tcache_forbid_seal(tc);
	tcache_flush(tc);
	tc->state = TCACHE_DIRECT;
	tc->span = 0;
	sheaf_setup(tc);
}

/* From here on others may reclaim what the cache holds when the thread is idle. */
static void allow_seal(struct tcache *tc)
{
	lock(&tc->seal_lock, LOCK_SEAL);
	tc->tls = &this_tcache;
	unlock(&tc->seal_lock, LOCK_SEAL);
}

/* Empty, for the calling thread, in its new home; what it counted for another one stays. */
static void tcache_setup(struct tcache *tc)
{
	tc->state = options.hardened ? TCACHE_DIRECT : TCACHE_LIVE;
	tc->home = shard_bind();
	tc->shard = tc->home;
	tc->tag_base = tc->shard->tag_base;
	tc->span = 0;
	tc->nr_remote = 0;
	tc->remote_bytes = 0;
	__builtin_memset(tc->kept, 0, sizeof(tc->kept));
	__builtin_memset(tc->kept_class, 0, sizeof(tc->kept_class));
	tc->kept_bytes = 0;
	tc->busy = 0;
	tc->tls = NULL;
	tc->sealable = false;
	tcache_note_thread(tc);
	sheaf_setup(tc);
}

/* Starts the library if nobody has, and makes the thread its cache, if there is memory for one. */
static cold_path struct tcache *first_cache(void)
{
	struct tcache *tc;

	tcache_hooks.bringup();
	tc = this_tcache; /* bringing up may have made one */
	if (tc->state != TCACHE_BOOT)
		return tc;
	tc = tcache_new();
	if (!tc)
		return tcache_shared(&tcache_none);
	tcache_setup(tc);
	/* Before it is on the list: whose it is there, a signal's handler that forks must know. */
	home_tcache = tc;
	link_live(tc);
	stat_add(&tc->stats, threads_created, 1);
	this_tcache = tc;
	/* May allocate: the cache is in place. */
	if (!tcache_hooks.register_exit(tc)) {
		report_verbose("a thread's exit cannot be watched; what it caches stays with it");
		return tc;
	}
	tc->sealable = true;
	allow_seal(tc);
	return tc;
}

struct tcache *tcache_get(void)
{
	struct tcache *tc = current_tcache();
	int saved;

	if (unlikely(tc->state == TCACHE_SEALED)) {
		tc = home_tcache;
		tcache_unseal(tc);
	}
	if (tc->state != TCACHE_BOOT)
		return tc;
	/* To work without a cache is no failure. */
	saved = errno;
	tc = first_cache();
	errno = saved;
	return tc;
}

void tcache_unlink_locked(struct tcache *tc)
{
	if (tc->prev)
		tc->prev->next = tc->next;
	else
		threads_live = tc->next;
	if (tc->next)
		tc->next->prev = tc->prev;
	nr_live--;
	if (__atomic_load_n(&threads_nr_active, __ATOMIC_RELAXED) > nr_live)
		__atomic_store_n(&threads_nr_active, (u32)nr_live, __ATOMIC_RELAXED);
}

bool tcache_rebind(struct shard *shard)
{
	struct tcache *tc = tcache_get();

	if (tc->state == TCACHE_NONE) {
		/* A thread that is ending had one. */
		errno = this_tcache == tc ? EAGAIN : ENOMEM;
		return false;
	}
	if (!shard)
		shard = tc->home;
	if (shard == tc->shard)
		return true;
	/* While the cache holds a heap's objects nobody else looks into it: the
	 * heap may be destroyed after the thread has left. */
	if (tc->shard == tc->home)
		tcache_forbid_seal(tc);
	if (tc->state == TCACHE_LIVE)
		tcache_flush(tc);
	/* Under the lock, so that a child of fork finds tc->shard and its users agreeing. */
	lock(&threads_lock, LOCK_THREADS);
	if (tc->shard != tc->home)
		shard_remove_user(tc->shard);
	if (shard != tc->home)
		shard_add_user(shard);
	tc->shard = shard;
	tc->tag_base = shard->tag_base;
	unlock(&threads_lock, LOCK_THREADS);
	if (shard == tc->home && tc->sealable)
		allow_seal(tc);
	return true;
}

void tcache_retire_locked(struct tcache *tc)
{
	if (tc->shard != tc->home)
		shard_remove_user(tc->shard);
	shard_unbind(tc->home);
	spare_put_locked(tc);
}

void tcache_exit(struct tcache *tc)
{
	struct shard *home = tc->home;

	tcache_forbid_seal(tc);
	/* Whatever this thread still does goes to the shards directly. */
	this_tcache = tcache_shared(&tcache_none);
	/* The heap may be another thread's. */
	this_scope.owner = 0;
	if (tc->state == TCACHE_LIVE)
		tcache_flush(tc);
	stat_add(&tc->stats, threads_exited, 1);
	lock(&threads_lock, LOCK_THREADS);
	tcache_unlink_locked(tc);
	/*
	 * It will be another thread's. Until here a signal's handler that forks must find it to be
	 * ours: an orphan in the child would leave the list a second time when we go on there.
	 */
	home_tcache = NULL;
	tcache_retire_locked(tc);
	unlock(&threads_lock, LOCK_THREADS);
	slab_forsake(home);
	/* Where work comes in threads that end, those that stay may make no call that ages. */
	reclaim_age();
}

/* Unlocked but for the list it is on, so approximate. */
static void count_cached(const struct tcache *tc, struct cached_totals *cached)
{
	unsigned class, i;

	if (tc->state != TCACHE_LIVE)
		return;
	for (class = 0; class < NR_SHEAVES; class++) {
		u64 n = sheaf_used(tc, class);

		n -= MIN(n, (u64)count_read(&tc->stolen[class]));
		cached->objects += n;
		cached->bytes += n * size_classes[class].size;
	}
	for (i = 0; i < KEPT_MOST; i++) {
		if (!__atomic_load_n(&tc->kept[i], __ATOMIC_RELAXED))
			continue;
		cached->objects++;
		cached->bytes += size_classes[count_read(&tc->kept_class[i])].size;
	}
	/* They are taken all or none. */
	if (count_read(&tc->remote_stolen))
		return;
	cached->objects += count_read(&tc->nr_remote);
	cached->bytes += count_read(&tc->remote_bytes);
}

void tcache_totals(struct stats *total, struct cached_totals *cached)
{
	struct tcache *tc;
	unsigned i;

	*cached = (struct cached_totals){ 0 };
	lock(&threads_lock, LOCK_THREADS);
	cached->threads = nr_live;
	for (tc = threads_live; tc; tc = tc->next) {
		stats_sum(total, &tc->stats);
		count_cached(tc, cached);
	}
	for (tc = orphans; tc; tc = tc->next_free) {
		stats_sum(total, &tc->stats);
		count_cached(tc, cached);
	}
	for (i = 0; i < __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE); i++)
		slab_transferred(shards[i], &cached->objects, &cached->bytes);
	spare_totals_locked(total);
	unlock(&threads_lock, LOCK_THREADS);
}

bool tcache_is_alone(void)
{
	const struct tcache *tc = __atomic_load_n(&threads_live, __ATOMIC_ACQUIRE);

	return !tc || (tc == home_tcache && !tc->next);
}

void tcache_lock_all(void)
{
	struct tcache *tc;

	lock_for_fork(&threads_lock, LOCK_THREADS);
	/* The forking thread passes through its own: nobody else may be inside. */
	for (tc = threads_live; tc; tc = tc->next)
		lock_for_fork(&tc->seal_lock, LOCK_SEAL);
}

void tcache_unlock_all(void)
{
	struct tcache *tc;

	for (tc = threads_live; tc; tc = tc->next)
		unlock_for_fork(&tc->seal_lock, LOCK_SEAL);
	unlock_for_fork(&threads_lock, LOCK_THREADS);
}
