/* The lock: contention, sleeping, trylock, and the checker of lock order. */
#include "unit.h"

#include <pthread.h>
#include <unistd.h>

#include "base/lock.h"

static struct lock one;

static u32 word_of(const struct lock *l)
{
	return __atomic_load_n(&l->word, __ATOMIC_RELAXED);
}

static void free_lock_is_taken_without_the_system(void)
{
	lock(&one, LOCK_ZONE);
	assert_int_equal(word_of(&one), WORD_HELD);
	unlock(&one, LOCK_ZONE);
	assert_int_equal(word_of(&one), WORD_FREE);
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), 0);
	assert_int_equal(fake_calls(FAKE_FUTEX_WAKE), 0);
}

static void *try_it(void *arg)
{
	bool *got = arg;

	*got = try_lock(&one, LOCK_PCP);
	if (*got)
		unlock(&one, LOCK_PCP);
	return NULL;
}

static bool other_thread_gets_it(void)
{
	pthread_t thread;
	bool got;

	assert_int_equal(pthread_create(&thread, NULL, try_it, &got), 0);
	pthread_join(thread, NULL);
	return got;
}

static void trylock_does_not_wait(void)
{
	assert_true(other_thread_gets_it());
	assert_true(try_lock(&one, LOCK_PCP));
	assert_false(other_thread_gets_it());
	unlock(&one, LOCK_PCP);
	assert_true(other_thread_gets_it());
	assert_int_equal(fake_calls(FAKE_FUTEX_WAIT), 0);
}

static void *take_it(void *arg)
{
	lock(&one, LOCK_ZONE);
	*(int *)arg += 1;
	unlock(&one, LOCK_ZONE);
	return NULL;
}

/* Whoever finds the lock held for long sleeps, and is woken by the unlock. */
static void waiter_sleeps_and_is_woken(void)
{
	pthread_t threads[3];
	int count = 0, i;

	lock(&one, LOCK_ZONE);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_it, &count), 0);
	while (fake_calls(FAKE_FUTEX_WAIT) < 3)
		usleep(100);
	assert_int_equal(word_of(&one), WORD_WAITED);
	assert_int_equal(count, 0);
	unlock(&one, LOCK_ZONE);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count, 3);
	assert_int_equal(word_of(&one), WORD_FREE);
	assert_in_range(fake_calls(FAKE_FUTEX_WAKE), 1, 4);
}

#define ROUNDS 100000

static volatile long counter;

static void *count_up(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < ROUNDS; i++) {
		lock(&one, LOCK_NODE);
		counter++;
		unlock(&one, LOCK_NODE);
	}
	return NULL;
}

static void lock_excludes(void)
{
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counter, 4 * ROUNDS);
	assert_int_equal(word_of(&one), WORD_FREE);
}

/* A signal's handler forks in the midst of a critical section, and no other thread is there. */
static void fork_within_a_lock(void)
{
	struct lock held = { 0 }, polled = { 0 }, free = { 0 };

	lock(&held, LOCK_THREADS);
	assert_true(try_lock(&polled, LOCK_PCP));
	assert_true(lock_fork_begin(true));
	lock_for_fork(&held, LOCK_THREADS);
	lock_polled_for_fork(&polled, LOCK_PCP);
	lock_for_fork(&free, LOCK_ZONE);
	lock_fork_owned();
	assert_true(lock_is_forking());
	assert_true(lock_fork_done());
	unlock_for_fork(&free, LOCK_ZONE);
	unlock_for_fork(&polled, LOCK_PCP);
	unlock_for_fork(&held, LOCK_THREADS);
	assert_int_equal(held.word, WORD_WAITED);
	assert_int_equal(polled.word, WORD_WAITED);
	assert_int_equal(free.word, WORD_FREE);
	unlock_tried(&polled, LOCK_PCP);
	unlock(&held, LOCK_THREADS);
	assert_int_equal(held.word, WORD_FREE);
}

/* Somebody was there after all, and dropped or took it: what he did stays. */
static void fork_beside_an_unknown_thread(void)
{
	struct lock dropped = { 0 }, taken = { 0 };

	lock(&dropped, LOCK_NODE);
	assert_true(lock_fork_begin(true));
	lock_for_fork(&dropped, LOCK_NODE);
	lock_for_fork(&taken, LOCK_ZONE);
	lock_fork_owned();
	__atomic_store_n(&dropped.word, WORD_FREE, __ATOMIC_RELEASE);
	__atomic_store_n(&taken.word, WORD_HELD, __ATOMIC_RELEASE);
	assert_true(lock_fork_done());
	unlock_for_fork(&taken, LOCK_ZONE);
	unlock_for_fork(&dropped, LOCK_NODE);
	assert_int_equal(dropped.word, WORD_FREE);
	assert_int_equal(taken.word, WORD_HELD);
}

/* Nobody else is there, so no lock is taken: each would have its page copied. */
static void fork_of_one_thread(void)
{
	struct lock first = { 0 }, polled = { 0 };

	assert_true(lock_fork_begin(true));
	assert_true(lock_fork_is_alone());
	lock_for_fork(&first, LOCK_THREADS);
	lock_polled_for_fork(&polled, LOCK_PCP);
	lock_fork_owned();
	assert_int_equal(first.word, WORD_FREE);
	assert_int_equal(polled.word, WORD_FREE);
	assert_false(lock_is_forking());
	assert_false(lock_fork_done());
	/* The next one is of more. */
	assert_true(lock_fork_begin(false));
	lock_for_fork(&first, LOCK_THREADS);
	lock_fork_owned();
	assert_int_equal(first.word, WORD_FORK);
	assert_true(lock_fork_done());
	unlock_for_fork(&first, LOCK_THREADS);
	assert_int_equal(first.word, WORD_FREE);
}

static void reinit_frees_a_lost_lock(void)
{
	lock(&one, LOCK_ZONE);
	lock_reinit(&one);
	lock_check_drop(LOCK_ZONE);
	assert_true(other_thread_gets_it());
}

static void ranks_may_be_taken_downward(void)
{
	static struct lock locks[NR_LOCK_RANKS];
	int rank;

	for (rank = 0; rank < NR_LOCK_RANKS; rank++)
		lock(&locks[rank], (enum lock_rank)rank);
	for (rank = 0; rank < NR_LOCK_RANKS; rank++)
		unlock(&locks[rank], (enum lock_rank)rank);
	/* A released rank does not count any more. */
	lock(&locks[LOCK_THREADS], LOCK_THREADS);
	unlock(&locks[LOCK_THREADS], LOCK_THREADS);
}

struct ranks {
	enum lock_rank held, wanted;
};

static void take_two(void *arg)
{
	static struct lock held, wanted;
	const struct ranks *r = arg;

	lock(&held, r->held);
	lock(&wanted, r->wanted);
}

/* Every pair of ranks in the wrong order, and twice the same. */
static void wrong_order_is_fatal(void)
{
	int held, wanted;

	for (held = 0; held < NR_LOCK_RANKS; held++)
		for (wanted = 0; wanted <= held; wanted++) {
			struct ranks r = { (enum lock_rank)held, (enum lock_rank)wanted };

			unit_dies(take_two, &r, "lock order: rank %d taken while holding ranks %#x",
				  wanted, 1u << held);
		}
}

/* A trylock cannot deadlock, so its order is free; but it counts as held. */
static void trylock_may_be_out_of_order(void)
{
	static struct lock zone, pcp;
	struct ranks r = { LOCK_PCP, LOCK_NODE };

	lock(&zone, LOCK_ZONE);
	assert_true(try_lock(&pcp, LOCK_PCP));
	unlock(&pcp, LOCK_PCP);
	unlock(&zone, LOCK_ZONE);
	assert_true(try_lock(&pcp, LOCK_PCP));
	unit_dies(take_two, &r, "lock order: rank %d taken while holding ranks %#x", LOCK_PCP,
		  1u << LOCK_PCP);
	unlock(&pcp, LOCK_PCP);
}

static struct lock fork_locks[2];

static void *increment(void *arg)
{
	lock(&fork_locks[0], LOCK_NODE);
	*(int *)arg += 1;
	unlock(&fork_locks[0], LOCK_NODE);
	return NULL;
}

static void hold_for_fork(void)
{
	lock_for_fork(&fork_locks[0], LOCK_NODE);
	lock_for_fork(&fork_locks[1], LOCK_NODE);
	lock_fork_owned();
}

/* Takes and drops all that is there, in an order that is checked again. */
static void use_all_ranks(void)
{
	ranks_may_be_taken_downward();
	lock(&fork_locks[0], LOCK_NODE);
	lock(&fork_locks[1], LOCK_ZONE);
	unlock(&fork_locks[1], LOCK_ZONE);
	unlock(&fork_locks[0], LOCK_NODE);
}

/* Between prepare and done the forking thread passes through, nobody else does. */
static void fork_holds_everything(void)
{
	pthread_t thread;
	int count = 0;

	hold_for_fork();
	lock(&fork_locks[1], LOCK_NODE);
	lock(&fork_locks[0], LOCK_NODE);
	assert_int_equal(pthread_create(&thread, NULL, increment, &count), 0);
	while (fake_calls(FAKE_FUTEX_WAIT) < 1)
		usleep(100);
	unlock(&fork_locks[0], LOCK_NODE);
	unlock(&fork_locks[1], LOCK_NODE);
	assert_false(try_lock(&fork_locks[0], LOCK_NODE));
	usleep(1000);
	assert_int_equal(count, 0);
	lock_fork_done();
	unlock_for_fork(&fork_locks[1], LOCK_NODE);
	unlock_for_fork(&fork_locks[0], LOCK_NODE);
	pthread_join(thread, NULL);
	assert_int_equal(count, 1);
	assert_int_equal(word_of(&fork_locks[0]), WORD_FREE);
	assert_int_equal(word_of(&fork_locks[1]), WORD_FREE);
	use_all_ranks();
}

/* A fork from a handler that runs while the locks are held leaves them held. */
static void fork_within_a_fork(void)
{
	assert_true(lock_fork_begin(false));
	hold_for_fork();
	assert_false(lock_fork_begin(false));
	assert_false(lock_fork_done());
	assert_false(try_lock(&fork_locks[0], LOCK_NODE));
	assert_true(lock_fork_done());
	unlock_for_fork(&fork_locks[1], LOCK_NODE);
	unlock_for_fork(&fork_locks[0], LOCK_NODE);
	assert_false(lock_fork_done());
	use_all_ranks();
}

static void finish_in_child(void)
{
	lock_reinit(&fork_locks[0]);
	lock_reinit(&fork_locks[1]);
	assert_int_equal(locks_held, 2);
	lock_fork_child();
	assert_int_equal(locks_held, 0);
	use_all_ranks();
}

static void child_of_fork_starts_with_no_lock_held(void)
{
	hold_for_fork();
	unit_in_child(finish_in_child);
	lock_fork_done();
	unlock_for_fork(&fork_locks[1], LOCK_NODE);
	unlock_for_fork(&fork_locks[0], LOCK_NODE);
	use_all_ranks();
}

/* A child that was forked within a fork is in none: when it forks itself, that is the outermost. */
static void fork_in_child(void)
{
	finish_in_child();
	hold_for_fork();
	assert_true(lock_fork_done());
	unlock_for_fork(&fork_locks[1], LOCK_NODE);
	unlock_for_fork(&fork_locks[0], LOCK_NODE);
	use_all_ranks();
}

static void child_of_a_fork_within_a_fork(void)
{
	hold_for_fork();
	assert_false(lock_fork_begin(false));
	unit_in_child(fork_in_child);
	assert_false(lock_fork_done());
	assert_true(lock_fork_done());
	unlock_for_fork(&fork_locks[1], LOCK_NODE);
	unlock_for_fork(&fork_locks[0], LOCK_NODE);
	use_all_ranks();
}

UNIT_MAIN(CASE(free_lock_is_taken_without_the_system),
	  CASE(trylock_does_not_wait),
	  CASE(waiter_sleeps_and_is_woken),
	  CASE(lock_excludes),
	  CASE(fork_within_a_lock), CASE(fork_beside_an_unknown_thread), CASE(fork_of_one_thread),
	  CASE(reinit_frees_a_lost_lock),
	  CASE(ranks_may_be_taken_downward),
	  CASE(wrong_order_is_fatal),
	  CASE(trylock_may_be_out_of_order),
	  CASE(fork_holds_everything),
	  CASE(fork_within_a_fork),
	  CASE(child_of_fork_starts_with_no_lock_held),
	  CASE(child_of_a_fork_within_a_fork))
