/* A fake of rank 0; see fake_os.h. */
#include "fake_os.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAX_RANGES 16384
#define OUTPUT_MAX (64 << 10)

struct fake_machine fake;
__thread unsigned fake_cpu, fake_node;
void (*fake_on_sleep)(void);
void (*fake_on_wake)(void);
void (*fake_on_membarrier)(void);
void (*fake_on_refusal)(void);
void (*fake_on_purge)(void *addr, size_t len);

struct range {
	uintptr_t start, end;
};

/* What each call of os_map_at mapped, in the order of addresses. */
static struct range mapped[MAX_RANGES];
static size_t nr_mapped;
static struct range foreign[64];
static size_t nr_foreign;

static struct {
	uint64_t calls;
	uint64_t first, times;	/* failure: number of the first call, and how many */
	bool failed;
} state[NR_FAKE_CALLS];

/* What os_lock_pages and os_prefer_node were given; the last word counts. */
static struct {
	struct range range;
	int node; /* -1: locked */
} told[1024];
static size_t nr_told;

static uint64_t purged_bytes;
static char *output;
static size_t *output_len;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2), noreturn)) static void misuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("fake os: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

/* Bits of this machine's user addresses, as the stack shows them. */
static unsigned own_address_bits(void)
{
	return 64 - (unsigned)__builtin_clzll((uintptr_t)__builtin_frame_address(0));
}

/* A child of a busy process must find the fake's own lock free. */
static void take_mutex(void)
{
	pthread_mutex_lock(&mutex);
}

static void drop_mutex(void)
{
	pthread_mutex_unlock(&mutex);
}

void fake_reset(void)
{
	unsigned bits = own_address_bits();

	fake = (struct fake_machine){
		.page_size = (size_t)sysconf(_SC_PAGESIZE),
		.address_bits = bits > 47 ? 47 : bits,
		.nr_cpus = 2,
		.memory_bytes = (uint64_t)8 << 30,
		.rlimit_bytes = UINT64_MAX,
		.cgroup_bytes = UINT64_MAX,
		.now_ms = 1000,
		.random = (uint64_t)4321 << 20,
		.map_for_real = true,
		.node_mask = 1,
	};
	memset(state, 0, sizeof(state));
	fake_on_purge = NULL;
	fake_on_sleep = NULL;
	fake_on_wake = NULL;
	fake_on_membarrier = NULL;
	fake_on_refusal = NULL;
	nr_told = 0;
	nr_foreign = 0;
	purged_bytes = 0;
	if (!output) {
		output = mmap(NULL, OUTPUT_MAX, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (output == MAP_FAILED)
			misuse("no memory for the output");
		output_len = (size_t *)(void *)output;
		output += sizeof(*output_len);
		pthread_atfork(take_mutex, drop_mutex, drop_mutex);
	}
	fake_clear_output();
}

uint64_t fake_calls(enum fake_call call)
{
	return __atomic_load_n(&state[call].calls, __ATOMIC_RELAXED);
}

void fake_fail(enum fake_call call, uint64_t n, uint64_t times)
{
	state[call].first = fake_calls(call) + n;
	state[call].times = times;
	state[call].failed = false;
}

bool fake_failed(enum fake_call call)
{
	return __atomic_load_n(&state[call].failed, __ATOMIC_RELAXED);
}

/* Counts the call; true when it is to fail. */
static bool enter(enum fake_call call)
{
	uint64_t nr = __atomic_add_fetch(&state[call].calls, 1, __ATOMIC_RELAXED);

	if (!state[call].times || nr < state[call].first ||
	    nr - state[call].first >= state[call].times)
		return false;
	__atomic_store_n(&state[call].failed, true, __ATOMIC_RELAXED);
	return true;
}

void fake_foreign(void *addr, size_t len)
{
	if (nr_foreign == sizeof(foreign) / sizeof(foreign[0]))
		misuse("too many foreign mappings");
	foreign[nr_foreign++] = (struct range){ (uintptr_t)addr, (uintptr_t)addr + len };
}

static struct range checked_range(const char *call, const void *addr, size_t len)
{
	struct range r = { (uintptr_t)addr, (uintptr_t)addr + len };

	if (!len || r.start % fake.page_size || len % fake.page_size || r.end < r.start)
		misuse("%s(%p, %#zx): not whole pages of %zu bytes", call, addr, len,
		       fake.page_size);
	return r;
}

/* The first mapped range that ends beyond addr. */
static size_t find_mapped(uintptr_t addr)
{
	size_t low = 0, high = nr_mapped;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (mapped[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static bool is_mapped(struct range r)
{
	size_t i = find_mapped(r.start);

	while (i < nr_mapped && mapped[i].start <= r.start) {
		if (mapped[i].end >= r.end)
			return true;
		r.start = mapped[i++].end;
	}
	return false;
}

bool fake_is_mapped(const void *addr, size_t len)
{
	return is_mapped((struct range){ (uintptr_t)addr, (uintptr_t)addr + len });
}

uint64_t fake_mapped_bytes(void)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < nr_mapped; i++)
		bytes += mapped[i].end - mapped[i].start;
	return bytes;
}

void fake_unmap_all(void)
{
	size_t i;

	for (i = 0; i < nr_mapped && fake.map_for_real; i++)
		munmap((void *)mapped[i].start, mapped[i].end - mapped[i].start);
	nr_mapped = 0;
}

uint64_t fake_purged_bytes(void)
{
	return purged_bytes;
}

void os_init(void)
{
}

size_t os_page_size(void)
{
	return fake.page_size;
}

unsigned os_address_bits(void)
{
	return fake.address_bits;
}

uint64_t os_memory_bytes(void)
{
	return fake.memory_bytes;
}

unsigned os_nr_cpus(void)
{
	return fake.nr_cpus;
}

void os_container_limit(struct os_group_limit *out)
{
	enter(FAKE_CONTAINER);
	*out = (struct os_group_limit){ fake.cgroup_bytes, fake.cgroup_error, "" };
	if (fake.cgroup_error)
		snprintf(out->file, sizeof(out->file), "/fake/memory.max");
}

void os_cgroup_limit(struct os_group_limit *out)
{
	enter(FAKE_CGROUP);
	*out = (struct os_group_limit){ fake.cgroup_bytes, fake.cgroup_error, "" };
	if (fake.cgroup_error)
		snprintf(out->file, sizeof(out->file), "/fake/memory.max");
}

uint64_t os_rlimit_bytes(void)
{
	return fake.rlimit_bytes;
}

static bool map_real(struct range r)
{
	void *addr = (void *)r.start, *got;

	if (!fake.map_for_real)
		return true;
	got = mmap(addr, r.end - r.start, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == addr)
		return true;
	if (got != MAP_FAILED) {
		munmap(got, r.end - r.start);
		errno = EEXIST;
	}
	return false;
}

static bool map_locked(struct range r)
{
	size_t i;

	for (i = 0; i < nr_foreign; i++)
		if (r.start < foreign[i].end && foreign[i].start < r.end) {
			errno = EEXIST;
			return false;
		}
	i = find_mapped(r.start);
	if (i < nr_mapped && mapped[i].start < r.end) {
		if (!fake.overlap_expected)
			misuse("os_map_at(%p, %#zx): some of it is mapped already",
			       (void *)r.start, (size_t)(r.end - r.start));
		errno = EEXIST;
		return false;
	}
	if (nr_mapped == MAX_RANGES)
		misuse("too many mappings");
	if (!map_real(r))
		return false;
	memmove(&mapped[i + 1], &mapped[i], (nr_mapped - i) * sizeof(mapped[0]));
	mapped[i] = r;
	nr_mapped++;
	return true;
}

bool os_map_at(void *addr, size_t len)
{
	struct range r = checked_range("os_map_at", addr, len);
	bool done;

	if (enter(FAKE_MAP)) {
		if (fake_on_refusal)
			fake_on_refusal();
		errno = ENOMEM;
		return false;
	}
	pthread_mutex_lock(&mutex);
	done = map_locked(r);
	pthread_mutex_unlock(&mutex);
	return done;
}

bool os_unmap(void *addr, size_t len)
{
	struct range r = checked_range("os_unmap", addr, len);
	size_t from, to;
	struct range rest;

	if (enter(FAKE_UNMAP)) {
		errno = ENOMEM;
		return false;
	}
	pthread_mutex_lock(&mutex);
	from = find_mapped(r.start);
	if (!is_mapped(r))
		misuse("os_unmap(%p, %#zx): not mapped", addr, len);
	/* What stays of the first mapping, and of the last. */
	if (mapped[from].start < r.start) {
		rest = mapped[from];
		if (nr_mapped == MAX_RANGES)
			misuse("too many mappings");
		memmove(&mapped[from + 1], &mapped[from], (nr_mapped++ - from) * sizeof(rest));
		mapped[from++].end = r.start;
		mapped[from].start = r.start;
	}
	for (to = from; to < nr_mapped && mapped[to].end <= r.end; to++)
		;
	if (to < nr_mapped && mapped[to].start < r.end)
		mapped[to].start = r.end;
	memmove(&mapped[from], &mapped[to], (nr_mapped - to) * sizeof(mapped[0]));
	nr_mapped -= to - from;
	if (fake.map_for_real)
		munmap(addr, len);
	pthread_mutex_unlock(&mutex);
	return true;
}

void fake_unmap(void *addr, size_t len)
{
	os_unmap(addr, len);
}

bool os_purge(void *addr, size_t len)
{
	struct range r = checked_range("os_purge", addr, len);
	bool known;

	pthread_mutex_lock(&mutex);
	known = is_mapped(r);
	pthread_mutex_unlock(&mutex);
	if (!known)
		misuse("os_purge(%p, %#zx): not mapped", addr, len);
	if (enter(FAKE_PURGE)) {
		errno = EINVAL;
		return false;
	}
	if (fake_on_purge)
		fake_on_purge(addr, len);
	__atomic_fetch_add(&purged_bytes, len, __ATOMIC_RELAXED);
	return !fake.map_for_real || fake.purge_leaves || madvise(addr, len, MADV_DONTNEED) == 0;
}

bool os_purge_clears(void)
{
	return !fake.purge_leaves || !fake_purged_bytes();
}

/* The system was in need of every other page, and has left the rest for now. */
bool os_purge_lazy(void *addr, size_t len)
{
	struct range r = checked_range("os_purge_lazy", addr, len);
	uintptr_t at;

	if (!fake_is_mapped(addr, len))
		misuse("os_purge_lazy(%p, %#zx): not mapped", addr, len);
	if (enter(FAKE_PURGE_LAZY)) {
		errno = EINVAL;
		return false;
	}
	if (fake_on_purge)
		fake_on_purge(addr, len);
	for (at = r.start; fake.map_for_real && at < r.end; at += fake.page_size)
		if (at / fake.page_size % 2 && madvise((void *)at, fake.page_size, MADV_DONTNEED))
			return false;
	return true;
}

enum os_renewed os_renew(void *addr, size_t len)
{
	checked_range("os_renew", addr, len);
	if (!fake_is_mapped(addr, len))
		misuse("os_renew(%p, %#zx): not mapped", addr, len);
	if (enter(FAKE_RENEW))
		return OS_NOT_RENEWED;
	if (fake.map_for_real && madvise(addr, len, MADV_DONTNEED) != 0)
		return OS_NOT_RENEWED;
	return OS_RENEWED;
}

static void tell(struct range r, int node)
{
	if (nr_told == sizeof(told) / sizeof(told[0]))
		misuse("too many ranges bound or locked");
	told[nr_told].range = r;
	told[nr_told++].node = node;
}

static bool was_told(const void *addr, bool locked, int *node)
{
	size_t i;

	for (i = nr_told; i-- > 0;) {
		if ((uintptr_t)addr < told[i].range.start || (uintptr_t)addr >= told[i].range.end ||
		    (told[i].node < 0) != locked)
			continue;
		*node = told[i].node;
		return true;
	}
	return false;
}

int fake_bound_node(const void *addr)
{
	int node = -1;

	was_told(addr, false, &node);
	return node;
}

bool fake_is_locked(const void *addr)
{
	int node;

	return was_told(addr, true, &node);
}

bool os_lock_pages(void *addr, size_t len)
{
	struct range r = checked_range("os_lock_pages", addr, len);

	if (!fake_is_mapped(addr, len))
		misuse("os_lock_pages(%p, %#zx): not mapped", addr, len);
	if (enter(FAKE_LOCK)) {
		errno = ENOMEM;
		return false;
	}
	tell(r, -1);
	return true;
}

void os_populate(void *addr, size_t len)
{
	if (!fake_is_mapped(addr, len))
		misuse("os_populate(%p, %#zx): not mapped", addr, len);
	enter(FAKE_POPULATE);
}

void os_allow_huge_pages(void *addr, size_t len, bool allow)
{
	if (!fake_is_mapped(addr, len))
		misuse("os_allow_huge_pages(%p, %#zx): not mapped", addr, len);
	enter(allow ? FAKE_HUGE : FAKE_SMALL);
}

bool os_huge_pages_unasked(void)
{
	return fake.huge_unasked;
}

void os_sleep_ms(unsigned ms)
{
	enter(FAKE_SLEEP);
	fake.now_ms += ms;
	if (fake_on_sleep)
		fake_on_sleep();
}

uint64_t os_node_mask(void)
{
	return fake.node_mask;
}

unsigned os_node_distance(unsigned from, unsigned to)
{
	return 10 * (1 + (from > to ? from - to : to - from));
}

unsigned os_node(void)
{
	return fake_node;
}

void os_prefer_node(void *addr, size_t len, unsigned node)
{
	struct range r = checked_range("os_prefer_node", addr, len);

	enter(FAKE_PREFER);
	tell(r, (int)node);
}

enum os_moved os_move_pages(void *to, void *from, size_t len)
{
	struct range t = checked_range("os_move_pages", to, len);
	struct range f = checked_range("os_move_pages", from, len);

	if (t.start < f.end && f.start < t.end)
		misuse("os_move_pages(%p, %p, %#zx): overlap", to, from, len);
	if (!fake_is_mapped(to, len) || !fake_is_mapped(from, len))
		misuse("os_move_pages(%p, %p, %#zx): not mapped", to, from, len);
	if (enter(FAKE_MOVE)) {
		errno = EINVAL;
		return OS_NOT_MOVED;
	}
	memcpy(to, from, len);
	return madvise(from, len, MADV_DONTNEED) == 0 ? OS_MOVED : OS_NOT_MOVED;
}

uint64_t os_now_ms(void)
{
	enter(FAKE_NOW);
	return __atomic_load_n(&fake.now_ms, __ATOMIC_RELAXED);
}

uint64_t os_first_touch_ns(void *addr)
{
	if (!fake_is_mapped(addr, 1))
		misuse("os_first_touch_ns(%p): not mapped", addr);
	fake.touched = addr;
	return fake.touch_ns;
}

unsigned os_count_missing(const void *addr, size_t step, unsigned nr)
{
	uintptr_t at = (uintptr_t)addr;
	unsigned missing = 0, i;

	for (i = 0; i < nr; i++, at += step) {
		if (!fake_is_mapped((void *)at, 1))
			misuse("os_count_missing(%p): not mapped", (void *)at);
		missing += at >= fake.missing_from && at < fake.missing_to;
	}
	return missing;
}

uint64_t os_peak_rss(void)
{
	return fake.peak_rss ? fake.peak_rss : fake_mapped_bytes();
}

uint64_t os_random(void)
{
	return fake.random;
}

const char *fake_output(void)
{
	return output;
}

void fake_clear_output(void)
{
	*output_len = 0;
	output[0] = '\0';
}

void os_write(int fd, const char *buf, size_t len)
{
	size_t room = OUTPUT_MAX - sizeof(*output_len) - 1;

	(void)fd;
	enter(FAKE_WRITE);
	pthread_mutex_lock(&mutex);
	if (len > room - *output_len)
		misuse("too much output; it ends:\n%.*s", (int)len, buf);
	memcpy(output + *output_len, buf, len);
	*output_len += len;
	output[*output_len] = '\0';
	pthread_mutex_unlock(&mutex);
}

int os_open_report(const char *path)
{
	(void)path;
	return -1;
}

void os_close(int fd)
{
	(void)fd;
}

int os_pid(void)
{
	return (int)getpid();
}

void os_futex_wait(uint32_t *word, uint32_t expected)
{
	enter(FAKE_FUTEX_WAIT);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void os_futex_wake(uint32_t *word, int nr)
{
	enter(FAKE_FUTEX_WAKE);
	if (fake_on_wake)
		fake_on_wake();
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0);
}

/* The test's time passes when nobody came; others get as much of their own time to come. */
bool os_futex_wait_ms(uint32_t *word, uint32_t expected, uint64_t ms)
{
	const struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	enter(FAKE_FUTEX_WAIT);
	if (fake_on_wait) {
		fake.now_ms += ms;
		fake_on_wait(ms);
	} else if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &t, NULL, 0) &&
		   errno == ETIMEDOUT) {
		fake.now_ms += ms;
	}
	return __atomic_load_n(word, __ATOMIC_SEQ_CST) != expected;
}

bool os_group_file(const char *name, char path[OS_PATH_MOST])
{
	if (!fake.group)
		return false;
	snprintf(path, OS_PATH_MOST, "/sys/fs/cgroup%s/%s", fake.group, name);
	return true;
}

const char *os_pressure_open(bool group)
{
	(void)group;
	return fake.pressure_file;
}

bool os_pressure_wait(uint64_t ms)
{
	bool pressure;

	enter(FAKE_PRESSURE);
	if (!fake.pressure_file)
		misuse("os_pressure_wait: nothing is open");
	fake.now_ms += ms;
	if (fake_on_wait)
		fake_on_wait(ms);
	pressure = fake.pressure;
	fake.pressure = false;
	return pressure;
}

void os_pressure_close(void)
{
	enter(FAKE_PRESSURE_CLOSE);
}

/* Tests run what the thread would. */
void (*fake_thread)(void);

bool os_thread_start(void (*f)(void), const char *name)
{
	(void)name;
	if (enter(FAKE_THREAD))
		return false;
	fake_thread = f;
	return true;
}

void os_thread_join(void)
{
	fake_thread = NULL;
}

void (*fake_on_wait)(uint64_t ms);

int os_tid(void)
{
	return (int)syscall(SYS_gettid);
}

bool os_tid_is_gone(int tid)
{
	return syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH;
}

static bool can_membarrier;

void os_membarrier_init(void)
{
	can_membarrier = true;
}

bool os_can_membarrier(void)
{
	return can_membarrier;
}

/* Changing the protection of a page in use interrupts every CPU that may know it. */
bool os_membarrier(void)
{
	static volatile char *page;
	bool fail = enter(FAKE_MEMBARRIER);

	if (fail)
		return false;
	if (fake_on_membarrier)
		fake_on_membarrier();
	if (!page)
		page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	page[0]++;
	return mprotect((void *)page, 65536, PROT_READ) == 0 &&
	       mprotect((void *)page, 65536, PROT_READ | PROT_WRITE) == 0;
}

void os_yield(void)
{
	syscall(SYS_sched_yield);
}

bool os_secure(void)
{
	return fake.secure;
}

void os_abort(void)
{
	if (fake.abort_expected)
		_exit(FAKE_ABORTED);
	fprintf(stderr, "the library aborts; it said:\n%s", output);
	abort();
}

ptrdiff_t os_rseq_offset; /* none: os_cpu asks */

unsigned os_ask_cpu(void)
{
	return fake_cpu;
}
