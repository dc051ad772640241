/*
 * rank 7: what the allocator tells of itself: mallinfo and mallinfo2,
 * malloc_info, malloc_stats, malloc_trim, mallopt, bm_stat_get, and the report at
 * exit; and bm_reclaim, which asks malloc_trim's question the other way round. Those
 * without bm_ are glibc's (see mallinfo(3), malloc_info(3), malloc_stats(3),
 * malloc_trim(3), mallopt(3)); the figures are this allocator's.
 *
 * Figures are read without stopping the program, so under load they are close
 * rather than exact.
 */
#include <buddymalloc/malloc.h>
#include <buddymalloc/reclaim.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/stats.h"
#include "malloc/figures.h"
#include "malloc/internal.h"
#include "os/os.h"
#include "page_alloc/page_alloc.h"

void gather_figures(struct figures *f)
{
	struct cached_totals cached;
	struct page_totals pages;
	unsigned class;
	u64 told;

	memset(f, 0, sizeof(*f));
	ensure_up();
	stats_sum(&f->events, &stats_shared);
	tcache_totals(&f->events, &cached);
	f->cached_bytes = cached.bytes;
	f->cached_objects = cached.objects;
	f->threads = cached.threads;
	f->shards = nr_shards;
	page_alloc_totals(&pages);
	f->free_pages = pages.free + pages.pcp;
	f->free_bytes = f->free_pages << PAGE_SHIFT;
	f->dirty_bytes = pages.dirty << PAGE_SHIFT;
	f->heap_bytes = memmap_heap_bytes();
	f->mem_map_bytes = memmap_meta_bytes();
	f->peak_bytes = memmap_peak_bytes();
	for (class = 0; class < NR_CLASSES; class++) {
		struct class_totals t;

		slab_class_totals(class, NULL, &t);
		f->slab_bytes += t.slabs * size_classes[class].nr_pages << PAGE_SHIFT;
		f->slab_free_bytes += t.free * size_classes[class].size;
		f->used_bytes += (t.objects - t.free) * size_classes[class].size;
	}
	f->used_bytes -= MIN(f->cached_bytes, f->used_bytes);
	f->large_bytes = large_bytes();
	f->large_count = large_count();
	f->used_bytes += f->large_bytes;
	told = f->free_bytes + f->slab_bytes + f->large_bytes;
	f->page_blocks_bytes = f->heap_bytes - MIN(told, f->heap_bytes);
}

/*
 * glibc counts blocks that were mapped one by one apart (hblks, hblkhd); here
 * these are the large blocks. Everything else is the arena.
 */
BM_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct figures f;
	u64 arena, used;

	gather_figures(&f);
	arena = f.heap_bytes - MIN(f.large_bytes, f.heap_bytes);
	used = f.used_bytes - f.large_bytes;
	return (struct mallinfo2){
		.arena = arena,
		.ordblks = f.free_pages,
		.smblks = f.cached_objects,
		.hblks = f.large_count,
		.hblkhd = f.large_bytes,
		.fsmblks = f.cached_bytes,
		.uordblks = used,
		.fordblks = arena - MIN(used + f.page_blocks_bytes, arena),
		.keepcost = f.dirty_bytes,
	};
}

static int clip_to_int(size_t n)
{
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

/* As mallinfo2; figures beyond INT_MAX are cut there. */
BM_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 m = mallinfo2();

	return (struct mallinfo){
		.arena = clip_to_int(m.arena),
		.ordblks = clip_to_int(m.ordblks),
		.smblks = clip_to_int(m.smblks),
		.hblks = clip_to_int(m.hblks),
		.hblkhd = clip_to_int(m.hblkhd),
		.fsmblks = clip_to_int(m.fsmblks),
		.uordblks = clip_to_int(m.uordblks),
		.fordblks = clip_to_int(m.fordblks),
		.keepcost = clip_to_int(m.keepcost),
	};
}

static void report_figures(const struct report_sink *to)
{
	struct figures f;
	const u64 *counter = (const u64 *)&f.events;
	unsigned class;
	size_t i;

	gather_figures(&f);
#define FIGURE(name, doc) report_to(to, #name " %lu", (unsigned long)f.name);
#include "base/figures.def"
	for (i = 0; i < NR_STATS; i++)
		report_to(to, "%s %lu", stat_names[i], (unsigned long)counter[i]);
	for (class = 0; class < NR_CLASSES; class++) {
		struct class_totals t;

		slab_class_totals(class, NULL, &t);
		if (t.slabs)
			report_to(to, "class %u: slabs %lu, objects %lu, free %lu",
				  size_classes[class].size, (unsigned long)t.slabs,
				  (unsigned long)t.objects, (unsigned long)t.free);
	}
	page_alloc_report(to);
}

BM_EXPORT int bm_stat_get(const char *name, uint64_t *value)
{
	struct figures f;
	const u64 *counter = (const u64 *)&f.events;
	size_t i;

	gather_figures(&f);
#define FIGURE(figure, doc)                                                                        \
	if (!strcmp(name, #figure)) {                                                              \
		*value = f.figure;                                                                 \
		return 0;                                                                          \
	}
#include "base/figures.def"
	for (i = 0; i < NR_STATS; i++)
		if (!strcmp(name, stat_names[i])) {
			*value = counter[i];
			return 0;
		}
	errno = ENOENT;
	return -1;
}

/* stats_file with every %p replaced by the process id; false when it does not fit. */
static bool report_path(char *out, size_t room)
{
	const char *in = options.stats_file;
	size_t len = 0;

	for (; *in; in++) {
		int n = 1;

		if (in[0] == '%' && in[1] == 'p') {
			n = snprintf(out + len, room - len, "%d", os_pid());
			in++;
		} else {
			out[len] = *in;
		}
		len += (size_t)n;
		if (len + 1 >= room)
			return false;
	}
	out[len] = '\0';
	return true;
}

/* Where stats_file says; -1 after a complaint. */
static int open_report(void)
{
	char path[OPTION_STR_MAX + 64];
	int fd = -1;

	if (report_path(path, sizeof(path)))
		fd = os_open_report(path);
	else
		errno = ENAMETOOLONG;
	if (fd < 0)
		report("stats_file: no report, '%s' cannot be written: %s", options.stats_file,
		       strerrordesc_np(errno));
	return fd;
}

void print_report(void)
{
	struct report_sink to = { .fd = options.stats_file[0] ? open_report() : os_stderr() };

	if (to.fd < 0)
		return;
	report_to(&to, "report of pid %d (%s)", os_pid(), program_invocation_short_name);
	report_figures(&to);
	if (options.stats_file[0])
		os_close(to.fd);
}

void report_statistics(const struct report_sink *to)
{
	report_to(to, "statistics of pid %d (%s)", os_pid(), program_invocation_short_name);
	report_figures(to);
}

BM_EXPORT void malloc_stats(void)
{
	report_statistics(&(struct report_sink){ .fd = 2 });
}

/*
 * Of the one heap, and of all: the same. "fast" are objects in thread caches, "rest"
 * everything else that is free, whose count is of pages without those that slabs have.
 */
static void print_totals(FILE *fp, const struct figures *f)
{
	u64 now = f->heap_bytes + f->mem_map_bytes; /* as the peak counts */

	fprintf(fp,
		"<total type=\"fast\" count=\"%lu\" size=\"%lu\"/>\n"
		"<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n"
		"<system type=\"current\" size=\"%lu\"/>\n"
		"<system type=\"max\" size=\"%lu\"/>\n"
		"<aspace type=\"total\" size=\"%lu\"/>\n"
		"<aspace type=\"mprotect\" size=\"%lu\"/>\n",
		(unsigned long)f->cached_objects, (unsigned long)f->cached_bytes,
		(unsigned long)f->free_pages,
		(unsigned long)(f->free_bytes + f->slab_free_bytes), (unsigned long)now,
		(unsigned long)f->peak_bytes, (unsigned long)now, (unsigned long)now);
}

/* glibc's document: one heap element with the free memory by size, and totals. */
BM_EXPORT int malloc_info(int options_unused, FILE *fp)
{
	struct figures f;
	unsigned class;

	if (options_unused != 0) {
		errno = EINVAL;
		return -1;
	}
	gather_figures(&f);
	fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n", fp);
	for (class = 0; class < NR_CLASSES; class++) {
		struct class_totals t;
		u32 size = size_classes[class].size;
		u32 from = class ? size_classes[class - 1].size + 1 : 1;

		slab_class_totals(class, NULL, &t);
		if (t.free)
			fprintf(fp, "  <size from=\"%u\" to=\"%u\" total=\"%lu\" count=\"%lu\"/>\n",
				from, size, (unsigned long)(t.free * size), (unsigned long)t.free);
	}
	fputs("</sizes>\n", fp);
	print_totals(fp, &f);
	fputs("</heap>\n", fp);
	fprintf(fp, "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n",
		(unsigned long)f.large_count, (unsigned long)f.large_bytes);
	print_totals(fp, &f);
	fputs("</malloc>\n", fp);
	return ferror(fp) ? -1 : 0;
}

/* 1 when memory went back to the system; up to `pad` bytes stay ready for use. */
BM_EXPORT int malloc_trim(size_t pad)
{
	tcache_get(); /* unsealed, so that what the thread keeps goes too */
	return reclaim_trim(pad) > 0;
}

BM_EXPORT size_t bm_reclaim(size_t bytes)
{
	int saved = errno;
	u64 given;

	tcache_get(); /* as above */
	given = reclaim_give(bytes);
	errno = saved;
	return given;
}

/*
 * M_TRIM_THRESHOLD sets how many bytes of free memory ageing leaves backed (-1:
 * all of it). The other parameters tune mechanisms of glibc's that have no
 * counterpart here: there is nothing to do for them, and a program that asks is
 * told so with success, as it would treat an error as one of its own. What
 * would promise a behaviour (M_PERTURB, M_CHECK_ACTION) is refused.
 */
BM_EXPORT int mallopt(int param, int value)
{
	switch (param) {
	case M_TRIM_THRESHOLD:
		if (value < -1)
			return 0;
		reclaim_set_floor(value < 0 ? UINT64_MAX : (u64)value);
		return 1;
	case M_MXFAST:
	case M_TOP_PAD:
	case M_MMAP_THRESHOLD:
	case M_MMAP_MAX:
	case M_ARENA_TEST:
	case M_ARENA_MAX:
		return 1;
	default:
		return 0;
	}
}

/* The names glibc gives its own, for those who call past interposition. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
ALIAS(mallinfo) struct mallinfo __libc_mallinfo(void);
ALIAS(mallopt) int __libc_mallopt(int param, int value);
