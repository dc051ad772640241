/* A request's memory, given back as a whole. */
#include <buddymalloc/heap.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	struct bm_heap *heap = bm_heap_create();
	bm_scope_t before;
	int i;

	if (!heap)
		return 1;
	for (i = 1; i < 10000; i++) {
		char *p = bm_heap_malloc(heap, (size_t)i);

		if (!p)
			return 1;
		memset(p, i, (size_t)i);
	}
	/* Code that only knows malloc. */
	before = bm_heap_set_default(heap);
	if (before == BM_SCOPE_FAILED || !strdup("a copy in the heap"))
		return 1;
	bm_scope_restore(before);
	if (bm_heap_destroy(heap) != 0)
		return 1;
	puts("heap: done");
	return 0;
}
