/*
 * Threads that are gone, with or without a word, and children of fork: what others reclaim of
 * their caches, sealed or not.
 */
#include "helper_thread.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_sealed_thread_may_end(void)
{
	start();
	helper_does(allocate_and_give);
	tcache_shrink_idle(GIVE_ALL);
	helper_ends();
	assert_int_equal(cached().threads, 1);
	all_is_gone();
}

static void *leave_without_a_word(void *tid)
{
	*(int *)tid = os_tid();
	allocate_and_give();
	syscall(SYS_exit, 0);
	return NULL;
}

/* Runs a thread that ends so. */
static void gone(void *(*leave)(void *))
{
	pthread_t thread;
	int tid;

	assert_int_equal(pthread_create(&thread, NULL, leave, &tid), 0);
	pthread_join(thread, NULL);
	/* The joiner wakes while the system still knows the thread. */
	while (!os_tid_is_gone(tid))
		sched_yield();
}

/* What a thread had that ended by the bare system call, sealed or not, is reclaimed whole. */
static void a_thread_that_is_gone_leaves_nothing(void)
{
	unsigned round;

	start();
	helper_does(allocate_and_give);
	for (round = 0; round < 4; round++) {
		gone(leave_without_a_word);
		assert_int_equal(cached().threads, 3);
		tcache_shrink_idle(GIVE_ALL);
		assert_int_equal(cached().threads, 2);
		tcache_reap_orphans();
		assert_true(cached().objects <= 2 * NR_CLASSES_USED);
	}
	helper_ends();
	all_is_gone();
}

static void *leave_with_little(void *tid)
{
	*(int *)tid = os_tid();
	cache_free(cache_alloc(CLASS_16384));
	syscall(SYS_exit, 0);
	return NULL;
}

/* Nor does one whose cache is as good as empty: in need at once, else after seconds of ageing. */
static void a_thread_that_is_gone_with_little_leaves_nothing(void)
{
	unsigned round, looks;

	start();
	for (round = 0; round < 4; round++) {
		enum give how = round % 2 ? GIVE_IDLE : GIVE_ALL;
		u64 before = cached().threads;

		gone(leave_with_little);
		assert_int_equal(cached().objects, 1);
		for (looks = 0; cached().threads > before; looks++)
			look_after(100, how);
		assert_true(how == GIVE_ALL ? looks == 1 : looks <= 200);
		/* Until it is reaped it is cached still. */
		assert_int_equal(cached().objects, 1);
		tcache_reap_orphans();
		assert_int_equal(cached().objects, 0);
	}
	helper_ends();
	all_is_gone();
}

/* A process that shares the memory finds none of our threads, and must not think them gone. */
static void the_child_of_vfork_takes_nobody_for_gone(void)
{
	int status;
	pid_t pid;

	start();
	helper_does(allocate_and_give);
	pid = vfork();
	if (!pid) {
		tcache_shrink_idle(GIVE_ALL);
		tcache_reap_orphans();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(cached().threads, 2);
	helper_does(allocate_and_give);
	helper_ends();
	all_is_gone();
}

static void in_child(void)
{
	slab_reinit_locks();
	tcache_after_fork();
	/* Sealed until the next slow path: fork may have interrupted a fast one. */
	tcache_get();
	assert_ptr_not_equal(this_tcache, &tcache_sealed);
	tcache_check(this_tcache);
	allocate_and_give();
	tcache_reap_orphans();
	all_is_gone();
}

/* The forking thread itself is sealed, and another one. */
static void a_sealed_thread_may_fork(void)
{
	start();
	allocate_and_give();
	helper_does(shrink);
	assert_ptr_equal(this_tcache, &tcache_sealed);
	unit_in_child(in_child);
	helper_does(allocate_and_give);
	tcache_shrink_idle(GIVE_ALL);
	unit_in_child(in_child);
	helper_ends();
	all_is_gone();
}

/* In a child the cache is the forking thread's by its new number, and others may reclaim. */
static void *take_in_child(void *sleeps)
{
	*(u64 *)sleeps = fake_calls(FAKE_SLEEP);
	tcache_shrink_idle(GIVE_ALL);
	*(u64 *)sleeps = fake_calls(FAKE_SLEEP) - *(u64 *)sleeps;
	tcache_exit(tcache_get());
	return NULL;
}

static void others_take_in_the_child(void)
{
	pthread_t thread;
	u64 sleeps;

	slab_reinit_locks();
	tcache_after_fork();
	tcache_get();
	allocate_and_give();
	assert_int_equal(pthread_create(&thread, NULL, take_in_child, &sleeps), 0);
	pthread_join(thread, NULL);
	/* Nobody else is at it. */
	assert_int_equal(sleeps, 0);
	assert_int_equal(cached().threads, 1);
	/* What the other threads of the parent had is cached until it is reaped. */
	tcache_reap_orphans();
	assert_true(cached().objects <= NR_CLASSES_USED);
	allocate_and_give();
}

static void fork_while_reclaiming(void)
{
	fake_on_membarrier = NULL;
	unit_in_child(others_take_in_the_child);
}

static void a_child_forked_while_another_reclaims(void)
{
	start();
	allocate_and_give();
	helper_does(allocate_and_give);
	fake_on_membarrier = fork_while_reclaiming;
	tcache_shrink_idle(GIVE_ALL);
	assert_null(fake_on_membarrier);
	helper_ends();
	all_is_gone();
}

UNIT_MAIN(CASE(a_sealed_thread_may_end), CASE(a_thread_that_is_gone_leaves_nothing),
	  CASE(a_thread_that_is_gone_with_little_leaves_nothing),
	  CASE(the_child_of_vfork_takes_nobody_for_gone), CASE(a_sealed_thread_may_fork),
	  CASE(a_child_forked_while_another_reclaims))
