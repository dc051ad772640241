/* rank 1: the contended half of struct lock, and the order checker. */
#include "base/lock.h"

#include "os/os.h"

#ifdef BM_DEBUG
#include "base/report.h"
#endif

/*
 * Critical sections are some tens to hundreds of nanoseconds, so a short spin
 * usually wins; a longer one would burn the quantum of a preempted holder.
 */
#define SPINS 100
#define YIELDS 20

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

__thread int locks_held __attribute__((tls_model("initial-exec")));

/* The thread that holds every lock for a fork, by its thread pointer; NULL: none. */
static void *fork_owner;
static u32 fork_depth; /* forks within its fork; the owner's */
/*
 * The fork is of a process with one thread; and that holds a lock, as it does where a signal's
 * handler interrupted the allocator and forks. Written only when they change: with the first
 * word that is written the parent, or the child, has a page to copy.
 */
static bool fork_alone, fork_within;

bool lock_is_forking(void)
{
	return __atomic_load_n(&fork_owner, __ATOMIC_RELAXED) == __builtin_thread_pointer();
}

void lock_slow(struct lock *l)
{
	int i;

	if (unlikely(lock_is_forking()))
		return;
	for (i = 0; i < SPINS; i++) {
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == WORD_FREE &&
		    lock_word_cas(l, WORD_FREE, WORD_HELD, __ATOMIC_ACQUIRE))
			return;
		cpu_relax();
	}
	/* From here it is taken as waited for: we cannot know who else sleeps. */
	while (__atomic_exchange_n(&l->word, WORD_WAITED, __ATOMIC_ACQUIRE) != WORD_FREE)
		os_futex_wait(&l->word, WORD_WAITED);
}

void unlock_slow(struct lock *l)
{
	if (unlikely(lock_is_forking()))
		return;
	__atomic_store_n(&l->word, WORD_FREE, __ATOMIC_RELEASE);
	os_futex_wake(&l->word, 1);
}

bool lock_fork_begin(bool alone)
{
	if (lock_is_forking()) {
		fork_depth++;
		return false;
	}
	if (__atomic_load_n(&fork_alone, __ATOMIC_RELAXED) != alone)
		__atomic_store_n(&fork_alone, alone, __ATOMIC_RELAXED);
	return true;
}

bool lock_fork_is_alone(void)
{
	return __atomic_load_n(&fork_alone, __ATOMIC_RELAXED);
}

/*
 * There is no other thread: a free lock is left so, and what is held is held by this one, beneath
 * a signal's handler that forks. Waiting would never end. The child finds what the lock protects
 * half done, as it would with any allocator: it may call exec. (Should there be a thread that
 * nobody knows of, it may drop the lock meanwhile: so by exchange, and the parent loses nothing.)
 */
static bool needs_no_taking(struct lock *l)
{
	u32 seen;

	if (!lock_fork_is_alone())
		return false;
	seen = __atomic_load_n(&l->word, __ATOMIC_RELAXED);
	if (unlikely(seen != WORD_FREE) &&
	    lock_word_cas(l, seen, WORD_FORK_WITHIN, __ATOMIC_RELAXED))
		fork_within = true;
	return true;
}

void lock_for_fork(struct lock *l, enum lock_rank rank)
{
	if (needs_no_taking(l))
		return;
	locks_held_more();
	lock_check_take(rank, true);
	if (!lock_word_cas(l, WORD_FREE, WORD_HELD, __ATOMIC_ACQUIRE))
		lock_slow(l);
	/* Not WORD_HELD: a nested unlock must come to unlock_slow. */
	lock_word_cas(l, WORD_HELD, WORD_FORK, __ATOMIC_RELAXED);
}

static void poll_for(struct lock *l, u32 state)
{
	unsigned yields = 0;

	while (!lock_word_cas(l, WORD_FREE, state, __ATOMIC_ACQUIRE)) {
		u32 seen = WORD_FREE;
		int i;

		for (i = 0; i < SPINS && (seen = __atomic_load_n(&l->word, __ATOMIC_RELAXED)); i++)
			cpu_relax();
		if (i < SPINS)
			continue;
		/* To a holder of lower priority a real-time thread yields in vain. */
		if (yields++ < YIELDS)
			os_yield();
		else
			os_futex_wait_ms(&l->word, seen, 1);
	}
}

void lock_polled(struct lock *l, enum lock_rank rank)
{
	locks_held_more();
	lock_check_take(rank, false);
	if (!lock_is_forking())
		poll_for(l, WORD_HELD);
}

void lock_polled_for_fork(struct lock *l, enum lock_rank rank)
{
	if (needs_no_taking(l))
		return;
	locks_held_more();
	lock_check_take(rank, true);
	poll_for(l, WORD_FORK);
}

void lock_fork_owned(void)
{
	if (lock_fork_is_alone() && !fork_within)
		return;
	__atomic_store_n(&fork_owner, __builtin_thread_pointer(), __ATOMIC_RELAXED);
}

void unlock_for_fork(struct lock *l, enum lock_rank rank)
{
	if (lock_fork_is_alone()) {
		if (unlikely(__atomic_load_n(&l->word, __ATOMIC_RELAXED) == WORD_FORK_WITHIN))
			lock_word_cas(l, WORD_FORK_WITHIN, WORD_WAITED, __ATOMIC_RELAXED);
		return;
	}
	lock_check_drop(rank);
	if (!lock_word_cas(l, WORD_FORK, WORD_FREE, __ATOMIC_RELEASE))
		unlock_slow(l);
	locks_held_less();
}

#ifdef BM_DEBUG
static __thread u32 held_ranks;

void lock_check_take(enum lock_rank rank, bool trying)
{
	if (lock_is_forking())
		return;
	/* A trylock cannot deadlock, so its order does not matter. */
	if (!trying && held_ranks >> rank)
		report_fatal("lock order: rank %d taken while holding ranks %#x", (int)rank,
			     held_ranks);
	held_ranks |= 1u << rank;
}

void lock_check_drop(enum lock_rank rank)
{
	if (!lock_is_forking())
		held_ranks &= ~(1u << rank);
}

static void forget_held_ranks(void)
{
	held_ranks = 0;
}
#else
static void forget_held_ranks(void)
{
}
#endif

bool lock_fork_done(void)
{
	/* Not ours: in a child that was forked within a fork they are new. */
	if (!lock_is_forking())
		return false;
	if (fork_depth) {
		fork_depth--;
		return false;
	}
	fork_within = false;
	__atomic_store_n(&fork_owner, NULL, __ATOMIC_RELAXED);
	forget_held_ranks();
	return true;
}

void lock_fork_child(void)
{
	if (!lock_is_forking())
		return;
	fork_depth = 0;
	fork_within = false;
	__atomic_store_n(&fork_owner, NULL, __ATOMIC_RELAXED);
	/* Where there was one thread only what it held before is still to be dropped. */
	if (!lock_fork_is_alone())
		locks_held = 0;
	forget_held_ranks();
}
