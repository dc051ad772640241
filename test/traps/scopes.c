/* Scopes, as programs see them; and threads that end within a heap or group. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "helpers.h"
#include "interface.h"
#include "trap.h"

static void scopes(void)
{
	bm_scope_t outer, inner;
	char *p;

	CHECK(bm_scope_save(4, -1, NULL) == BM_SCOPE_FAILED && errno == EINVAL);
	CHECK(bm_scope_save(0, 62, NULL) == BM_SCOPE_FAILED && errno == EINVAL);
	outer = bm_scope_save(BM_SCOPE_NORECLAIM, 0, NULL);
	/* Nothing that failed is gone back to. */
	bm_scope_restore(BM_SCOPE_FAILED);
	CHECK((p = malloc(3 * MIB)));
	inner = bm_scope_save(BM_SCOPE_NOSYSCALL, -1, NULL);
	/* What is at hand serves; nothing is mapped. */
	CHECK(!malloc(500 * MIB) && errno == ENOMEM);
	CHECK(!realloc(p, 500 * MIB) && errno == ENOMEM);
	free(malloc(10));
	free(p);
	bm_scope_restore(inner);
	CHECK((p = malloc(50 * MIB)));
	free(p);
	bm_scope_restore(outer);
}

/* A thread ends within a heap or group; what its last destructor allocates is nobody's. */
static pthread_key_t end_key;
static struct bm_heap *end_heap;
static struct bm_group *end_group;
static char *from_the_end;
static bm_scope_t end_scope; /* as it is within */

static void at_the_end(void *rounds)
{
	if ((uintptr_t)rounds < 3) {
		pthread_setspecific(end_key, (char *)rounds + 1);
		return;
	}
	/* The thread's cache is gone by now, and has left. It cannot come back: nobody is told. */
	errno = 77;
	bm_scope_restore(end_scope);
	CHECK(errno == 77);
	CHECK(end_heap ? bm_heap_destroy(end_heap) == 0 : bm_group_destroy(end_group) == 0);
	from_the_end = malloc(3 * MIB);
	CHECK(from_the_end);
	fill(from_the_end, 3 * MIB, 1);
}

static void *ends_within(void *unused)
{
	pthread_setspecific(end_key, (void *)1);
	if (end_heap)
		bm_heap_set_default(end_heap);
	else
		bm_group_enter(end_group);
	end_scope = bm_scope_save(0, -1, NULL);
	free(malloc(100));
	return unused;
}

static void end_a_thread_within(void)
{
	pthread_t thread;

	CHECK(pthread_key_create(&end_key, at_the_end) == 0);
	CHECK(pthread_create(&thread, NULL, ends_within, NULL) == 0);
	pthread_join(thread, NULL);
}

static void threads_that_end_in_a_heap(void)
{
	struct bm_heap *next;
	char *other;

	end_heap = bm_heap_create();
	end_a_thread_within();
	next = bm_heap_create();
	CHECK(bm_heap_destroy(next) == 0);
	other = malloc(3 * MIB);
	memset(other, 2, 3 * MIB);
	CHECK(is_filled(from_the_end, 3 * MIB, 1));
	free(from_the_end);
}

static void threads_that_end_in_a_group(void)
{
	struct bm_group *next;

	end_group = bm_group_create("ends", 0);
	end_a_thread_within();
	next = bm_group_create("next", 64 * MIB);
	CHECK(bm_group_usage(next) == 0);
	free(from_the_end);
	CHECK(bm_group_usage(next) == 0, "%zu", bm_group_usage(next));
}

/*
 * Threads for whose caches there is no room in the address space work without. What needs no
 * cache succeeds and leaves errno alone; a group needs one. The first threads may find room.
 */
#define CACHELESS 64

static struct bm_group *cacheless_group;
static pthread_barrier_t no_room, all_have_entered;
static unsigned nr_refused; /* atomic */

static void *enter_without_a_cache(void *unused)
{
	bm_scope_t scope, inner;

	pthread_barrier_wait(&no_room);
	errno = 0;
	scope = bm_scope_save(BM_SCOPE_NORECLAIM, -1, NULL);
	CHECK(scope != BM_SCOPE_FAILED && errno == 0);
	inner = bm_scope_save(0, -1, NULL);
	CHECK(inner != BM_SCOPE_FAILED && inner != scope && errno == 0);
	if (bm_group_enter(cacheless_group) == BM_SCOPE_FAILED) {
		CHECK(errno == ENOMEM);
		__atomic_fetch_add(&nr_refused, 1, __ATOMIC_RELAXED);
	}
	/* Nobody leaves a cache to another before that. */
	pthread_barrier_wait(&all_have_entered);
	bm_scope_restore(scope);
	return unused;
}

static void scopes_without_a_cache(void)
{
	struct rlimit none = { 0, 0 }, old;
	pthread_t thread[CACHELESS];

	CHECK((cacheless_group = bm_group_create(NULL, 0)));
	CHECK(!pthread_barrier_init(&no_room, NULL, CACHELESS + 1));
	CHECK(!pthread_barrier_init(&all_have_entered, NULL, CACHELESS));
	CHECK(!getrlimit(RLIMIT_AS, &old));
	none.rlim_max = old.rlim_max;
	for (int i = 0; i < CACHELESS; i++)
		CHECK(!pthread_create(&thread[i], NULL, enter_without_a_cache, NULL));
	CHECK(!setrlimit(RLIMIT_AS, &none));
	pthread_barrier_wait(&no_room);
	for (int i = 0; i < CACHELESS; i++)
		pthread_join(thread[i], NULL);
	CHECK(!setrlimit(RLIMIT_AS, &old));
	CHECK(nr_refused > 0);
	/* All are out of it, or never were in. */
	CHECK(bm_group_destroy(cacheless_group) == 0);
}

/* What ended within an outer scope is not gone back to, nor what has its place. */
static void ended_in_an_outer_scope(void)
{
	struct bm_heap *heap = bm_heap_create(), *next;
	bm_scope_t outer = bm_heap_set_default(heap), inner, none;
	struct bm_group *group = bm_group_create("inner", 0);
	char *p;

	inner = bm_group_enter(group);
	CHECK(bm_heap_destroy(heap) == 0);
	next = bm_heap_create();
	bm_scope_restore(inner);
	p = malloc(100);
	strcpy(p, "stays");
	CHECK(bm_heap_destroy(next) == 0, "errno %d", errno);
	CHECK(strcmp(p, "stays") == 0);
	free(p);
	/* The same of a group, of which something is left. */
	none = bm_group_enter(group);
	inner = bm_heap_set_default(next = bm_heap_create());
	CHECK(bm_group_destroy(group) == 0);
	bm_scope_restore(inner);
	free(malloc(100));
	bm_scope_restore(none);
	bm_scope_restore(outer);
	CHECK(bm_heap_destroy(next) == 0);
}

static const struct trap_case cases[] = {
	{ .name = "ended_in_an_outer_scope", .run = ended_in_an_outer_scope },
	{ .name = "scopes", .run = scopes },
	{ .name = "scopes_without_a_cache", .run = scopes_without_a_cache },
	{ .name = "threads_that_end_in_a_heap", .run = threads_that_end_in_a_heap },
	{ .name = "threads_that_end_in_a_group", .run = threads_that_end_in_a_group },
};

TRAP_MAIN(cases)
