/* rank 7: bm_trace_set. */
#include "base/trace.h"
#include "malloc/internal.h"
#include "page_alloc/poison.h"

BM_EXPORT bm_trace_fn bm_trace_set(bm_trace_fn fn)
{
	bm_trace_fn before = __atomic_exchange_n(&trace_hook, fn, __ATOMIC_ACQ_REL);

	page_detour_update();
	return before;
}
