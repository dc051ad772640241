/*
 * setuid-helper.c - tells by its exit status whether it runs set-uid
 *
 * It has the library linked in. That hard_limit holds where the caller may ask
 * for it proves that the library serves, in either case.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

int main(int argc, char **argv)
{
	void *p = malloc(10 << 20);
	int secure = getauxval(AT_SECURE) != 0;

	(void)argc;
	(void)argv;
	/* hard_limit:4M was asked for: it holds only where the caller may ask. */
	if ((p != NULL) != secure)
		return 12;
	if (p)
		memset(p, 1, 10 << 20);
	free(p);
	return secure ? 10 : 11;
}
