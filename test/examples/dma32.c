/* A buffer for a device, or a JIT's code, that 32 bits can point to. */
#include <buddymalloc/page_alloc.h>

#include <stdint.h>
#include <stdio.h>

int main(void)
{
	void *p = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_DMA32, 3);

	if (!p) {
		perror("no page below 4 GiB");
		return 1;
	}
	if ((uintptr_t)p + (BM_PAGE_SIZE << 3) > (uintptr_t)1 << 32)
		return 1;
	bm_free_pages(p, 3);
	puts("dma32: done");
	return 0;
}
