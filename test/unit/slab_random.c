/*
 * Long random runs of slab_alloc and slab_free over several shards, against a
 * list of who has which object. Every object carries its number at both ends,
 * so that two owners of a byte are found.
 */
#include "slabs.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NR_OPS 60000
#define MOST_LIVE 20000
#define MOST_BATCH 200

struct live {
	char *object;
	struct shard *shard;
	unsigned class;
	u64 mark;
};

static struct live live[MOST_LIVE];
static unsigned nr_live;
static u64 live_bytes, next_mark = 1;
static uint64_t seed;
static unsigned long nr_done;

static void describe(void)
{
	fprintf(stderr, "after %lu operations, %u objects live\n", nr_done, nr_live);
}

static u64 *last_word(const struct live *l)
{
	return (u64 *)(void *)(l->object + size_classes[l->class].size) - 1;
}

static void add(void *object, struct shard *shard, unsigned class)
{
	struct live *l = &live[nr_live++];

	*l = (struct live){ object, shard, class, next_mark++ };
	assert_int_equal((uintptr_t)object % MIN_ALIGN, 0);
	assert_int_equal(tag_read(slab_of(object, class)), shard->tag_base + class);
	*(u64 *)(void *)l->object = l->mark;
	*last_word(l) = l->mark;
	live_bytes += size_classes[class].size;
}

static void take(void)
{
	struct shard *shard = shards[random_below(&seed, nr_shards)];
	unsigned class = (unsigned)random_below(&seed, random_below(&seed, 3) ? 40 : NR_CLASSES);
	unsigned n = 1 + (unsigned)random_below(&seed, MOST_BATCH), got;
	void *batch[MOST_BATCH];

	if (class >= NR_PACKED_CLASSES && random_below(&seed, 2)) {
		batch[0] = slab_alloc_single(shard, class, NULL);
		assert_non_null(batch[0]);
		assert_in_range(tag_class(tag_read(virt_to_pfn(batch[0]))), class, class + 2);
		add(batch[0], shard, tag_class(tag_read(virt_to_pfn(batch[0]))));
		return;
	}
	n = MIN(n, MOST_LIVE - nr_live);
	got = slab_alloc(shard, class, batch, n);
	assert_in_range(got, 1, n);
	while (got--)
		add(batch[got], shard, class);
}

static void remove_at(unsigned i)
{
	const struct live *l = &live[i];

	assert_true(*(u64 *)(void *)l->object == l->mark);
	assert_true(*last_word(l) == l->mark);
	live_bytes -= size_classes[l->class].size;
	live[i] = live[--nr_live];
}

/* Frees objects of one shard and class, found from a random place on. */
static void give(void)
{
	unsigned i = (unsigned)random_below(&seed, nr_live), n = 0, looked;
	unsigned most = 1 + (unsigned)random_below(&seed, MOST_BATCH);
	struct shard *shard = live[i].shard;
	unsigned class = live[i].class;
	void *batch[MOST_BATCH];

	for (looked = 0; looked < 2000 && n < most && nr_live; looked++) {
		i %= nr_live;
		if (live[i].shard == shard && live[i].class == class) {
			batch[n++] = live[i].object;
			remove_at(i);
		} else {
			i++;
		}
	}
	slab_free(shard, class, batch, n);
}

static void check_all(void)
{
	u64 used = 0;
	unsigned i;

	for (i = 0; i < nr_shards; i++)
		slabs_check(shards[i]);
	for (i = 0; i < NR_CLASSES; i++) {
		struct class_totals t;

		slab_class_totals(i, NULL, &t);
		used += (t.objects - t.free) * size_classes[i].size;
	}
	assert_int_equal(used, live_bytes);
	for (i = 0; i < nr_live; i++)
		assert_true(slab_locate(live[i].object, live[i].class).allocated);
}

static void random_operations(void)
{
	unsigned i;

	seed = unit_seed();
	unit_on_failure(describe);
	slabs_start(3);
	for (i = 0; i < 3; i++)
		assert_int_equal(shard_bind()->id, i);
	for (nr_done = 0; nr_done < NR_OPS; nr_done++) {
		bool shrinking = nr_done / 5000 % 2;

		fake.now_ms += random_below(&seed, 3);
		if (nr_live < MOST_LIVE && live_bytes < 200 << 20 &&
		    (!nr_live || random_below(&seed, 10) < (shrinking ? 3u : 6u)))
			take();
		else
			give();
		if (random_below(&seed, 500) == 0)
			slab_shrink(random_below(&seed, 2) ? GIVE_ALL : GIVE_IDLE);
		if (nr_done % 3000 == 0)
			check_all();
	}
	check_all();
	while (nr_live)
		give();
	check_all();
	for (i = 0; i < nr_shards; i++)
		slabs_check_gone(shards[i]);
}

/* Threads of one shard and of others, all on the same classes. */
#define NR_THREADS 4
#define NR_SLOTS 400

static void *churn_objects(void *arg)
{
	unsigned number = *(unsigned *)arg, round, i;
	struct shard *shard = shards[number % 2];
	uint64_t my_seed = number + 1;
	void *slots[NR_SLOTS] = { NULL };
	unsigned classes[NR_SLOTS];

	for (round = 0; round < 60000; round++) {
		i = (unsigned)random_below(&my_seed, NR_SLOTS);
		if (slots[i]) {
			if (*(u64 *)slots[i] != (u64)(uintptr_t)slots[i] + number)
				return "an object had two owners";
			slab_free(shard, classes[i], &slots[i], 1);
			slots[i] = NULL;
		} else {
			classes[i] = (unsigned)random_below(&my_seed, 60);
			if (!slab_alloc(shard, classes[i], &slots[i], 1))
				return "no memory";
			*(u64 *)slots[i] = (u64)(uintptr_t)slots[i] + number;
		}
		if (random_below(&my_seed, 2000) == 0)
			slab_shrink(round % 2 ? GIVE_ALL : GIVE_IDLE);
	}
	for (i = 0; i < NR_SLOTS; i++)
		if (slots[i])
			slab_free(shard, classes[i], &slots[i], 1);
	return NULL;
}

static void threads(void)
{
	unsigned number[NR_THREADS] = { 0, 1, 2, 3 };
	pthread_t thread[NR_THREADS];
	void *result;
	int i;

	slabs_start(2);
	shard_bind();
	shard_bind();
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn_objects, &number[i]), 0);
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(thread[i], &result);
		if (result)
			fail_msg("%s", (char *)result);
	}
	slabs_check_gone(shards[0]);
	slabs_check_gone(shards[1]);
}

UNIT_MAIN(CASE(random_operations), CASE(threads))
