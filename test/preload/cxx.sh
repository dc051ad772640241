#!/bin/sh
# A C++ program with containers, exceptions and threads that hand objects on.
. "${srcdir:-.}/test/lib/preload.sh"
program=${BM_BUILDDIR:?}/test/preload/cxx-threads
[ -x "$program" ] || fail "$program was not built"

plain "$program"
preloaded "$program"
same
served cxx-threads
