/*
 * interface.h - the library's own functions, for trap tests
 *
 * They come with the library, which is preloaded: a test is linked without it.
 */
#ifndef BM_TEST_INTERFACE_H
#define BM_TEST_INTERFACE_H

#include <buddymalloc/gfp.h>
#include <buddymalloc/group.h>
#include <buddymalloc/heap.h>
#include <buddymalloc/jemalloc.h>
#include <buddymalloc/malloc.h>
#include <buddymalloc/page_alloc.h>
#include <buddymalloc/reclaim.h>
#include <buddymalloc/trace.h>

#pragma weak bm_scope_save
#pragma weak bm_scope_restore
#pragma weak bm_group_create
#pragma weak bm_group_enter
#pragma weak bm_group_leave
#pragma weak bm_group_usage
#pragma weak bm_group_peak
#pragma weak bm_group_failures
#pragma weak bm_group_limit
#pragma weak bm_group_name
#pragma weak bm_group_destroy
#pragma weak bm_heap_create
#pragma weak bm_heap_malloc
#pragma weak bm_heap_calloc
#pragma weak bm_heap_realloc
#pragma weak bm_heap_memalign
#pragma weak bm_heap_set_default
#pragma weak bm_heap_destroy
#pragma weak bm_version
#pragma weak bm_good_size
#pragma weak bm_expand
#pragma weak bm_stat_get
#pragma weak bm_alloc_pages_nodemask
#pragma weak bm_alloc_pages_node
#pragma weak bm_alloc_pages
#pragma weak bm_alloc_page
#pragma weak bm_alloc_pages_bulk
#pragma weak bm_get_free_pages
#pragma weak bm_get_free_page
#pragma weak bm_get_zeroed_page
#pragma weak bm_get_dma_pages
#pragma weak bm_alloc_pages_exact
#pragma weak bm_free_pages
#pragma weak bm_free_page
#pragma weak bm_free_pages_exact
#pragma weak bm_split_page
#pragma weak bm_page_address
#pragma weak bm_virt_to_page
#pragma weak bm_page_to_pfn
#pragma weak bm_page_order
#pragma weak bm_page_node
#pragma weak bm_reclaim
#pragma weak bm_trace_set
#pragma weak mallocx
#pragma weak rallocx
#pragma weak xallocx
#pragma weak sallocx
#pragma weak dallocx
#pragma weak sdallocx
#pragma weak nallocx
#pragma weak mallctl
#pragma weak mallctlnametomib
#pragma weak mallctlbymib
#pragma weak malloc_stats_print

#endif
