/* An arena by jemalloc's calls: all that a job needs, given back at once. */
#include <stdio.h>
#include <string.h>

#include <buddymalloc/jemalloc.h>

int main(void)
{
	unsigned arena;
	size_t len = sizeof(arena), used;
	char name[64], *line;
	int flags, i;

	if (mallctl("arenas.create", &arena, &len, NULL, 0) != 0)
		return 1;
	flags = MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
	for (i = 0; i < 1000; i++) {
		line = mallocx(200, flags | MALLOCX_ZERO | MALLOCX_ALIGN(64));
		if (!line || line[199])
			return 1;
		strcpy(line, "a job's data");
	}

	snprintf(name, sizeof(name), "stats.arenas.%u.small.allocated", arena);
	len = sizeof(used);
	if (mallctl(name, &used, &len, NULL, 0) != 0 || used < 200 * 1000)
		return 1;

	/* No line has to be freed by itself. */
	snprintf(name, sizeof(name), "arena.%u.destroy", arena);
	if (mallctl(name, NULL, NULL, NULL, 0) != 0)
		return 1;
	puts("arena: done");
	return 0;
}
