/* A fake of rank 0, but for mappings (fake_mapping.c); see fake_os.h. */
#include "internal.h"

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

#define OUTPUT_MAX (64 << 10)

struct fake_machine fake;
__thread unsigned fake_cpu, fake_node;
void (*fake_on_sleep)(void);
void (*fake_on_wake)(void);
void (*fake_on_membarrier)(void);

static struct {
	uint64_t calls;
	uint64_t first, times;	/* failure: number of the first call, and how many */
	bool failed;
} state[NR_FAKE_CALLS];

static char *output;
static size_t *output_len;
pthread_mutex_t fake_mutex = PTHREAD_MUTEX_INITIALIZER;

void fake_misuse(const char *fmt, ...)
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
static void take_fake_mutex(void)
{
	pthread_mutex_lock(&fake_mutex);
}

static void drop_fake_mutex(void)
{
	pthread_mutex_unlock(&fake_mutex);
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
	fake_on_sleep = NULL;
	fake_on_wake = NULL;
	fake_on_membarrier = NULL;
	fake_mapping_reset();
	if (!output) {
		output = mmap(NULL, OUTPUT_MAX, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (output == MAP_FAILED)
			fake_misuse("no memory for the output");
		output_len = (size_t *)(void *)output;
		output += sizeof(*output_len);
		pthread_atfork(take_fake_mutex, drop_fake_mutex, drop_fake_mutex);
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

bool fake_enter(enum fake_call call)
{
	uint64_t nr = __atomic_add_fetch(&state[call].calls, 1, __ATOMIC_RELAXED);

	if (!state[call].times || nr < state[call].first ||
	    nr - state[call].first >= state[call].times)
		return false;
	__atomic_store_n(&state[call].failed, true, __ATOMIC_RELAXED);
	return true;
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
	fake_enter(FAKE_CONTAINER);
	*out = (struct os_group_limit){ fake.cgroup_bytes, fake.cgroup_error, "" };
	if (fake.cgroup_error)
		snprintf(out->file, sizeof(out->file), "/fake/memory.max");
}

void os_cgroup_limit(struct os_group_limit *out)
{
	fake_enter(FAKE_CGROUP);
	*out = (struct os_group_limit){ fake.cgroup_bytes, fake.cgroup_error, "" };
	if (fake.cgroup_error)
		snprintf(out->file, sizeof(out->file), "/fake/memory.max");
}

uint64_t os_rlimit_bytes(void)
{
	return fake.rlimit_bytes;
}

void os_sleep_ms(unsigned ms)
{
	fake_enter(FAKE_SLEEP);
	fake.now_ms += ms;
	if (fake_on_sleep)
		fake_on_sleep();
}

uint64_t os_node_mask(void)
{
	return fake.node_mask;
}

void os_node_distances(unsigned from, unsigned distance[OS_NODES])
{
	unsigned n;

	for (n = 0; n < OS_NODES; n++)
		distance[n] = 10 * (1 + (from > n ? from - n : n - from));
}

unsigned os_node(void)
{
	return fake_node;
}

uint64_t os_now_ms(void)
{
	fake_enter(FAKE_NOW);
	return __atomic_load_n(&fake.now_ms, __ATOMIC_RELAXED);
}

unsigned os_count_missing(const void *addr, size_t step, unsigned nr)
{
	uintptr_t at = (uintptr_t)addr;
	unsigned missing = 0, i;

	for (i = 0; i < nr; i++, at += step) {
		if (!fake_is_mapped((void *)at, 1))
			fake_misuse("os_count_missing(%p): not mapped", (void *)at);
		missing += at >= fake.missing_from && at < fake.missing_to;
	}
	return missing;
}

uint64_t os_nr_faults(void)
{
	return fake.nr_faults;
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
	fake_enter(FAKE_WRITE);
	pthread_mutex_lock(&fake_mutex);
	if (len > room - *output_len)
		fake_misuse("too much output; it ends:\n%.*s", (int)len, buf);
	memcpy(output + *output_len, buf, len);
	*output_len += len;
	output[*output_len] = '\0';
	pthread_mutex_unlock(&fake_mutex);
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
	fake_enter(FAKE_FUTEX_WAIT);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void os_futex_wake(uint32_t *word, int nr)
{
	fake_enter(FAKE_FUTEX_WAKE);
	if (fake_on_wake)
		fake_on_wake();
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0);
}

/* The test's time passes when nobody came; others get as much of their own time to come. */
bool os_futex_wait_ms(uint32_t *word, uint32_t expected, uint64_t ms)
{
	const struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	fake_enter(FAKE_FUTEX_WAIT);
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

	fake_enter(FAKE_PRESSURE);
	if (!fake.pressure_file)
		fake_misuse("os_pressure_wait: nothing is open");
	fake.now_ms += ms;
	if (fake_on_wait)
		fake_on_wait(ms);
	pressure = fake.pressure;
	fake.pressure = false;
	return pressure;
}

void os_pressure_close(void)
{
	fake_enter(FAKE_PRESSURE_CLOSE);
}

/* Tests run what the thread would. */
void (*fake_thread)(void);

bool os_thread_start(void (*f)(void), const char *name)
{
	(void)name;
	if (fake_enter(FAKE_THREAD))
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
	bool fail = fake_enter(FAKE_MEMBARRIER);

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
