/* rank 1: the program's trace function; see trace.h. */
#include "base/trace.h"

bm_trace_fn trace_hook;
