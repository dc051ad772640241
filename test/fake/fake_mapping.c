/* The fake's mappings: what is mapped, told and given back; see fake_os.h. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "os/os.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAX_RANGES 16384

void (*fake_on_refusal)(void);
void (*fake_on_give_back)(void *addr, size_t len);

struct range {
	uintptr_t start, end;
};

/* What each call of os_map_at mapped, in the order of addresses. */
static struct range mapped[MAX_RANGES];
static size_t nr_mapped;
static struct range foreign[64];
static size_t nr_foreign;

/* What os_lock_pages and os_prefer_node were given; the last word counts. */
static struct {
	struct range range;
	int node; /* -1: locked */
} told[1024];
static size_t nr_told;

static uint64_t given_bytes;

void fake_mapping_reset(void)
{
	fake_on_give_back = NULL;
	fake_on_refusal = NULL;
	nr_told = 0;
	nr_foreign = 0;
	given_bytes = 0;
}

void fake_foreign(void *addr, size_t len)
{
	if (nr_foreign == sizeof(foreign) / sizeof(foreign[0]))
		fake_misuse("too many foreign mappings");
	foreign[nr_foreign++] = (struct range){ (uintptr_t)addr, (uintptr_t)addr + len };
}

static struct range checked_range(const char *call, const void *addr, size_t len)
{
	struct range r = { (uintptr_t)addr, (uintptr_t)addr + len };

	if (!len || r.start % fake.page_size || len % fake.page_size || r.end < r.start)
		fake_misuse("%s(%p, %#zx): not whole pages of %zu bytes", call, addr, len,
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
	bool known;

	pthread_mutex_lock(&fake_mutex);
	known = is_mapped((struct range){ (uintptr_t)addr, (uintptr_t)addr + len });
	pthread_mutex_unlock(&fake_mutex);
	return known;
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

uint64_t fake_given_bytes(void)
{
	return given_bytes;
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
			fake_misuse("os_map_at(%p, %#zx): some of it is mapped already",
				    (void *)r.start, (size_t)(r.end - r.start));
		errno = EEXIST;
		return false;
	}
	if (nr_mapped == MAX_RANGES)
		fake_misuse("too many mappings");
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

	if (fake_enter(FAKE_MAP)) {
		if (fake_on_refusal)
			fake_on_refusal();
		errno = ENOMEM;
		return false;
	}
	pthread_mutex_lock(&fake_mutex);
	done = map_locked(r);
	pthread_mutex_unlock(&fake_mutex);
	return done;
}

bool os_unmap(void *addr, size_t len)
{
	struct range r = checked_range("os_unmap", addr, len);
	size_t from, to;
	struct range rest;

	if (fake_enter(FAKE_UNMAP)) {
		errno = ENOMEM;
		return false;
	}
	pthread_mutex_lock(&fake_mutex);
	from = find_mapped(r.start);
	if (!is_mapped(r))
		fake_misuse("os_unmap(%p, %#zx): not mapped", addr, len);
	/* What stays of the first mapping, and of the last. */
	if (mapped[from].start < r.start) {
		rest = mapped[from];
		if (nr_mapped == MAX_RANGES)
			fake_misuse("too many mappings");
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
	pthread_mutex_unlock(&fake_mutex);
	return true;
}

void fake_unmap(void *addr, size_t len)
{
	os_unmap(addr, len);
}

bool os_give_back(void *addr, size_t len)
{
	checked_range("os_give_back", addr, len);
	if (!fake_is_mapped(addr, len))
		fake_misuse("os_give_back(%p, %#zx): not mapped", addr, len);
	if (fake_enter(FAKE_GIVE_BACK))
		return false;
	if (fake_on_give_back)
		fake_on_give_back(addr, len);
	__atomic_fetch_add(&given_bytes, len, __ATOMIC_RELAXED);
	return !fake.map_for_real || fake.leaves_data || madvise(addr, len, MADV_DONTNEED) == 0;
}

bool os_give_back_clears(void)
{
	return !fake.leaves_data || !fake_given_bytes();
}

/* The system was in need of every other page, and has left the rest for now. */
bool os_give_back_lazily(void *addr, size_t len)
{
	struct range r = checked_range("os_give_back_lazily", addr, len);
	uintptr_t at;

	if (!fake_is_mapped(addr, len))
		fake_misuse("os_give_back_lazily(%p, %#zx): not mapped", addr, len);
	if (fake_enter(FAKE_GIVE_BACK_LAZILY))
		return false;
	if (fake_on_give_back)
		fake_on_give_back(addr, len);
	for (at = r.start; fake.map_for_real && at < r.end; at += fake.page_size)
		if (at / fake.page_size % 2 && madvise((void *)at, fake.page_size, MADV_DONTNEED))
			return false;
	return true;
}

enum os_renewed os_renew(void *addr, size_t len)
{
	checked_range("os_renew", addr, len);
	if (!fake_is_mapped(addr, len))
		fake_misuse("os_renew(%p, %#zx): not mapped", addr, len);
	if (fake_enter(FAKE_RENEW))
		return OS_NOT_RENEWED;
	if (fake.map_for_real && madvise(addr, len, MADV_DONTNEED) != 0)
		return OS_NOT_RENEWED;
	return OS_RENEWED;
}

static void tell(struct range r, int node)
{
	if (nr_told == sizeof(told) / sizeof(told[0]))
		fake_misuse("too many ranges bound or locked");
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
		fake_misuse("os_lock_pages(%p, %#zx): not mapped", addr, len);
	if (fake_enter(FAKE_LOCK)) {
		errno = ENOMEM;
		return false;
	}
	tell(r, -1);
	return true;
}

void os_populate(void *addr, size_t len)
{
	if (!fake_is_mapped(addr, len))
		fake_misuse("os_populate(%p, %#zx): not mapped", addr, len);
	fake_enter(FAKE_POPULATE);
}

void os_allow_huge_pages(void *addr, size_t len, bool allow)
{
	if (!fake_is_mapped(addr, len))
		fake_misuse("os_allow_huge_pages(%p, %#zx): not mapped", addr, len);
	fake_enter(allow ? FAKE_HUGE : FAKE_SMALL);
}

uint64_t os_first_touch_ns(void *addr)
{
	if (!fake_is_mapped(addr, 1))
		fake_misuse("os_first_touch_ns(%p): not mapped", addr);
	if (fake.touched == addr)
		fake_misuse("os_first_touch_ns(%p): not the first", addr);
	fake.touched = addr;
	return fake.touch_ns;
}

uint64_t os_small_page_ns(void)
{
	return fake.small_page_ns;
}

enum os_huge_use os_huge_pages(void)
{
	return (enum os_huge_use)fake.huge_pages;
}

void os_prefer_node(void *addr, size_t len, unsigned node)
{
	struct range r = checked_range("os_prefer_node", addr, len);

	fake_enter(FAKE_PREFER);
	tell(r, (int)node);
}

enum os_moved os_move_pages(void *to, void *from, size_t len)
{
	struct range t = checked_range("os_move_pages", to, len);
	struct range f = checked_range("os_move_pages", from, len);

	if (t.start < f.end && f.start < t.end)
		fake_misuse("os_move_pages(%p, %p, %#zx): overlap", to, from, len);
	if (!fake_is_mapped(to, len) || !fake_is_mapped(from, len))
		fake_misuse("os_move_pages(%p, %p, %#zx): not mapped", to, from, len);
	if (fake_enter(FAKE_MOVE)) {
		errno = EINVAL;
		return OS_NOT_MOVED;
	}
	memcpy(to, from, len);
	return madvise(from, len, MADV_DONTNEED) == 0 ? OS_MOVED : OS_NOT_MOVED;
}
