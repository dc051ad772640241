/* The module that deepbind.c opens: it allocates and frees. */
#include <stdlib.h>
#include <string.h>

#include "deepbind-module.h"

extern __attribute__((visibility("default"))) const struct module module;

const struct module module = {
	.malloc_it_sees = (void *)malloc,
	.allocate = malloc,
	.release = free,
	.duplicate = strdup,
};
