/*
 * How much stack the library takes: any thread may be the one that ages, purges
 * and reclaims, and the smallest stack a thread can have is 16 KiB, of which the
 * libc and the program want their part.
 */
#include "tcaches.h"

#include <pthread.h>
#include <string.h>

#include "base/options.h"
#include "os/os.h"

#define STACK_BYTES ((size_t)256 << 10)
#define PAINT 0x5a

/* With the assertions of this build; without optimisation frames are larger. */
#ifdef __OPTIMIZE__
#define MOST_BYTES ((size_t)8 << 10)
#else
#define MOST_BYTES ((size_t)24 << 10)
#endif

static char stack[STACK_BYTES] __attribute__((aligned(65536)));
static char *base; /* of what the library uses */
static void (*job)(void);

static void *on_own_stack(void *arg)
{
	char here;

	base = &here;
	job();
	return arg;
}

/* Bytes of stack that f() takes in a thread of its own. */
static size_t stack_of(void (*f)(void))
{
	pthread_attr_t attr;
	pthread_t thread;
	size_t i;

	memset(stack, PAINT, sizeof(stack));
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, stack, sizeof(stack)), 0);
	job = f;
	assert_int_equal(pthread_create(&thread, &attr, on_own_stack, NULL), 0);
	pthread_join(thread, NULL);
	for (i = 0; stack[i] == PAINT; i++)
		;
	return (size_t)(base - &stack[i]);
}

#define MOST 3000

static void *objects[MOST];

static void small_objects(void)
{
	unsigned class, i;

	for (class = 0; class < NR_CLASSES; class += 5) {
		unsigned n = (unsigned)MIN((4u << 20) / size_classes[class].size, MOST);

		for (i = 0; i < n; i++)
			objects[i] = cache_alloc(class);
		while (i)
			cache_free(objects[--i]);
	}
}

/* A thread whose sheaves are full, and that sleeps. */
static pthread_barrier_t barrier;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *fill_and_sleep(void *arg)
{
	pthread_mutex_lock(&turn);
	small_objects();
	pthread_mutex_unlock(&turn);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	tcache_exit(tcache_get());
	return arg;
}

static void flush_own(enum give how)
{
	if (how == GIVE_ALL && this_tcache->state == TCACHE_LIVE)
		tcache_flush(this_tcache);
}

static const struct shrinker shrinkers[] = {
	{ .shrink = flush_own },
	{ .shrink = tcache_shrink_idle },
	{ .shrink = slab_shrink, .give = slab_punch },
};

static void ageing(void)
{
	unsigned i;

	for (i = 0; i < 40; i++) {
		small_objects();
		fake.now_ms += 100;
		free_pages(alloc_pages_exact(BM_GFP_KERNEL, 5000, 0));
	}
}

static void trimming(void)
{
	small_objects();
	reclaim_trim(0);
}

static void short_memory(void)
{
	unsigned n = 0;

	fake.rlimit_bytes = memmap_heap_bytes() + memmap_meta_bytes() + (1 << 20);
	memmap_set_budget();
	while (n < MOST && (objects[n] = cache_alloc(CLASS_32768)))
		n++;
	while (n)
		cache_free(objects[--n]);
	assert_int_equal(alloc_pages_exact(BM_GFP_KERNEL, 1 << 19, 0), 0);
	fake.rlimit_bytes = UINT64_MAX;
	memmap_set_budget();
}

/* Objects of the sleeping thread, freed by a stranger. */
static void *others[500];

static void free_others(void)
{
	unsigned i;

	for (i = 0; i < 500; i++)
		cache_free(others[i]);
}

static void reports(void)
{
	void *p;

	options.abort_on_corruption = false;
	p = cache_alloc(CLASS_64);
	cache_free(p);
	cache_free(p);
	tcache_flush(this_tcache);
}

static void end_thread(void)
{
	small_objects();
	tcache_exit(tcache_get());
}

static void every_path_needs_little_stack(void)
{
	static const struct {
		const char *name;
		void (*f)(void);
	} paths[] = {
		{ "small objects", small_objects }, { "ageing", ageing },
		{ "trimming", trimming },	    { "short memory", short_memory },
		{ "remote frees", free_others },    { "reports", reports },
		{ "thread exit", end_thread },
	};
	pthread_t sleepers[2];
	size_t i;

	os_membarrier_init();
	tcache_get();
	set_shrinkers(shrinkers, ARRAY_SIZE(shrinkers));
	pthread_barrier_init(&barrier, NULL, 3);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&sleepers[i], NULL, fill_and_sleep, NULL), 0);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 500; i++)
		others[i] = cache_alloc((unsigned)i % NR_SHEAVES);
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		size_t bytes = stack_of(paths[i].f);

		print_message("%s: %zu bytes of stack\n", paths[i].name, bytes);
		if (bytes > MOST_BYTES)
			fail_msg("%s: %zu bytes of stack", paths[i].name, bytes);
	}
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 2; i++)
		pthread_join(sleepers[i], NULL);
}

UNIT_MAIN(CASE(every_path_needs_little_stack))
