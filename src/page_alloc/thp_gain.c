/*
 * rank 4: whether huge pages are a gain for what a zone grows by.
 *
 * A huge page saves 511 faults and most of the address translation, and costs memory where less
 * than all of it is used. In a large heap that is at most a pageblock of each migratetype, since
 * pages are handed out block by block; in a small one it would be most of the heap. And it costs
 * time where the host of a virtual machine has to find the memory first: on two of these 2 MiB took
 * 0.25 to 0.35 ms to touch when the host had them at hand, 4 to 7 ms as a rule when it had not, and
 * 1 to 2 ms in small pages. So auto begins late, and takes the time of the first huge page that a
 * heap of a middle size grows by. But where a hypervisor keeps shadows of the page tables small
 * pages take 10 to 20 us, 2 MiB of them as long as the slowest huge page, and the few small ones
 * that there are by then may have to be found anew when that comes: there it begins early.
 *
 * How much of its memory a program touches nobody tells, and of a huge page not even the system
 * knows. So some of the growth stays in small pages, of which each touch is a fault, and the system
 * counts those: where what was handed out of that was touched, as much as the heap has already may
 * be huge, and nothing where it was not. What a program takes and does not touch costs it no more
 * than that, whenever it begins to.
 */
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

/* Pages in use, and pages of a zone, from which on it grows by huge ones. */
#define HUGE_FROM (((u64)1 << 30) >> PAGE_SHIFT)

/* The same, from which on it does if the first of those comes fast. */
#define TRY_FROM (((u64)64 << 20) >> PAGE_SHIFT)

/* And where small pages are slow. */
#define TRY_FROM_IF_SLOW (((u64)8 << 20) >> PAGE_SHIFT)

/*
 * Nanoseconds that a huge page takes: no processor clears one faster, and what takes
 * longer has to be found by somebody first.
 */
#define CLEARED_NS ((u64)20 * 1000)
#define FAST_NS ((u64)500 * 1000)

/* And a small one, at most, where pages come fast: 0.25 to 4 us were measured. */
#define SMALL_FAST_NS ((u64)6 * 1000)

/* About what a program's own code and data take: the first sample is all there was before. */
#define FAULTS_AT_START 250

/* What is known of how densely the heap is used; one thread at a time has it, which is busy. */
static struct {
	bool busy;	/* acquire/release */
	u64 try_from;	/* pages of the zone from which on the next try is worth while */
	u64 credit;	/* pages that may be huge */
	u64 sampled;	/* pages grown by that the sample is of; 0: there is none */
	u64 used;	/* nr_small when it began, */
	u64 faults;	/* and faults of the process */
} density = { .try_from = TRY_FROM_IF_SLOW, .sampled = 1, .faults = FAULTS_AT_START };

/*
 * Small pages handed out that had to be touched for the first time; relaxed atomic. On a line of
 * its own, as all threads write it.
 */
static u64 nr_small __attribute__((aligned(CACHE_LINE)));

void thp_count_small(u64 nr)
{
	__atomic_fetch_add(&nr_small, nr, __ATOMIC_RELAXED);
}

static void begin_sample(u64 nr)
{
	density.sampled = nr;
	density.used = __atomic_load_n(&nr_small, __ATOMIC_RELAXED);
	density.faults = os_nr_faults();
}

/* When half of the sample was handed out: whether it was touched, three quarters of it at least. */
static void settle_sample(u64 managed)
{
	u64 used = __atomic_load_n(&nr_small, __ATOMIC_RELAXED) - density.used, faults, touched;

	if (!density.sampled || used < density.sampled / 2)
		return;
	faults = os_nr_faults();
	touched = (faults - MIN(faults, density.faults)) * system_page_pages();
	density.sampled = 0;
	density.credit = touched < used - used / 4 ? 0 : managed;
}

/* Somebody is about to use these, and from here on they count as any that were in use. */
static void note_touched(u64 pfn, u64 nr)
{
	pages_set_dirty(pfn, nr);
	pages_poison(pfn, nr);
}

/* Whether a huge page comes fast, which is taken and stays. */
static bool huge_page_comes_fast(u64 pfn)
{
	u64 ns;

	thp_set(pfn, 1, THP_HUGE);
	thp_repeat(pfn, PAGEBLOCK_PAGES);
	ns = os_first_touch_ns(pfn_to_addr(pfn));
	note_touched(pfn, ns >= CLEARED_NS ? PAGEBLOCK_PAGES : system_page_pages());
	return ns >= CLEARED_NS && ns <= FAST_NS;
}

/* A larger page than ours takes longer anyhow. */
static bool small_pages_are_slow(void)
{
	return system_page_pages() == 1 && os_small_page_ns() > SMALL_FAST_NS;
}

/* Whether now is the time for a try, if the zone was used densely; or for more than a try. */
static bool is_time(const struct zone *zone, bool *surely)
{
	u64 managed = zone_managed(zone), size = MIN(managed, pages_nr_backed());

	*surely = size >= HUGE_FROM;
	if (*surely)
		return true;
	if (managed < density.try_from || size < TRY_FROM_IF_SLOW)
		return false;
	*surely = small_pages_are_slow();
	if (*surely || size >= TRY_FROM)
		return true;
	density.try_from = TRY_FROM;
	return false;
}

/* Of nr pages, how many may be huge: whole pageblocks, as far as the credit goes. */
static u64 nr_huge(const struct zone *zone, u64 pfn, u64 nr)
{
	u64 managed = zone_managed(zone), all = nr, huge;
	bool surely;

	if (!is_time(zone, &surely))
		return 0;
	settle_sample(managed);
	/* A pageblock will do for a sample, in time for the next credit. */
	if (!density.sampled && (density.credit < managed / 2 || nr > managed / 4))
		nr -= PAGEBLOCK_PAGES;
	huge = round_down(MIN(nr, density.credit), (u64)PAGEBLOCK_PAGES);
	if (huge && !surely && !huge_page_comes_fast(pfn)) {
		density.try_from = managed + managed / 2;
		return 0;
	}
	density.credit -= huge;
	if (huge < all && !density.sampled)
		begin_sample(all - huge);
	return huge;
}

void thp_gain_reinit(void)
{
	__atomic_store_n(&density.busy, false, __ATOMIC_RELAXED);
}

u64 thp_gains(const struct zone *zone, u64 pfn, u64 nr_blocks)
{
	u64 huge;

	if (__atomic_exchange_n(&density.busy, true, __ATOMIC_ACQUIRE))
		return 0;
	huge = nr_huge(zone, pfn, nr_blocks << PAGEBLOCK_ORDER);
	__atomic_store_n(&density.busy, false, __ATOMIC_RELEASE);
	return huge >> PAGEBLOCK_ORDER;
}
