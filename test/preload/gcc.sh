#!/bin/sh
# gcc and g++ compile files of these tests: the objects must be the same byte for byte.
. "${srcdir:-.}/test/lib/preload.sh"
need gcc g++

compile() {
	echo "gcc -std=gnu11 -O2 -g -I'$tests/lib' -c '$tests/model/model.c' -o object.c.o &&
		g++ -std=gnu++17 -fsized-deallocation -O2 -I'$tests/lib' \
			-c '$tests/traps/cxx-operators.cc' -o object.cc.o &&
		cksum <object.c.o && cksum <object.cc.o"
}

plain sh -c "$(compile)"
preloaded sh -c "$(compile)"
same
served gcc
served cc1
served 'g\+\+'
served cc1plus
served as
