/*
 * rank 0: the system. Only the files of this folder make system calls; unit tests put
 * test/fake in its place.
 *
 * Only os_thread_start and os_thread_join allocate. These two, os_pressure_open and os_abort
 * need libc to be up; all others are safe before that, in a signal handler and in a child
 * after fork. What a failing call leaves in errno is said where it is of use.
 */
#ifndef BM_OS_H
#define BM_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rank 1's cold_path, for what is called at a process's start or end. */
#define cold_start __attribute__((__cold__))

/* Reads what does not change while the process lives. Call once, first. */
void os_init(void);

/* Bytes of a page as the kernel maps it: 4096, 16384 or 65536. */
size_t os_page_size(void);

/* Usable bits of a user address: 47 at most, 39 on some arm64. */
unsigned os_address_bits(void);

/* Bytes of physical memory; 0 when the system does not say. */
uint64_t os_memory_bytes(void);

/* One more than the highest CPU number this process might use when it was first asked. */
unsigned os_nr_cpus(void);

/*
 * The smaller soft limit of RLIMIT_AS and RLIMIT_DATA, in bytes;
 * UINT64_MAX when there is none.
 */
uint64_t os_rlimit_bytes(void);

/* The memory limit of a control group, and the first file that did not tell. */
struct os_group_limit {
	uint64_t bytes;	/* UINT64_MAX: there is none, or it is not known */
	int error;	/* 0, or the errno of `file`; EINVAL: it has no limit in it */
	char file[256];	/* cut to this length */
};

/*
 * The limit of the container the process runs in, as far as the container sees
 * its own control group at /sys/fs/cgroup. Files that are not there are no error.
 */
cold_start void os_container_limit(struct os_group_limit *out);

/*
 * The limit of the process's control group, version 1 or 2, or of a group above
 * it. Opens files below /proc and /sys, so to be called early. That no group and
 * no file is found is an error here, unless the group is the root.
 */
cold_start void os_cgroup_limit(struct os_group_limit *out);

/* The longest path of a control group's file, its end included. */
#define OS_PATH_MOST 1024

/*
 * The path that a file of the process's control group has; false when that is not of
 * version 2. Opens a file below /proc.
 */
bool os_group_file(const char *name, char path[OS_PATH_MOST]);

/*
 * Maps len zeroed bytes, readable and writable, at exactly addr. False with
 * errno EEXIST when something is mapped there already, ENOMEM when the
 * system refuses.
 */
bool os_map_at(void *addr, size_t len);

/* Unmaps [addr, addr + len), all of it mapped by os_map_at. */
bool os_unmap(void *addr, size_t len);

/*
 * Gives the pages of [addr, addr + len) back to the system; they read as zero
 * afterwards. addr and len are multiples of os_page_size(). False where it refuses, as it does
 * what is locked. errno stays.
 */
bool os_give_back(void *addr, size_t len);

/*
 * The same, but the system takes the pages when it needs them: until they are
 * written to, each may read as it was or as zero, and change from one to the
 * other. False where the kernel has no such thing (before 4.5), or refuses.
 */
bool os_give_back_lazily(void *addr, size_t len);

/* False once os_give_back was seen to leave the data where it was, as some emulators do. */
bool os_give_back_clears(void);

/*
 * Maps [addr, addr + len) anew, all of it mapped by os_map_at: its pages are given
 * back and read as zero, and what os_move_pages put there no longer parts it from
 * its neighbours. errno stays.
 */
enum os_renewed {
	OS_RENEWED,
	OS_NOT_RENEWED,	/* all is as it was */
	OS_RENEWAL_LOST, /* unmapped, and in a second not to be mapped again */
};
enum os_renewed os_renew(void *addr, size_t len);

/* How many bytes of [addr, addr + len), mapped by os_map_at, are one mapping from addr on. */
size_t os_mapping_length(void *addr, size_t len);

/*
 * Moves the pages of [from, from + len) to [to, to + len), both mapped by
 * os_map_at and not overlapping; `from` stays mapped and reads as zero. The
 * previous content of `to` is lost, and it is a mapping of its own from then on.
 */
enum os_moved {
	OS_MOVED,
	OS_NOT_MOVED,	/* all is as it was: the kernel cannot (before 5.7), or refuses, as
			 * it does where `from` is several mappings */
	OS_TARGET_GONE,	/* the same, but nothing of ours is mapped at `to` any more */
};
enum os_moved os_move_pages(void *to, void *from, size_t len);

/* Monotonic time in milliseconds, cheap and coarse (a few ms). */
uint64_t os_now_ms(void);

/*
 * At how many of `nr` places, `step` bytes apart, memory was missing: each is read, and the faults
 * that the thread had meanwhile are counted. 0 where the system does not count.
 */
unsigned os_count_missing(const void *addr, size_t step, unsigned nr);

/* Page faults of the process that read nothing from a disk, of all its threads; 0: not known. */
uint64_t os_nr_faults(void);

/* A number an outsider cannot foresee, for placing the window. */
uint64_t os_random(void);

/* Writes all of buf; errors are ignored, as there is nobody to tell. */
void os_write(int fd, const char *buf, size_t len);

/* Opens a report file for appending, created with mode 0644; -1 on failure. */
int os_open_report(const char *path);
void os_close(int fd);

/*
 * Many programs close stderr before destructors run. os_keep_stderr, called at
 * start, sets a duplicate aside (closed on exec); os_stderr gives fd 2 or the duplicate, that
 * which is still the same file, else fd 2 if what it is now takes lines of text, else -1.
 * os_forget_stderr, in a child of fork, closes the duplicate where somebody may wait for the
 * other end.
 */
cold_start void os_keep_stderr(void);
int os_stderr(void);
void os_forget_stderr(void);

int os_pid(void);

/* The calling thread's number, and whether no thread of the process has it any more. */
int os_tid(void);
bool os_tid_is_gone(int tid);
/* True when the process surely has this thread alone (glibc 2.32 and later know). */
bool os_has_one_thread(void);

/*
 * Registers for os_membarrier; once, early. True afterwards when it can be used.
 */
void os_membarrier_init(void);
bool os_can_membarrier(void);

/* All other threads of the process that run pass a full memory barrier. */
bool os_membarrier(void);

/* Sleeps while *word == expected; may return early. */
void os_futex_wait(uint32_t *word, uint32_t expected);
void os_futex_wake(uint32_t *word, int nr);

/* The same, for ms milliseconds at most: false when they have passed. */
bool os_futex_wait_ms(uint32_t *word, uint32_t expected, uint64_t ms);

/*
 * Starts the one thread of the library's own, with all signals blocked and
 * this name (15 characters at most); false when the system refuses. Allocates.
 * Join waits for its end.
 */
bool os_thread_start(void (*f)(void), const char *name);
void os_thread_join(void);
/* Lets another thread run. */
void os_yield(void);

/*
 * Memory pressure as the system tells of it (PSI, Linux 4.20): tasks that stand
 * still for want of memory. Used by one thread at a time.
 *
 * Open names the file that is watched from then on, NULL when there is none: with
 * `group` the one that the environment names in MEMORY_PRESSURE_WATCH, as service
 * managers do ("/dev/null": none), or the control group's, the group which looks like the
 * root (a container's) else; without, or where none of these is, the whole system's.
 */
const char *os_pressure_open(bool group);

/*
 * Sleeps for ms milliseconds, or until there is pressure: true then. Where the
 * system takes no order to be told, it is looked at after the sleep.
 */
bool os_pressure_wait(uint64_t ms);

/* Ends it; in a child after fork too. */
void os_pressure_close(void);

/* True in a set-user-id or otherwise privileged start: options are not read. */
cold_start bool os_secure(void);

void os_abort(void) __attribute__((noreturn));

/*
 * Locks [addr, addr + len) in memory and keeps it from children of fork. False
 * when the system refuses (RLIMIT_MEMLOCK); nothing has changed then.
 */
bool os_lock_pages(void *addr, size_t len);

/* Backs [addr, addr + len) with memory now, so that no write to it faults. May do nothing. */
void os_populate(void *addr, size_t len);

/* Lets the system back [addr, addr + len) with huge pages as it is touched, or never. */
void os_allow_huge_pages(void *addr, size_t len, bool allow);

/*
 * Writes a byte to memory that was just mapped: how many nanoseconds its owner waited for the
 * page, of whatever size it is.
 */
uint64_t os_first_touch_ns(void *addr);
/* The least that this takes for a few pages that are mapped for it; 0: not known. */
uint64_t os_small_page_ns(void);

/*
 * How the system uses huge pages for this process: where it is asked to, which is also said where
 * nobody can tell; unasked, its mode is "always"; or not at all, its mode is "never", or they are
 * forbidden to the process (PR_SET_THP_DISABLE). Reads a file: for start only.
 */
enum os_huge_use { OS_HUGE_ASKED, OS_HUGE_UNASKED, OS_HUGE_NEVER };
cold_start enum os_huge_use os_huge_pages(void);

/* Sleeps about that long; may return early. */
void os_sleep_ms(unsigned ms);

/*
 * The NUMA nodes this process may have memory of, bit i for node i; 1 where
 * there is no NUMA. One system call, for start only.
 */
uint64_t os_node_mask(void);

/* Distances of a node to all, 10 of it to itself. Reads two files: for start only. */
#define OS_NODES 64
void os_node_distances(unsigned from, unsigned distance[OS_NODES]);

/* The node of the running CPU. May be stale at once. */
unsigned os_node(void);

/* Lets the pages of [addr, addr + len), not touched yet, come from that node if it has any. */
void os_prefer_node(void *addr, size_t len, unsigned node);

/* Of the restartable-sequence area from the thread pointer; 0 when there is none. */
extern ptrdiff_t os_rseq_offset __attribute__((visibility("hidden")));
unsigned os_ask_cpu(void);

/*
 * The CPU the caller runs on, from the area that glibc registers (2.35 and later);
 * -1 where it does not. May be stale at once.
 */
static inline int os_cpu_at_hand(void)
{
	/* struct rseq: cpu_id_start, then cpu_id; both 32 bits. */
	const volatile int32_t *rseq =
		(const void *)((const char *)__builtin_thread_pointer() + os_rseq_offset);

	return __builtin_expect(os_rseq_offset != 0, 1) ? rseq[1] : -1;
}

/* The same, by a system call if need be. */
static inline unsigned os_cpu(void)
{
	int cpu = os_cpu_at_hand();

	return __builtin_expect(cpu >= 0, 1) ? (unsigned)cpu : os_ask_cpu();
}

#endif
