#!/bin/sh
# What `make install` put in place, used as its user would: the command, linking with the
# flags of pkg-config, linking the static library. Run by `make installcheck`, which
# sets CC, CXX, bindir and libdir (both with DESTDIR in front) and DESTDIR.
. "${srcdir:-.}/test/command/lib.sh"
command_=$bindir/buddymalloc

# served MESSAGES: do they say that the library served the program?
served() {
	grep -qE '^buddymalloc: objects_refilled [1-9]' "$1"
}

echo text >"$scratch/text"
run --stats sed q "$scratch/text"
is 'the command: output' "$out" text
served "$scratch/err" || is 'the command: report' "$err" 'objects refilled'
run printenv LD_PRELOAD
is 'the command: library' "$out" "$libdir/libbuddymalloc.so.0"
# It would keep libtool from the static library.
[ ! -e "$libdir/libbuddymalloc.la" ] || is 'libbuddymalloc.la' installed 'not installed'

cat >"$scratch/program.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
	char *volatile p = malloc(100);
	if (!p)
		return 1;
	snprintf(p, 100, "linked");
	puts(p);
	free(p);
	return 0;
}
END
linked() {
	BUDDYMALLOC_CONF=stats_print:true LD_LIBRARY_PATH=$libdir "$scratch/program" \
		>"$scratch/out" 2>"$scratch/err"
	is "$1: status" $? 0
	is "$1: output" "$(cat "$scratch/out")" linked
	served "$scratch/err" || is "$1: report" "$(cat "$scratch/err")" 'objects refilled'
	rm -f "$scratch/program"
}
if command -v pkg-config >/dev/null; then
	flags=$(PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=${DESTDIR-} \
		pkg-config --cflags --libs libbuddymalloc)
	# shellcheck disable=SC2086 # compiler and flags are several words
	$CC -o "$scratch/program" "$scratch/program.c" $flags &&
		linked 'linked by pkg-config' || is 'pkg-config' 'no program' 'a program'
	flags=$(PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=${DESTDIR-} \
		pkg-config --static --cflags --libs libbuddymalloc)
	case " $flags " in
	*' -lpthread '*) ;;
	*) is 'pkg-config --static' "$flags" 'with -lpthread' ;;
	esac
	# Not every system has a C library to link so.
	if $CC -static -o "$scratch/program" "$scratch/program.c" 2>/dev/null; then
		# shellcheck disable=SC2086
		$CC -static -o "$scratch/program" "$scratch/program.c" $flags 2>"$scratch/log" &&
			linked 'a static program' ||
			is 'a static program' "$(cat "$scratch/log")" 'a program'
	fi
fi
if [ -e "$libdir/libbuddymalloc.a" ]; then
	# shellcheck disable=SC2086
	$CC -o "$scratch/program" "$scratch/program.c" "$libdir/libbuddymalloc.a" -lpthread -ldl &&
		linked 'linked with the static library' || is 'static' 'no program' 'a program'
	# What fails throws, also where the runtime is an archive that has more than was asked of it.
	cat >"$scratch/program.cc" <<'END'
#include <cstdio>
#include <new>
volatile std::size_t too_much = std::size_t(1) << 52;
int main()
{
	::operator delete(::operator new(100));
	try {
		::operator delete(::operator new(too_much));
	} catch (const std::bad_alloc &) {
		std::puts("linked");
	}
}
END
	if $CXX -static-libstdc++ -o "$scratch/program" "$scratch/program.cc" 2>/dev/null; then
		$CXX -static-libstdc++ -o "$scratch/program" "$scratch/program.cc" \
			"$libdir/libbuddymalloc.a" -lpthread -ldl &&
			linked 'a C++ program with the static library' ||
			is 'static C++' 'no program' 'a program'
	fi
fi

finish
