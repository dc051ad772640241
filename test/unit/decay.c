/* Ageing: how free dirty memory melts away with time, on a clock the test moves. */
#include "pages.h"

#include "base/options.h"
#include "base/stats.h"
#include "page_alloc/poison.h"

#define DECAY_MS 1000

/* A peak of 64 MiB: it shrinks evenly, all the time, and is gone after decay_ms and a step. */
static void peak_melts_evenly(void)
{
	u64 peak = 16384, last = peak, ms, most_at_once = 0;

	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	free_nr(peak);
	assert_int_equal(pages_dirty(), peak);
	for (ms = 1; ms <= 2 * DECAY_MS; ms++) {
		u64 dirty;
		u64 share = ms < DECAY_MS ? peak * (DECAY_MS - ms) / DECAY_MS : 0;

		pass_ms(1);
		dirty = pages_dirty();
		assert_true(dirty <= last);
		most_at_once = MAX(most_at_once, last - dirty);
		last = dirty;
		/* Within two steps and a pageblock of the straight line. */
		assert_true(dirty <= share + peak / 5 + PAGEBLOCK_PAGES);
		assert_true(dirty + peak / 5 + PAGEBLOCK_PAGES >= share);
		if (ms > DECAY_MS * 12 / 10)
			assert_int_equal(dirty, 0);
	}
	assert_true(most_at_once <= peak / 5);
	pages_check(0);
}

/* Of a large one no call gives more than 16 MiB back, and it is gone in time all the same. */
static void large_peaks_go_in_bites(void)
{
	u64 peak = 60000, last = peak, part[6], ms;
	size_t i;

	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	/* With a page taken now and then it does not pass for dropped. */
	for (i = 0; i < ARRAY_SIZE(part); i++)
		part[i] = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, peak / ARRAY_SIZE(part), 0);
	for (i = 0; i < ARRAY_SIZE(part); i++) {
		free_pages(part[i]);
		free_pages(alloc_pages(BM_GFP_KERNEL, 0));
	}
	for (ms = 1; ms <= DECAY_MS * 12 / 10; ms++) {
		u64 dirty;

		pass_ms(1);
		dirty = pages_dirty();
		assert_true(last - dirty <= 4096 + PAGEBLOCK_PAGES);
		last = dirty;
	}
	assert_int_equal(last, 0);
	pages_check(0);
}

/* Steps are counted in 32 bits. What was freed before the count begins anew is older still. */
static void the_count_of_steps_wraps(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	zone_table[0]->tick = UINT32_MAX - 2;
	free_nr(9000);
	pass_ms(DECAY_MS * 12 / 10);
	assert_true(zone_table[0]->tick < 100);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* Less than a pageblock goes when all of it has aged, lest some of it is in use again at once. */
static void little_goes_at_the_end(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	free_nr(PAGEBLOCK_PAGES - 100);
	pass_ms(DECAY_MS * 8 / 10);
	assert_int_equal(pages_dirty(), PAGEBLOCK_PAGES - 100);
	pass_ms(DECAY_MS * 4 / 10);
	assert_int_equal(pages_dirty(), 0);
}

/* What comes between two bites of a large step has not lain idle in it. */
static void what_comes_between_bites_has_its_time(void)
{
	u64 pfn;

	options.decay_ms = DECAY_MS;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 5000, 0);
	pass_ms(100);
	reclaim_set_floor(UINT64_MAX);
	free_nr(9000);
	pass_ms(2 * DECAY_MS);
	reclaim_set_floor(0);
	while (pages_dirty() == 9000)
		pass_ms(1);
	free_pages(pfn);
	pass_ms(DECAY_MS / 2);
	assert_in_range(pages_dirty(), 5000 * 3 / 10, 5000 * 7 / 10);
	pass_ms(DECAY_MS * 7 / 10);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

/* Two peaks, one after the other, each take their time. */
static void each_peak_has_its_time(void)
{
	u64 a, b, after;

	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	a = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 8192, 0);
	b = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 8192, 0);
	free_pages(a);
	pass_ms(500);
	after = pages_dirty();
	assert_in_range(after, 8192 * 3 / 10, 8192 * 7 / 10);
	free_pages(b);
	assert_int_equal(pages_dirty(), after + 8192);
	pass_ms(600);
	/* The first is gone, of the second a good third is left. */
	assert_in_range(pages_dirty(), 8192 * 2 / 10, 8192 * 6 / 10);
	pass_ms(700);
	assert_int_equal(pages_dirty(), 0);
}

/* Memory that is used again and again stays warm, all of it. */
static void steady_load_keeps_its_pages(void)
{
	u64 nr = 4000, purged = 0, pfn;
	unsigned i;

	options.decay_ms = DECAY_MS;
	pages_start();
	for (i = 0; i < 6 * DECAY_MS; i += 2) {
		pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, nr, 0);
		pass_ms(1);
		free_pages(pfn);
		pass_ms(1);
		if (i < 2 * DECAY_MS) {
			purged = stats_shared.purged_pages;
			continue;
		}
		assert_int_equal(pages_dirty(), nr);
	}
	assert_int_equal(stats_shared.purged_pages - purged, 0);
}

/* What such a load does not use goes, and nothing else. */
static void a_load_keeps_what_it_uses(void)
{
	u64 used = 1024, idle = 4096, pfn, i;

	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(100);
	free_nr(idle + used);
	for (i = 0; i < 3 * DECAY_MS; i += 2) {
		pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, used, 0);
		pass_ms(1);
		free_pages(pfn);
		pass_ms(1);
		if (i == DECAY_MS / 2)
			assert_in_range(pages_dirty() - used, idle * 3 / 10, idle * 7 / 10);
	}
	assert_in_range(pages_dirty(), used, used + PAGEBLOCK_PAGES);
	pages_check(0);
}

/* Nobody looked at the clock for long: what lay free all the time goes with the next looks. */
static void long_pause(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	free_nr(5000);
	pass_ms(150);
	fake.now_ms += 20 * DECAY_MS;
	pass_ms(1);
	assert_int_equal(pages_dirty(), 0);
}

/* What was in use all through a pause did not lie idle in it, though nobody looked at the clock. */
static void pause_before_a_free(void)
{
	u64 pfn, other;

	unit_needs_pages_of(4096);
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 5000, 0);
	other = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 5000, 0);
	pass_ms(150);
	fake.now_ms += 20 * DECAY_MS;
	free_pages(pfn);
	assert_int_equal(pages_dirty(), 5000);
	fake.now_ms += 20 * DECAY_MS;
	assert_true(resize_pages(other, 1000));
	assert_int_equal(pages_dirty(), 4000);
	pass_ms(2 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
	pages_check(1000);
}

/* The clock is looked at, nothing else is done, as long as nothing is due. */
static void cheap_when_nothing_is_due(void)
{
	u64 calls;
	unsigned i;

	options.decay_ms = DECAY_MS;
	pages_start();
	free_nr(5000);
	pass_ms(1);
	calls = fake_calls(FAKE_GIVE_BACK);
	for (i = 0; i < 1000; i++)
		reclaim_age();
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), calls);
}

static void negative_decay_never_purges(void)
{
	options.decay_ms = -1;
	pages_start();
	free_nr(5000);
	pass_ms(100);
	fake.now_ms += 3600000;
	pass_ms(100);
	free_nr(3000);
	assert_int_equal(pages_dirty(), 5000);
	assert_int_equal(fake_calls(FAKE_GIVE_BACK), 0);
}

/* Every value of the option works, down to steps of less than a millisecond. */
static void short_times(void)
{
	long ms;

	pages_start();
	for (ms = 1; ms < 40; ms++) {
		options.decay_ms = ms;
		free_nr(3000);
		/* With what the round before left, as it was wanted again. */
		pass_ms(100 + 8 * ms);
		assert_int_equal(pages_dirty(), 0);
	}
	options.decay_ms = 3600000;
	free_nr(3000);
	pass_ms(5000);
	assert_in_range(pages_dirty(), 2900, 3000);
}

/* Small blocks go through the per-CPU lists; they age too, while others come and go. */
static void small_blocks_age(void)
{
	static u64 pfn[4096];
	unsigned i;

	options.decay_ms = DECAY_MS;
	pages_start();
	for (i = 0; i < 4096; i++)
		pfn[i] = alloc_pages(BM_GFP_KERNEL, 0);
	for (i = 0; i < 4096; i++)
		free_pages(pfn[i]);
	assert_true(pages_dirty() > 3000);
	for (i = 0; i < 400; i++) {
		unsigned j;

		fake.now_ms += 10;
		for (j = 0; j < 64; j++)
			pfn[j] = alloc_pages(BM_GFP_KERNEL, 0);
		for (j = 0; j < 64; j++)
			free_pages(pfn[j]);
	}
	assert_true(pages_dirty() < 200);
}

/* At each step the layers above are asked for what lies idle, not for everything. */
static unsigned nr_asked;

static void count_calls(enum give how)
{
	assert_int_equal(how, GIVE_IDLE);
	nr_asked++;
}

static const struct shrinker counted = { .shrink = count_calls };

static void shrinkers_are_asked_for_idle_memory(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	set_shrinkers(&counted, 1);
	pass_ms(3 * DECAY_MS);
	assert_in_range(nr_asked, 25, 35);
}

static void nothing(enum give how)
{
	(void)how;
}

static enum give last_asked;

static u64 note_how(enum give how, u64 most)
{
	/* No call of the program's takes long because of a step. */
	if (how == GIVE_IDLE)
		assert_in_range(most, 1, 4096);
	else
		assert_int_equal(most, UINT64_MAX);
	nr_asked++;
	last_asked = how;
	return 0;
}

static const struct shrinker noted = { .shrink = nothing, .give = note_how };

/* What is given in parts, one a step, is given whole after a pause of decay_ms. */
static void a_long_pause_asks_for_all(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	set_shrinkers(&noted, 1);
	pass_ms(1);
	nr_asked = 0;
	fake.now_ms += DECAY_MS / 2;
	reclaim_age();
	assert_int_equal(nr_asked, 1);
	assert_int_equal(last_asked, GIVE_IDLE);
	fake.now_ms += 2 * DECAY_MS;
	reclaim_age();
	assert_int_equal(nr_asked, 2);
	assert_int_equal(last_asked, GIVE_AGED);
}

/* What ageing leaves alone. */
static void floor_stays_dirty(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	reclaim_set_floor(2000 * PAGE_SIZE);
	pass_ms(100);
	free_nr(9000);
	pass_ms(3 * DECAY_MS);
	assert_in_range(pages_dirty(), 2000 - PAGEBLOCK_PAGES, 2000);
	reclaim_set_floor(UINT64_MAX);
	free_nr(9000);
	pass_ms(3 * DECAY_MS);
	assert_int_equal(pages_dirty(), 9000);
	reclaim_set_floor(0);
	/* Some of it had been wanted again, see refault.c. */
	pass_ms(9 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
}

/* Pages that cannot go do not drive out what was freed a moment ago. */
static void what_is_stuck_does_not_press(void)
{
	u64 pfn, ms;

	options.decay_ms = DECAY_MS;
	pages_start();
	pfn = alloc_pages_exact(BM_GFP_KERNEL | BM_GFP_MOVABLE, 9000, 0);
	pass_ms(100);
	fake_fail(FAKE_GIVE_BACK, 1, FAKE_ALWAYS);
	free_nr(9000);
	pass_ms(2 * DECAY_MS);
	fake_fail(FAKE_GIVE_BACK, 1, 0);
	assert_int_equal(pages_dirty(), 9000);
	free_pages(pfn);
	for (ms = 0; ms < DECAY_MS / 2; ms += DECAY_MS / 10) {
		assert_true(pages_dirty() >= 9000 + 9000 * (DECAY_MS - ms) / DECAY_MS - 9000 / 4);
		pass_ms(DECAY_MS / 10);
	}
	pages_check(0);
}

/* Purging fails for a while: nothing breaks, and afterwards all melts away. */
static void refused_purges_are_made_up_for(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(100);
	fake_fail(FAKE_GIVE_BACK, 1, FAKE_ALWAYS);
	free_nr(9000);
	pass_ms(3 * DECAY_MS);
	assert_int_equal(pages_dirty(), 9000);
	pages_check(0);
	/* It is not tried at each step. */
	assert_true(fake_calls(FAKE_GIVE_BACK) < 40);
	fake_fail(FAKE_GIVE_BACK, 1, 0);
	pass_ms(8 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
	pages_check(0);
}

static void larger_pages_of_the_system(void)
{
	fake.page_size = 65536;
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(100);
	free_nr(9003);
	pass_ms(2 * DECAY_MS);
	/* What is not a whole page of the system cannot go. */
	assert_true(pages_dirty() < 16);
	pages_check(0);
}

/* A child forked while another thread made a step makes its own. */
static void steps_in_the_child(void)
{
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	pass_ms(2 * DECAY_MS);
	assert_int_equal(pages_dirty(), 0);
}

static void a_child_ages(void)
{
	options.decay_ms = DECAY_MS;
	pages_start();
	pass_ms(500);
	free_nr(9000);
	unit_fork_at_give_back(steps_in_the_child);
	pass_ms(DECAY_MS / 2);
	assert_null(fake_on_give_back);
}

/* What was freed before pages were poisoned is not taken for changed. */
static void poison_begins_later(void)
{
	options.decay_ms = -1;
	pages_start();
	free_nr(1000);
	options.page_poison = true;
	page_detour_update();
	free_nr(1000);
	assert_string_equal(fake_output(), "");
	pages_check(0);
}

UNIT_MAIN(CASE(peak_melts_evenly), CASE(poison_begins_later), CASE(a_child_ages),
	  CASE(large_peaks_go_in_bites), CASE(little_goes_at_the_end),
	  CASE(what_comes_between_bites_has_its_time), CASE(the_count_of_steps_wraps),
	  CASE(each_peak_has_its_time), CASE(steady_load_keeps_its_pages),
	  CASE(a_load_keeps_what_it_uses), CASE(long_pause), CASE(pause_before_a_free),
	  CASE(cheap_when_nothing_is_due), CASE(negative_decay_never_purges), CASE(short_times),
	  CASE(small_blocks_age), CASE(shrinkers_are_asked_for_idle_memory),
	  CASE(a_long_pause_asks_for_all), CASE(floor_stays_dirty),
	  CASE(what_is_stuck_does_not_press), CASE(refused_purges_are_made_up_for),
	  CASE(larger_pages_of_the_system))
