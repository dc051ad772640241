/* What the module of deepbind.c shows of itself, under the name "module". */
#ifndef BM_TEST_DEEPBIND_MODULE_H
#define BM_TEST_DEEPBIND_MODULE_H

#include <stddef.h>

struct module {
	void *malloc_it_sees;
	void *(*allocate)(size_t size);
	void (*release)(void *p);
	char *(*duplicate)(const char *s);
};

#endif
