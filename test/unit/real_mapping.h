/*
 * The real calls on mappings (src/os/mapping.c), under other names than the fake's, and the
 * machine's own kernel. Where that is to refuse, to be an older one or an emulator, the case says
 * what it does in its place. Each program includes this once.
 */
#ifndef BM_TEST_REAL_MAPPING_H
#define BM_TEST_REAL_MAPPING_H

#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/types.h"
#include "os/os.h"

#define NR_SYSCALLS 512
#define PASS_ON LONG_MIN

static unsigned calls[NR_SYSCALLS]; /* by their numbers */
/* What the kernel does instead: -1 with errno, a value, or PASS_ON; NULL: nothing special. */
static long (*instead)(long nr, const unsigned long *arg);

static long test_syscall(long nr, ...)
{
	unsigned long arg[6];
	long result;
	va_list args;
	int i;

	va_start(args, nr);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(args, unsigned long);
	va_end(args);
	assert_in_range(nr, 0, NR_SYSCALLS - 1);
	calls[nr]++;
	result = instead ? instead(nr, arg) : PASS_ON;
	return result == PASS_ON ? syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]) : result;
}

static long refuse(int error)
{
	errno = error;
	return -1;
}

__typeof__(os_map_at) map_at;
__typeof__(os_unmap) unmap;
__typeof__(os_give_back) give_back;
__typeof__(os_give_back_clears) give_back_clears;
__typeof__(os_give_back_lazily) give_back_lazily;
__typeof__(os_renew) renew;
__typeof__(os_mapping_length) mapping_length;
__typeof__(os_move_pages) move_pages;
__typeof__(os_lock_pages) lock_pages;
__typeof__(os_populate) populate;
__typeof__(os_allow_huge_pages) allow_huge_pages;
__typeof__(os_first_touch_ns) first_touch_ns;
__typeof__(os_small_page_ns) small_page_ns;
__typeof__(os_huge_pages) huge_pages;
#define os_map_at map_at
#define os_unmap unmap
#define os_give_back give_back
#define os_give_back_clears give_back_clears
#define os_give_back_lazily give_back_lazily
#define os_renew renew
#define os_mapping_length mapping_length
#define os_move_pages move_pages
#define os_lock_pages lock_pages
#define os_populate populate
#define os_allow_huge_pages allow_huge_pages
#define os_first_touch_ns first_touch_ns
#define os_small_page_ns small_page_ns
#define os_huge_pages huge_pages
#define syscall test_syscall
#include "os/mapping.c"
#undef syscall

static inline size_t page(void)
{
	return os_page_size();
}

/* So many pages, mapped, behind and before which nothing is. */
static inline char *pages(size_t nr)
{
	char *p = mmap(NULL, (nr + 2) * page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(munmap(p, page()), 0);
	assert_int_equal(munmap(p + (nr + 1) * page(), page()), 0);
	return p + page();
}

static inline bool is_there(char *p, size_t nr)
{
	return madvise(p, nr * page(), MADV_NORMAL) == 0;
}

static int how_often_refused;
static bool unmaps_first, somebody_comes;

/* Refuses to map so often; the first time what was there may be gone, and somebody else be there. */
static inline long refuses_to_map(long nr, const unsigned long *arg)
{
	if (nr != SYS_mmap || !how_often_refused)
		return PASS_ON;
	how_often_refused--;
	if (unmaps_first && arg[3] & MAP_FIXED)
		munmap((void *)arg[0], arg[1]);
	if (somebody_comes) {
		mmap((void *)arg[0], page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		how_often_refused = 0;
	}
	return refuse(ENOMEM);
}

#endif
