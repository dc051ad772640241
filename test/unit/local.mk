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

UNIT_TESTS += test/unit/options
test_unit_options_SOURCES = test/unit/options.c
test_unit_options_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_options_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/report
test_unit_report_SOURCES = test/unit/report.c
test_unit_report_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_report_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/memmap
test_unit_memmap_SOURCES = test/unit/memmap.c test/unit/memmap_check.h
test_unit_memmap_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_memmap_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/memmap_failures
test_unit_memmap_failures_SOURCES = test/unit/memmap_failures.c test/unit/memmap_check.h
test_unit_memmap_failures_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_memmap_failures_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/buddy_sequences
test_unit_buddy_sequences_SOURCES = test/unit/buddy_sequences.c \
	test/unit/buddy_model.c test/unit/buddy_model.h
test_unit_buddy_sequences_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_sequences_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/buddy_random
test_unit_buddy_random_SOURCES = test/unit/buddy_random.c test/unit/buddy_model.c test/unit/buddy_model.h
test_unit_buddy_random_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_random_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/buddy_types
test_unit_buddy_types_SOURCES = test/unit/buddy_types.c test/unit/buddy_model.c test/unit/buddy_model.h
test_unit_buddy_types_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_types_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/dirty
test_unit_dirty_SOURCES = test/unit/dirty.c
test_unit_dirty_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_dirty_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/pcp
test_unit_pcp_SOURCES = test/unit/pcp.c
test_unit_pcp_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_pcp_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/page_alloc
test_unit_page_alloc_SOURCES = test/unit/page_alloc.c test/unit/pages.h
test_unit_page_alloc_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_page_alloc_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/slowpath
test_unit_slowpath_SOURCES = test/unit/slowpath.c test/unit/pages.h
test_unit_slowpath_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slowpath_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/reclaim
test_unit_reclaim_SOURCES = test/unit/reclaim.c test/unit/pages.h
test_unit_reclaim_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_reclaim_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/decay
test_unit_decay_SOURCES = test/unit/decay.c test/unit/pages.h
test_unit_decay_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_decay_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/size_class
test_unit_size_class_SOURCES = test/unit/size_class.c
test_unit_size_class_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_size_class_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/slab
test_unit_slab_SOURCES = test/unit/slab.c test/unit/slabs.h test/unit/pages.h
test_unit_slab_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slab_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/slab_random
test_unit_slab_random_SOURCES = test/unit/slab_random.c test/unit/slabs.h test/unit/pages.h
test_unit_slab_random_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slab_random_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/shard
test_unit_shard_SOURCES = test/unit/shard.c test/unit/slabs.h test/unit/pages.h
test_unit_shard_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_shard_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/tcache
test_unit_tcache_SOURCES = test/unit/tcache.c test/unit/tcaches.h test/unit/slabs.h test/unit/pages.h
test_unit_tcache_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_tcache_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/tcache_threads
test_unit_tcache_threads_SOURCES = test/unit/tcache_threads.c test/unit/tcaches.h test/unit/slabs.h test/unit/pages.h
test_unit_tcache_threads_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_tcache_threads_LDADD = $(UNIT_LDADD)

UNIT_TESTS += test/unit/page_threads
test_unit_page_threads_SOURCES = test/unit/page_threads.c test/unit/pages.h
test_unit_page_threads_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_page_threads_LDADD = $(UNIT_LDADD)
endif

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
