/*
 * pages: blocks of 4 to 32 KiB straight from the page interface, allocated and
 * freed in turn, against mmap and munmap of the same size.
 *
 *   LD_PRELOAD=.libs/libbuddymalloc.so bench/pages
 *
 * One line an order: ns a pair, ns of mmap and munmap, and how many times
 * faster. Each figure is the least of many short rounds, so that what else the
 * machine does is left out.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include <buddymalloc/page_alloc.h>

#define ORDERS 4

static void *(*get)(bm_gfp_t gfp, unsigned int order);
static void (*put)(void *addr, unsigned int order);

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void pair(unsigned order)
{
	put(get(BM_GFP_KERNEL, order), order);
}

static void pair_mmap(unsigned order)
{
	size_t size = BM_PAGE_SIZE << order;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p != MAP_FAILED)
		munmap(p, size);
}

/* ns of one call, the least over the rounds. */
static double least(void (*f)(unsigned), unsigned order, int rounds, int calls)
{
	double best = 1e18;

	while (rounds--) {
		double start = now_ns(), took;

		for (int i = 0; i < calls; i++)
			f(order);
		took = (now_ns() - start) / calls;
		if (took < best)
			best = took;
	}
	return best;
}

int main(void)
{
	*(void **)&get = dlsym(RTLD_DEFAULT, "bm_get_free_pages");
	*(void **)&put = dlsym(RTLD_DEFAULT, "bm_free_pages");
	if (!get || !put) {
		fputs("pages: no page interface; preload libbuddymalloc.so\n", stderr);
		return 77;
	}
	for (unsigned order = 0; order < ORDERS; order++) {
		double ours = least(pair, order, 4000, 1000);
		double system = least(pair_mmap, order, 50, 200);

		printf("pages/order-%u %.1f ns, mmap and munmap %.1f ns, %.0f times faster\n", order,
		       ours, system, system / ours);
	}
	return 0;
}
