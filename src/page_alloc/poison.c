/* rank 4: page poisoning; see poison.h. */
#include "page_alloc/poison.h"

#include <string.h>

#include "base/options.h"
#include "base/report.h"
#include "base/trace.h"
#include "page_alloc/internal.h"

/* The kernel's PAGE_POISON: no pointer, no text, no small number. */
#define POISON 0xaa

bool page_detour;
static bool poisoning; /* written at start, when there is one thread */

void page_detour_update(void)
{
	bm_trace_fn hook;
	bool detour;

	if (options.page_poison && !poisoning) {
		/* What was freed before has no poison: it becomes zero. */
		shrink_all();
		reclaim_purge(UINT64_MAX);
		poisoning = true;
	}
	/* Two threads may set the hook together: the last word is that of who saw the last hook. */
	do {
		hook = __atomic_load_n(&trace_hook, __ATOMIC_SEQ_CST);
		detour = poisoning || !options.decay_ms || hook;
		if (__atomic_load_n(&page_detour, __ATOMIC_SEQ_CST) != detour)
			__atomic_store_n(&page_detour, detour, __ATOMIC_SEQ_CST);
	} while (__atomic_load_n(&trace_hook, __ATOMIC_SEQ_CST) != hook);
}

void pages_poison(u64 pfn, u64 nr)
{
	if (!poisoning)
		return;
	for (; nr; nr--, pfn++)
		if (pages_nr_dirty(pfn, 1))
			memset(pfn_to_addr(pfn), POISON, PAGE_SIZE);
}

/* The first byte that is not poison; PAGE_SIZE: all are. */
static size_t first_changed(const unsigned char *page)
{
	size_t i;

	for (i = 0; i < PAGE_SIZE && page[i] == POISON; i++)
		;
	return i;
}

void pages_check_poison(u64 pfn, u64 nr)
{
	u64 head = pfn, end = pfn + nr;

	if (!poisoning)
		return;
	for (; pfn < end; pfn++) {
		const unsigned char *page = (const unsigned char *)pfn_to_addr(pfn);
		size_t at;

		if (!pages_nr_dirty(pfn, 1))
			continue;
		at = first_changed(page);
		if (at == PAGE_SIZE)
			continue;
		report_corruption("page %p, in a block of order %u at %p, was written to after it was freed: byte %u is 0x%02x",
				  (const void *)page, order_for_pages(nr),
				  (void *)pfn_to_addr(head), (unsigned)at, page[at]);
		return;
	}
}
