#!/bin/sh
# The library exports the malloc family, jemalloc's calls, the C++ operators, dlopen, what
# pthread_atfork calls and bm_ names, and nothing else: any other symbol could take the place of a
# program's own.
: "${BM_LIB:?}"
command -v nm >/dev/null || { echo "no nm here"; exit 77; }

exported=$(nm -D --defined-only "$BM_LIB" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
[ -n "$exported" ] || { echo "nm shows no symbol of $BM_LIB"; exit 1; }
bad=$(printf '%s\n' "$exported" | grep -Ev '^(malloc|calloc|realloc|reallocarray|free|cfree|aligned_alloc|posix_memalign|memalign|valloc|pvalloc|malloc_usable_size|free_sized|free_aligned_sized|malloc_trim|mallopt|mallinfo2?|malloc_stats|malloc_info|(m|r|x|s|d|sd|n)allocx|mallctl(nametomib|bymib)?|malloc_stats_print|dlopen|__register_atfork|__libc_[a-z]+|__posix_memalign|_Zn[wa]m.*|_Zd[la]Pv.*|bm_.*)$')
if [ -n "$bad" ]; then
	echo "exported, but not of the interface:"
	printf '%s\n' "$bad"
	exit 1
fi
printf '%s\n' "$exported" | grep -qx malloc || { echo "malloc is not exported"; exit 1; }

# Unloading it would leave threads without the code that ends their caches.
if command -v readelf >/dev/null; then
	readelf -d "$BM_LIB" | grep -q 'NODELETE' || { echo "not linked with -z nodelete"; exit 1; }
	# Before a program's .preinit_array a sanitizer's open and read are not ready.
	readelf -d "$BM_LIB" | grep -q 'INITFIRST' && { echo "linked with -z initfirst"; exit 1; }
	# A thread variable of the initial-exec model, and a small one.
	readelf -d "$BM_LIB" | grep -q 'STATIC_TLS' || { echo "not of the static TLS model"; exit 1; }
	tls=$(readelf -lW "$BM_LIB" | awk '$1 == "TLS" { print $6 }')
	[ $((${tls:-0})) -le 128 ] || { echo "$tls bytes of static TLS"; exit 1; }
fi
