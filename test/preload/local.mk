# Unmodified programs under the library, compared with a run without it.
check_PROGRAMS += test/preload/cxx-threads
test_preload_cxx_threads_SOURCES = test/preload/cxx-threads.cc
test_preload_cxx_threads_CXXFLAGS = $(TEST_CXXFLAGS)
test_preload_cxx_threads_LDADD =

preload_tests = \
	test/preload/cxx.sh \
	test/preload/gcc.sh \
	test/preload/git.sh \
	test/preload/java.sh \
	test/preload/named.sh \
	test/preload/node.sh \
	test/preload/perl.sh \
	test/preload/php.sh \
	test/preload/python3.sh \
	test/preload/redis.sh \
	test/preload/sqlite3.sh \
	test/preload/tar-xz.sh
TESTS += $(preload_tests)
EXTRA_DIST += $(preload_tests) \
	test/lib/preload.sh \
	test/preload/Threads.java \
	test/preload/git-steps.sh \
	test/preload/node.js \
	test/preload/perl.pl \
	test/preload/php.php \
	test/preload/python3.py \
	test/preload/sqlite3.sql
