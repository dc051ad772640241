/* Threads that allocate, resize, zero, purge and trim at the same time, on a moving clock. */
#include "pages.h"

#include <pthread.h>
#include <string.h>

#include "base/options.h"

#define NR_THREADS 4
#define NR_BLOCKS 60
#define ROUNDS 5000

static const char *broken;
static bool may_fail;

static void say(const char *what)
{
	__atomic_store_n(&broken, what, __ATOMIC_RELAXED);
}

struct block {
	u64 pfn, nr, mark;
};

static bool check(const struct block *b)
{
	if (pages_are_marked(b->pfn, b->nr, b->mark) && pfn_to_page(b->pfn)->nr_pages == b->nr)
		return true;
	say("a block had two owners");
	return false;
}

static void renew(struct block *b, uint64_t *seed, u64 mark)
{
	u64 nr = 1 + random_below(seed, random_below(seed, 20) ? 40 : 1500);
	bm_gfp_t gfp = BM_GFP_KERNEL | (mark % 3 ? BM_GFP_MOVABLE : 0);
	bool zero = random_below(seed, 3) == 0;

	b->pfn = alloc_pages_exact(gfp | (zero ? BM_GFP_ZERO : 0), nr, random_below(seed, 8) ? 0 : 3);
	b->nr = nr;
	b->mark = mark;
	if (!b->pfn) {
		if (!may_fail)
			say("no memory");
		return;
	}
	if (zero && !is_zero(pfn_to_virt(b->pfn), nr << PAGE_SHIFT))
		say("a block was not zero");
	pages_mark(b->pfn, nr, mark);
}

static void resize(struct block *b, uint64_t *seed)
{
	u64 nr = 1 + random_below(seed, 2 * b->nr);

	if (!resize_pages(b->pfn, nr))
		return;
	b->nr = nr;
	pages_mark(b->pfn, nr, b->mark);
}

static void *work(void *arg)
{
	unsigned number = *(unsigned *)arg, round, i;
	uint64_t seed = number + 1;
	struct block blocks[NR_BLOCKS] = { { 0, 0, 0 } };

	for (round = 0; round < ROUNDS && !__atomic_load_n(&broken, __ATOMIC_RELAXED); round++) {
		struct block *b = &blocks[random_below(&seed, NR_BLOCKS)];

		fake_cpu = (unsigned)random_below(&seed, 3);
		if (!b->pfn) {
			renew(b, &seed, (u64)round * NR_THREADS + number + 1);
		} else if (check(b)) {
			if (random_below(&seed, 3) == 0) {
				resize(b, &seed);
			} else {
				free_pages(b->pfn);
				b->pfn = 0;
			}
		}
		if (number == 0 && round % 4 == 0)
			__atomic_fetch_add(&fake.now_ms, 1, __ATOMIC_RELAXED);
		if (number == 1 && round % 1000 == 0)
			reclaim_trim(round % 7 << 20);
		if (number == 2 && round % 500 == 0)
			reclaim_purge(300);
	}
	for (i = 0; i < NR_BLOCKS; i++)
		if (blocks[i].pfn && check(&blocks[i]))
			free_pages(blocks[i].pfn);
	return NULL;
}

static void run(void)
{
	unsigned number[NR_THREADS] = { 0, 1, 2, 3 }, i;
	pthread_t threads[NR_THREADS];

	fake.nr_cpus = 4;
	pages_start();
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &number[i]), 0);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	if (broken)
		fail_msg("%s", broken);
	pages_check(0);
	reclaim_trim(0);
	pages_check(0);
}

static void ageing_fast(void)
{
	options.decay_ms = 20;
	run();
}

static void purging_at_once(void)
{
	options.decay_ms = 0;
	run();
}

static void under_a_limit(void)
{
	options.decay_ms = 100;
	fake.rlimit_bytes = (u64)100 << 20;
	may_fail = true;
	run();
}

static void system_refuses_to_purge(void)
{
	options.decay_ms = 20;
	fake_fail(FAKE_GIVE_BACK, 5, FAKE_ALWAYS);
	run();
}

UNIT_MAIN(CASE(ageing_fast),
	  CASE(purging_at_once),
	  CASE(under_a_limit),
	  CASE(system_refuses_to_purge))
