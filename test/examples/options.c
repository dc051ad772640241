/* A program that brings options along, one of them wrong. */
#include <buddymalloc/malloc.h>

#include <stdio.h>
#include <stdlib.h>

const char *bm_conf = "hard_limit:32M,decay_ms:soon";

int main(void)
{
	/* In a variable that the compiler does not see through. */
	static void *volatile p;

	p = malloc(64 << 20);
	puts(p ? "options: no limit" : "options: limited");
	free(p);
	return 0;
}
