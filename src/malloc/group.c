/*
 * rank 7: scopes and groups.
 *
 * A group is a private shard with a budget. Entering it binds the thread's
 * cache to that shard, so the common malloc and free know nothing of it; slabs
 * and large blocks carry the shard's number as their owner and are charged
 * where pages come and go (page_alloc/scope.h).
 *
 * A destroyed group keeps its shard as long as pages are charged to it. `dead`
 * lists such; whoever makes a group next looks through it. Then its page is `spare`
 * for another: it stays, so that a second destroy finds that it ended. LOCK_BRINGUP-ranked
 * groups_lock protects the lists.
 */
#include <buddymalloc/group.h>

#include <string.h>

#include "base/report.h"
#include "malloc/internal.h"
#include "page_alloc/scope.h"

struct bm_group {
	struct page_group pages;
	struct shard *shard;
	struct bm_group *next;	/* of `dead` or `spare` */
	bool ended;	/* until it is another's; groups_lock, bm_group_destroy looks without */
	char name[32];
};

static struct lock groups_lock;
static struct bm_group *dead, *spare, **spare_end = &spare;
static unsigned nr_spare;

/* So many ended ones are spare at least before the oldest becomes another group. */
#define SPARE_LEAST 8

static struct shard *owners_shard(u16 owner)
{
	return owner ? shards[owner] : NULL;
}

static u32 owners_life(u16 owner)
{
	return owner ? __atomic_load_n(&shards[owner]->life, __ATOMIC_RELAXED) : 0;
}

bm_scope_t scope_enter_owner(u16 owner)
{
	bm_scope_t before = scope_word();

	if (!tcache_rebind(owners_shard(owner)))
		return BM_SCOPE_FAILED;
	this_scope.owner = owner;
	this_scope.life = owners_life(owner);
	return before;
}

BM_EXPORT bm_scope_t bm_scope_save(unsigned flags, int node, struct bm_group *group)
{
	bm_scope_t before;

	ensure_up();
	if (flags & ~(BM_SCOPE_NORECLAIM | BM_SCOPE_NOSYSCALL) ||
	    (node != NODE_NONE && !node_exists((unsigned)node))) {
		errno = EINVAL;
		return BM_SCOPE_FAILED;
	}
	before = group ? scope_enter_owner(group->shard->owner) : scope_word();
	if (before == BM_SCOPE_FAILED)
		return before;
	static_assert(BM_SCOPE_NORECLAIM == SCOPE_NORECLAIM &&
			      BM_SCOPE_NOSYSCALL == SCOPE_NOSYSCALL,
		      "the header repeats these");
	this_scope.flags |= (u8)flags;
	if (node != NODE_NONE)
		this_scope.node = (u8)(node + 1);
	return before;
}

BM_EXPORT void bm_scope_restore(bm_scope_t scope)
{
	struct scope to;
	int saved = errno;

	if (scope == BM_SCOPE_FAILED)
		return;
	memcpy(&to, &scope, sizeof(to));
	/* A heap or group that has ended meanwhile: another one may have its shard by now. */
	if (to.life != owners_life(to.owner))
		to.owner = 0;
	/* What the cache cannot serve (the thread is ending) is not to be the owner's either. */
	if (to.owner != this_scope.owner && !tcache_rebind(owners_shard(to.owner)))
		to.owner = 0;
	if (!to.owner)
		to.life = 0;
	this_scope = to;
	errno = saved;
}

BM_EXPORT bm_scope_t bm_group_enter(struct bm_group *group)
{
	return bm_scope_save(0, NODE_NONE, group);
}

BM_EXPORT void bm_group_leave(bm_scope_t scope)
{
	bm_scope_restore(scope);
}

/*
 * A group caches nothing but what its threads have in their sheaves: private shards keep no empty
 * slab. Only the caller's sheaves can go, as no cache is sealed while it serves a group.
 */
void owner_reclaim(u16 owner)
{
	struct tcache *tc = current_tcache();

	if (tc->state == TCACHE_LIVE && tc->shard->owner == owner)
		tcache_flush(tc);
}

/* Groups that ended and have nothing left give their shards back. */
static void bury_dead(void)
{
	struct bm_group **link, *g;

	lock(&groups_lock, LOCK_BRINGUP);
	for (link = &dead; (g = *link);) {
		if (__atomic_load_n(&g->pages.usage, __ATOMIC_ACQUIRE)) {
			link = &g->next;
			continue;
		}
		*link = g->next;
		__atomic_store_n(&page_groups[g->shard->owner], NULL, __ATOMIC_RELEASE);
		shard_retire_private(g->shard);
		g->next = NULL;
		*spare_end = g;
		spare_end = &g->next;
		nr_spare++;
	}
	unlock(&groups_lock, LOCK_BRINGUP);
}

/* A page for a group, zero; NULL without memory. */
static struct bm_group *group_page(void)
{
	struct bm_group *g = NULL;

	lock(&groups_lock, LOCK_BRINGUP);
	if (nr_spare > SPARE_LEAST) {
		g = spare;
		spare = g->next;
		nr_spare--;
		memset(g, 0, sizeof(*g));
	}
	unlock(&groups_lock, LOCK_BRINGUP);
	return g ? g : alloc_record(sizeof(*g));
}

BM_EXPORT struct bm_group *bm_group_create(const char *name, size_t limit)
{
	struct bm_group *g;
	struct shard *shard;

	static_assert(MAX_SHARDS <= MAX_OWNERS, "every private shard can be an owner");
	ensure_up();
	bury_dead();
	shard = shard_create_private();
	if (!shard)
		return NULL;
	g = group_page();
	if (!g) {
		shard_retire_private(shard);
		return NULL;
	}
	g->shard = shard;
	g->pages.limit = limit ? (limit >> PAGE_SHIFT) + (limit % PAGE_SIZE != 0) : UINT64_MAX;
	strncpy(g->name, name ? name : "", sizeof(g->name) - 1);
	__atomic_store_n(&page_groups[shard->owner], &g->pages, __ATOMIC_RELEASE);
	return g;
}

/* False when it has ended already: of several threads that would end it one does. */
static bool end_group(struct bm_group *group)
{
	bool ended;

	lock(&groups_lock, LOCK_BRINGUP);
	ended = group->ended;
	if (!ended) {
		group->ended = true;
		shard_end_life(group->shard);
		group->next = dead;
		dead = group;
	}
	unlock(&groups_lock, LOCK_BRINGUP);
	return !ended;
}

BM_EXPORT int bm_group_destroy(struct bm_group *group)
{
	if (!group->ended && !tcache_wait_all_left(group->shard)) {
		errno = EBUSY;
		return -1;
	}
	if (!end_group(group)) {
		report_corruption("invalid bm_group_destroy of %p: it was destroyed before",
				  (void *)group);
		errno = EINVAL;
		return -1;
	}
	bury_dead();
	return 0;
}

BM_EXPORT size_t bm_group_usage(const struct bm_group *group)
{
	return __atomic_load_n(&group->pages.usage, __ATOMIC_RELAXED) << PAGE_SHIFT;
}

BM_EXPORT size_t bm_group_peak(const struct bm_group *group)
{
	return __atomic_load_n(&group->pages.peak, __ATOMIC_RELAXED) << PAGE_SHIFT;
}

BM_EXPORT size_t bm_group_failures(const struct bm_group *group)
{
	return __atomic_load_n(&group->pages.failures, __ATOMIC_RELAXED);
}

BM_EXPORT size_t bm_group_limit(const struct bm_group *group)
{
	u64 limit = group->pages.limit;

	if (limit == UINT64_MAX)
		return 0;
	return limit > SIZE_MAX >> PAGE_SHIFT ? SIZE_MAX : limit << PAGE_SHIFT;
}

BM_EXPORT const char *bm_group_name(const struct bm_group *group)
{
	return group->name;
}

void groups_lock_all(void)
{
	lock_for_fork(&groups_lock, LOCK_BRINGUP);
}

void groups_unlock_all(void)
{
	unlock_for_fork(&groups_lock, LOCK_BRINGUP);
}

void groups_reinit_lock(void)
{
	lock_reinit(&groups_lock);
}
