/*
 * rank 4: the background thread, by the kernel's name: it ages what is free
 * even when the program sleeps, and with pressure:auto gives everything back when
 * the system is short of memory. Only with background_thread:true, or when the
 * program asks for it (jemalloc's mallctl), since a process with a second thread
 * is treated differently by unshare, setns and the set-uid calls.
 *
 * While memory waits to age it wakes at each step of decay_ms; when nothing came
 * or went for two decay times, all that layers above keep has aged too, what that leaves idle goes,
 * and it sleeps until a slow path that frees wakes it.
 * Who waits for pressure cannot be woken from a futex: it looks every second.
 * It uses no thread cache and never allocates.
 *
 * State: `kswapd.word` is what it sleeps on: KSWAPD_AWAKE, KSWAPD_ASLEEP,
 * KSWAPD_WATCHING (for pressure), KSWAPD_STOP.
 */
#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"

enum { KSWAPD_AWAKE, KSWAPD_ASLEEP, KSWAPD_WATCHING, KSWAPD_STOP };

/* Long enough to cost nothing: what ages without any free, idle threads, can wait. */
#define SLEEP_MS 10000
#define QUIET_STEPS (2 * DECAY_STEPS)
#define WATCH_MS 1000

static struct {
	u32 word;	/* atomic */
	u32 running;	/* relaxed atomic: slow paths leave ageing to it */
	u32 turning;	/* a thread starts or ends it by kswapd_set; acquire/release */
	bool watch;	/* written before it starts */
	int pid;	/* of the process that started it; written then */
} kswapd;

/* Changes the state; false, and it stays as it is, when that is not `from` any more. */
static bool try_turn(u32 from, u32 to)
{
	return __atomic_compare_exchange_n(&kswapd.word, &from, to, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

bool kswapd_is_running(void)
{
	return __atomic_load_n(&kswapd.running, __ATOMIC_RELAXED);
}

void kswapd_wake(void)
{
	/* After what the caller freed, as it looks at that once more after the word. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (likely(__atomic_load_n(&kswapd.word, __ATOMIC_RELAXED) != KSWAPD_ASLEEP))
		return;
	if (try_turn(KSWAPD_ASLEEP, KSWAPD_AWAKE)) {
		stat_add_shared(kswapd_wakes, 1);
		os_futex_wake(&kswapd.word, 1);
	}
}

/* Sleeps until a slow path wakes it, unless memory came since there were `dirty` pages. */
static void kswapd_try_to_sleep(u64 dirty)
{
	if (!try_turn(KSWAPD_AWAKE, KSWAPD_ASLEEP))
		return;
	/* Set the word, then read the count; who frees does it in the other order. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (reclaim_nr_dirty() == dirty)
		os_futex_wait_ms(&kswapd.word, KSWAPD_ASLEEP, SLEEP_MS);
	try_turn(KSWAPD_ASLEEP, KSWAPD_AWAKE);
}

/* Until the next step is due; longer when `quiet`. False when it is time to stop. */
static bool kswapd_sleep(u64 step_ms, bool quiet, u64 dirty)
{
	if (quiet)
		kswapd_try_to_sleep(dirty);
	else
		os_futex_wait_ms(&kswapd.word, KSWAPD_AWAKE, step_ms);
	return __atomic_load_n(&kswapd.word, __ATOMIC_RELAXED) != KSWAPD_STOP;
}

/* The same, but an event of the system's ends it, and is answered. */
static bool kswapd_watch(u64 step_ms, bool quiet)
{
	bool pressure;

	if (!try_turn(KSWAPD_AWAKE, KSWAPD_WATCHING))
		return false;
	pressure = os_pressure_wait(quiet ? WATCH_MS : MIN(step_ms, (u64)WATCH_MS));
	if (!try_turn(KSWAPD_WATCHING, KSWAPD_AWAKE))
		return false;
	if (pressure) {
		stat_add_shared(pressure_events, 1);
		reclaim_give(UINT64_MAX);
	}
	return true;
}

/* Whether there is any pressure to be told of. */
static bool watch_pressure(void)
{
	const char *file;

	if (options.pressure == option_pressure_off)
		return false;
	file = os_pressure_open(options.cgroup != option_cgroup_off);
	if (file)
		report_verbose("pressure: %s is watched", file);
	else
		report_verbose("pressure: nothing tells of it");
	return file;
}

static void kswapd_main(void)
{
	bool watch = kswapd.watch, ages = options.decay_ms > 0;
	u64 step_ms = ages ? reclaim_step_ms() : WATCH_MS;
	u64 dirty, last = 0;
	unsigned quiet = 0;

	while (watch ? kswapd_watch(step_ms, quiet >= QUIET_STEPS) :
		       kswapd_sleep(step_ms, quiet >= QUIET_STEPS, last)) {
		if (ages)
			reclaim_age_now(true);
		dirty = reclaim_nr_dirty();
		quiet = dirty == last ? quiet + 1 : 0;
		last = dirty;
		/* Once, before it sleeps: steps look at some slabs of each class only. */
		if (ages && quiet == QUIET_STEPS)
			reclaim_when_quiet();
	}
}

void kswapd_start(void)
{
	if (!options.background_thread || kswapd_is_running())
		return;
	/* Here, as the environment is not for a second thread to read. */
	kswapd.watch = watch_pressure();
	if (options.decay_ms <= 0 && !kswapd.watch) {
		/* Once, not in each child. */
		options.background_thread = false;
		report("background_thread: not started, as with decay_ms:%ld nothing ages%s",
		       (long)options.decay_ms,
		       options.pressure == option_pressure_auto ?
			       ", and nothing tells of pressure" : "");
		return;
	}
	__atomic_store_n(&kswapd.word, KSWAPD_AWAKE, __ATOMIC_RELAXED);
	if (!os_thread_start(kswapd_main, "bm_kswapd")) {
		report("background_thread: the thread cannot be started; slow paths do its work");
		os_pressure_close();
		return;
	}
	kswapd.pid = os_pid();
	__atomic_store_n(&kswapd.running, 1, __ATOMIC_RELAXED);
}

static void stop(bool for_exit)
{
	u32 was;

	/* In a child made by a bare system call, where no handler of fork ran, there is none. */
	if (!kswapd_is_running() || kswapd.pid != os_pid())
		return;
	__atomic_store_n(&kswapd.running, 0, __ATOMIC_RELAXED);
	was = __atomic_exchange_n(&kswapd.word, KSWAPD_STOP, __ATOMIC_RELAXED);
	/* When the process ends who watches is not waited for, and does nothing more. */
	if (was == KSWAPD_WATCHING && for_exit)
		return;
	os_futex_wake(&kswapd.word, 1);
	os_thread_join();
	if (!for_exit)
		os_pressure_close();
}

void kswapd_stop(void)
{
	stop(true);
}

bool kswapd_set(bool on)
{
	bool done;

	if (__atomic_exchange_n(&kswapd.turning, 1, __ATOMIC_ACQUIRE))
		return false;
	/* Children of fork, and the end of the process, go by the option. */
	options.background_thread = on;
	if (on)
		kswapd_start();
	else
		stop(false);
	done = kswapd_is_running() == on;
	options.background_thread = kswapd_is_running();
	__atomic_store_n(&kswapd.turning, 0, __ATOMIC_RELEASE);
	return done;
}

void kswapd_after_fork(void)
{
	os_pressure_close();
	word_reinit(&kswapd.running);
	word_reinit(&kswapd.turning);
}
