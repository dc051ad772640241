/* A plug-in with a budget of its own. */
#include <buddymalloc/group.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Takes all it can get; how much that was. */
static size_t greedy(void **last)
{
	size_t bytes = 0;
	void **p;

	for (*last = NULL; (p = malloc(1000)); bytes += 1000) {
		*p = *last;
		*last = p;
	}
	return bytes;
}

int main(void)
{
	struct bm_group *plugin = bm_group_create("plug-in", 1 << 20);
	bm_scope_t before;
	size_t bytes;
	void *last, *mine;

	if (!plugin)
		return 1;
	before = bm_group_enter(plugin);
	if (before == BM_SCOPE_FAILED)
		return 1;
	bytes = greedy(&last);
	bm_group_leave(before);
	if (errno != ENOMEM || bytes > 1 << 20 || bm_group_failures(plugin) == 0)
		return 1;
	/* The rest of the program does not notice. */
	mine = malloc(10 << 20);
	if (!mine)
		return 1;
	free(mine);
	while (last) {
		void *p = last;

		last = *(void **)p;
		free(p);
	}
	if (bm_group_usage(plugin) != 0 || bm_group_destroy(plugin) != 0)
		return 1;
	puts("group: done");
	return 0;
}
