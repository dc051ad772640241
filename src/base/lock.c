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

void lock_slow(struct lock *l)
{
	u32 *word = (u32 *)&l->word;
	int i;

	for (i = 0; i < SPINS; i++) {
		u32 seen = __atomic_load_n(word, __ATOMIC_RELAXED);

		if (seen == 0 && __atomic_compare_exchange_n(word, &seen, 1, false, __ATOMIC_ACQUIRE,
							     __ATOMIC_RELAXED))
			return;
		cpu_relax();
	}
	/* From here the lock is taken as 2: we cannot know who else sleeps. */
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
		os_futex_wait(word, 2);
}

void unlock_slow(struct lock *l)
{
	os_futex_wake((u32 *)&l->word, 1);
}

#ifdef BM_DEBUG
static __thread u32 held_ranks;
static __thread bool fork_holds_all;

void lock_check_take(enum lock_rank rank, bool trying)
{
	if (fork_holds_all)
		return;
	/* A trylock cannot deadlock, so its order does not matter. */
	if (!trying && held_ranks >> rank)
		report_fatal("lock order: rank %d taken while holding ranks %#x", (int)rank,
			     held_ranks);
	held_ranks |= 1u << rank;
}

void lock_check_drop(enum lock_rank rank)
{
	if (!fork_holds_all)
		held_ranks &= ~(1u << rank);
}

void lock_check_fork(bool all_held)
{
	fork_holds_all = all_held;
	if (!all_held)
		held_ranks = 0;
}
#endif
