/* rank 4: what a block's owner does to the backing of its pages. */
#include "base/report.h"
#include "os/os.h"
#include "page_alloc/internal.h"
#include "page_alloc/poison.h"

u64 pages_give_back(u64 pfn, u64 nr, enum give how)
{
	u64 given = dirty_give_back(pfn, nr, how);

	if (given)
		thp_given(pfn, nr);
	return given;
}

void pages_keep(u64 pfn, u64 nr)
{
	pages_set_dirty(pfn, nr);
	if (!pages_give_back(pfn, nr, GIVE_ALL))
		pages_poison(pfn, nr);
}

void pages_moved(u64 pfn, u64 nr)
{
	pages_clear_dirty(pfn, nr);
	thp_given(pfn, nr);
}

void pages_moved_to(u64 to, u64 from, u64 nr)
{
	if (thp_differs(to, from, nr))
		thp_moved(to, from, nr);
	if (pfn_zone(to) != pfn_zone(from))
		pages_bind(to, nr);
}

bool pages_renew(u64 pfn, u64 nr)
{
	enum os_renewed how = os_renew(pfn_to_addr(pfn), (size_t)nr << PAGE_SHIFT);

	if (how == OS_RENEWAL_LOST)
		report_fatal("%lu bytes at %p were unmapped, and the system does not map them again",
			     (unsigned long)nr << PAGE_SHIFT, (void *)pfn_to_addr(pfn));
	if (how != OS_RENEWED)
		return false;
	pages_clear_dirty(pfn, nr);
	/* What the system was told of its neighbours, or they would not be one. */
	thp_given(pfn, nr);
	thp_repeat(pfn, nr);
	pages_bind(pfn, nr);
	return true;
}
