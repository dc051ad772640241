/*
 * rank 5: objects that come from strangers, of any shards and classes.
 *
 * Each shard has a transfer cache: what strangers freed waits there, in no order, for the
 * shard's threads, which put it into their sheaves. So what one thread allocates and
 * another frees costs each of them one lock for a batch, and nobody looks at bitmaps. A
 * slab holds what waits for allocated, as all that is cached.
 *
 * Only batches of many classes go that way (two threads that send each other objects of 36
 * classes: 25 -> 17 ns for each). With more objects of each class a lock for each is no
 * loss, and from the slabs they come in the order of addresses (of 15 classes: 5% the other way).
 *
 * shard->transfer.lock protects it; who only asks whether there is something, or how much,
 * reads without it. What comes when the shard's last thread has gone is not put there, and
 * that thread empties it (slab_forsake): nobody would take it.
 */
#include "base/report.h"
#include "slab/internal.h"

/* Objects with one tag. */
static void free_group(u16 tag, void **group, unsigned n)
{
	unsigned i;

	/* Freed twice, their slab may be gone meanwhile. */
	if (tag_is_slab(tag))
		slab_free(shards[tag_shard(tag)], tag_class(tag), group, n);
	else
		for (i = 0; i < n; i++)
			report_corruption("double free of %p: its slab is gone already", group[i]);
}

static bool all_have_tag(void *const *objects, unsigned n, u16 tag)
{
	while (n && tag_read(virt_to_pfn(objects[n - 1])) == tag)
		n--;
	return !n;
}

/* One lock for each group of shard and class. Chains by tag through `next` keep this linear. */
static void free_groups(void **all, unsigned n)
{
	enum { BUCKETS = 64 };
	void *group[SLAB_MIXED_MOST];
	u8 head[BUCKETS], next[SLAB_MIXED_MOST];
	unsigned i, b;

	static_assert(SLAB_MIXED_MOST < 256, "chain links are bytes, 255 ends a chain");
	__builtin_memset(head, 255, sizeof(head));
	for (i = n; i-- > 0;) {
		b = tag_read(virt_to_pfn(all[i])) % BUCKETS;
		next[i] = head[b];
		head[b] = (u8)i;
	}
	for (b = 0; b < BUCKETS; b++) {
		while (head[b] != 255) {
			u16 tag = tag_read(virt_to_pfn(all[head[b]]));
			u8 *link = &head[b];
			unsigned nr = 0;

			while (*link != 255) {
				if (tag_read(virt_to_pfn(all[*link])) == tag) {
					group[nr++] = all[*link];
					*link = next[*link];
				} else {
					link = &next[*link];
				}
			}
			free_group(tag, group, nr);
		}
	}
}

/* Most often they are of one kind: then it is done. */
static bool free_alike(void **objects, unsigned n)
{
	u16 tag;

	if (!n)
		return true;
	tag = tag_read(virt_to_pfn(objects[0]));
	if (!all_have_tag(objects, n, tag))
		return false;
	free_group(tag, objects, n);
	return true;
}

void slab_free_mixed(void **objects, unsigned n)
{
	if (!free_alike(objects, n))
		free_groups(objects, n);
}

/* Larger objects do not wait: they are few, and their memory is worth more to others. */
#define NR_TRANSFERRED (CLASS_1024 + 1)

/* Objects of one class in a batch, on average, from which on a lock for each class pays. */
#define FEW 6

/*
 * Brings the objects that may wait for the shard's threads, as the first may, to the front;
 * how many. Whether they are few of each class.
 */
static unsigned group_by_shard(const struct shard *shard, void **objects, unsigned n, bool *few)
{
	const u32 base = shard->tag_base;
	unsigned nr = 0, i;
	u64 classes = 0;

	static_assert(NR_TRANSFERRED <= 64, "a bit for each class");
	for (i = 0; i < n; i++) {
		void *p = objects[i];
		u32 class = tag_read(virt_to_pfn(p)) - base;

		if (class < NR_TRANSFERRED) {
			objects[i] = objects[nr];
			objects[nr++] = p;
			classes |= (u64)1 << class;
		}
	}
	*few = nr < FEW * (unsigned)__builtin_popcountll(classes);
	return nr;
}

/* All of them, if there is room and somebody to wait for. */
static bool put_transfer(struct shard *shard, void *const *objects, unsigned n)
{
	struct transfer *t = &shard->transfer;
	bool done = false;

	lock(&t->lock, LOCK_TRANSFER);
	/* The last thread says so before it takes the lock to empty this. */
	if (__atomic_load_n(&shard->nr_threads, __ATOMIC_RELAXED) && t->nr + n <= TRANSFER_MOST) {
		__builtin_memcpy(shard->transferred + t->nr, objects, n * sizeof(*objects));
		__atomic_store_n(&t->nr, t->nr + n, __ATOMIC_RELEASE);
		done = true;
	}
	unlock(&t->lock, LOCK_TRANSFER);
	return done;
}

void slab_transfer(void **objects, unsigned n)
{
	void *home[SLAB_MIXED_MOST];
	unsigned nr_home = 0, nr, i;

	if (free_alike(objects, n))
		return;
	for (; n; objects += nr, n -= nr) {
		u16 tag = tag_read(virt_to_pfn(objects[0]));
		bool few = false;

		nr = 1;
		if (tag_is_slab(tag) && tag_class(tag) < NR_TRANSFERRED) {
			nr = group_by_shard(shards[tag_shard(tag)], objects, n, &few);
			/* Its slab may have gone, freed twice as it was, and the tag with it. */
			nr = MAX(nr, 1u);
		}
		if (few && put_transfer(shards[tag_shard(tag)], objects, nr))
			continue;
		for (i = 0; i < nr; i++)
			home[nr_home++] = objects[i];
	}
	slab_free_mixed(home, nr_home);
}

unsigned slab_take_transferred(struct shard *shard, void **out, unsigned most)
{
	struct transfer *t = &shard->transfer;
	unsigned n;

	lock(&t->lock, LOCK_TRANSFER);
	n = MIN(most, t->nr);
	__atomic_store_n(&t->nr, t->nr - n, __ATOMIC_RELEASE);
	t->low = MIN(t->low, t->nr);
	__builtin_memcpy(out, shard->transferred + t->nr, n * sizeof(*out));
	unlock(&t->lock, LOCK_TRANSFER);
	return n;
}

bool slab_shrink_transfer(struct shard *shard, enum give how)
{
	void *objects[64]; /* the stack may be the smallest a thread can have */
	struct transfer *t = &shard->transfer;
	unsigned idle, n;
	bool found = false;

	if (!slab_has_transferred(shard))
		return false;
	lock(&t->lock, LOCK_TRANSFER);
	idle = how == GIVE_ALL ? t->nr : t->low;
	t->low = t->nr - idle;
	unlock(&t->lock, LOCK_TRANSFER);
	for (; idle; idle -= n) {
		n = slab_take_transferred(shard, objects, MIN(idle, (unsigned)ARRAY_SIZE(objects)));
		if (!n)
			break;
		slab_free_mixed(objects, n);
		found = true;
	}
	return found;
}

void slab_forsake(struct shard *shard)
{
	if (__atomic_load_n(&shard->nr_threads, __ATOMIC_RELAXED))
		return;
	/* Whoever saw a thread puts what it has there before we look. */
	lock(&shard->transfer.lock, LOCK_TRANSFER);
	unlock(&shard->transfer.lock, LOCK_TRANSFER);
	slab_shrink_transfer(shard, GIVE_ALL);
}

void slab_drain_transfers(void)
{
	unsigned nr = __atomic_load_n(&nr_shards, __ATOMIC_ACQUIRE), s;

	for (s = 0; s < nr; s++)
		slab_shrink_transfer(shards[s], GIVE_ALL);
}

void slab_transferred(const struct shard *shard, u64 *objects, u64 *bytes)
{
	unsigned nr = MIN(__atomic_load_n(&shard->transfer.nr, __ATOMIC_ACQUIRE), TRANSFER_MOST), i;

	*objects += nr;
	for (i = 0; i < nr; i++) {
		void *p = __atomic_load_n(&shard->transferred[i], __ATOMIC_RELAXED);
		u32 class = tag_read(virt_to_pfn(p)) - (u32)shard->tag_base;

		/* Meanwhile another may be there, and be gone. */
		*bytes += class < NR_CLASSES ? size_classes[class].size : 0;
	}
}
