# Tests, run by Automake's parallel harness; exit status 77 means skipped. README.md is the map.
#
# Programs find the library under test in $BM_LIB and the sources of the tests
# in $srcdir; both work in a build outside the tree, and nothing is written
# there but into directories that are removed again.
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = $(SHELL)
AM_TESTS_ENVIRONMENT = \
	BM_LIB='$(abs_top_builddir)/.libs/libbuddymalloc.so'; export BM_LIB; \
	BM_BUILDDIR='$(abs_top_builddir)'; export BM_BUILDDIR;

# A malloc that is tested must not be optimised away: clang drops a memalign
# whose result is only compared with NULL, and either drops pairs of C++.
TEST_CFLAGS = $(AM_CFLAGS) -fno-builtin-memalign -fno-builtin-aligned_alloc \
	-fno-builtin-posix_memalign -fno-builtin-reallocarray -pthread
TEST_CXXFLAGS = -std=gnu++17 -Wall -Wextra -fno-builtin -fsized-deallocation -pthread
TEST_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/test/lib

EXTRA_DIST += test/README.md

check_LIBRARIES += test/lib/libtest.a
test_lib_libtest_a_SOURCES = \
	test/lib/helpers.c test/lib/helpers.h test/lib/interface.h \
	test/lib/load.c test/lib/load.h \
	test/lib/trap.c test/lib/trap.h
test_lib_libtest_a_CFLAGS = $(TEST_CFLAGS)
test_lib_libtest_a_CPPFLAGS = $(TEST_CPPFLAGS) \
	-DBM_LIB_DEFAULT='"$(abs_top_builddir)/.libs/libbuddymalloc.so"'

include test/unit/local.mk
include test/model/local.mk
include test/traps/local.mk
include test/preload/local.mk
include test/examples/local.mk
