/* The background thread: ages by itself, sleeps when all is quiet, is woken, stops. */
#include "pages.h"

#include "base/options.h"
#include "base/stats.h"

static u64 waits, longest;
static void (*at_wait)(void);

static void on_wait(uint64_t ms)
{
	waits++;
	longest = MAX(longest, ms);
	if (at_wait)
		at_wait();
}

static void start(void)
{
	options.background_thread = true;
	pages_start();
	kswapd_start();
	fake_on_wait = on_wait;
}

static void only_when_asked_for(void)
{
	pages_start();
	kswapd_start();
	assert_null(fake_thread);
	options.background_thread = true;
	options.decay_ms = 0;
	kswapd_start();
	assert_null(fake_thread);
	unit_said("buddymalloc: background_thread: not started, as with decay_ms:0 nothing ages\n");
	options.background_thread = true;
	options.decay_ms = 1000;
	kswapd_start();
	assert_non_null(fake_thread);
	kswapd_stop();
	assert_null(fake_thread);
}

static void stop_when_clean(void)
{
	if (!pages_dirty())
		kswapd_stop();
	assert_true(waits < 20);
}

static void memory_falls_while_the_program_sleeps(void)
{
	start();
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	assert_int_equal(pages_dirty(), 4096);
	at_wait = stop_when_clean;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	assert_true(waits >= 9);
	assert_int_equal(longest, 100);
	pages_check(0);
}

static void free_when_it_sleeps(void)
{
	if (longest == 100)
		return;
	if (waits < 1000) {
		/* A slow path that frees wakes it and leaves the work to it. */
		waits = 1000;
		longest = 0;
		free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
		assert_int_equal(stats_shared.kswapd_wakes, 1);
		assert_int_equal(fake_calls(FAKE_FUTEX_WAKE), 1);
		free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
		assert_int_equal(fake_calls(FAKE_FUTEX_WAKE), 1);
		longest = 100;
		at_wait = stop_when_clean;
		waits = 0;
	}
}

static void quiet_it_sleeps_until_woken(void)
{
	start();
	at_wait = free_when_it_sleeps;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

static unsigned nr_aged;

static void shrink_nothing(enum give how)
{
	(void)how;
}

static u64 count_aged(enum give how, u64 most)
{
	nr_aged += how == GIVE_AGED && most == UINT64_MAX;
	return 0;
}

static void stop_when_it_sleeps(void)
{
	assert_int_equal(nr_aged, longest > 100);
	if (longest > 100)
		kswapd_stop();
}

/* Steps look at a part of the slabs each; before a long sleep all that is kept has aged. */
static void all_has_aged_before_it_sleeps(void)
{
	static const struct shrinker shrinker = { .shrink = shrink_nothing, .give = count_aged };

	set_shrinkers(&shrinker, 1);
	start();
	at_wait = stop_when_it_sleeps;
	fake_thread();
}

static u64 in_slab;

/* As a slab with a hole. */
static u64 break_up(enum give how, u64 most)
{
	(void)most;
	return how == GIVE_AGED ? pages_give_back(in_slab, 1, how) : 0;
}

static void stop_when_it_sleeps_long(void)
{
	if (longest > 100)
		kswapd_stop();
	else if (waits == 20)
		assert_int_equal(pages_dirty(), PAGEBLOCK_PAGES / 4);
}

/* Nor does a little stay in what was a huge page until then. */
static void what_is_broken_up_goes_before_it_sleeps(void)
{
	static const struct shrinker shrinker = { .shrink = shrink_nothing, .give = break_up };

	set_shrinkers(&shrinker, 1);
	options.thp = option_thp_always;
	start();
	in_slab = alloc_pages_exact(BM_GFP_KERNEL, PAGEBLOCK_PAGES, 0);
	assert_true(resize_pages(in_slab, PAGEBLOCK_PAGES / 4 * 3));
	at_wait = stop_when_it_sleeps_long;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
}

static u64 to_free;

static void pages_are_there(void)
{
	assert_int_equal(pages_dirty(), 4096);
}

static void free_and_look_when_woken(void)
{
	if (longest == 100 || !to_free)
		return;
	free_pages(to_free);
	to_free = 0;
	assert_int_equal(fake_calls(FAKE_FUTEX_WAKE), 1);
	fake_on_wake = NULL;
	longest = 100;
	waits = 0;
	at_wait = stop_when_clean;
}

/* Woken before the pages are free it would find nothing new, and sleep on. */
static void it_is_woken_after_the_free(void)
{
	start();
	to_free = alloc_pages_exact(BM_GFP_KERNEL, 4096, 0);
	fake_on_wake = pages_are_there;
	at_wait = free_and_look_when_woken;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

static u64 in_use;

/* Ten seconds asleep, in which the pages were in use; then they are freed, and it looks. */
static void free_after_a_long_sleep(void)
{
	if (in_use && longest > 100) {
		free_pages(in_use);
		in_use = 0;
		waits = 0;
	} else if (!in_use && waits == 1) {
		assert_int_equal(pages_dirty(), 5000);
	} else if (!in_use) {
		stop_when_clean();
	}
}

static void what_it_slept_through_is_not_idle(void)
{
	start();
	in_use = alloc_pages_exact(BM_GFP_KERNEL, 5000, 0);
	at_wait = free_after_a_long_sleep;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

static void refused_it_is_done_without(void)
{
	options.background_thread = true;
	pages_start();
	fake_fail(FAKE_THREAD, 1, 1);
	kswapd_start();
	unit_said("buddymalloc: background_thread: the thread cannot be started; slow paths do its work\n");
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	fake.now_ms += 3000;
	reclaim_age();
	fake.now_ms += 3000;
	reclaim_age();
	assert_int_equal(pages_dirty(), 0);
}

static void a_child_begins_anew(void)
{
	start();
	kswapd_after_fork();
	fake_thread = NULL;
	kswapd_start();
	assert_non_null(fake_thread);
}

/* The fourth wait ends with an event, before anything could have aged. */
static void pressure_comes(void)
{
	if (waits == 4) {
		assert_int_equal(pages_dirty(), 4096);
		fake.pressure = true;
	} else if (waits == 5) {
		assert_int_equal(pages_dirty(), 0);
		assert_int_equal(stats_shared.pressure_events, 1);
		kswapd_stop();
	}
}

static void under_pressure(long decay_ms)
{
	options.pressure = option_pressure_auto;
	fake.pressure_file = "/fake/memory.pressure";
	options.decay_ms = decay_ms;
	start();
	assert_non_null(fake_thread);
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	assert_int_equal(pages_dirty(), 4096);
	at_wait = pressure_comes;
	fake_thread();
	assert_int_equal(waits, 5);
	assert_int_equal(pages_dirty(), 0);
	assert_string_equal(fake_output(), "");
	pages_check(0);
}

static void pressure_takes_everything(void)
{
	under_pressure(3600000);
	assert_int_equal(longest, 1000);
}

/* It may be all that ever gives memory back. */
static void pressure_without_ageing(void)
{
	under_pressure(-1);
}

static void stop_after_ageing(void)
{
	assert_int_equal(fake_calls(FAKE_PRESSURE), 0);
	stop_when_clean();
}

/* Without its file the thread ages as ever, and only verbose tells. */
static void no_pressure_to_watch(void)
{
	options.pressure = option_pressure_auto;
	options.verbose = true;
	start();
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	at_wait = stop_after_ageing;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	unit_said("buddymalloc: pressure: nothing tells of it\n");
}

/* Watching, it still ages by steps, and is quiet when nothing is left. */
static void stop_when_quiet(void)
{
	if (waits == 1)
		assert_int_equal(longest, 100);
	if (longest == 1000)
		kswapd_stop();
	assert_true(waits < 100);
}

static void watching_it_ages(void)
{
	options.pressure = option_pressure_auto;
	fake.pressure_file = "/fake/memory.pressure";
	options.verbose = true;
	start();
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	at_wait = stop_when_quiet;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
	assert_int_equal(stats_shared.pressure_events, 0);
	unit_said("buddymalloc: pressure: /fake/memory.pressure is watched\n");
	/* A child closes what it has not opened. */
	kswapd_after_fork();
	assert_int_equal(fake_calls(FAKE_PRESSURE_CLOSE), 1);
}

static void off_nothing_is_opened(void)
{
	fake.pressure_file = "/fake/memory.pressure";
	start();
	free_pages(alloc_pages_exact(BM_GFP_KERNEL, 4096, 0));
	at_wait = stop_after_ageing;
	fake_thread();
	assert_int_equal(pages_dirty(), 0);
}

UNIT_MAIN(CASE(only_when_asked_for),
	  CASE(memory_falls_while_the_program_sleeps),
	  CASE(quiet_it_sleeps_until_woken),
	  CASE(all_has_aged_before_it_sleeps),
	  CASE(what_is_broken_up_goes_before_it_sleeps),
	  CASE(it_is_woken_after_the_free),
	  CASE(what_it_slept_through_is_not_idle), CASE(refused_it_is_done_without),
	  CASE(a_child_begins_anew),
	  CASE(pressure_takes_everything),
	  CASE(pressure_without_ageing),
	  CASE(no_pressure_to_watch),
	  CASE(watching_it_ages),
	  CASE(off_nothing_is_opened))
