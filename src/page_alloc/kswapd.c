/*
 * rank 4: the background thread, by the kernel's name: it ages what is free
 * even when the program sleeps. Only with background_thread:true, since a
 * process with a second thread is treated differently by unshare, setns and
 * the set-uid calls.
 *
 * While memory waits to age it wakes at each step of decay_ms; when nothing came
 * or went for two decay times it sleeps until a slow path that frees wakes it.
 * It uses no thread cache and never allocates.
 *
 * State: `kswapd.word` is what it sleeps on: KSWAPD_AWAKE, KSWAPD_ASLEEP, KSWAPD_STOP.
 */
#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "os/os.h"
#include "page_alloc/internal.h"

enum { KSWAPD_AWAKE, KSWAPD_ASLEEP, KSWAPD_STOP };

/* Long enough to cost nothing: what ages without any free, idle threads, can wait. */
#define SLEEP_MS 10000
#define QUIET_STEPS 20

static struct {
	u32 word;	/* atomic */
	u32 running;	/* relaxed atomic: slow paths leave ageing to it */
} kswapd;

bool kswapd_is_running(void)
{
	return __atomic_load_n(&kswapd.running, __ATOMIC_RELAXED);
}

void kswapd_wake(void)
{
	u32 expected = KSWAPD_ASLEEP;

	if (likely(__atomic_load_n(&kswapd.word, __ATOMIC_RELAXED) != KSWAPD_ASLEEP))
		return;
	if (__atomic_compare_exchange_n(&kswapd.word, &expected, KSWAPD_AWAKE, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		stat_add_shared(kswapd_wakes, 1);
		os_futex_wake(&kswapd.word, 1);
	}
}

/* Until the next step is due; longer when `quiet`. False when it is time to stop. */
static bool kswapd_sleep(u64 step_ms, bool quiet)
{
	u32 expected = KSWAPD_AWAKE;

	if (!quiet) {
		os_futex_wait_ms(&kswapd.word, KSWAPD_AWAKE, step_ms);
	} else if (__atomic_compare_exchange_n(&kswapd.word, &expected, KSWAPD_ASLEEP, false,
					       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		os_futex_wait_ms(&kswapd.word, KSWAPD_ASLEEP, SLEEP_MS);
		expected = KSWAPD_ASLEEP;
		__atomic_compare_exchange_n(&kswapd.word, &expected, KSWAPD_AWAKE, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	return __atomic_load_n(&kswapd.word, __ATOMIC_RELAXED) != KSWAPD_STOP;
}

static void kswapd_main(void)
{
	u64 step_ms = reclaim_step_ms();
	u64 dirty, last = 0;
	unsigned quiet = 0;

	while (kswapd_sleep(step_ms, quiet >= QUIET_STEPS)) {
		reclaim_age_now();
		dirty = reclaim_nr_dirty();
		quiet = dirty == last ? quiet + 1 : 0;
		last = dirty;
	}
}

void kswapd_start(void)
{
	if (!options.background_thread || options.decay_ms <= 0 || kswapd_is_running())
		return;
	__atomic_store_n(&kswapd.word, KSWAPD_AWAKE, __ATOMIC_RELAXED);
	if (!os_thread_start(kswapd_main, "bm_kswapd")) {
		report("background_thread: the thread cannot be started; slow paths do its work");
		return;
	}
	__atomic_store_n(&kswapd.running, 1, __ATOMIC_RELAXED);
}

void kswapd_stop(void)
{
	if (!kswapd_is_running())
		return;
	__atomic_store_n(&kswapd.running, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&kswapd.word, KSWAPD_STOP, __ATOMIC_RELAXED);
	os_futex_wake(&kswapd.word, 1);
	os_thread_join();
}

void kswapd_after_fork(void)
{
	__atomic_store_n(&kswapd.running, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&kswapd.word, KSWAPD_AWAKE, __ATOMIC_RELAXED);
}
