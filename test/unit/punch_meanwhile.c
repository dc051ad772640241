/* While pages of slabs are on their way to the system: what others free, take and fork. */
#include "holes.h"

#include <pthread.h>
#include <unistd.h>

static void free_the_rest(void)
{
	slab_free(shards[0], CLASS_A, objects + 8, size_classes[CLASS_A].nr_objects - 8u);
}

static void a_slab_that_becomes_empty_meanwhile_goes(void)
{
	start_with_holes();
	unit_at_give_back(free_the_rest);
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) >= 2);
	slabs_check_gone(shards[0]);
}

/* Who found no object, noted the turn before, and looks late: what was off the list is back. */
static void who_looked_meanwhile_looks_again(void)
{
	u32 turn;

	start_with_holes();
	turn = slab_punch_turn();
	assert_false(slab_punch_wait(turn));
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) >= 2);
	assert_true(slab_punch_wait(turn));
	assert_false(slab_punch_wait(slab_punch_turn()));
	slabs_check(shards[0]);
}

/* A fork just then: the child keeps the slab, empty, and counts it. */
static void an_empty_slab_in_the_child(void)
{
	struct class_totals t;

	slab_reinit_locks();
	slabs_check(shards[0]);
	slab_class_totals(CLASS_A, NULL, &t);
	assert_int_equal(t.slabs, 1);
	assert_int_equal(t.free, size_classes[CLASS_A].nr_objects);
	slabs_check_gone(shards[0]);
}

static void free_the_rest_and_fork(void)
{
	free_the_rest();
	unit_in_child_of_another_thread(an_empty_slab_in_the_child);
}

static void a_child_keeps_a_slab_that_became_empty(void)
{
	start_with_holes();
	unit_at_give_back(free_the_rest_and_fork);
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) >= 2);
	slabs_check_gone(shards[0]);
}

/*
 * What is freed meanwhile has holes for the next time: nothing orders what its last owner wrote
 * before a page is given back now.
 */
static void free_more(void)
{
	slab_free(shards[0], CLASS_A, objects + 16, 8);
}

static void what_is_freed_meanwhile_stays_for_now(void)
{
	start_with_holes();
	unit_at_give_back(free_more);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
}

static void allocate_meanwhile(void *addr, size_t len)
{
	void *out[4];

	fake_on_give_back = NULL;
	assert_int_equal(slab_alloc(shards[0], CLASS_A, out, 4), 4);
	assert_true((char *)out[3] < (char *)addr || (char *)out[3] >= (char *)addr + len);
	slab_free(shards[0], CLASS_A, out, 4);
}

static void nobody_is_handed_a_page_that_is_dropped(void)
{
	start_with_holes();
	fake_on_give_back = allocate_meanwhile;
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
}

static pthread_t needy;
static unsigned needy_got;

static void *allocate_in_need(void *unused)
{
	void *out[4];

	(void)unused;
	needy_got = slab_alloc(shards[0], CLASS_A, out, 4);
	return NULL;
}

/* Longer than it says, for a machine that does much else. */
static void nap(void)
{
	usleep(20000);
}

static void start_needy(void)
{
	assert_int_equal(pthread_create(&needy, NULL, allocate_in_need, NULL), 0);
	usleep(20000);
}

/* Where there is no memory for another slab, those off their list are waited for. */
static void who_finds_nothing_waits(void)
{
	static void *rest[1 << 16];
	unsigned nr = 0, n;

	fake.rlimit_bytes = 6 << 20;
	fake_on_sleep = nap;
	start();
	full_slab(CLASS_A);
	while (nr < ARRAY_SIZE(rest) - MOST && (n = slab_alloc(shards[0], CLASS_A, rest + nr, MOST)))
		nr += n;
	slab_free(shards[0], CLASS_A, objects, 8);
	unit_at_give_back(start_needy);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	pthread_join(needy, NULL);
	assert_int_equal(needy_got, 4);
	slabs_check(shards[0]);
}

static void goes_on_in_the_child(void)
{
	slab_reinit_locks();
	slabs_check(shards[0]);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
}

static void a_child_finds_the_slab_in_use(void)
{
	start_with_holes();
	unit_fork_at_give_back(goes_on_in_the_child);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
}

/*
 * A signal's handler forks in the midst of it: nobody allocates from the slab there before the
 * child goes on, when the handler returns.
 */
static void fork_allocate_and_go_on(void)
{
	void *out[4];

	if (!unit_fork_midst())
		return;
	slab_reinit_locks();
	assert_int_equal(slab_alloc(shards[0], CLASS_A, out, 4), 4);
	assert_false(slab_locate(objects[0], CLASS_A).allocated);
	slab_free(shards[0], CLASS_A, out, 4);
}

static void a_child_goes_on_punching(void)
{
	start_with_holes();
	unit_at_give_back(fork_allocate_and_go_on);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 2);
	slabs_check(shards[0]);
	assert_int_equal(slab_punch(GIVE_ALL, UINT64_MAX), 0);
	unit_both_end();
}

/* A fork between two holes of one slab: what is given back already is known to be. */
static u64 half_punched;

static void takes_objects_in_the_child(void)
{
	const struct size_class *sc = &size_classes[CLASS_A];
	void *out[MOST];
	unsigned n = 0;

	slab_reinit_locks();
	while (slab_locate(objects[20], CLASS_A).allocated == false ||
	       slab_locate(objects[0], CLASS_A).allocated == false)
		n += slab_alloc(shards[0], CLASS_A, out + n, 1);
	/* All its objects are in use again, and so are all its pages. */
	assert_int_equal(pages_nr_dirty(half_punched, sc->nr_pages), sc->nr_pages);
	slabs_check(shards[0]);
}

static void fork_at_second_hole(void *addr, size_t len)
{
	(void)len;
	if (addr == pfn_to_virt(half_punched))
		return;
	fake_on_give_back = NULL;
	assert_int_equal(pages_nr_dirty(half_punched, 2), 0);
	unit_in_child_of_another_thread(takes_objects_in_the_child);
}

static void a_child_knows_the_first_of_two_holes(void)
{
	half_punched = start_with_holes();
	slab_free(shards[0], CLASS_A, objects + 20, 8);
	fake_on_give_back = fork_at_second_hole;
	assert_true(slab_punch(GIVE_ALL, UINT64_MAX) >= 3);
	assert_ptr_equal(fake_on_give_back, NULL);
	slabs_check(shards[0]);
}

UNIT_MAIN(CASE(a_slab_that_becomes_empty_meanwhile_goes), CASE(who_looked_meanwhile_looks_again),
	  CASE(a_child_keeps_a_slab_that_became_empty),
	  CASE(what_is_freed_meanwhile_stays_for_now),
	  CASE(nobody_is_handed_a_page_that_is_dropped), CASE(who_finds_nothing_waits),
	  CASE(a_child_finds_the_slab_in_use), CASE(a_child_goes_on_punching),
	  CASE(a_child_knows_the_first_of_two_holes))
