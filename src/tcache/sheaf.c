/*
 * rank 6: how large sheaves are, and moving batches between them and the shard.
 *
 * Capacity. Every sheaf has room for full_limit[class] pointers, but may use
 * only up to its limit. Limits begin small, so that small programs stay small,
 * and double whenever the sheaf overflows or runs empty (the first time after a
 * while), as long as the sum over all sheaves of limit times object size stays
 * within capacity_bytes(). When it would not, now and then another sheaf that had
 * grown is emptied and shrunk: capacity moves to the classes in use.
 *
 * Sparse classes. After a peak of one class what is left of it is spread over all the slabs
 * there were. Objects that are freed and allocated in turns would stay spread for good, as a
 * sheaf hands out again what it took; by way of the slabs they gather in the first few, and
 * the others become empty. So a look that finds a class sparse makes its sheaf as small as at
 * first, for so many refills and overflows; then it grows as any other, until the next look.
 * That gathers some hundred objects in each round, and costs some microseconds of its
 * milliseconds, whatever the program does.
 */
#include "base/trace.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"
#include "tcache/internal.h"

/* The class of requests of 16 * i + 1 to 16 * i + 16 bytes, a constant; then where its sheaf is. */
#define STEP_CLASS(i) ((i) < 16 ? (i) : (i) < 32 ? (i) / 2 + 8 : (i) / 4 + 16)
#define STEP(i) [16 * (i) + 1 ... 16 * (i) + 16] = STEP_CLASS(i) * sizeof(struct sheaf)
#define STEPS_4(i) STEP(i), STEP((i) + 1), STEP((i) + 2), STEP((i) + 3)
#define STEPS_16(i) STEPS_4(i), STEPS_4((i) + 4), STEPS_4((i) + 8), STEPS_4((i) + 12)

const u16 size_to_sheaf[TABLE_MAX + 1] = {
	STEPS_16(0), STEPS_16(16), STEPS_16(32), STEPS_16(48)
};

/* Bytes of free objects one thread may keep: less where many are active, or near a limit. */
#define CAPACITY_MOST ((size_t)8 << 20)
#define CAPACITY_LEAST ((size_t)512 << 10)
#define CAPACITY_OF_ALL ((size_t)96 << 20)

/*
 * When all of it is given out, every eighth sheaf that wants to grow takes some from another.
 * If each did, classes that are in use together would empty one another's sheaves in turns.
 */
#define MOVE_EVERY 8

/*
 * The most a sheaf may keep by bytes; SHEAF_MOST bounds it by count. Of larger
 * objects it keeps more bytes, so that a batch is worth its lock. (With 1024 objects at
 * most trees of 2000 small nodes, built and dropped again and again, took 14% more instructions;
 * with 4096 a FIFO of 100,000 objects of 16 bytes takes 8% more.)
 */
#define SHEAF_MOST 2048
#define SHEAF_MOST_BYTES ((size_t)64 << 10)
#define SHEAF_FEW 64
#define SHEAF_FEW_BYTES ((size_t)256 << 10)

/*
 * Where a sheaf's limit begins: a page worth, none for larger objects. Two pages hold a cache and
 * all its sheaves then.
 */
#define FIRST_BYTES ((size_t)4 << 10)
#define FIRST_MOST 24

/* How often a sheaf wants to leave its small place before it may. */
#define LEAVE_AFTER 8

/* Refills and overflows in each round for which the sheaf of a sparse class stays small. */
#define SMALL_FOR 64

/* A sheaf that is as full as so long ago is out of use. */
#define LOOK_EVERY_MS 4

/*
 * Where the slots lie. Until a sheaf grows beyond its first limit, it stands in a small place;
 * those of all sheaves are close together: a thread with few objects touches two pages. Grown, it
 * has a place for the most it may keep. Each place has a slot below its bottom for the sentinel.
 * Strangers' objects stand between the small places and the full ones. Written once, by
 * sheaves_init.
 */
static u32 first_place[NR_SHEAVES], remote_place, full_place[NR_SHEAVES], nr_slots;

/* Objects a sheaf may keep at first, and at most. Written once, by sheaves_init. */
static u16 first_limit[NR_SHEAVES], full_limit[NR_SHEAVES];

/* Objects its small place has room for: one at least, as a refill always brings one. */
static inline u32 small_room(unsigned class)
{
	return MAX(first_limit[class], 1u);
}

void sheaves_init(void)
{
	unsigned class;

	nr_slots = 0;
	for (class = 0; class < NR_SHEAVES; class++) {
		size_t size = size_classes[class].size;
		size_t few = MIN(SHEAF_FEW_BYTES / size, (size_t)SHEAF_FEW);

		first_limit[class] = (u16)MIN(FIRST_BYTES / size, (size_t)FIRST_MOST);
		full_limit[class] = (u16)MIN(MAX(SHEAF_MOST_BYTES / size, few), (size_t)SHEAF_MOST);
		first_place[class] = nr_slots + 1;
		nr_slots += 1 + small_room(class);
	}
	remote_place = nr_slots;
	/* By this sheaf_used tells a sheaf's two places apart; the first's are the closest. */
	nr_slots = MAX(nr_slots + REMOTE_MAX, (u32)SHEAF_MOST + 1);
	for (class = 0; class < NR_SHEAVES; class++) {
		full_place[class] = nr_slots + 1;
		nr_slots += 1 + full_limit[class];
	}
}

u32 sheaf_used(const struct tcache *tc, unsigned class)
{
	void **top = __atomic_load_n(&tc->sheaf[class].top, __ATOMIC_RELAXED);
	void **bottom = __atomic_load_n(&tc->sheaf[class].bottom, __ATOMIC_RELAXED);

	/* The two places are further apart than any sheaf is deep. */
	return top >= bottom && top <= bottom + full_limit[class] ? (u32)(top - bottom) : 0;
}

size_t tcache_bytes(void)
{
	return sizeof(struct tcache) + nr_slots * sizeof(void *);
}

void sheaf_setup(struct tcache *tc)
{
	unsigned class;

	tc->capacity = 0;
	tc->age_in = AGE_EVERY;
	tc->move_in = MOVE_EVERY;
	tc->remote = &tc->slots[remote_place];
	__builtin_memset(tc->asked, 0, sizeof(tc->asked));
	for (class = 0; class < NR_SHEAVES; class++) {
		void **bottom = &tc->slots[first_place[class]];

		/*
		 * The sentinel below the bottom is zero as the memory came: not read, as a page
		 * that is read before it is written is faulted twice.
		 */
		tc->sheaf[class].bottom = bottom;
		tc->sheaf[class].head = NULL;
		__atomic_store_n(&tc->sheaf[class].top, bottom, __ATOMIC_RELEASE);
		tc->sheaf[class].limit = bottom;
		if (tc->state == TCACHE_LIVE) {
			tc->sheaf[class].limit += first_limit[class];
			tc->capacity += (size_t)first_limit[class] * size_classes[class].size;
		}
	}
}

u64 sheaves_touched(struct tcache *tc)
{
	u64 slots = full_place[0];
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++)
		if (tc->grown[class / 64] >> class % 64 & 1)
			slots += full_limit[class];
	/* Who has it next begins anew. */
	__builtin_memset(tc->grown, 0, sizeof(tc->grown));
	__builtin_memset(tc->wanted, 0, sizeof(tc->wanted));
	return slots * sizeof(void *) >> PAGE_SHIFT;
}

static inline u32 sheaf_limit(struct tcache *tc, unsigned class)
{
	return (u32)(tc->sheaf[class].limit - sheaf_bottom(tc, class));
}

static void sheaf_set_limit(struct tcache *tc, unsigned class, u32 limit)
{
	void **place = &tc->slots[limit <= small_room(class) ? first_place[class] :
								 full_place[class]];
	void **bottom = sheaf_bottom(tc, class);
	u32 used = (u32)(tc->sheaf[class].top - bottom);

	tc->capacity -= (size_t)sheaf_limit(tc, class) * size_classes[class].size;
	tc->capacity += (size_t)limit * size_classes[class].size;
	if (place != bottom) {
		tc->grown[class / 64] |= (u64)1 << class % 64;
		/* Between these stores sheaf_used sees an empty sheaf. */
		__builtin_memcpy(place, bottom, used * sizeof(*bottom));
		__atomic_store_n(&tc->sheaf[class].top, bottom, __ATOMIC_RELEASE);
		__atomic_store_n(&tc->sheaf[class].bottom, place, __ATOMIC_RELEASE);
		__atomic_store_n(&tc->sheaf[class].top, place + used, __ATOMIC_RELEASE);
	}
	tc->sheaf[class].limit = place + limit;
}

/*
 * Gives the n oldest objects of the sheaf to the shard. The sheaf forgets them
 * before the shard learns of them: if a fork comes between, the child loses a
 * few objects rather than owning them twice.
 */
static void sheaf_flush(struct tcache *tc, unsigned class, u32 n)
{
	void **bottom = sheaf_bottom(tc, class);
	u32 rest = (u32)(tc->sheaf[class].top - bottom) - n;

	sheaf_set_top(tc, class, bottom);
	slab_free(tc->shard, class, bottom, n);
	TRACE(MALLOC_FLUSH, malloc_flush, size_classes[class].size, n, tc->shard->id, 0);
	__builtin_memmove(bottom, bottom + n, rest * sizeof(*bottom));
	sheaf_set_top(tc, class, bottom + rest);
	stat_add(&tc->stats, flushes, 1);
	stat_add(&tc->stats, objects_flushed, n);
}

static void sheaf_drop(struct tcache *tc, unsigned class)
{
	u32 used = (u32)(tc->sheaf[class].top - sheaf_bottom(tc, class));

	if (used)
		sheaf_flush(tc, class, used);
	sheaf_set_limit(tc, class, first_limit[class]);
}

/* Empties one other sheaf that had grown, to make its capacity free. */
static void take_capacity(struct tcache *tc, unsigned class)
{
	unsigned i;

	for (i = 0; i < NR_SHEAVES; i++) {
		unsigned victim = tc->clock;

		tc->clock = (u8)((victim + 1) % NR_SHEAVES);
		if (victim == class || sheaf_limit(tc, victim) <= first_limit[victim])
			continue;
		sheaf_drop(tc, victim);
		return;
	}
}

/*
 * Each refill or flush of one class looks at one other, in rounds that begin
 * LOOK_EVERY_MS apart at least. A sheaf that is as full as in the round before is
 * out of use: its objects go home, for each of them may be all that keeps a slab
 * from becoming empty. So do those of a sparse class.
 */
static void look_at_next(struct tcache *tc, unsigned class)
{
	unsigned next = tc->look;
	bool sparse;
	u32 used;

	if (next == NR_SHEAVES)
		return;
	tc->look = (u8)(next + 1);
	used = (u32)(tc->sheaf[next].top - sheaf_bottom(tc, next));
	sparse = slab_is_sparse(tc->shard, next);
	tc->small_for[next] = sparse ? SMALL_FOR : 0;
	if (next != class && ((used && used == tc->seen[next]) ||
			      (sparse && sheaf_limit(tc, next) > first_limit[next])))
		sheaf_drop(tc, next);
	else
		tc->seen[next] = (u16)used;
}

/* Begins a round, if the last is over and old enough. */
static void begin_looks(struct tcache *tc)
{
	u64 now;

	if (tc->look < NR_SHEAVES)
		return;
	now = os_now_ms();
	if (now - tc->look_began_ms >= LOOK_EVERY_MS) {
		tc->look_began_ms = now;
		tc->look = 0;
	}
}

static size_t capacity_bytes(void)
{
	u32 active = __atomic_load_n(&threads_nr_active, __ATOMIC_RELAXED);
	size_t share = CAPACITY_OF_ALL / MAX(active, 1u);

	return limit_is_near() ? CAPACITY_LEAST : MAX(CAPACITY_LEAST, MIN(CAPACITY_MOST, share));
}

/* Whether there is capacity for so many bytes more, of another sheaf's perhaps. */
static bool make_capacity(struct tcache *tc, unsigned class, size_t bytes)
{
	size_t most = capacity_bytes();

	if (tc->capacity + bytes <= most)
		return true;
	if (--tc->move_in)
		return false;
	tc->move_in = MOVE_EVERY;
	take_capacity(tc, class);
	return tc->capacity + bytes <= most;
}

/*
 * Whether a sheaf that wants to may leave its small place. One whose full place was never in use
 * waits for a while: what a program takes to start with is no reason to touch a page more for each
 * class, which a fork would copy, twice.
 */
static bool may_leave_small(struct tcache *tc, unsigned class)
{
	if (tc->grown[class / 64] >> class % 64 & 1 || tc->wanted[class] == LEAVE_AFTER)
		return true;
	tc->wanted[class]++;
	return false;
}

/* Doubles the sheaf's limit if there is capacity for it. */
static bool sheaf_grow(struct tcache *tc, unsigned class)
{
	u32 limit = sheaf_limit(tc, class);
	u32 most = full_limit[class];
	u32 more = MIN(MAX(limit, 1u), most - limit);
	size_t bytes = (size_t)more * size_classes[class].size;

	if (!more || (limit + more > small_room(class) && !may_leave_small(tc, class)) ||
	    !make_capacity(tc, class, bytes))
		return false;
	sheaf_set_limit(tc, class, limit + more);
	return true;
}

/*
 * It ran empty, or overflowed: whether it is to be small this time. Near a limit all are, until the
 * thread has no more than it would have among many.
 */
static inline bool should_be_small(struct tcache *tc, unsigned class)
{
	if (unlikely(tc->capacity > CAPACITY_LEAST) && limit_is_near())
		return true;
	if (likely(!tc->small_for[class]))
		return false;
	tc->small_for[class]--;
	return true;
}

/*
 * What strangers freed of the shard goes into sheaves that have room, the first of it
 * to be handed out first. An object of the class; NULL if there was none.
 */
static out_of_line void *take_transferred(struct tcache *tc, unsigned class)
{
	void *objects[SLAB_MIXED_MOST], **top;
	u32 n = slab_take_transferred(tc->shard, objects, SLAB_MIXED_MOST), rest = n, i;

	for (i = n; i-- > 0;) {
		void *p = objects[i];
		u32 its_class = tag_read(virt_to_pfn(p)) - tc->tag_base;

		if (likely(its_class < NR_SHEAVES &&
			   tc->sheaf[its_class].top != tc->sheaf[its_class].limit))
			sheaf_push(&tc->sheaf[its_class], p);
		else
			objects[--rest] = p;
	}
	stat_add(&tc->stats, objects_refilled, rest);
	slab_free_mixed(objects + rest, n - rest);
	top = tc->sheaf[class].top;
	if (top == sheaf_bottom(tc, class))
		return NULL;
	stat_add(&tc->stats, refills, 1);
	sheaf_set_top(tc, class, top - 1);
	return top[-1];
}

/* The thread's own cache, whatever this_tcache says; busy is set. */
static void *refill_live(struct tcache *tc, unsigned class)
{
	void **bottom, *object;
	bool small;
	u32 n;

	if (unlikely(!--tc->age_in)) {
		tc->age_in = AGE_EVERY;
		reclaim_age();
		begin_looks(tc);
	} else if (unlikely(drop_is_much())) {
		reclaim_age();
	}
	look_at_next(tc, class);
	tc->asked[class / 64] |= (u64)1 << class % 64;
	small = should_be_small(tc, class);
	/* The caller's own class may have grown: now the sheaf is empty. */
	if (unlikely(small))
		sheaf_set_limit(tc, class, first_limit[class]);
	/* Half of what it may hold: the other half is room for frees. */
	n = MAX(sheaf_limit(tc, class) / 2, 1u);
	if (likely(!small))
		sheaf_grow(tc, class);
	if (slab_has_transferred(tc->shard)) {
		object = take_transferred(tc, class);
		if (object)
			return object;
	}
	bottom = sheaf_bottom(tc, class);
	n = slab_alloc(tc->shard, class, bottom, n);
	if (unlikely(!n))
		return NULL;
	stat_add(&tc->stats, refills, 1);
	TRACE(MALLOC_REFILL, malloc_refill, size_classes[class].size, n, tc->shard->id, 0);
	stat_add(&tc->stats, objects_refilled, n);
	sheaf_set_top(tc, class, bottom + n - 1);
	return bottom[n - 1];
}

void *tcache_refill(struct tcache *tc, const struct sheaf *sheaf)
{
	unsigned class = (unsigned)(sheaf - tc->sheaf);
	void *object;
	u32 before;

	/*
	 * There may be something in the cache then. (Not at the first call of all: a page that is
	 * read before it is written is faulted twice.)
	 */
	if (unlikely(tc->state != TCACHE_BOOT && tcache_late_in_child()))
		return tcache_alloc(current_tcache(), class);
	if (unlikely(tc->state != TCACHE_LIVE)) {
		if (tc->state == TCACHE_BOOT || tc->state == TCACHE_SEALED) {
			tc = tcache_get();
			/* A cache that was sealed may have an object left. */
			if (tc->state == TCACHE_LIVE)
				return tcache_alloc(tc, class);
		}
		if (!slab_alloc(tcache_shard(tc), class, &object, 1))
			return NULL;
		stat_add_shared(objects_refilled, 1);
		return object;
	}
	before = tcache_enter(tc);
	object = refill_live(tc, class);
	tcache_leave(tc, before);
	return object;
}

/*
 * A sheaf of one place keeps the newest object; the one that has to go, p if there is no place at
 * all.
 */
static void *sheaf_exchange(struct tcache *tc, unsigned class, void *p)
{
	void **bottom = sheaf_bottom(tc, class), *old = *bottom;

	if (!sheaf_limit(tc, class))
		return p;
	__atomic_store_n(bottom, p, __ATOMIC_RELAXED);
	tc->sheaf[class].head = p;
	return old;
}

void sheaf_push_full(struct tcache *tc, unsigned class, void *p)
{
	u32 before = tcache_enter(tc);

	if (tc->sheaf[class].top == tc->sheaf[class].limit &&
	    (should_be_small(tc, class) || !sheaf_grow(tc, class))) {
		if (sheaf_limit(tc, class) < 2) {
			p = sheaf_exchange(tc, class, p);
			tcache_leave(tc, before);
			tcache_free_direct(p, (u16)(tc->tag_base + class));
			return;
		}
		sheaf_flush(tc, class, sheaf_limit(tc, class) / 2);
		look_at_next(tc, class);
	}
	sheaf_push(&tc->sheaf[class], p);
	tcache_leave(tc, before);
}

void tcache_flush(struct tcache *tc)
{
	u32 before = tcache_enter(tc);
	unsigned class;

	for (class = 0; class < NR_SHEAVES; class++) {
		u32 used = sheaf_used(tc, class);

		if (used)
			sheaf_flush(tc, class, used);
	}
	if (tc->nr_remote)
		tcache_flush_remote(tc, slab_free_mixed);
	tcache_drop_kept(tc);
	tcache_leave(tc, before);
}
