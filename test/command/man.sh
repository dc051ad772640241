#!/bin/sh
# The manual pages: complete, true, and without a warning of groff's.
. "${srcdir:-.}/test/command/lib.sh"

page() {
	if [ -e "man/$1" ]; then echo "man/$1"; else echo "$top/man/$1"; fi
}
library=$(page libbuddymalloc.7)
command_page=$(page buddymalloc.1)

# What stands between two headings of libbuddymalloc(7).
section() {
	sed -n "/^\.S[HS] $1\$/,/^\.S[HS] $2\$/p" "$library"
}
is 'options in libbuddymalloc(7)' \
	"$(section OPTIONS REPORTS | sed -n 's/^\\fB\([a-z0-9_]*\)\\fP:.*/\1/p')" \
	"$(def_names options OPTION_)"
is 'the words of an option' "$(grep '^\\fBcgroup' "$library")" \
	'\fBcgroup\fP: auto, off or any (default auto)'
is 'a limit' "$(grep '^\\fBhard_limit' "$library")" \
	'\fBhard_limit\fP: bytes, 0 or 4K to 64T, or 1% to 100% (default 0)'
is 'a number without a unit' "$(grep '^\\fBnuma_node' "$library")" \
	'\fBnuma_node\fP: \-1 to 63 (default \-1)'
is 'counters in libbuddymalloc(7)' \
	"$(section Counters 'An invalid.*' | sed -n 's/^\.B \([a-z0-9_]*\)$/\1/p')" \
	"$(def_names stats STAT)"
# The page describes what a report says, name by name and in the same order.
echo text >"$scratch/text"
run --stats sed q "$scratch/text"
is 'names in the report and in libbuddymalloc(7)' \
	"$(section Figures 'An invalid.*' | sed -n 's/^\.B \([a-z0-9_]*\)$/\1/p')" \
	"$(sed -n 's/^buddymalloc: \([a-z0-9_]*\) [0-9]*$/\1/p' "$scratch/err")"
for option in -o --stats --help --version; do
	# roff's minus signs.
	sed 's/\\-/-/g' "$command_page" | grep -q "^\.B[IR]* *\"*$option" ||
		is "$option in buddymalloc(1)" missing described
done

# Every name that the page lists as the interface is one of the library's.
for name in $(section INTERFACE OPTIONS |
	sed -n 's/^\.BR* \([a-z0-9_]*\)\( ,\| (\|$\).*/\1/p' | sort -u); do
	case $name in errno | bm_mallocx) continue ;; esac
	nm -D --defined-only .libs/libbuddymalloc.so | grep -q " [TWi] $name\(@\|\$\)" ||
		is "$name of libbuddymalloc(7)" 'not exported' exported
done

# Every bm_ name that is exported has a page that says something of it, and every flag its
# entry.
pages="$(page bm_alloc_pages.3) $(page bm_group_create.3) $(page bm_heap_create.3) \
	$(page bm_malloc.3) $(page bm_mallocx.3) $(page bm_reclaim.3) $(page bm_trace_set.3)"
for name in $(nm -D --defined-only .libs/libbuddymalloc.so | sed -n 's/.* \(bm_[a-z_]*\).*/\1/p' | sort -u); do
	# shellcheck disable=SC2086 # several files
	grep -q "^\.B \".*$name(" $pages || is "$name" 'in no page' 'in a page'
	for page in $pages; do
		sed -n '/^\.SH DESCRIPTION/,/^\.SH \(EXAMPLES\|SEE ALSO\)/p' "$page"
	done | grep -q "^\.R*BR* \(( \)*$name (" || is "$name" 'without a word' 'described'
done
# So has every one of jemalloc's, and every name of mallctl's.
for name in $(sed -n 's/^[a-z].*[ *]\([a-z_]*\)(.*/\1/p' "$top/include/buddymalloc/jemalloc.h"); do
	grep -q "^\.B \".*[ *]$name(" "$(page bm_mallocx.3)" || is "$name" 'in no page' 'in a page'
	sed -n '/^\.SH DESCRIPTION/,/^\.SH RETURN/p' "$(page bm_mallocx.3)" | grep -q "^\.BR $name (" ||
		is "$name" 'without a word' 'described'
done
is 'names in bm_mallocx(3)' \
	"$(sed -n 's/^\\fB\([a-z0-9_.*]*\)\\fP.*/\1/p' "$(page bm_mallocx.3)")" \
	"$(sed -n 's/^CTL_[A-Z]* *("\([^"]*\)".*/\1/p' "$top/src/malloc/mallctl.def")"
for name in $(sed -n 's/^#define \(BM_GFP_[A-Z0-9_]*\) .*/\1/p' "$top/include/buddymalloc/gfp.h"); do
	grep -q "^\.B .*$name\(,\|\$\)" "$(page bm_gfp.7)" || is "$name" 'not in bm_gfp(7)' 'there'
done
is 'events in bm_trace_set(3)' \
	"$(sed -n 's/^\.B \(BM_TRACE_[A-Z_]*\)$/\1/p' "$(page bm_trace_set.3)")" \
	"$(sed -n 's/^	\(BM_TRACE_[A-Z_]*\),.*/\1/p' "$top/include/buddymalloc/trace.h")"

[ "$failures" = 0 ] || finish
# Small images have no groff, or one without its macros.
if ! printf '.TH X 1\n' | groff -ww -mandoc -T utf8 -z >"$scratch/groff" 2>&1 ||
	[ -s "$scratch/groff" ]; then
	echo 'skipped: the pages are complete; no working groff to check their form with'
	exit 77
fi
# shellcheck disable=SC2086 # several files
for page in "$library" "$command_page" "$(page bm_gfp.7)" $pages; do
	is "warnings of $page" \
		"$(groff -ww -mandoc -K utf8 -T utf8 -z "$page" 2>&1)" ''
	is "text left for the generator in $page" "$(grep @ "$page")" ''
done

finish
