/*
 * rank 7: start, thread exit, fork, end.
 *
 * The first allocation of the process brings the library up, whoever makes it:
 * often the dynamic loader, before libc is initialised. Nothing used here
 * allocates or needs libc's constructors. The constructor below does what was
 * too early then.
 */
#include <buddymalloc/malloc.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "base/report.h"
#include "malloc/internal.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"
#include "page_alloc/poison.h"

static struct lock bringup_lock;
static u32 up;			/* 1 when the layers below may be used; acquire/release */
static bool options_read;	/* written under bringup_lock or by the constructor */
static pthread_key_t exit_key;
static bool have_exit_key;	/* written before a second thread exists */

static void shrink_orphans(enum give how)
{
	if (how == GIVE_ALL)
		tcache_reap_orphans();
	else
		tcache_age_orphans();
}

/* What this thread itself keeps pins slabs like anything else. */
static void shrink_own(enum give how)
{
	struct tcache *tc = current_tcache();

	if (how == GIVE_ALL && tc->state == TCACHE_LIVE)
		tcache_flush(tc);
}

/* Caches before the slabs that their objects go to. */
static const struct shrinker shrinkers[] = {
	{ .shrink = shrink_own, .cheap = true },
	{ .shrink = tcache_shrink_idle },
	{ .shrink = shrink_orphans, .give = tcache_give_spare },
	{ .shrink = slab_shrink, .give = slab_punch, .cheap = true },
};

#pragma weak bm_conf

/* The value of BUDDYMALLOC_CONF, found by hand: getenv may not be ready. */
static const char *find_conf(char *const *env)
{
	static const char name[] = "BUDDYMALLOC_CONF=";

	for (; env && *env; env++)
		if (!strncmp(*env, name, sizeof(name) - 1))
			return *env + sizeof(name) - 1;
	return NULL;
}

static cold_path void read_options(char *const *env)
{
	const char *conf;

	if (options_read || !env)
		return;
	options_read = true;
	/* The program's own, if it brings any. */
	if (&bm_conf && bm_conf)
		options_parse(bm_conf);
	/* Whoever starts a privileged program must not steer its allocator. */
	conf = os_secure() ? NULL : find_conf(env);
	if (conf)
		options_parse(conf);
}

/*
 * glibc's fork takes the list of stdio's streams after our locks. Whoever holds it,
 * flushing all streams, may allocate in a stream's write function: so it is taken before
 * them. (It can be taken twice.)
 */
__attribute__((weak)) void _IO_list_lock(void), _IO_list_unlock(void), _IO_list_resetlock(void);

static void prepare_fork(void)
{
	if (!lock_fork_begin(os_has_one_thread() && tcache_is_alone()))
		return;
	if (!lock_fork_is_alone() && _IO_list_lock && _IO_list_unlock)
		_IO_list_lock();
	groups_lock_all();
	tcache_lock_all();
	slab_lock_all();
	page_alloc_lock_all();
	lock_fork_owned();
}

static void parent_after_fork(void)
{
	if (!lock_fork_done())
		return;
	page_alloc_unlock_all();
	slab_unlock_all();
	tcache_unlock_all();
	groups_unlock_all();
	if (!lock_fork_is_alone() && _IO_list_lock && _IO_list_unlock)
		_IO_list_unlock();
}

static void child_after_fork(void)
{
	if (!lock_fork_is_alone() && _IO_list_resetlock)
		_IO_list_resetlock();
	lock_reinit(&bringup_lock);
	groups_reinit_lock();
	page_alloc_reinit_locks();
	kswapd_after_fork();
	page_alloc_after_fork();
	slab_reinit_locks();
	tcache_after_fork();
	lock_fork_child();
	if (options.stats_print)
		os_forget_stderr();
}

/*
 * Runs as a pthread key's destructor. Others may still free: it asks for one
 * more pass, so that most of them come first; those that come later find
 * tcache_none.
 */
static void thread_exits(void *arg)
{
	struct tcache *tc = arg;

	if (tc != tcache_get())
		return;
	if (!tc->exit_passes++) {
		/* There may be no more pass: then the cache is lost, but the thread left alone. */
		tcache_forbid_seal_for_good(tc);
		if (pthread_setspecific(exit_key, tc) == 0)
			return;
	}
	tcache_exit(tc);
}

cold_path void register_fork(register_atfork_fn fn)
{
	static u32 done;

	if (__atomic_exchange_n(&done, 1, __ATOMIC_RELAXED))
		return;
	/* Never removed, so of no library that could be closed. */
	if (fn)
		fn(prepare_fork, parent_after_fork, child_after_fork, NULL);
	else
		pthread_atfork(prepare_fork, parent_after_fork, child_after_fork);
}

static bool register_exit(struct tcache *tc)
{
	tc->exit_passes = 0;
	/* The key is made early, so its slot lies in the thread's own block and
	 * setting it does not allocate. */
	return have_exit_key && pthread_setspecific(exit_key, tc) == 0;
}

const struct tcache_hooks tcache_hooks = {
	.free_other = free_other,
	.bringup = bringup,
	.register_exit = register_exit,
	.late_in_child = kswapd_start,
};

/*
 * What the system has to say of memory, which takes some calls of it: once, when the options are
 * known and something was allocated.
 */
static cold_path void ask_system(void)
{
	limit_init();
	thp_init();
}

void bringup(void)
{
	bool first;

	if (likely(__atomic_load_n(&up, __ATOMIC_ACQUIRE)))
		return;
	lock(&bringup_lock, LOCK_BRINGUP);
	first = !up;
	if (first) {
		os_init();
		read_options(environ);
		/* A program may run out of memory before its first malloc. */
		memmap_init();
		page_alloc_init();
		if (options.idle_reclaim)
			os_membarrier_init();
		shards_init(os_nr_cpus());
		sheaves_init();
		set_shrinkers(shrinkers, ARRAY_SIZE(shrinkers));
		page_detour_update();
		__atomic_store_n(&up, 1, __ATOMIC_RELEASE);
	}
	unlock(&bringup_lock, LOCK_BRINGUP);
	if (!first)
		return;
	/* These may allocate, and then find everything in place. */
	have_exit_key = pthread_key_create(&exit_key, thread_exits) == 0;
	register_fork(NULL);
	if (options_read)
		ask_system();
}

/*
 * glibc passes the program's own arguments to constructors. In a program that has the
 * static library this is the first of all, so that our handlers of fork are. A program
 * that never allocates pays for no more than this.
 */
__attribute__((constructor(101)))
static cold_path void start_library(int argc, char **argv, char **env)
{
	(void)argc;
	(void)argv;
	register_fork(NULL); /* first, as it writes: a page read before would be faulted twice */
	if (!options_read) {
		read_options(env);
		/* Whatever was set up before goes by the options from here on. */
		if (__atomic_load_n(&up, __ATOMIC_ACQUIRE)) {
			memmap_set_budget();
			page_detour_update();
			zones_set_reserves();
			if (options.hardened)
				tcache_set_direct(this_tcache);
			ask_system();
		}
	}
	if (options.stats_print)
		os_keep_stderr();
	if (options.numa_node >= 0) {
		ensure_up();
		nodes_check_option();
	}
	if (options.pressure == option_pressure_auto && !options.background_thread)
		report("pressure: nothing is watched without background_thread:true");
	if (options.background_thread) {
		ensure_up();
		kswapd_start();
	}
	if (!options.verbose)
		return;
	ensure_up();
	report("version " PACKAGE_VERSION ", heap at %p, pages of %lu bytes, %u CPUs",
	       (void *)(window_base + window.first), (unsigned long)os_page_size(), os_nr_cpus());
}

/*
 * At exit the thread's objects go home once more: a double free that lay in a
 * sheaf is found even if nothing was allocated after it. Not in a child of fork, as each page
 * would be copied to be written: a shell's substitutions took 12 to 25% longer.
 */
__attribute__((destructor))
static cold_path void finish_library(void)
{
	struct tcache *tc = current_tcache();
	bool reports = options.stats_print || options.stats_file[0];

	/* A signal's handler called exit in the midst of this, as many do: no lock can be had. */
	if (locks_held > 0) {
		if (reports)
			report("no report: exit was called by a signal's handler, in the midst of an allocation");
		return;
	}
	if (tc->state == TCACHE_SEALED)
		tc = tcache_get();
	if (options.background_thread)
		kswapd_stop();
	if (reports || !tc->in_child) {
		if (tc->state == TCACHE_LIVE)
			tcache_flush(tc);
		slab_drain_transfers();
	}
	if (reports)
		print_report();
}
