/*
 * rank 1: trace points. TRACE(NAME, name, a, b, c, d) is a static probe, a nop
 * until somebody attaches, and a call of the program's function if one is set.
 * PROBE is the probe alone, for paths that are left when a function is set.
 */
#ifndef BM_BASE_TRACE_H
#define BM_BASE_TRACE_H

#include <buddymalloc/trace.h>

#include "base/types.h"

#ifdef HAVE_SYS_SDT_H
#include <sys/sdt.h>
#define PROBE(name, a, b, c, d)                                                                 \
	DTRACE_PROBE4(buddymalloc, name, (u64)(a), (u64)(b), (u64)(c), (u64)(d))
#else
#define PROBE(name, a, b, c, d) ((void)0)
#endif

/* Acquire/release: what it reads was written before it was set. */
extern bm_trace_fn trace_hook HIDDEN;

#define TRACE(NAME, name, a, b, c, d)                                                           \
	do {                                                                                    \
		bm_trace_fn hook_ = __atomic_load_n(&trace_hook, __ATOMIC_ACQUIRE);             \
                                                                                                \
		PROBE(name, a, b, c, d);                                                        \
		if (unlikely(hook_))                                                            \
			hook_(BM_TRACE_##NAME, (u64)(a), (u64)(b), (u64)(c), (u64)(d));         \
	} while (0)

#endif
