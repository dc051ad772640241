/* rank 0: mappings and their pages: made, given back, moved, prepared. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/keep_errno.h"
#include "os/os.h"
#include "os/read_file.h"

/* Newer than some headers. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef PR_GET_THP_DISABLE
#define PR_GET_THP_DISABLE 42
#endif

bool os_map_at(void *addr, size_t len)
{
	void *got = (void *)syscall(SYS_mmap, addr, len, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
					    MAP_FIXED_NOREPLACE,
				    -1, (off_t)0);

	if (got == addr)
		return true;
	if (got != MAP_FAILED) {
		/* A kernel before 4.17 took the address for a hint. */
		syscall(SYS_munmap, got, len);
		errno = EEXIST;
	}
	return false;
}

bool os_unmap(void *addr, size_t len)
{
	return syscall(SYS_munmap, addr, len) == 0;
}

/*
 * An emulator of a whole program may say yes to madvise and do nothing: qemu-user
 * before 7.1 always, later ones with ranges that are not of whole pages of the machine
 * below. So ranges less aligned than any that was seen to be cleared are looked at,
 * until one is as little aligned as there are.
 */
static size_t least_cleared = SIZE_MAX; /* that alignment; relaxed atomic */
static bool leaves_data;	     /* one was not cleared; relaxed atomic */

/* A word of the page that is not zero; NULL: all are. */
static const uint64_t *find_data(const void *page)
{
	const uint64_t *word = page, *end = word + os_page_size() / sizeof(*word);

	while (word < end && !*word)
		word++;
	return word < end ? word : NULL;
}

/* It is refused where pages are locked: whoever pays for that asked for something else. */
static bool advise(void *addr, size_t len, int advice)
{
	return KEEPING_ERRNO(syscall(SYS_madvise, addr, len, advice)) == 0;
}

static bool give_back_and_look(void *addr, size_t len, size_t alignment)
{
	const uint64_t *data = find_data(addr);

	if (!advise(addr, len, MADV_DONTNEED))
		return false;
	if (data && *(const volatile uint64_t *)data)
		__atomic_store_n(&leaves_data, true, __ATOMIC_RELAXED);
	else if (data)
		__atomic_store_n(&least_cleared, alignment, __ATOMIC_RELAXED);
	return true;
}

bool os_give_back(void *addr, size_t len)
{
	size_t bits = (uintptr_t)addr | len, alignment = bits & -bits;

	if (alignment < __atomic_load_n(&least_cleared, __ATOMIC_RELAXED) && os_give_back_clears())
		return give_back_and_look(addr, len, alignment);
	return advise(addr, len, MADV_DONTNEED);
}

bool os_give_back_clears(void)
{
	return !__atomic_load_n(&leaves_data, __ATOMIC_RELAXED);
}

bool os_give_back_lazily(void *addr, size_t len)
{
	return advise(addr, len, MADV_FREE);
}

/* This advice changes nothing, and finds holes. */
static bool is_mapped(void *addr, size_t len)
{
	return syscall(SYS_madvise, addr, len, MADV_NORMAL) == 0;
}

/* How long a mapping that was lost is tried for. */
#define RENEW_MOST_MS 1000

/*
 * What was unmapped, once there is memory for the kernel's own needs again. Beyond the limit
 * of mappings the kernel says ENOMEM before it looks at the place.
 */
static enum os_renewed map_again(void *addr, size_t len)
{
	unsigned ms;

	for (ms = 0; ms < RENEW_MOST_MS; ms++) {
		if (os_map_at(addr, len))
			return OS_RENEWED;
		if (errno == EEXIST || is_mapped(addr, len))
			return OS_NOT_RENEWED;
		os_sleep_ms(1);
	}
	return OS_RENEWAL_LOST;
}

enum os_renewed os_renew(void *addr, size_t len)
{
	int saved = errno;
	enum os_renewed how = OS_RENEWED;

	/* A kernel before 6.12 that refuses may have unmapped what was there. */
	if ((void *)syscall(SYS_mmap, addr, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			    (off_t)0) != addr)
		how = map_again(addr, len);
	errno = saved;
	return how;
}

/*
 * mremap up to the stack, to the end of a page there, can never succeed, as the stack is in the
 * way, so it changes nothing; it fails with EFAULT exactly if the range is several mappings.
 */
static bool is_one_mapping(void *addr, size_t len)
{
	uintptr_t in_stack = getauxval(AT_RANDOM);

	return syscall(SYS_mremap, addr, len, in_stack - (uintptr_t)addr, 0) != -1 || errno != EFAULT;
}

size_t os_mapping_length(void *addr, size_t len)
{
	size_t page = os_page_size(), one = page, more = len;
	int saved = errno;

	if (is_one_mapping(addr, len))
		one = len;
	while (one < more - page) {
		size_t middle = (one + (more - one) / 2) & ~(page - 1);

		if (is_one_mapping(addr, middle))
			one = middle;
		else
			more = middle;
	}
	errno = saved;
	return one;
}

/* One to try something with, anywhere. */
static void *map_a_page(void)
{
	return (void *)syscall(SYS_mmap, NULL, os_page_size(), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, (off_t)0);
}

/*
 * An emulator of a whole program (qemu-user) hands MREMAP_DONTUNMAP on and notes the
 * source as unmapped nevertheless: the program would be killed at its next touch. So a
 * system call, which answers where a touch would not, reads the source of a first move,
 * of one page: it is a mask of no signals.
 */
static int try_source_stays(void)
{
	size_t page = os_page_size();
	void *from = map_a_page(), *to;
	const size_t mask_bytes = 8; /* as the kernel has it */
	int stays = -1;

	if (from == MAP_FAILED)
		return 0;
	to = (void *)syscall(SYS_mremap, from, page, page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
			     NULL);
	if (to == MAP_FAILED)
		stays = errno == ENOMEM ? 0 : -1;
	else if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, from, NULL, mask_bytes) == 0)
		stays = 1;
	if (to != MAP_FAILED)
		os_unmap(to, page);
	os_unmap(from, page);
	return stays;
}

static bool source_stays(void)
{
	static int known; /* 1: yes, -1: no, 0: not yet; relaxed, as all who try find the same */
	int stays = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (!stays) {
		stays = try_source_stays();
		__atomic_store_n(&known, stays, __ATOMIC_RELAXED);
	}
	return stays > 0;
}

/*
 * False when limits, which may have been lowered, are exceeded already; and when what is mapped
 * is locked (mlockall), as MREMAP_DONTUNMAP would leave a source behind that is not locked, for
 * good: later blocks there could be swapped out.
 */
static bool may_move_pages(void)
{
	void *p = map_a_page();
	bool unlocked;

	if (p == MAP_FAILED)
		return false;
	unlocked = syscall(SYS_madvise, p, os_page_size(), MADV_DONTNEED) == 0;
	return os_unmap(p, os_page_size()) && unlocked;
}

/*
 * The kernel unmaps `to` first and refuses afterwards: what is beyond a limit, or a source
 * of several mappings (before Linux 6.17; later it moves some of them, so the caller asks
 * for one). Where a page can be mapped, what was unmapped can be mapped again. (By way of
 * another place, from where the last step cannot be refused, it would take twice as long.)
 */
enum os_moved os_move_pages(void *to, void *from, size_t len)
{
	if (!source_stays() || !may_move_pages())
		return OS_NOT_MOVED;
	if ((void *)syscall(SYS_mremap, from, len, len,
			    MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
		return OS_MOVED;
	/* At the limit of mappings `to` is there still. */
	if (os_map_at(to, len) || is_mapped(to, len))
		return OS_NOT_MOVED;
	return OS_TARGET_GONE;
}

bool os_lock_pages(void *addr, size_t len)
{
	if (syscall(SYS_madvise, addr, len, MADV_DONTFORK) != 0)
		return false;
	if (syscall(SYS_mlock, addr, len) == 0)
		return true;
	syscall(SYS_madvise, addr, len, MADV_DOFORK);
	return false;
}

void os_populate(void *addr, size_t len)
{
	uintptr_t page = os_page_size();
	uintptr_t from = (uintptr_t)addr & ~(page - 1);
	uintptr_t to = ((uintptr_t)addr + len + page - 1) & ~(page - 1);

	/* Refused before Linux 5.14: then the writes fault, as without. */
	KEEPING_ERRNO(syscall(SYS_madvise, from, to - from, MADV_POPULATE_WRITE));
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t os_first_touch_ns(void *addr)
{
	uint64_t before = now_ns();

	*(volatile char *)addr = 0;
	return now_ns() - before;
}

/* The first of its pages may bring a page table along. */
#define SMALL_TOUCHES 4

uint64_t os_small_page_ns(void)
{
	size_t page = os_page_size(), len = SMALL_TOUCHES * page, at;
	char *map = (char *)KEEPING_ERRNO(syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)0));
	uint64_t least = UINT64_MAX;

	if (map == MAP_FAILED)
		return 0;
	for (at = 0; at < len; at += page) {
		uint64_t ns = os_first_touch_ns(map + at);

		least = ns < least ? ns : least;
	}
	syscall(SYS_munmap, map, len);
	return least;
}

void os_allow_huge_pages(void *addr, size_t len, bool allow)
{
	/* Refused where the kernel has none; PR_SET_THP_DISABLE goes before it. */
	KEEPING_ERRNO(syscall(SYS_madvise, addr, len, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
}

enum os_huge_use os_huge_pages(void)
{
	char mode[32];
	int saved = errno, disabled;
	enum os_huge_use how = OS_HUGE_ASKED;

	if (!read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode, sizeof(mode))) {
		if (strstr(mode, "[never]"))
			how = OS_HUGE_NEVER;
		else if (strstr(mode, "[always]"))
			how = OS_HUGE_UNASKED;
	}
	/* 1: all of them; more: those that are not asked for. What is not known is not forbidden. */
	disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	if (disabled == 1)
		how = OS_HUGE_NEVER;
	else if (disabled > 1 && how == OS_HUGE_UNASKED)
		how = OS_HUGE_ASKED;
	errno = saved;
	return how;
}
