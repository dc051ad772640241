/* What strangers free waits for the threads of its shard, or goes to its slabs. */
#include "tcaches.h"

#include <pthread.h>
#include <string.h>

#include "base/options.h"

#define MOST (6 * REMOTE_MAX)
#define CLASSES 32

static void *objects[MOST];
static unsigned nr;

/* Of several classes in turn, from `class` on. */
static void take(unsigned n, unsigned class)
{
	tcache_get();
	for (nr = 0; nr < n; nr++) {
		objects[nr] = cache_alloc(class + nr % CLASSES);
		object_mark(objects[nr], nr);
	}
	tcache_flush(this_tcache);
}

static bool is_allocated(const void *p)
{
	u16 tag = tag_read(virt_to_pfn(p));

	return tag_is_slab(tag) && slab_locate(p, tag_class(tag)).allocated;
}

static unsigned nr_allocated(void)
{
	unsigned i, n = 0;

	for (i = 0; i < nr; i++)
		n += is_allocated(objects[i]);
	return n;
}

static void free_all(void)
{
	unsigned i;

	cache_free(cache_alloc(0));
	for (i = 0; i < nr; i++) {
		assert_true(object_is_marked(objects[i], i));
		cache_free(objects[i]);
	}
}

static void mixed_objects_wait_for_their_threads(void)
{
	size_t bytes = 0;
	unsigned i;

	take(REMOTE_MAX, 0);
	assert_int_equal(cached().objects, 0);
	in_thread(free_all);
	assert_int_equal(shards[0]->transfer.nr, REMOTE_MAX);
	assert_int_equal(cached().objects, REMOTE_MAX);
	for (i = 0; i < nr; i++)
		bytes += object_size(objects[i]);
	assert_int_equal(cached().bytes, bytes);
	assert_int_equal(nr_allocated(), REMOTE_MAX);
	/* All come with the first that is asked for; what was freed first is first. */
	for (i = 0; i < nr; i++) {
		assert_ptr_equal(cache_alloc(i % CLASSES), objects[i]);
		assert_int_equal(shards[0]->transfer.nr, 0);
		tcache_check(this_tcache);
	}
	while (i)
		cache_free(objects[--i]);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

/* Many objects of each class are worth a lock for each. */
static void few_classes_go_home(void)
{
	tcache_get();
	for (nr = 0; nr < REMOTE_MAX; nr++) {
		objects[nr] = cache_alloc(nr % 8);
		object_mark(objects[nr], nr);
	}
	tcache_flush(this_tcache);
	in_thread(free_all);
	assert_int_equal(shards[0]->transfer.nr, 0);
	assert_int_equal(nr_allocated(), 0);
}

/* Beyond what there is room for, and what is large. */
static void the_rest_goes_home(void)
{
	unsigned i;

	take(MOST, 0);
	in_thread(free_all);
	assert_in_range(shards[0]->transfer.nr, TRANSFER_MOST - REMOTE_MAX + 1, TRANSFER_MOST);
	assert_int_equal(nr_allocated(), shards[0]->transfer.nr);
	slab_shrink(GIVE_ALL);
	assert_int_equal(shards[0]->transfer.nr, 0);
	assert_int_equal(nr_allocated(), 0);
	take(64, CLASS_1024 - 3);
	in_thread(free_all);
	for (i = 0; i < nr; i++)
		assert_int_equal(is_allocated(objects[i]) && object_size(objects[i]) > 1024, false);
	assert_true(shards[0]->transfer.nr <= 8);
	slab_shrink(GIVE_ALL);
	slabs_check_gone(shards[0]);
}

static void what_finds_no_room_goes_home(void)
{
	struct sheaf *sheaf;
	unsigned i;

	take(REMOTE_MAX, 0);
	in_thread(free_all);
	for (sheaf = this_tcache->sheaf, i = 0; i < CLASSES; sheaf++, i++) {
		this_tcache->capacity -= size_classes[i].size * (size_t)(sheaf->limit - sheaf->top - 2);
		sheaf->limit = sheaf->top + 2;
	}
	/* The class that is asked for may hold twice as many then. */
	assert_ptr_equal(cache_alloc(0), objects[0]);
	tcache_check(this_tcache);
	assert_int_equal(cached().objects, 3 + 2 * (CLASSES - 1));
	assert_int_equal(nr_allocated(), 4 + 2 * (CLASSES - 1));
	cache_free(objects[0]);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

static void take_128(void)
{
	take(REMOTE_MAX, 0);
}

static void nobody_to_wait_for(void)
{
	cache_free(cache_alloc(0));
	in_thread(take_128);
	assert_int_equal(shards[1]->nr_threads, 0);
	free_all();
	assert_int_equal(shards[1]->transfer.nr, 0);
	assert_int_equal(nr_allocated(), 0);
}

/* A shard's last thread leaves nothing to wait there for ever. */
static pthread_barrier_t barrier;

static void take_and_wait(void)
{
	take(REMOTE_MAX, 0);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
}

static void the_last_thread_empties_it(void)
{
	void (*f)(void) = take_and_wait;
	pthread_t thread;

	cache_free(cache_alloc(0));
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &f), 0);
	pthread_barrier_wait(&barrier);
	free_all();
	assert_int_equal(shards[1]->transfer.nr, REMOTE_MAX);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	assert_int_equal(shards[1]->transfer.nr, 0);
	assert_int_equal(nr_allocated(), 0);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[1]);
}

/* Ageing gives what nobody wanted since it looked last. */
static void what_waits_ages(void)
{
	take(REMOTE_MAX, 0);
	in_thread(free_all);
	slab_shrink(GIVE_IDLE);
	assert_int_equal(shards[0]->transfer.nr, REMOTE_MAX);
	slab_shrink(GIVE_IDLE);
	assert_int_equal(shards[0]->transfer.nr, 0);
	assert_int_equal(nr_allocated(), 0);
	slabs_check_gone(shards[0]);
}

/* What came after its threads had taken all has not waited for so long. */
static void what_is_wanted_does_not_age(void)
{
	unsigned i;

	take(REMOTE_MAX, 0);
	in_thread(free_all);
	slab_shrink(GIVE_IDLE);
	for (i = 0; i < nr; i++)
		assert_ptr_equal(cache_alloc(i % CLASSES), objects[i]);
	assert_int_equal(shards[0]->transfer.nr, 0);
	in_thread(free_all);
	slab_shrink(GIVE_IDLE);
	assert_int_equal(shards[0]->transfer.nr, REMOTE_MAX);
	slab_shrink(GIVE_IDLE);
	assert_int_equal(shards[0]->transfer.nr, 0);
	tcache_flush(this_tcache);
	slabs_check_gone(shards[0]);
}

static void free_all_and_the_first_again(void)
{
	free_all();
	free_all();
}

static void double_frees_are_found(void)
{
	unsigned lines = 0;
	const char *line;

	options.abort_on_corruption = false;
	take(REMOTE_MAX, 0);
	in_thread(free_all_and_the_first_again);
	assert_int_equal(shards[0]->transfer.nr, 2 * REMOTE_MAX);
	slab_shrink(GIVE_ALL);
	/* Each object came twice, and is told of once. */
	for (line = fake_output(); (line = strchr(line, '\n')); line++)
		lines++;
	assert_int_equal(lines, REMOTE_MAX);
	fake_clear_output();
	slabs_check_gone(shards[0]);
}

UNIT_MAIN(CASE(mixed_objects_wait_for_their_threads),
	  CASE(few_classes_go_home),
	  CASE(the_rest_goes_home),
	  CASE(what_finds_no_room_goes_home),
	  CASE(nobody_to_wait_for),
	  CASE(the_last_thread_empties_it),
	  CASE(what_waits_ages),
	  CASE(what_is_wanted_does_not_age),
	  CASE(double_frees_are_found))
