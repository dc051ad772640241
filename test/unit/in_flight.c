/* Free pages in a thread's hands: who waits for them, and what a child of fork finds of them. */
#include "pages.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "os/os.h"
#include "page_alloc/internal.h"

#define NR_PAGES (4 * PAGEBLOCK_PAGES)

static void start(void)
{
	options.decay_ms = -1;
	pages_start();
}

/* fork while pages are given back: those the other thread has in its hands are the child's too. */
static u32 stage; /* of the purging thread: 1 at it, 2 may go on; sequentially consistent */

static void wait_at_purge(void)
{
	__atomic_store_n(&stage, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&stage, __ATOMIC_SEQ_CST) != 2)
		os_yield();
}

static void *purge_all(void *arg)
{
	(void)arg;
	reclaim_purge(UINT64_MAX);
	return NULL;
}

static void all_is_there_in_the_child(void)
{
	page_alloc_reinit_locks();
	page_alloc_after_fork();
	pages_check(0);
	assert_int_equal(reclaim_nr_dirty(), NR_PAGES);
	assert_false(in_flight_wait(in_flight_arrivals()));
	reclaim_purge(UINT64_MAX);
	assert_int_equal(reclaim_nr_dirty(), 0);
	assert_int_equal(pages_nr_backed(), 0);
}

static void a_child_has_what_another_thread_purged(void)
{
	pthread_t thread;

	start();
	free_nr(NR_PAGES);
	unit_at_give_back(wait_at_purge);
	assert_int_equal(pthread_create(&thread, NULL, purge_all, NULL), 0);
	while (__atomic_load_n(&stage, __ATOMIC_SEQ_CST) != 1)
		os_yield();
	unit_in_child(all_is_there_in_the_child);
	__atomic_store_n(&stage, 2, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	pages_check(0);
	assert_int_equal(reclaim_nr_dirty(), 0);
}

/* A thread that ended in the midst of it is waited for, but not for ever. */
static void who_never_arrives(void)
{
	u64 before;

	start();
	assert_false(in_flight_wait(in_flight_arrivals()));
	in_flight_begin();
	before = fake.now_ms;
	assert_false(in_flight_wait(in_flight_arrivals()));
	assert_in_range(fake.now_ms - before, 1, 1000);
	in_flight_end(false);
	assert_false(in_flight_wait(in_flight_arrivals()));
}

/* In a child it is not there, and not waited for. */
static void nobody_arrives_in_the_child(void)
{
	u64 waits = fake_calls(FAKE_FUTEX_WAIT);

	page_alloc_reinit_locks();
	page_alloc_after_fork();
	assert_false(in_flight_wait(in_flight_arrivals()));
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), waits);
}

static void who_is_not_in_the_child(void)
{
	start();
	in_flight_begin();
	unit_in_child(nobody_arrives_in_the_child);
	in_flight_end(false);
}

/* Whoever looked before pages arrived looks again, without a wait; in vain nobody does. */
static void arrivals_are_told(void)
{
	u32 seen;

	start();
	seen = in_flight_arrivals();
	in_flight_begin();
	in_flight_end(true);
	assert_true(in_flight_wait(seen));
	seen = in_flight_arrivals();
	assert_false(in_flight_wait(seen));
	/* Another one is on the way still. */
	in_flight_begin();
	in_flight_begin();
	in_flight_end(false);
	assert_int_equal(in_flight_arrivals(), seen);
	in_flight_begin();
	in_flight_end(true);
	assert_true(in_flight_wait(seen));
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), 0);
	in_flight_end(false);
	assert_false(in_flight_wait(in_flight_arrivals()));
}

/* A signal that the waiting thread handles ends no wait. */
static pthread_t waiting;

static void nothing(int signal)
{
	(void)signal;
}

static void *signal_and_arrive(void *arg)
{
	int i;

	while (!fake_calls(FAKE_FUTEX_WAIT))
		os_yield();
	for (i = 0; i < 5; i++) {
		usleep(1000);
		pthread_kill(waiting, SIGUSR1);
	}
	usleep(1000);
	in_flight_end(true);
	return arg;
}

static void signals_end_no_wait(void)
{
	struct sigaction action = { .sa_handler = nothing };
	pthread_t thread;

	start();
	waiting = pthread_self();
	sigaction(SIGUSR1, &action, NULL);
	in_flight_begin();
	assert_int_equal(pthread_create(&thread, NULL, signal_and_arrive, NULL), 0);
	assert_true(in_flight_wait(in_flight_arrivals()));
	pthread_join(thread, NULL);
}

/* It waits for the last, who comes with empty hands, no longer than for that. */
static void *come_with_nothing(void *arg)
{
	while (!fake_calls(FAKE_FUTEX_WAIT))
		os_yield();
	in_flight_end(false);
	return arg;
}

static void the_last_arrives_with_nothing(void)
{
	pthread_t thread;

	start();
	in_flight_begin();
	assert_int_equal(pthread_create(&thread, NULL, come_with_nothing, NULL), 0);
	assert_true(in_flight_wait(in_flight_arrivals()));
	pthread_join(thread, NULL);
	assert_false(in_flight_wait(in_flight_arrivals()));
}

/* A signal's handler forks in the midst of it: the child goes on when the handler returns. */
static void fork_and_go_on(void)
{
	if (!unit_fork_midst())
		return;
	page_alloc_reinit_locks();
	page_alloc_after_fork();
}

static void a_child_goes_on_purging(void)
{
	start();
	free_nr(NR_PAGES);
	unit_at_give_back(fork_and_go_on);
	reclaim_purge(UINT64_MAX);
	pages_check(0);
	assert_int_equal(reclaim_nr_dirty(), 0);
	assert_false(in_flight_wait(in_flight_arrivals()));
	unit_both_end();
}

UNIT_MAIN(CASE(a_child_has_what_another_thread_purged), CASE(who_never_arrives),
	  CASE(who_is_not_in_the_child), CASE(arrivals_are_told),
	  CASE(the_last_arrives_with_nothing), CASE(signals_end_no_wait),
	  CASE(a_child_goes_on_purging))
