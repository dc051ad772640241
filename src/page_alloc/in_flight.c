/*
 * rank 4: free pages in the hands of a thread, on no list where others would see them: while
 * it purges or unmaps them, takes them from empty slabs, or has mapped them for a zone. A thread
 * that seeks pages waits for those before it takes a refusal for true.
 *
 * State. underway: threads that hold such pages. arrivals: raised when one of them gives some
 * to a zone, or when the last one comes with none while somebody waits. waiters: threads
 * asleep on arrivals. Whoever seeks notes arrivals before it looks; has it changed since, to
 * look again is worth while. All atomic, sequentially consistent.
 */
#include "base/lock.h"
#include "os/os.h"
#include "page_alloc/internal.h"

static u32 underway, arrivals, waiters;

void in_flight_begin(void)
{
	__atomic_fetch_add(&underway, 1, __ATOMIC_SEQ_CST);
}

/*
 * True when it was the last. In a child that a signal's handler forked meanwhile the counts began
 * anew.
 */
static bool count_down(u32 *count)
{
	u32 seen = __atomic_load_n(count, __ATOMIC_SEQ_CST);

	while (seen && !__atomic_compare_exchange_n(count, &seen, seen - 1, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST))
		;
	return seen <= 1;
}

void in_flight_end(bool found)
{
	bool last;

	if (found)
		__atomic_fetch_add(&arrivals, 1, __ATOMIC_SEQ_CST);
	last = count_down(&underway);
	if (likely(!__atomic_load_n(&waiters, __ATOMIC_SEQ_CST)))
		return;
	/* The last one lets them go even with empty hands: nobody else will come. */
	if (last && !found)
		__atomic_fetch_add(&arrivals, 1, __ATOMIC_SEQ_CST);
	if (last || found)
		os_futex_wake(&arrivals, INT32_MAX);
}

u32 in_flight_arrivals(void)
{
	return __atomic_load_n(&arrivals, __ATOMIC_SEQ_CST);
}

/* A thread that ended by the bare system call in the midst of it never arrives. */
#define ARRIVAL_MOST_MS 50

bool in_flight_wait(u32 seen)
{
	u64 now, end;

	if (in_flight_arrivals() != seen)
		return true;
	/* The forking thread holds the locks under which they come back. */
	if (lock_is_forking())
		return false;
	now = os_now_ms();
	end = now + ARRIVAL_MOST_MS;
	__atomic_fetch_add(&waiters, 1, __ATOMIC_SEQ_CST);
	/* Whoever is the last after this look sees that somebody waits. A signal ends no wait. */
	while (now < end && in_flight_arrivals() == seen &&
	       __atomic_load_n(&underway, __ATOMIC_SEQ_CST)) {
		os_futex_wait_ms(&arrivals, seen, end - now);
		now = os_now_ms();
	}
	count_down(&waiters);
	return in_flight_arrivals() != seen;
}

void in_flight_reinit(void)
{
	word_reinit(&underway);
	word_reinit(&waiters);
}
