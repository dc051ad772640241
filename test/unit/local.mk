# Unit tests: each layer by itself, above a fake of the system (test/fake), with
# the library's own assertions and lock checks on. They need cmocka. The list
# is in UNIT_TESTS, so that they alone can be run: make check TESTS='$(UNIT_TESTS)'.
UNIT_TESTS =
UNIT_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/test/fake -I$(top_srcdir)/test/unit \
	-include config.h -DBM_DEBUG=1 $(CMOCKA_CFLAGS)
UNIT_LDADD = test/unit/libunit.a test/lib/libtest.a $(CMOCKA_LIBS) -lpthread

if HAVE_CMOCKA
# Ranks 1 to 6 and the fake of rank 0.
check_LIBRARIES += test/unit/libunit.a
test_unit_libunit_a_SOURCES = $(CORE_SOURCES) src/os/os.h \
	test/fake/fake_os.c test/fake/fake_os.h \
	test/unit/unit.c test/unit/unit.h
test_unit_libunit_a_CPPFLAGS = $(UNIT_CPPFLAGS)

UNIT_TESTS += test/unit/lock
test_unit_lock_SOURCES = test/unit/lock.c
test_unit_lock_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_lock_LDADD = $(UNIT_LDADD)
endif

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
