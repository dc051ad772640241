/* A buffer that grows by what it gets anyway, and what the heap says of itself. */
#include <buddymalloc/malloc.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Whoever runs the program may say otherwise in BUDDYMALLOC_CONF. */
const char *bm_conf = "decay_ms:250,background_thread:true";

int main(void)
{
	size_t size = bm_good_size(1000);
	char *buffer = malloc(size);
	uint64_t used;

	if (!buffer)
		return 1;
	while (size < 50000000) {
		char *more;

		size = bm_good_size(size + size / 2);
		more = bm_expand(buffer, size);
		if (!more)
			more = realloc(buffer, size);
		if (!more)
			return 1;
		buffer = more;
	}
	if (bm_stat_get("used_bytes", &used) != 0 || used < size)
		return 1;
	fprintf(stderr, "%" PRIu64 " bytes are in use\n", used);
	free(buffer);
	puts("figures: done");
	return 0;
}
