#!/bin/sh
# The static probes that the library was built with are all there.
: "${BM_LIB:?}"
command -v readelf >/dev/null || { echo "no readelf here"; exit 77; }
grep -q '^#define HAVE_SYS_SDT_H 1' config.h || { echo "built without <sys/sdt.h>"; exit 77; }

probes=$(readelf -nW "$BM_LIB" | sed -n 's/^ *Name: //p' | sort -u)
for name in mm_page_alloc mm_page_free mm_page_alloc_zone_locked mm_page_pcpu_drain \
	mm_page_alloc_extfrag malloc_refill malloc_flush malloc_large free_large; do
	printf '%s\n' "$probes" | grep -qx "$name" || { echo "no probe $name"; exit 1; }
done
