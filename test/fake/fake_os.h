/*
 * A fake of src/os/os.h for the unit tests: the machine is whatever the test
 * says, time stands still until the test moves it, every call is counted and
 * any call can be made to fail.
 *
 * Memory is real: os_map_at maps it where it is wanted, os_give_back makes it read
 * zero. The fake keeps a list of what is mapped and aborts with a message when
 * the library breaks the rules of os.h: a range mapped twice, given back, moved
 * or unmapped without being mapped, or not a multiple of the page size.
 */
#ifndef BM_TEST_FAKE_OS_H
#define BM_TEST_FAKE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The machine. Set before os_init() or change later; defaults by fake_reset(). */
struct fake_machine {
	size_t page_size;
	unsigned address_bits;
	unsigned nr_cpus;
	uint64_t memory_bytes;
	uint64_t rlimit_bytes;
	uint64_t cgroup_bytes;	/* of a container or any group */
	const char *group;	/* the control group's name, version 2; NULL: none */
	int cgroup_error;	/* of reading "/fake/memory.max" */
	uint64_t now_ms;
	uint64_t touch_ns;	/* a first touch takes so long, that of a huge page */
	uint64_t small_page_ns;	/* and that of a small one */
	uint64_t nr_faults;	/* of the process */
	uintptr_t missing_from, missing_to; /* what is not there when it is read */
	const void *touched;	/* by the last of those that were timed */
	uint64_t random;
	const char *pressure_file; /* NULL: the system does not tell of pressure */
	bool pressure;		/* there is some: told once */
	bool secure;
	unsigned huge_pages;	/* how the system uses them: enum os_huge_use */
	uint64_t node_mask;	/* NUMA nodes; distances are 10 and 10 * (1 + |from - to|) */
	bool leaves_data;	/* os_give_back says yes and leaves the data */
	bool map_for_real;	/* false: os_map_at only keeps the list */
	bool overlap_expected;	/* mapping over an own mapping fails with EEXIST only */
	bool abort_expected;	/* os_abort ends the process with FAKE_ABORTED */
};
extern struct fake_machine fake;

/* The CPU the calling thread says it runs on. */
extern __thread unsigned fake_cpu;

/* The node its CPU belongs to. */
extern __thread unsigned fake_node;

/* Called in os_sleep_ms, after time has moved; NULL: nothing. */
extern void (*fake_on_sleep)(void);
/* Called by os_futex_wake, and by os_membarrier. */
extern void (*fake_on_wake)(void);
extern void (*fake_on_membarrier)(void);

/* The node that a page was bound to, or -1; whether it was locked. */
int fake_bound_node(const void *addr);
bool fake_is_locked(const void *addr);

/* The exit status of a process in which os_abort was expected and came. */
#define FAKE_ABORTED 86

/* Calls that are counted and that can fail. */
enum fake_call {
	FAKE_MAP,
	FAKE_UNMAP,
	FAKE_GIVE_BACK,
	FAKE_GIVE_BACK_LAZILY,
	FAKE_MOVE,
	FAKE_RENEW,
	FAKE_MEMBARRIER,
	FAKE_THREAD,
	FAKE_NOW,
	FAKE_WRITE,
	FAKE_FUTEX_WAIT,
	FAKE_FUTEX_WAKE,
	FAKE_POPULATE,
	FAKE_LOCK,
	FAKE_PREFER,
	FAKE_HUGE,
	FAKE_SMALL,
	FAKE_SLEEP,
	FAKE_PRESSURE,		/* os_pressure_wait */
	FAKE_PRESSURE_CLOSE,
	FAKE_CONTAINER,
	FAKE_CGROUP,
	NR_FAKE_CALLS
};

/* Everything as at the start of the process; nothing is unmapped. */
void fake_reset(void);

/* Unmaps a range behind the library's back, as fork does with what children do not get. */
void fake_unmap(void *addr, size_t len);

/* Unmaps whatever the library mapped. */
void fake_unmap_all(void);

/* How often it was called since fake_reset(), failed calls too. */
uint64_t fake_calls(enum fake_call call);

/*
 * From now on let the n-th call (1 is the next one) and the `times - 1` calls
 * after it fail: with ENOMEM, or EINVAL for os_move_pages; os_give_back leaves errno alone.
 */
void fake_fail(enum fake_call call, uint64_t n, uint64_t times);
#define FAKE_ALWAYS UINT64_MAX

/* True when the failure asked for has happened at least once. */
bool fake_failed(enum fake_call call);

/* Somebody else's mapping: os_map_at over any part of it fails with EEXIST. */
void fake_foreign(void *addr, size_t len);

/* Called in os_give_back and os_give_back_lazily, before the pages become zero; NULL: nothing. */
extern void (*fake_on_give_back)(void *addr, size_t len);

/* Called when os_map_at fails as asked for by fake_fail; NULL: nothing. */
extern void (*fake_on_refusal)(void);

/* What os_thread_start was given; waits with an end move the time and call this. */
extern void (*fake_thread)(void);
extern void (*fake_on_wait)(uint64_t ms);

/* Bytes mapped now; whether all of a range is; bytes ever given to os_give_back. */
uint64_t fake_mapped_bytes(void);
bool fake_is_mapped(const void *addr, size_t len);
uint64_t fake_given_bytes(void);

/*
 * What os_write wrote, of whatever fd, zero-terminated. It lies in memory that
 * is shared with children, so that a parent can read a child's last words.
 */
const char *fake_output(void);
void fake_clear_output(void);

#endif
