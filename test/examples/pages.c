/* Blocks of pages: zeroed, of exact size, many at once, split. */
#include <buddymalloc/page_alloc.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
	struct bm_page *pages[16] = { NULL };
	char *buffer = bm_get_free_pages(BM_GFP_KERNEL | BM_GFP_ZERO, 4);
	char *exact = bm_alloc_pages_exact(33 << 10, BM_GFP_KERNEL);
	size_t i;

	if (!buffer || !exact || bm_alloc_pages_bulk(BM_GFP_KERNEL, 16, pages) != 16) {
		perror("no pages");
		return 1;
	}
	for (i = 0; i < 16 * BM_PAGE_SIZE; i++)
		if (buffer[i])
			return 1;
	memset(exact, 1, 33 << 10);
	for (i = 0; i < 16; i++)
		bm_free_page(bm_page_address(pages[i]));
	bm_free_pages_exact(exact, 33 << 10);
	bm_split_page(bm_virt_to_page(buffer), 4);
	for (i = 0; i < 16; i++)
		bm_free_page(buffer + i * BM_PAGE_SIZE);
	puts("pages: done");
	return 0;
}
