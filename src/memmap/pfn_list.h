/* rank 2: doubly linked lists of pages by their pfns, through next and prev of struct page. */
#ifndef BM_MEMMAP_PFN_LIST_H
#define BM_MEMMAP_PFN_LIST_H

#include "memmap/memmap.h"

struct pfn_list {
	u32 first, last; /* 0: it is empty */
};

/* `page` is that of pfn: whoever has it already saves its look-up. */
static inline void pfn_list_add_head(struct pfn_list *list, struct page *page, u64 pfn)
{
	page->prev = 0;
	page->next = list->first;
	if (page->next)
		pfn_to_page(page->next)->prev = (u32)pfn;
	else
		list->last = (u32)pfn;
	list->first = (u32)pfn;
}

static inline void pfn_list_add_tail(struct pfn_list *list, struct page *page, u64 pfn)
{
	page->next = 0;
	page->prev = list->last;
	if (page->prev)
		pfn_to_page(page->prev)->next = (u32)pfn;
	else
		list->first = (u32)pfn;
	list->last = (u32)pfn;
}

static inline void pfn_list_del(struct pfn_list *list, u64 pfn)
{
	struct page *page = pfn_to_page(pfn);

	if (page->prev)
		pfn_to_page(page->prev)->next = page->next;
	else
		list->first = page->next;
	if (page->next)
		pfn_to_page(page->next)->prev = page->prev;
	else
		list->last = page->prev;
}

#endif
