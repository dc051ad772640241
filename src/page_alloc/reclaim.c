/*
 * rank 4: giving memory back: shrinkers, and the ageing of dirty free pages.
 *
 * Ageing. Time is cut into DECAY_STEPS steps per decay_ms. What lay idle in a
 * step is the least number of dirty free pages there was within it: the rest was
 * used again. At each step the growth of that number is remembered; a page that
 * lay idle for i steps may stay dirty with the share 1 - i/DECAY_STEPS, and what
 * exceeds the sum of these shares is purged, oldest pageblock first. So a peak
 * melts evenly over decay_ms and a steady load keeps its warm pages.
 *
 * Refaults. What lies idle may be wanted all the same: free pages between blocks in use, too few
 * in a row for what is asked for today. Purged, as many others are taken clean instead, which are
 * purged later, and so on. So what is taken clean soon after as much was purged counts as a
 * refault, as in the kernel, and as many idle pages stay from then on; a little fewer at each
 * step, as a trial, and none after KEEP_STEPS without another.
 *
 * A thread of the program's does no more than BITE_PAGES of that in one call, and looks again soon.
 *
 * State: `decay` is used by the one thread that holds decay.busy.
 */
#include "base/options.h"
#include "buddy/pcp.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/scope.h"

/* 16 MiB: to give them back takes 1 or 2 ms. */
#define BITE_PAGES (((u64)16 << 20) >> PAGE_SHIFT)
#define BITE_EVERY_MS 1 /* of the coarse clock: its next tick */

/* Pages that layers above give at a step: single ones, as a rule, with a system call for each. */
#define ABOVE_PAGES 1024

/* Steps, or the time where there are none, after which what the system refused is tried again. */
#define RETRY_STEPS 64
#define RETRY_MS 1000

static struct {
	u32 busy;	/* 1 = some thread is ageing; acquire/release */
	u64 look_due_ms;	/* when there is something to do; relaxed atomic */
	u64 step_due_ms;	/* when the next step is due; relaxed atomic */
	u64 rest;	/* pages that are still to go of this step's */
	u64 last_idle;
	u64 stuck;	/* of last_idle, what the system would not take */
	u64 backed;	/* pages in zones, at the last step */
	u64 given;	/* by ageing, since then */
	u64 lately;	/* of all given lately, those that were not taken again */
	u64 keep;	/* refaults lately: so many idle pages stay */
	u64 fade;	/* of these, less at each step */
	u32 passes;
	u64 backlog[DECAY_STEPS]; /* pages, newest first; [0] stays 0, as they count after a step */
} decay;

static u64 floor_pages; /* what ageing leaves; relaxed atomic */

static const struct shrinker *shrinkers; /* written at start only */
static unsigned nr_shrinkers;

void set_shrinkers(const struct shrinker *list, unsigned nr)
{
	shrinkers = list;
	nr_shrinkers = nr;
}

/* Runs all of them, or those that are cheap. */
static void shrink_layers_above(enum give how, bool all)
{
	unsigned i;

	for (i = 0; i < nr_shrinkers; i++)
		if (all || shrinkers[i].cheap)
			shrinkers[i].shrink(how);
}

static void drain_zones(void)
{
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_managed(zone_table[i]))
			pcp_drain_all(zone_table[i]);
}

void shrink_all(void)
{
	shrink_layers_above(GIVE_ALL, true);
	drain_zones();
}

void shrink_cheaply(void)
{
	shrink_layers_above(GIVE_ALL, false);
	drain_zones();
}

/* Lets the shrinkers give the system what they keep, `most` pages or little more; pages given. */
static u64 shrinkers_give(enum give how, u64 most)
{
	u64 given = 0;
	unsigned i;

	for (i = 0; i < nr_shrinkers && given < most; i++)
		if (shrinkers[i].give)
			given += shrinkers[i].give(how, most - given);
	return given;
}

u64 reclaim_nr_dirty(void)
{
	u64 dirty = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_ages(zone_table[i]))
			dirty += zone_nr_dirty(zone_table[i]);
	return dirty;
}

/* The same of what has aged, unless ageing is to leave as much as there is. */
static void shrinkers_age(enum give how, u64 most)
{
	if (reclaim_nr_dirty() >= __atomic_load_n(&floor_pages, __ATOMIC_RELAXED))
		shrinkers_give(how, most);
}

static void shift_backlog(u64 steps)
{
	unsigned i;

	for (i = DECAY_STEPS; i-- > 0;)
		decay.backlog[i] = i >= steps ? decay.backlog[i - steps] : 0;
}

/* One step in which so many pages lay idle. */
static void backlog_add(u64 idle)
{
	shift_backlog(1);
	decay.backlog[1] += idle > decay.last_idle ? idle - decay.last_idle : 0;
	decay.last_idle = idle;
}

/* Pages that lay idle since the last call, in all zones that age. */
static u64 restart_least_dirty(void)
{
	u64 least = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++) {
		struct zone *zone = zone_table[i];

		if (!zone_ages(zone) || !zone_managed(zone))
			continue;
		lock(&zone->lock, LOCK_ZONE);
		least += zone->least_dirty;
		zone->least_dirty = zone->nr_dirty;
		unlock(&zone->lock, LOCK_ZONE);
	}
	return least;
}

/*
 * Moves the backlog on by `steps`; in the first of them least_dirty lay idle. The
 * others were a pause. A thread that frees looks at the clock first, so nothing came
 * or went in it: all that is dirty lay idle. The background thread may have slept
 * while pages came: only the least there was did.
 */
static void decay_pass(u64 steps, bool in_background)
{
	u64 least = restart_least_dirty();

	backlog_add(least);
	if (steps < 2)
		return;
	backlog_add(in_background ? least : reclaim_nr_dirty());
	shift_backlog(MIN(steps - 2, (u64)DECAY_STEPS));
}

/* How many of the idle pages may stay dirty. */
static u64 decay_allowance(void)
{
	u64 allowed = 0;
	unsigned i;

	for (i = 0; i < DECAY_STEPS; i++)
		allowed += decay.backlog[i] * (DECAY_STEPS - i) / DECAY_STEPS;
	return allowed;
}

/* Pages of zones that age which hold data, when nothing waits in a per-CPU list. */
static u64 nr_backed_in_zones(void)
{
	u64 backed = 0;
	unsigned i;

	for (i = 0; i < nr_zones; i++)
		if (zone_ages(zone_table[i]))
			backed += zone_nr_backed(zone_table[i]);
	return backed;
}

/* Nobody looked for decay_ms: all that is idle now was so all the time. */
static bool is_pause(u64 steps)
{
	return steps > DECAY_STEPS;
}

/* After a pause: nothing of it was wanted again. */
static void forget_refaults(void)
{
	decay.backed = nr_backed_in_zones();
	decay.given = 0;
	decay.lately = 0;
	decay.keep = 0;
}

/* Steps after which a refault tells nothing any more of what is idle. */
#define KEEP_STEPS (8 * DECAY_STEPS)

/*
 * Pages that hold data now and did not at the last step were taken clean; had as many of those
 * given lately stayed, they would have served.
 */
static void note_refaults(u64 steps)
{
	u64 backed = nr_backed_in_zones(), had = backed + decay.given, refaults;

	decay.lately += decay.given;
	refaults = had > decay.backed ? MIN(had - decay.backed, decay.lately) : 0;
	decay.backed = backed;
	decay.given = 0;
	decay.lately -= refaults;
	decay.lately -= decay.lately * steps / KEEP_STEPS;
	decay.keep -= MIN(decay.keep, decay.fade * steps);
	if (!decay.keep)
		decay.fade = 0;
	decay.keep += refaults;
	/* Never slower than before: lest a few, for what only grows, hold back the whole. */
	decay.fade = MAX(decay.fade, decay.keep / KEEP_STEPS + 1);
}

/* Pages that the step is to give back. */
static u64 decay_step(u64 steps, bool in_background)
{
	u64 allowed, floor, idle;

	if (++decay.passes % RETRY_STEPS == 0) {
		decay.stuck = 0;
		purge_retry();
	}
	/* What lay in the pcp lists was not used lately, or will be again soon:
	 * either way it is still warm when it comes back from the zone. */
	shrink_layers_above(is_pause(steps) ? GIVE_AGED : GIVE_IDLE, true);
	drain_zones();
	decay_pass(steps, in_background);
	if (is_pause(steps))
		forget_refaults();
	else
		note_refaults(steps);
	floor = __atomic_load_n(&floor_pages, __ATOMIC_RELAXED);
	/* A program that comes back after a pause pays for all of it. */
	if (is_pause(steps))
		shrinkers_age(GIVE_AGED, UINT64_MAX);
	else
		shrinkers_age(GIVE_IDLE, in_background ? UINT64_MAX : ABOVE_PAGES);
	allowed = MAX(decay_allowance(), MAX(decay.keep, floor));
	/* What is stuck must not pass for what has aged: younger pages would go in its place. */
	idle = decay.last_idle - MIN(decay.stuck, decay.last_idle);
	if (idle <= allowed)
		return 0;
	/* A pageblock goes as a whole, and some of it may be in use again at once:
	 * so for less than one nothing goes before all that is idle has aged. */
	if (idle - allowed < PAGEBLOCK_PAGES && allowed > floor)
		return 0;
	return idle - allowed;
}

static void purge_rest(u64 most)
{
	u64 want = MIN(decay.rest, most), purged;

	if (!want)
		return;
	purged = zones_purge(want, 1, GIVE_AGED);
	drop_uncount(purged);
	/* What goes lazily comes back without a fault, as a rule. */
	if (options.free != option_free_lazy)
		decay.given += purged;
	decay.last_idle -= MIN(purged, decay.last_idle);
	decay.rest -= MIN(purged, decay.rest);
	if (purged < want) { /* the rest cannot go */
		decay.stuck += decay.rest;
		decay.rest = 0;
	}
	/* While they were on their way they were no idle pages; if refused, they are again. */
	restart_least_dirty();
}

/* The thread that has decay.busy: a step if one is due, or some more of the last one's pages. */
static void decay_look(u64 now, bool in_background)
{
	u64 due = __atomic_load_n(&decay.step_due_ms, __ATOMIC_RELAXED), every = reclaim_step_ms();
	/* The first call begins the first step: a program that ends soon makes none. */
	u64 steps = now < due || !due ? 0 : (now - due) / every + 1;

	if (steps || !due) {
		due = now + every;
		__atomic_store_n(&decay.step_due_ms, due, __ATOMIC_RELAXED);
		/* Before it takes long: other threads need not try. */
		__atomic_store_n(&decay.look_due_ms, due, __ATOMIC_RELAXED);
	}
	if (steps)
		decay.rest = decay_step(steps, in_background);
	purge_rest(in_background || is_pause(steps) ? UINT64_MAX : BITE_PAGES);
	if (is_pause(steps))
		forget_refaults();
	__atomic_store_n(&decay.look_due_ms, decay.rest ? MIN(now + BITE_EVERY_MS, due) : due,
			 __ATOMIC_RELAXED);
}

u64 reclaim_step_ms(void)
{
	return MAX((u64)options.decay_ms / DECAY_STEPS, (u64)1);
}

void reclaim_age_now(bool in_background)
{
	u64 now = os_now_ms();

	if (likely(now < __atomic_load_n(&decay.look_due_ms, __ATOMIC_RELAXED)))
		return;
	if (__atomic_exchange_n(&decay.busy, 1, __ATOMIC_ACQUIRE))
		return;
	/* Another may have made the step since we looked at the clock. */
	if (now >= __atomic_load_n(&decay.look_due_ms, __ATOMIC_RELAXED))
		decay_look(now, in_background);
	__atomic_store_n(&decay.busy, 0, __ATOMIC_RELEASE);
}

u64 reclaim_may_go(u64 nr)
{
	u64 dirty = reclaim_nr_dirty(), floor = __atomic_load_n(&floor_pages, __ATOMIC_RELAXED);

	if (options.decay_ms < 0 || dirty <= floor || !scope_may_map())
		return 0;
	return MIN(nr, dirty - floor);
}

void reclaim_when_quiet(void)
{
	u64 may_go;

	shrinkers_age(GIVE_AGED, UINT64_MAX);
	/* What lay idle in huge pages that this has broken up. */
	may_go = reclaim_may_go(UINT64_MAX);
	if (may_go)
		drop_uncount(zones_purge(may_go, 1, GIVE_AGED));
}

/* decay_ms:0 has no steps. */
static void age_at_once(void)
{
	u64 now = os_now_ms(), may_go = reclaim_may_go(UINT64_MAX);

	if (now >= __atomic_load_n(&decay.look_due_ms, __ATOMIC_RELAXED)) {
		__atomic_store_n(&decay.look_due_ms, now + RETRY_MS, __ATOMIC_RELAXED);
		purge_retry();
	}
	if (may_go)
		zones_purge(may_go, 1, GIVE_AGED);
}

void reclaim_age(void)
{
	if (options.decay_ms < 0 || !scope_may_map())
		return;
	if (options.decay_ms == 0)
		age_at_once();
	else if (kswapd_is_running())
		kswapd_wake();
	else
		reclaim_age_now(false);
}

void reclaim_wake(void)
{
	u64 now = os_now_ms();

	if (kswapd_is_running()) {
		kswapd_wake();
		return;
	}
	/* 0: it has not begun. The next look begins it, and the first step is not far then. */
	if (options.decay_ms > 0 && __atomic_load_n(&decay.step_due_ms, __ATOMIC_RELAXED) > now) {
		__atomic_store_n(&decay.step_due_ms, now, __ATOMIC_RELAXED);
		__atomic_store_n(&decay.look_due_ms, now, __ATOMIC_RELAXED);
	}
}

void reclaim_set_floor(u64 bytes)
{
	__atomic_store_n(&floor_pages, bytes >> PAGE_SHIFT, __ATOMIC_RELAXED);
}

void reclaim_reinit(void)
{
	word_reinit(&decay.busy);
	drop_reinit();
}

void reclaim_for_growth(u64 nr)
{
	u64 may_go = reclaim_may_go(nr);

	/* Nobody is in need: what the system refused is not tried again. */
	if (may_go)
		zones_purge(may_go, 1, GIVE_AGED);
}

u64 reclaim_purge(u64 nr)
{
	u64 given = zones_purge(nr, 1, GIVE_ALL);

	drop_uncount(given);
	return given;
}

u64 reclaim_trim(u64 pad)
{
	u64 dirty, given, keep = pad >> PAGE_SHIFT;

	shrink_all();
	given = shrinkers_give(GIVE_ALL, UINT64_MAX);
	dirty = reclaim_nr_dirty();
	if (dirty > keep)
		given += reclaim_purge(dirty - keep);
	return given << PAGE_SHIFT;
}

u64 reclaim_give(u64 bytes)
{
	u64 want = (bytes >> PAGE_SHIFT) + (bytes % PAGE_SIZE != 0);
	u64 given = want ? reclaim_purge(want) : 0;

	if (given < want) {
		shrink_all();
		given += reclaim_purge(want - given);
	}
	if (given < want)
		given += shrinkers_give(GIVE_ALL, want - given);
	/* Slabs that became empty under that. */
	if (given < want)
		given += reclaim_purge(want - given);
	return given << PAGE_SHIFT;
}
