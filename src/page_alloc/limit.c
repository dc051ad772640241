/*
 * rank 4: limits on what the heap keeps backed, and the watermarks below them.
 *
 * What counts are the pages with a dirty bit (pages_nr_backed): those in use and
 * those free but not given back, not address space. Only a block that has clean
 * pages can exceed a limit; handing out warm memory asks nothing.
 *
 *  hard   hard_limit. A block beyond it is refused, after everything that can
 *         be given back was.
 *  min    a 64th below hard: normal requests stop here and reclaim directly. The
 *         rest is a reserve: half of it for BM_GFP_HIGH, three quarters for
 *         BM_GFP_ATOMIC, all of it for BM_GFP_MEMALLOC.
 *  low    another 64th below: from here on a request that may reclaim gives back
 *         a little more than it takes; the others only wake kswapd.
 *  soft   the smaller of soft_limit and 3/4 of the control group's limit: above
 *         it everything that can be given back is, but nothing is refused.
 *  wait   7/8 of the control group's limit: above it threads wait for the one that
 *         gives back for the soft limit. They would take faster than it gives, and what
 *         else the process has counts in the group too: it would be killed.
 *
 * Where all is in use, to look again at each block would help nobody: after a
 * vain try the next is due when there is more (retry_after), or much less.
 *
 * Threads look and take without a common lock, so together they may exceed a
 * limit by the blocks that they take at the same moment.
 */
#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"

#define MARK_FRACTION 64

/* After a vain try it is due as well when there is less by such a part than it left. */
#define LESS_FRACTION 16

static struct {
	u64 hard, min, low, soft, wait, group; /* pages; UINT64_MAX: none. Written at start */
	u64 retry_above, retry_below;	/* pages; relaxed atomics */
	u32 giving;			/* enum giving; acquire/release */
	void *giver;			/* the thread's pointer; relaxed atomic */
} limit = {
	.hard = UINT64_MAX, .min = UINT64_MAX, .low = UINT64_MAX,
	.soft = UINT64_MAX, .wait = UINT64_MAX, .group = UINT64_MAX,
};

/* Whether a thread gives back for the soft limit. */
enum giving { NOBODY_GIVES, SOMEBODY_GIVES, OTHERS_WAIT };

u64 limit_first_mark = UINT64_MAX;

/*
 * Pages of a limit; UINT64_MAX: there is none. A percentage is of the memory that
 * there is, or of what the container leaves of it.
 */
static u64 limit_pages(const char *name, u64 value, u64 cgroup_bytes)
{
	u64 bytes = value;

	if (value & OPTION_PERCENT) {
		u64 percent = value & ~OPTION_PERCENT, memory = os_memory_bytes();

		memory = MIN(memory ? memory : UINT64_MAX, cgroup_bytes);
		if (memory == UINT64_MAX) {
			report("%s: there is no limit, how much memory 100%% is cannot be read", name);
			return UINT64_MAX;
		}
		bytes = memory / 100 * percent;
		report_verbose("%s: %lu%% of %lu bytes are %lu", name, (unsigned long)percent,
			       (unsigned long)memory, (unsigned long)bytes);
	}
	return bytes ? bytes >> PAGE_SHIFT : UINT64_MAX;
}

static void say_if_exceeded(const char *name, u64 pages)
{
	u64 backed = pages_nr_backed();

	if (backed > pages)
		report("%s: %lu bytes are in use already, more than the limit of %lu", name,
		       (unsigned long)(backed << PAGE_SHIFT), (unsigned long)(pages << PAGE_SHIFT));
}

/*
 * Bytes of the control group's limit. Who asked for it by `any` is told what
 * does not work; by default a group is taken as it comes.
 */
static u64 group_limit(void)
{
	struct os_group_limit group = { .bytes = UINT64_MAX };
	bool asked_for = options.cgroup == option_cgroup_any;

	if (asked_for)
		os_cgroup_limit(&group);
	else if (options.cgroup == option_cgroup_auto)
		os_container_limit(&group);
	if (group.error && (asked_for || options.verbose))
		report("cgroup: no limit is taken from %s: %s", group.file,
		       group.error == EINVAL ? "none is in it" : strerrordesc_np(group.error));
	return group.bytes;
}

void limit_init(void)
{
	u64 cgroup_bytes = group_limit(), soft;

	limit.hard = limit_pages("hard_limit", options.hard_limit, cgroup_bytes);
	if (limit.hard != UINT64_MAX) {
		limit.min = limit.hard - limit.hard / MARK_FRACTION;
		limit.low = limit.min - limit.hard / MARK_FRACTION;
		say_if_exceeded("hard_limit", limit.hard);
	}
	soft = limit_pages("soft_limit", options.soft_limit, cgroup_bytes);
	say_if_exceeded("soft_limit", soft);
	if (cgroup_bytes != UINT64_MAX) {
		u64 pages = cgroup_bytes >> PAGE_SHIFT;

		report_verbose("the control group's limit is %lu bytes",
			       (unsigned long)cgroup_bytes);
		soft = MIN(soft, pages - pages / 4);
		limit.wait = pages - pages / 8;
		limit.group = pages;
	}
	limit.soft = soft;
	__atomic_store_n(&limit_first_mark, MIN(limit.low, soft), __ATOMIC_RELAXED);
}

u64 limit_most(void)
{
	return limit.hard;
}

/*
 * How many more are to come after a vain try: a 64th, or a quarter of what is left to the group's
 * limit. Each try takes pages away that would be used again soon.
 */
static u64 retry_after(u64 backed)
{
	u64 least = backed / MARK_FRACTION;

	if (limit.group == UINT64_MAX || backed > limit.group)
		return least;
	return MAX(least, (limit.group - backed) / 4);
}

static void give_back_everything(void)
{
	u64 before = pages_nr_backed(), after, above, below;

	stat_add_shared(direct_reclaims, 1);
	reclaim_trim(0);
	after = pages_nr_backed();
	above = after + retry_after(after);
	below = after - after / LESS_FRACTION;
	/* In vain, or nearly: wait until there is more. */
	if (before < above) {
		__atomic_store_n(&limit.retry_above, above, __ATOMIC_RELAXED);
		__atomic_store_n(&limit.retry_below, below, __ATOMIC_RELAXED);
	}
}

/* The same for the soft limit: nobody is refused there, so one thread at a time is enough. */
static bool give_back_unless_busy(void)
{
	u32 nobody = NOBODY_GIVES;

	if (!__atomic_compare_exchange_n(&limit.giving, &nobody, SOMEBODY_GIVES, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&limit.giver, __builtin_thread_pointer(), __ATOMIC_RELAXED);
	give_back_everything();
	__atomic_store_n(&limit.giver, NULL, __ATOMIC_RELAXED);
	if (__atomic_exchange_n(&limit.giving, NOBODY_GIVES, __ATOMIC_RELEASE) == OTHERS_WAIT)
		os_futex_wake(&limit.giving, INT32_MAX);
	return true;
}

/*
 * Where many threads run on few processors it takes long. It may also have ended in the midst; or
 * be about to say who it is, interrupted by a handler that comes here.
 */
#define GIVER_MOST_MS 1000
#define GIVER_UNKNOWN_MS 10

static void wait_for_giver(void)
{
	void *giver = __atomic_load_n(&limit.giver, __ATOMIC_RELAXED);
	u32 giving = SOMEBODY_GIVES;

	/* A signal's handler may have interrupted it, and a fork waits for nobody. */
	if (lock_is_forking() || giver == __builtin_thread_pointer())
		return;
	if (__atomic_compare_exchange_n(&limit.giving, &giving, OTHERS_WAIT, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
	    giving == OTHERS_WAIT)
		os_futex_wait_ms(&limit.giving, OTHERS_WAIT,
				 giver ? GIVER_MOST_MS : GIVER_UNKNOWN_MS);
}

void limit_reinit(void)
{
	word_reinit(&limit.giving);
}

/* Not soon after a try that was in vain, unless there is much less than there was then. */
static bool retry_is_due(u64 want)
{
	return want > __atomic_load_n(&limit.retry_above, __ATOMIC_RELAXED) ||
	       want < __atomic_load_n(&limit.retry_below, __ATOMIC_RELAXED);
}

/* Where this request has to stop. */
static u64 mark_for(bm_gfp_t gfp)
{
	u64 reserve = limit.hard - limit.min;

	if (gfp & BM_GFP_NOMEMALLOC)
		return limit.min;
	if (gfp & BM_GFP_MEMALLOC)
		return limit.hard;
	if (!(gfp & BM_GFP_HIGH))
		return limit.min;
	return limit.min + reserve / 2 + (gfp & BM_GFP_DIRECT_RECLAIM ? 0 : reserve / 4);
}

bool limit_is_near(void)
{
	return pages_nr_backed() > __atomic_load_n(&limit_first_mark, __ATOMIC_RELAXED);
}

bool limit_has_room(u64 nr)
{
	return limit_allows(nr, 0);
}

/* Times we give back what is missing, while others take it. */
#define GIVE_TRIES 100

/* Gives back until `need` more pages fit below `most`; false if they still do not. */
static bool reclaim_below(u64 need, u64 most, u64 excess)
{
	unsigned tries, vain = 0;

	/* Dirty free memory is the cheapest to give for it. */
	reclaim_purge(excess);
	if (pages_nr_backed() + need <= most)
		return true;
	give_back_everything();
	/* What others have freed meanwhile; and what they are giving back is backed until then. */
	for (tries = 0; tries < GIVE_TRIES; tries++) {
		u32 seen = in_flight_arrivals();
		u64 backed = pages_nr_backed();

		if (backed + need <= most)
			return true;
		if (reclaim_purge(backed + need - most))
			vain = 0;
		else if (++vain == VAIN_TRIES || !in_flight_wait(seen))
			break;
	}
	return pages_nr_backed() + need <= most;
}

/* Pages that a request above the low mark gives back beside what it takes, and a quarter of it. */
#define GIVE_MORE 32

/* What an allowed request gives back because it passes the soft or the low mark. */
static void give_for_allowed(u64 want, u64 need, bm_gfp_t gfp)
{
	bool may_reclaim = gfp_may_reclaim(gfp);

	if (want > limit.soft && may_reclaim && retry_is_due(want)) {
		if (give_back_unless_busy())
			return;
		if (want > limit.wait)
			wait_for_giver();
	}
	if (want <= limit.low)
		return;
	/* A little more than is taken, so that we come back below the mark. */
	if (may_reclaim)
		reclaim_purge(need + need / 4 + GIVE_MORE);
	else if (gfp & BM_GFP_KSWAPD_RECLAIM)
		reclaim_wake();
}

bool limit_allows_slow(u64 need, bm_gfp_t gfp)
{
	u64 want = pages_nr_backed() + need, most = mark_for(gfp);
	bool allowed = want <= most;

	if (allowed)
		give_for_allowed(want, need, gfp);
	else if (gfp_may_reclaim(gfp) && need <= most)
		allowed = reclaim_below(need, most, want - most);
	return allowed;
}
