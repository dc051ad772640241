/* rank 7: everything there is to tell, gathered once; base/figures.def says what it is. */
#ifndef BM_MALLOC_FIGURES_H
#define BM_MALLOC_FIGURES_H

#include "base/stats.h"

struct figures {
	struct stats events;
	u64 free_pages, large_count;
#define FIGURE(name, doc) u64 name;
#include "base/figures.def"
};

/* Read while the program goes on, so close rather than exact. */
void gather_figures(struct figures *f);

#endif
