/*
 * rank 7: what stands behind the names of mallctl: values, figures, and what is done.
 */
#include "malloc/ctl.h"

#include <buddymalloc/group.h>
#include <buddymalloc/jemalloc.h>
#include <errno.h>

#include "base/options.h"
#include "malloc/arena.h"
#include "malloc/figures.h"
#include "malloc/internal.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/scope.h"

/* --------------------------------------------------------------- the library */

static int give(u64 *value, u64 is)
{
	*value = is;
	return 0;
}

/* One for each name that is the same whatever its numbers are. */
#define ALWAYS(name, is)                                                                           \
	static int name(const size_t *index, u64 *value)                                           \
	{                                                                                          \
		(void)index;                                                                       \
		return give(value, is);                                                            \
	}

static u64 epoch = 1; /* relaxed atomic */

ALWAYS(get_version, (uintptr_t)"5.3.0 (libbuddymalloc " PACKAGE_VERSION ")")
ALWAYS(get_epoch, __atomic_load_n(&epoch, __ATOMIC_RELAXED))
ALWAYS(get_background, kswapd_is_running())
#ifdef BM_DEBUG
ALWAYS(get_debug, true)
#else
ALWAYS(get_debug, false)
#endif
ALWAYS(get_false, false)
ALWAYS(get_true, true)
ALWAYS(get_zero, 0)
ALWAYS(get_one, 1)
ALWAYS(get_decay, (u64)options.decay_ms)
ALWAYS(get_caching, !options.hardened)
ALWAYS(get_thread_arena, arena_of_owner(this_scope.owner))
ALWAYS(get_narenas, arenas_end())
ALWAYS(get_quantum, MIN_ALIGN)
ALWAYS(get_page, PAGE_SIZE)
ALWAYS(get_tcache_max, MAX_PACKED_SIZE)
ALWAYS(get_nbins, NR_PACKED_CLASSES)

static int set_epoch(const size_t *index, u64 value)
{
	(void)index;
	(void)value;
	__atomic_fetch_add(&epoch, 1, __ATOMIC_RELAXED);
	return 0;
}

static int set_background(const size_t *index, u64 value)
{
	(void)index;
	return kswapd_set(value) ? 0 : EAGAIN;
}

static int flush_cache(const size_t *index, u64 value)
{
	struct tcache *tc = tcache_get();

	(void)index;
	(void)value;
	if (tc->state == TCACHE_LIVE)
		tcache_flush(tc);
	return 0;
}

static int flush_tcache(const size_t *index, u64 value)
{
	return value ? EFAULT : flush_cache(index, value);
}

/* -------------------------------------------------------------------- arenas */

/* All arenas; how jemalloc's callers said so once was the number behind the last. */
static bool means_all(size_t arena)
{
	return arena == MALLCTL_ARENAS_ALL || arena == arenas_end();
}

static bool is_arena_or_all(size_t arena)
{
	return means_all(arena) || arena_exists(arena);
}

static int create_arena(const size_t *index, u64 *value)
{
	(void)index;
	*value = arena_create();
	return *value ? 0 : EAGAIN;
}

static int get_arena_exists(const size_t *index, u64 *value)
{
	return give(value, arena_exists(index[0]));
}

static int get_arena_decay(const size_t *index, u64 *value)
{
	return is_arena_or_all(index[0]) ? get_decay(index, value) : ENOENT;
}

static int set_thread_arena(const size_t *index, u64 value)
{
	const struct shard *shard = arena_shard(value);

	(void)index;
	if (!arena_exists(value))
		return EFAULT;
	return scope_enter_owner(shard ? shard->owner : 0) == BM_SCOPE_FAILED ? EAGAIN : 0;
}

static int decay_arena(const size_t *index, u64 value)
{
	(void)value;
	if (!is_arena_or_all(index[0]))
		return ENOENT;
	tcache_get();
	reclaim_age();
	return 0;
}

static int purge_arena(const size_t *index, u64 value)
{
	(void)value;
	if (!is_arena_or_all(index[0]))
		return ENOENT;
	malloc_trim(0);
	return 0;
}

static int end_arena(size_t arena, bool reset)
{
	if (!arena_exists(arena))
		return ENOENT;
	return arena_destroy(arena, reset) ? 0 : EFAULT;
}

static int reset_arena(const size_t *index, u64 value)
{
	(void)value;
	return end_arena(index[0], true);
}

static int destroy_arena(const size_t *index, u64 value)
{
	(void)value;
	return end_arena(index[0], false);
}

/* ---------------------------------------------------------------------- bins */

/* NULL: there is no such bin. */
static const struct size_class *bin(const size_t *index)
{
	return index[0] < NR_PACKED_CLASSES ? &size_classes[index[0]] : NULL;
}

static int get_bin_size(const size_t *index, u64 *value)
{
	return bin(index) ? give(value, bin(index)->size) : ENOENT;
}

static int get_bin_nregs(const size_t *index, u64 *value)
{
	return bin(index) ? give(value, bin(index)->nr_objects) : ENOENT;
}

static int get_bin_slab_size(const size_t *index, u64 *value)
{
	return bin(index) ? give(value, (u64)bin(index)->nr_pages << PAGE_SHIFT) : ENOENT;
}

/* ------------------------------------------------------------------- figures */

#define FIGURE_GET(name, is)                                                                       \
	static int name(const size_t *index, u64 *value)                                           \
	{                                                                                          \
		struct figures f;                                                                  \
                                                                                                   \
		(void)index;                                                                       \
		gather_figures(&f);                                                                \
		return give(value, is);                                                            \
	}

static u64 less(u64 a, u64 b)
{
	return a - MIN(a, b);
}

FIGURE_GET(get_allocated, f.used_bytes)
FIGURE_GET(get_active, less(f.heap_bytes, f.free_bytes))
FIGURE_GET(get_metadata, f.mem_map_bytes)
FIGURE_GET(get_resident, less(f.heap_bytes, f.free_bytes) + f.mem_map_bytes + f.dirty_bytes)
FIGURE_GET(get_retained, less(f.free_bytes, f.dirty_bytes))

/* Of one arena, or all; arena 0 has what no other has. */
static void class_of_arena(size_t arena, unsigned class, struct class_totals *t)
{
	unsigned i, end = arena ? 0 : arenas_end();

	slab_class_totals(class, arena_shard(arena), t);
	for (i = 1; i < end; i++) {
		struct class_totals its;

		if (!arena_shard(i))
			continue;
		slab_class_totals(class, arena_shard(i), &its);
		t->slabs = less(t->slabs, its.slabs);
		t->objects = less(t->objects, its.objects);
		t->free = less(t->free, its.free);
	}
}

static u64 used_of_classes(size_t arena, unsigned from, unsigned to)
{
	u64 bytes = 0;

	for (; from < to; from++) {
		struct class_totals t;

		class_of_arena(arena, from, &t);
		bytes += less(t.objects, t.free) * size_classes[from].size;
	}
	return bytes;
}

/* Pages of an arena that was made which are no slab's. */
static u64 large_of_arena(size_t arena)
{
	u64 bytes = arena_bytes(arena);
	unsigned class;

	for (class = 0; class < NR_CLASSES; class++) {
		struct class_totals t;

		slab_class_totals(class, arena_shard(arena), &t);
		bytes = less(bytes, t.slabs * size_classes[class].nr_pages << PAGE_SHIFT);
	}
	return bytes;
}

/* The sum of one figure over the arenas that were made. */
static u64 of_made(u64 (*figure)(size_t arena))
{
	unsigned i, end = arenas_end();
	u64 sum = 0;

	for (i = 1; i < end; i++)
		if (arena_shard(i))
			sum += figure(i);
	return sum;
}

/* Of an arena that was made it is figure(arena), of all together `all`. */
static int give_share(size_t arena, u64 *value, u64 (*figure)(size_t), u64 all)
{
	if (!is_arena_or_all(arena))
		return ENOENT;
	if (arena_shard(arena))
		return give(value, figure(arena));
	return give(value, means_all(arena) ? all : less(all, of_made(figure)));
}

static u64 threads_of_arena(size_t arena)
{
	return shard_users(arena_shard(arena));
}

static int get_arena_nthreads(const size_t *index, u64 *value)
{
	struct figures f;

	gather_figures(&f);
	return give_share(index[0], value, threads_of_arena, f.threads);
}

static int get_arena_pactive(const size_t *index, u64 *value)
{
	struct figures f;
	int error;

	gather_figures(&f);
	error = give_share(index[0], value, arena_bytes, less(f.heap_bytes, f.free_bytes));
	*value >>= PAGE_SHIFT;
	return error;
}

static u64 none_of_arena(size_t arena)
{
	(void)arena;
	return 0;
}

static int get_arena_pdirty(const size_t *index, u64 *value)
{
	struct figures f;

	gather_figures(&f);
	return give_share(index[0], value, none_of_arena, f.dirty_bytes >> PAGE_SHIFT);
}

static int get_arena_pmuzzy(const size_t *index, u64 *value)
{
	return is_arena_or_all(index[0]) ? give(value, 0) : ENOENT;
}

static size_t all_or(size_t arena)
{
	return means_all(arena) ? MALLCTL_ARENAS_ALL : arena;
}

static int get_arena_small(const size_t *index, u64 *value)
{
	if (!is_arena_or_all(index[0]))
		return ENOENT;
	return give(value, used_of_classes(all_or(index[0]), 0, NR_PACKED_CLASSES));
}

static int get_arena_large(const size_t *index, u64 *value)
{
	int error = give_share(index[0], value, large_of_arena, large_bytes());

	if (!error)
		*value += used_of_classes(all_or(index[0]), NR_PACKED_CLASSES, NR_CLASSES);
	return error;
}

/* The figures of a class; false: no such arena or class. */
static bool bin_of_arena(const size_t *index, struct class_totals *t)
{
	if (!is_arena_or_all(index[0]) || index[1] >= NR_PACKED_CLASSES)
		return false;
	class_of_arena(all_or(index[0]), (unsigned)index[1], t);
	return true;
}

static int get_bin_curregs(const size_t *index, u64 *value)
{
	struct class_totals t;

	return bin_of_arena(index, &t) ? give(value, less(t.objects, t.free)) : ENOENT;
}

static int get_bin_curslabs(const size_t *index, u64 *value)
{
	struct class_totals t;

	return bin_of_arena(index, &t) ? give(value, t.slabs) : ENOENT;
}

/* ----------------------------------------------------------------- the table */

const struct ctl ctls[] = {
#define CTL_R(name, type, get, doc) { name, CTL_##type, true, false, __LINE__ },
#define CTL_W(name, type, set, doc) { name, CTL_##type, false, true, __LINE__ },
#define CTL_RW(name, type, get, set, doc) { name, CTL_##type, true, true, __LINE__ },
#define CTL_DO(name, act, doc) { name, CTL_VOID, false, true, __LINE__ },
#include "malloc/mallctl.def"
};
const unsigned nr_ctls = ARRAY_SIZE(ctls);

int ctl_read(const struct ctl *ctl, const size_t *index, u64 *value)
{
	switch (ctl->line) {
#define CTL_R(name, type, get, doc) case __LINE__: return get(index, value);
#define CTL_W(name, type, set, doc)
#define CTL_RW(name, type, get, set, doc) case __LINE__: return get(index, value);
#define CTL_DO(name, act, doc)
#include "malloc/mallctl.def"
	}
	return EPERM;
}

int ctl_set(const struct ctl *ctl, const size_t *index, u64 value)
{
	switch (ctl->line) {
#define CTL_R(name, type, get, doc)
#define CTL_W(name, type, set, doc) case __LINE__: return set(index, value);
#define CTL_RW(name, type, get, set, doc) case __LINE__: return set(index, value);
#define CTL_DO(name, act, doc) case __LINE__: return act(index, value);
#include "malloc/mallctl.def"
	}
	return EPERM;
}
