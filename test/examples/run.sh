#!/bin/sh
# The examples, built as a user would build them: against the installed library, with
# what pkg-config says.
: "${BM_BUILDDIR:?}"
command -v pkg-config >/dev/null || { echo "no pkg-config here"; exit 77; }
CC=${CC:-cc}
command -v "${CC%% *}" >/dev/null || { echo "no $CC here"; exit 77; }

root=$(mktemp -d) || exit 1
trap 'rm -rf "$root"' EXIT
if ! make -C "$BM_BUILDDIR" install DESTDIR="$root" >"$root/log" 2>&1; then
	cat "$root/log"
	exit 1
fi
pc=$(find "$root" -name libbuddymalloc.pc)
libdir=${pc%/pkgconfig/*}
ask() { PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@" libbuddymalloc; }
include=$(ask --cflags) && libraries=$(ask --libs) || exit 1
for name in arena dma32 figures group heap pages; do
	# shellcheck disable=SC2086 # compiler and flags are several words
	$CC -Wall -Wextra -Werror -o "$root/$name" $include "${srcdir:-.}/test/examples/$name.c" $libraries || exit 1
	said=$(LD_LIBRARY_PATH=$libdir "$root/$name") || { echo "$name failed"; exit 1; }
	[ "$said" = "$name: done" ] || { echo "$name said: $said"; exit 1; }
done

# A program's own options count, whichever library it links; the environment has the last word.
for library in "$libraries" "$libdir/libbuddymalloc.a -lpthread"; do
	# shellcheck disable=SC2086 # the same
	$CC -Wall -Wextra -Werror -o "$root/options" $include \
		"${srcdir:-.}/test/examples/options.c" $library 2>"$root/log" || { cat "$root/log"; exit 1; }
	said=$(LD_LIBRARY_PATH=$libdir "$root/options" 2>&1 >/dev/null)
	[ "$said" = "buddymalloc: option decay_ms: 'soon' is not accepted; it takes -1 to 3600000 ms" ] ||
		{ echo "options, linked with $library, said: $said"; exit 1; }
	said=$(BUDDYMALLOC_CONF=stats_print:true LD_LIBRARY_PATH=$libdir "$root/options" 2>&1 >/dev/null)
	case $said in
	*"'soon' is not accepted"*"report of pid"*) ;;
	*) echo "options, linked with $library, said: $said"; exit 1 ;;
	esac
	said=$(BUDDYMALLOC_CONF=hard_limit:0 LD_LIBRARY_PATH=$libdir "$root/options" 2>/dev/null)
	[ "$said" = 'options: no limit' ] || { echo "options, linked with $library, said: $said"; exit 1; }
done
