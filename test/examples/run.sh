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
flags=$(PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root pkg-config --cflags --libs libbuddymalloc) ||
	exit 1
for name in pages dma32 group heap; do
	# shellcheck disable=SC2086 # compiler and flags are several words
	$CC -Wall -Wextra -Werror -o "$root/$name" "${srcdir:-.}/test/examples/$name.c" $flags || exit 1
	said=$(LD_LIBRARY_PATH=$libdir "$root/$name") || { echo "$name failed"; exit 1; }
	[ "$said" = "$name: done" ] || { echo "$name said: $said"; exit 1; }
done
