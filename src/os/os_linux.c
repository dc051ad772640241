/*
 * rank 0: the library's system calls, but for those of the other files of the folder.
 *
 * Calls go through syscall(2) rather than through libc's wrappers where a
 * program may have interposed the wrapper (mmap and its kin): an interposer
 * that allocates would come back to us in the middle of our own work.
 */
#include "os/keep_errno.h"
#include "os/os.h"
#include "os/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static size_t page_size = 4096;
static unsigned address_bits;
ptrdiff_t os_rseq_offset;

/*
 * glibc 2.35 publishes where in the thread's control block its rseq area is.
 * Weak: on an older libc both are absent and getcpu serves.
 */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/*
 * The kernel hands user addresses out from the top, so the stack tells how
 * many bits there are: found without a probe that a sandbox could forbid.
 */
static unsigned find_address_bits(void)
{
	/* What lies in the initial stack, not in the caller's, which a coroutine may have
	 * in the program's data. */
	uintptr_t stack = getauxval(AT_RANDOM);
	uintptr_t here = stack ? stack : (uintptr_t)__builtin_frame_address(0);
	unsigned bits = 64 - (unsigned)__builtin_clzll(here);

	/* With 5-level tables the kernel still places everything below 2^47
	 * unless a hint asks for more; we never ask. */
	return bits > 47 ? 47 : bits;
}

void os_init(void)
{
	unsigned long size = getauxval(AT_PAGESZ);

	if (size)
		page_size = size;
	address_bits = find_address_bits();
	if (&__rseq_size && __rseq_size)
		os_rseq_offset = __rseq_offset;
}

size_t os_page_size(void)
{
	return page_size;
}

unsigned os_address_bits(void)
{
	return address_bits;
}

uint64_t os_memory_bytes(void)
{
	struct sysinfo si;

	if (syscall(SYS_sysinfo, &si) != 0)
		return 0;
	return (uint64_t)si.totalram * si.mem_unit;
}

static unsigned count_cpus(void)
{
	/* 8192 CPUs is the kernel's own upper bound on x86-64 and arm64. */
	unsigned long mask[8192 / (8 * sizeof(long))];
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
	long i;

	if (bytes <= 0)
		return 1;
	for (i = bytes / (long)sizeof(long) - 1; i >= 0; i--)
		if (mask[i])
			return (unsigned)i * 64 + 64 - (unsigned)__builtin_clzl(mask[i]);
	return 1;
}

unsigned os_nr_cpus(void)
{
	static unsigned nr; /* relaxed atomic: all find the same */

	if (!__atomic_load_n(&nr, __ATOMIC_RELAXED))
		__atomic_store_n(&nr, count_cpus(), __ATOMIC_RELAXED);
	return __atomic_load_n(&nr, __ATOMIC_RELAXED);
}

uint64_t os_rlimit_bytes(void)
{
	static const int which[] = { RLIMIT_AS, RLIMIT_DATA };
	uint64_t least = UINT64_MAX;
	struct rlimit rl;
	unsigned i;

	for (i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		if (getrlimit(which[i], &rl) == 0 && rl.rlim_cur != RLIM_INFINITY &&
		    rl.rlim_cur < least)
			least = rl.rlim_cur;
	return least;
}

uint64_t os_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool usage_of(int who, struct rusage *usage)
{
	return KEEPING_ERRNO(getrusage(who, usage)) == 0;
}

uint64_t os_nr_faults(void)
{
	struct rusage usage;

	return usage_of(RUSAGE_SELF, &usage) ? (uint64_t)usage.ru_minflt : 0;
}

unsigned os_count_missing(const void *addr, size_t step, unsigned nr)
{
	struct rusage before, after;
	unsigned i;
	long faults;

	if (!usage_of(RUSAGE_THREAD, &before))
		return 0;
	for (i = 0; i < nr; i++)
		(void)*((const volatile char *)addr + i * step);
	if (!usage_of(RUSAGE_THREAD, &after))
		return 0;
	faults = after.ru_minflt - before.ru_minflt;
	return faults < (long)nr ? (unsigned)faults : nr;
}

uint64_t os_random(void)
{
	/* Sixteen random bytes the kernel gave every process at exec. */
	const uint64_t *seed = (const uint64_t *)getauxval(AT_RANDOM);

	if (!seed)
		return (uint64_t)(uintptr_t)&seed >> 4;
	/* Do not use them as they are: the stack protector's secret is there. */
	return (seed[0] ^ seed[1] >> 7) * 0x9e3779b97f4a7c15u;
}

void os_write(int fd, const char *buf, size_t len)
{
	int saved = errno;

	while (len) {
		/* The wrapper is a cancellation point, which free is not. */
		ssize_t n = syscall(SYS_write, fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf += n;
		len -= (size_t)n;
	}
	errno = saved;
}

int os_open_report(const char *path)
{
	/* Of a FIFO without a reader it says so, where it would wait. */
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		      0644);

	if (fd >= 0)
		fcntl(fd, F_SETFL, O_APPEND);
	return fd;
}

void os_close(int fd)
{
	close(fd);
}

static int kept_fd = -1;
static struct stat kept_stat;

void os_keep_stderr(void)
{
	if (kept_fd >= 0 || fstat(2, &kept_stat) != 0)
		return;
	kept_fd = duplicate_high(2);
}

void os_forget_stderr(void)
{
	if ((S_ISFIFO(kept_stat.st_mode) || S_ISSOCK(kept_stat.st_mode)) &&
	    is_still(kept_fd, &kept_stat)) {
		close(kept_fd);
		kept_fd = -1;
	}
}

/* A terminal, a pipe, a log: but no file of data that a program has opened in stderr's place. */
static bool takes_lines(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode) ||
				       (S_ISREG(st.st_mode) && fcntl(fd, F_GETFL) & O_APPEND));
}

int os_stderr(void)
{
	if (is_still(2, &kept_stat))
		return 2;
	if (is_still(kept_fd, &kept_stat))
		return kept_fd;
	return takes_lines(2) ? 2 : -1;
}

int os_pid(void)
{
	return (int)getpid();
}

void os_futex_wait(uint32_t *word, uint32_t expected)
{
	KEEPING_ERRNO(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0));
}

void os_futex_wake(uint32_t *word, int nr)
{
	KEEPING_ERRNO(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0));
}

bool os_futex_wait_ms(uint32_t *word, uint32_t expected, uint64_t ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
	int saved = errno;
	bool passed = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &t, NULL, 0) != 0 &&
		      errno == ETIMEDOUT;

	errno = saved;
	return !passed;
}

/* Deep enough for a purge. */
#define THREAD_STACK ((size_t)256 << 10)

static struct {
	pthread_t thread;
	void (*f)(void);
	const char *name;
} own;

static void *own_thread(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, own.name);
	own.f();
	return NULL;
}

static int add_tls(struct dl_phdr_info *object, size_t unused, void *bytes)
{
	unsigned i;

	(void)unused;
	for (i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_TLS)
			*(size_t *)bytes += object->dlpi_phdr[i].p_memsz +
					    object->dlpi_phdr[i].p_align;
	return 0;
}

/*
 * glibc takes the thread's TLS off its stack: that of what the program was started with, seen at
 * the first start. In a child of fork somebody may hold the lock that a look takes.
 */
static size_t thread_stack(void)
{
	static size_t bytes;

	if (!bytes) {
		size_t tls = 0;

		dl_iterate_phdr(add_tls, &tls);
		bytes = THREAD_STACK + tls;
	}
	return bytes;
}

bool os_thread_start(void (*f)(void), const char *name)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int saved = errno;
	bool done;

	if (pthread_attr_init(&attr) != 0)
		return false;
	own.f = f;
	own.name = name;
	pthread_attr_setstacksize(&attr, thread_stack());
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	done = pthread_create(&own.thread, &attr, own_thread, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	errno = saved;
	return done;
}

void os_thread_join(void)
{
	pthread_join(own.thread, NULL);
}

bool os_has_one_thread(void)
{
	return __libc_single_threaded;
}

int os_tid(void)
{
	return (int)syscall(SYS_gettid);
}

bool os_tid_is_gone(int tid)
{
	/* A sandbox may say no to everything: only this answer counts. */
	return KEEPING_ERRNO(syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH);
}

/* Numbers from linux/membarrier.h, which headers before 4.14 do not have. */
#define MEMBARRIER_PRIVATE 8
#define MEMBARRIER_REGISTER_PRIVATE 16

static bool can_membarrier;

void os_membarrier_init(void)
{
	can_membarrier = !KEEPING_ERRNO(syscall(SYS_membarrier, MEMBARRIER_REGISTER_PRIVATE, 0, 0));
}

bool os_can_membarrier(void)
{
	return can_membarrier;
}

bool os_membarrier(void)
{
	return !KEEPING_ERRNO(syscall(SYS_membarrier, MEMBARRIER_PRIVATE, 0, 0));
}

void os_yield(void)
{
	KEEPING_ERRNO(syscall(SYS_sched_yield));
}

bool os_secure(void)
{
	return getauxval(AT_SECURE) != 0;
}

void os_abort(void)
{
	abort();
}

void os_sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	KEEPING_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL));
}

unsigned os_ask_cpu(void)
{
	unsigned cpu = 0;

	syscall(SYS_getcpu, &cpu, NULL, NULL);
	return cpu;
}
