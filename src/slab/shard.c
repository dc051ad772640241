/*
 * rank 5: shards: how many there are and who is bound to which.
 *
 * A single thread has the one static shard. Further threads get shards of
 * their own, up to one for each CPU; beyond that threads share, the least
 * loaded first. LOCK_SHARDS protects nr_threads and creation; a shard once
 * made stays.
 */
#include "slab/slab.h"

#include <errno.h>
#include <string.h>

#include "slab/internal.h"

/* LOCK_SHARDS, all three. */
static unsigned nr_common;		/* shards that threads are bound to */
static struct shard *spare_private;	/* those whose heap or group has ended */
static struct shard *blank;		/* those that were not needed after all */

struct shard *shards[MAX_SHARDS] BULKY;
unsigned nr_shards;

static struct shard shard0 BULKY;
static struct lock shards_lock;
static unsigned most_shards;

static void shard_setup(struct shard *shard, unsigned id)
{
	shard->id = (u16)id;
	shard->tag_base = (u16)(TAG_SLABS + id * NR_CLASSES);
	shards[id] = shard;
	__atomic_store_n(&nr_shards, id + 1, __ATOMIC_RELEASE);
}

void shards_init(unsigned nr_cpus)
{
	most_shards = MIN(nr_cpus, (unsigned)MAX_COMMON_SHARDS);
	nr_common = 1;
	shard_setup(&shard0, 0);
}

static struct shard *least_loaded(void)
{
	struct shard *best = shards[0];
	unsigned i;

	for (i = 1; i < nr_shards && best->nr_threads; i++)
		if (!shard_is_private(shards[i]) && shards[i]->nr_threads < best->nr_threads)
			best = shards[i];
	return best;
}

/* Private shards leave them their share of the tags. */
static bool may_add_common(void)
{
	return nr_common < most_shards;
}

/*
 * A struct shard without a purpose yet: one that was not needed after all, or a new one. It
 * is made without the lock, as that may take long. NULL without memory.
 */
static struct shard *blank_shard(void)
{
	struct shard *shard;

	lock(&shards_lock, LOCK_SHARDS);
	shard = blank;
	if (shard)
		blank = shard->next_spare;
	unlock(&shards_lock, LOCK_SHARDS);
	return shard ? shard : alloc_record(sizeof(*shard));
}

static void keep_blank_locked(struct shard *shard)
{
	shard->next_spare = blank;
	blank = shard;
}

/* One that was private before; NULL if there is none. */
static struct shard *take_spare_private(void)
{
	struct shard *shard;

	lock(&shards_lock, LOCK_SHARDS);
	shard = spare_private;
	if (shard) {
		spare_private = shard->next_spare;
		shard->retired = false;
	}
	unlock(&shards_lock, LOCK_SHARDS);
	return shard;
}

struct shard *shard_create_private(void)
{
	struct shard *shard = take_spare_private();

	if (shard)
		return shard;
	shard = blank_shard();
	if (!shard)
		return NULL;
	lock(&shards_lock, LOCK_SHARDS);
	/* Threads keep their share of the tags. */
	if (nr_shards - nr_common < MAX_SHARDS - most_shards) {
		shard->owner = (u16)nr_shards;
		shard_setup(shard, nr_shards);
	} else {
		keep_blank_locked(shard);
		shard = NULL;
		errno = EAGAIN;
	}
	unlock(&shards_lock, LOCK_SHARDS);
	return shard;
}

void shard_end_life(struct shard *shard)
{
	__atomic_fetch_add(&shard->life, 1, __ATOMIC_RELAXED);
}

void shard_retire_private(struct shard *shard)
{
	lock(&shards_lock, LOCK_SHARDS);
	shard->next_spare = spare_private;
	shard->retired = true;
	spare_private = shard;
	unlock(&shards_lock, LOCK_SHARDS);
}

static unsigned change_users(struct shard *shard, int change)
{
	unsigned users;

	lock(&shards_lock, LOCK_SHARDS);
	users = shard->users += (unsigned)change;
	unlock(&shards_lock, LOCK_SHARDS);
	return users;
}

void shard_add_user(struct shard *shard)
{
	change_users(shard, 1);
}

void shard_remove_user(struct shard *shard)
{
	change_users(shard, -1);
}

unsigned shard_users(struct shard *shard)
{
	return change_users(shard, 0);
}

void shard_clear(struct shard *shard)
{
	/* Of empty slabs a private one keeps none. */
	memset(shard->nodes, 0, sizeof(shard->nodes));
	shard->single_bytes = 0;
}

struct shard *shard_bind(void)
{
	struct shard *best, *fresh = NULL;

	lock(&shards_lock, LOCK_SHARDS);
	best = least_loaded();
	if (best->nr_threads && may_add_common()) {
		unlock(&shards_lock, LOCK_SHARDS);
		fresh = blank_shard();
		lock(&shards_lock, LOCK_SHARDS);
		best = least_loaded();
		if (fresh && best->nr_threads && may_add_common()) {
			best = fresh;
			shard_setup(best, nr_shards);
			nr_common++;
		} else if (fresh) {
			keep_blank_locked(fresh);
		}
	}
	count_add(&best->nr_threads, 1);
	unlock(&shards_lock, LOCK_SHARDS);
	return best;
}

void shard_unbind(struct shard *shard)
{
	lock(&shards_lock, LOCK_SHARDS);
	count_sub(&shard->nr_threads, 1);
	unlock(&shards_lock, LOCK_SHARDS);
}

/* Those whose locks a fork holds: the forking thread may make another one meanwhile. */
static unsigned nr_locked; /* LOCK_SHARDS */

void slab_lock_all(void)
{
	unsigned s, class;

	lock_for_fork(&shards_lock, LOCK_SHARDS);
	/* Written only if it is another: that makes the parent copy a page for each child. */
	if (nr_locked != nr_shards)
		nr_locked = nr_shards;
	for (s = 0; s < nr_locked; s++)
		lock_for_fork(&shards[s]->transfer.lock, LOCK_TRANSFER);
	for (s = 0; s < nr_locked; s++)
		for (class = 0; class < NR_CLASSES; class++)
			lock_for_fork(&shards[s]->nodes[class].lock, LOCK_NODE);
}

void slab_unlock_all(void)
{
	unsigned s, class;

	for (s = 0; s < nr_locked; s++) {
		for (class = 0; class < NR_CLASSES; class++)
			unlock_for_fork(&shards[s]->nodes[class].lock, LOCK_NODE);
		unlock_for_fork(&shards[s]->transfer.lock, LOCK_TRANSFER);
	}
	unlock_for_fork(&shards_lock, LOCK_SHARDS);
}

void slab_reinit_locks(void)
{
	unsigned s, class;

	for (s = 0; s < nr_shards; s++) {
		for (class = 0; class < NR_CLASSES; class++)
			lock_reinit(&shards[s]->nodes[class].lock);
		lock_reinit(&shards[s]->transfer.lock);
	}
	lock_reinit(&shards_lock);
	slab_punch_after_fork();
}
