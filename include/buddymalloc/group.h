/*
 * Scopes and groups: what a thread's allocations are bound to for a while.
 *
 * A group is a budget inside the process, as a memory cgroup is one for
 * processes: it gives each tenant, plug-in or subsystem of a server its own.
 * While a thread is in a group, whatever it gets from malloc and its kin, and
 * pages asked for with BM_GFP_ACCOUNT, is charged to the group. Groups count whole
 * pages: small objects are charged with the slabs they lie in, which the group shares
 * with nobody. Pages are uncharged when nothing in them is in use, whichever thread frees
 * it. A thread in the group may cache what it frees until it leaves.
 *
 * Every function is thread-safe; none is async-signal-safe.
 */
#ifndef BUDDYMALLOC_GROUP_H
#define BUDDYMALLOC_GROUP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bm_group;

/* A scope as it was before, for bm_scope_restore. */
typedef uint64_t bm_scope_t;

/* None: the call failed, nothing changed and errno tells why. To restore that does nothing. */
#define BM_SCOPE_FAILED (~(bm_scope_t)0)

#define BM_SCOPE_NORECLAIM 1u /* requests do not reclaim: they fail sooner */
#define BM_SCOPE_NOSYSCALL 2u /* nor grow, move or age anything: no memory system call, but
				  * that a block above 1 GiB (683 MiB where realloc made it)
				  * is unmapped when it is freed */

/*
 * Adds constraints to those of the calling thread, up to bm_scope_restore:
 * flags of the above; node, unless it is -1, from which alone pages are newly taken
 * (what is cached may lie elsewhere, and serves all the same); group, unless NULL, which
 * is charged. A request with BM_GFP_NOFAIL keeps to the flags and still waits until
 * others free memory. Returns what was before, or
 * BM_SCOPE_FAILED with errno EINVAL for an unknown flag or node, EAGAIN for a group in
 * a thread that is ending, ENOMEM when there is no memory for the thread's cache.
 * Kernel: memalloc_noreclaim_save() and its kin, set_active_memcg().
 */
bm_scope_t bm_scope_save(unsigned int flags, int node, struct bm_group *group);

/*
 * Back to what bm_scope_save returned, in the same thread, innermost first; of a heap or
 * group that has ended meanwhile, to none. errno is preserved.
 */
void bm_scope_restore(bm_scope_t scope);

/*
 * A group with a limit in bytes, rounded up to pages; 0: no limit. The name is
 * copied, cut at 31 characters; NULL: none. NULL with errno ENOMEM, or EAGAIN when
 * there are too many heaps and groups (some hundreds).
 *
 * At the limit the calling thread, unless it may not reclaim, gives back what it keeps of the
 * group's; then requests fail with ENOMEM.
 */
struct bm_group *bm_group_create(const char *name, size_t limit);

/* bm_scope_save(0, -1, group), and bm_scope_restore. */
bm_scope_t bm_group_enter(struct bm_group *group);
void bm_group_leave(bm_scope_t scope);

/* Bytes charged now. Kernel: memory.current. */
size_t bm_group_usage(const struct bm_group *group);

/* The most that was ever charged, in bytes. Kernel: memory.peak. */
size_t bm_group_peak(const struct bm_group *group);

/* How many requests were refused at the limit. Kernel: "max" of memory.events. */
size_t bm_group_failures(const struct bm_group *group);

/* In bytes, whole pages; 0: none. Kernel: memory.max. */
size_t bm_group_limit(const struct bm_group *group);

/* Valid until bm_group_destroy. */
const char *bm_group_name(const struct bm_group *group);

/*
 * Ends the group: 0, or -1 with errno EBUSY while a thread is in it. Destroying it twice is
 * reported, and aborts unless abort_on_corruption is false; then -1 with EINVAL. (Not
 * detected once its memory has been reused for a new group.)
 * What was allocated in it stays valid and is freed as ever; only the name and figures
 * are gone.
 */
int bm_group_destroy(struct bm_group *group);

#ifdef __cplusplus
}
#endif

#endif
