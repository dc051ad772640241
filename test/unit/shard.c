/* Shards: how many there are, who is bound to which, and their tags. */
#include "slabs.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/options.h"

static void each_thread_its_own_at_first(void)
{
	struct shard *bound[8];
	unsigned i;

	slabs_start(8);
	assert_int_equal(nr_shards, 1);
	for (i = 0; i < 8; i++) {
		bound[i] = shard_bind();
		assert_int_equal(bound[i]->id, i);
		assert_int_equal(bound[i]->tag_base, TAG_SLABS + i * NR_CLASSES);
		assert_ptr_equal(shards[i], bound[i]);
	}
	assert_int_equal(nr_shards, 8);
	/* What a thread leaves serves the next one; no shard is made for it. */
	shard_unbind(bound[3]);
	shard_unbind(bound[5]);
	assert_ptr_equal(shard_bind(), bound[3]);
	assert_ptr_equal(shard_bind(), bound[5]);
	assert_int_equal(nr_shards, 8);
}

/* One for each CPU; then the least loaded is shared. */
static void then_they_are_shared_evenly(void)
{
	unsigned i, round;

	slabs_start(12);
	for (round = 1; round <= 5; round++) {
		for (i = 0; i < 12; i++)
			shard_bind();
		assert_int_equal(nr_shards, 12);
		for (i = 0; i < 12; i++)
			assert_int_equal(shards[i]->nr_threads, round);
	}
	for (i = 0; i < 4; i++)
		shard_unbind(shards[7]);
	for (i = 0; i < 4; i++)
		assert_ptr_equal(shard_bind(), shards[7]);
}

/* On the largest machines the tags are the bound. */
static void tags_suffice_for_all_shards(void)
{
	void *object;
	unsigned i;
	u64 bytes;

	slabs_start(8192);
	for (i = 0; i < MAX_SHARDS + 10; i++)
		shard_bind();
	assert_int_equal(nr_shards, MAX_COMMON_SHARDS);
	/* The rest is for heaps and groups; no thread is bound to those. */
	for (i = MAX_COMMON_SHARDS; i < MAX_SHARDS; i++) {
		struct shard *shard = shard_create_private();

		assert_int_equal(shard->id, i);
		assert_int_equal(shard->owner, i);
		assert_true(shard_is_private(shard) && shard_bind() != shard);
	}
	assert_null(shard_create_private());
	assert_int_equal(errno, EAGAIN);
	/* What was made for it serves the next try: however many there are, none takes more memory. */
	bytes = memmap_meta_bytes();
	for (i = 0; i < 200; i++)
		assert_null(shard_create_private());
	assert_int_equal(memmap_meta_bytes(), bytes);
	/* Those that were retired serve once each, the last one first. */
	shard_retire_private(shards[MAX_SHARDS - 3]);
	shard_retire_private(shards[MAX_SHARDS - 5]);
	assert_ptr_equal(shard_create_private(), shards[MAX_SHARDS - 5]);
	assert_ptr_equal(shard_create_private(), shards[MAX_SHARDS - 3]);
	assert_null(shard_create_private());
	for (i = 0; i < MAX_SHARDS; i += 83) {
		assert_int_equal(shards[i]->tag_base + NR_CLASSES - 1,
				 TAG_SLABS + (i + 1) * NR_CLASSES - 1);
		assert_int_equal(slab_alloc(shards[i], NR_CLASSES - 1, &object, 1), 1);
		assert_int_equal(tag_shard(tag_read(virt_to_pfn(object))), i);
		assert_int_equal(tag_class(tag_read(virt_to_pfn(object))), NR_CLASSES - 1);
	}
	assert_true(shards[MAX_SHARDS - 1]->tag_base + NR_CLASSES - 1 <= UINT16_MAX);
}

/* However many heaps there are, the threads have their shards. */
static void heaps_leave_threads_their_share(void)
{
	unsigned i, nr = 0;

	slabs_start(8);
	shard_bind();
	while (shard_create_private())
		nr++;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(nr, MAX_SHARDS - 8);
	for (i = 1; i < 8; i++)
		assert_int_equal(shard_bind()->nr_threads, 1);
	assert_int_equal(shard_bind()->nr_threads, 2);
}

/* A private one is of a heap or group, then of another, which finds it as if it were new. */
static void private_shards_have_several_lives(void)
{
	struct shard *shard;
	void *small, *single;
	u64 pfn;

	slabs_start(1);
	shard = shard_create_private();
	assert_false(shard->retired);
	assert_int_equal(shard->life, 0);
	shard_add_user(shard);
	shard_add_user(shard);
	assert_int_equal(shard_users(shard), 2);
	shard_remove_user(shard);
	assert_int_equal(shard_users(shard), 1);
	shard_remove_user(shard);
	assert_int_equal(shard_users(shard), 0);
	assert_int_equal(slab_alloc(shard, CLASS_64, &small, 1), 1);
	single = slab_alloc_single(shard, CLASS_65536, NULL);
	pfn = slab_of(small, CLASS_64);
	slab_release(&pfn, 1, CLASS_64);
	pfn = virt_to_pfn(single);
	slab_release(&pfn, 1, CLASS_65536);
	shard_end_life(shard);
	shard_clear(shard);
	assert_true(is_zero(shard->nodes, sizeof(shard->nodes)));
	slabs_check(shard);
	shard_retire_private(shard);
	assert_true(shard->retired);
	assert_ptr_equal(shard_create_private(), shard);
	assert_false(shard->retired);
	assert_int_equal(shard->life, 1);
	assert_int_equal(slab_alloc(shard, CLASS_64, &small, 1), 1);
	slabs_check(shard);
}

/* Without memory for another shard those that are there serve. */
static void no_memory_for_a_shard(void)
{
	slabs_start(2);
	assert_int_equal(shard_bind()->id, 0);
	fake.rlimit_bytes = 4096;
	memmap_set_budget();
	assert_int_equal(shard_bind()->id, 0);
	assert_int_equal(shard_bind()->id, 0);
	assert_int_equal(shards[0]->nr_threads, 3);
	fake.rlimit_bytes = UINT64_MAX;
	memmap_set_budget();
	assert_int_equal(shard_bind()->id, 1);
	assert_int_equal(nr_shards, 2);
}

/* Memory of two shards never shares a slab, nor do they see each other's objects. */
static void shards_keep_apart(void)
{
	void *a[100], *b[100];
	unsigned i, j;

	slabs_start(2);
	shard_bind();
	shard_bind();
	for (i = 0; i < 100; i++) {
		assert_int_equal(slab_alloc(shards[0], CLASS_32, &a[i], 1), 1);
		assert_int_equal(slab_alloc(shards[1], CLASS_32, &b[i], 1), 1);
	}
	for (i = 0; i < 100; i++)
		for (j = 0; j < 100; j++)
			assert_int_not_equal(virt_to_pfn(a[i]), virt_to_pfn(b[j]));
	slab_free(shards[0], CLASS_32, a, 100);
	slab_free(shards[1], CLASS_32, b, 100);
	slabs_check_gone(shards[0]);
	slabs_check_gone(shards[1]);
}

/* A pointer that is given to the wrong shard is not taken for one of its own. */
static void free_to_wrong_shard(void *p)
{
	slab_free(shards[1], CLASS_32, &p, 1);
}

static void wrong_shard_is_refused(void)
{
	void *p;

	slabs_start(2);
	shard_bind();
	shard_bind();
	assert_int_equal(slab_alloc(shards[0], CLASS_32, &p, 1), 1);
	fake_clear_output();
	options.abort_on_corruption = false;
	free_to_wrong_shard(p);
	assert_non_null(strstr(fake_output(), " free of "));
	assert_true(slab_locate(p, CLASS_32).allocated);
	slabs_check(shards[0]);
	slabs_check(shards[1]);
}

static void locks_of_all_shards(void)
{
	void *p;

	slabs_start(3);
	shard_bind();
	shard_bind();
	slab_lock_all();
	lock_fork_owned();
	/* The forking thread passes through. */
	assert_int_equal(slab_alloc(shards[0], CLASS_32, &p, 1), 1);
	lock_fork_done();
	slab_unlock_all();
	slab_free(shards[0], CLASS_32, &p, 1);
	slab_lock_all();
	lock_fork_owned();
	slab_reinit_locks();
	lock_fork_done();
	assert_int_equal(slab_alloc(shards[1], CLASS_32, &p, 1), 1);
	slabs_check(shards[0]);
	slabs_check(shards[1]);
	assert_int_equal(shard_bind()->id, 2);
}

static void *take_newest(void *unused)
{
	(void)unused;
	/* Ends with it. */
	lock(&shards[nr_shards - 1]->nodes[CLASS_32].lock, LOCK_NODE);
	return NULL;
}

/* The forking thread makes a shard, as a handler of fork's may: its locks are not the fork's. */
static void a_shard_made_by_a_fork(void)
{
	pthread_t thread;

	slabs_start(2);
	shard_bind();
	slab_lock_all();
	lock_fork_owned();
	assert_int_equal(shard_bind()->id, 1);
	pthread_create(&thread, NULL, take_newest, NULL);
	pthread_join(thread, NULL);
	lock_fork_done();
	slab_unlock_all();
	assert_true(try_lock(&shards[0]->nodes[CLASS_32].lock, LOCK_NODE));
	unlock(&shards[0]->nodes[CLASS_32].lock, LOCK_NODE);
	assert_false(try_lock(&shards[1]->nodes[CLASS_32].lock, LOCK_NODE));
}

UNIT_MAIN(CASE(each_thread_its_own_at_first), CASE(then_they_are_shared_evenly),
	  CASE(tags_suffice_for_all_shards), CASE(heaps_leave_threads_their_share),
	  CASE(private_shards_have_several_lives), CASE(no_memory_for_a_shard),
	  CASE(shards_keep_apart), CASE(wrong_shard_is_refused), CASE(locks_of_all_shards),
	  CASE(a_shard_made_by_a_fork))
