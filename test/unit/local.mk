# Unit tests: each layer by itself, above a fake of the system (test/fake), with
# the library's own assertions and lock checks on. They need cmocka. The list
# is in UNIT_TESTS, so that they alone can be run: make check TESTS='$(UNIT_TESTS)'.
#
# A program test/unit/NAME has the one source test/unit/NAME.c; what several
# share is in libunit.a, together with ranks 1 to 6.
UNIT_TESTS =
UNIT_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/test/fake -I$(top_srcdir)/test/unit \
	-include config.h -DBM_DEBUG=1 $(CMOCKA_CFLAGS)
UNIT_LDADD = test/unit/libunit.a test/lib/libtest.a $(CMOCKA_LIBS) -lpthread

if HAVE_CMOCKA
check_LIBRARIES += test/unit/libunit.a
test_unit_libunit_a_SOURCES = $(CORE_SOURCES) src/os/os.h \
	test/fake/fake_mapping.c test/fake/fake_os.c test/fake/fake_os.h test/fake/internal.h \
	test/unit/buddy_model.c test/unit/buddy_model.h test/unit/files.h \
	test/unit/forks.h test/unit/helper_thread.h test/unit/holes.h \
	test/unit/invariants.c test/unit/invariants.h test/unit/memmap_check.h \
	test/unit/pages.h test/unit/real_mapping.h test/unit/slabs.h test/unit/taken.h \
	test/unit/tcaches.h test/unit/unit.c test/unit/unit.h
test_unit_libunit_a_CPPFLAGS = $(UNIT_CPPFLAGS)

UNIT_TESTS += \
	test/unit/lock \
	test/unit/options \
	test/unit/report \
	test/unit/memmap \
	test/unit/records \
	test/unit/memmap_failures \
	test/unit/buddy_sequences \
	test/unit/buddy_random \
	test/unit/buddy_types \
	test/unit/runs \
	test/unit/dirty \
	test/unit/pcp \
	test/unit/page_alloc \
	test/unit/resize \
	test/unit/highmem \
	test/unit/page_threads \
	test/unit/slowpath \
	test/unit/reclaim \
	test/unit/in_flight \
	test/unit/decay \
	test/unit/decay_at_once \
	test/unit/refault \
	test/unit/lazy \
	test/unit/dropped \
	test/unit/thp \
	test/unit/thp_gain \
	test/unit/thp_split \
	test/unit/limit \
	test/unit/limit_group \
	test/unit/cgroup \
	test/unit/pressure \
	test/unit/kswapd \
	test/unit/zones \
	test/unit/low \
	test/unit/nodes \
	test/unit/mapping \
	test/unit/moving \
	test/unit/size_class \
	test/unit/slab \
	test/unit/slab_single \
	test/unit/slab_random \
	test/unit/punch \
	test/unit/punch_meanwhile \
	test/unit/shard \
	test/unit/checks \
	test/unit/sparse \
	test/unit/empty \
	test/unit/stack \
	test/unit/tcache \
	test/unit/sheaves \
	test/unit/singles \
	test/unit/tcache_threads \
	test/unit/tcache_fork \
	test/unit/fork_midst \
	test/unit/transfer \
	test/unit/idle \
	test/unit/gone

test_unit_lock_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_lock_LDADD = $(UNIT_LDADD)
test_unit_options_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_options_LDADD = $(UNIT_LDADD)
test_unit_report_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_report_LDADD = $(UNIT_LDADD)
test_unit_memmap_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_memmap_LDADD = $(UNIT_LDADD)
test_unit_records_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_records_LDADD = $(UNIT_LDADD)
test_unit_memmap_failures_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_memmap_failures_LDADD = $(UNIT_LDADD)
test_unit_buddy_sequences_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_sequences_LDADD = $(UNIT_LDADD)
test_unit_buddy_random_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_random_LDADD = $(UNIT_LDADD)
test_unit_buddy_types_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_buddy_types_LDADD = $(UNIT_LDADD)
test_unit_runs_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_runs_LDADD = $(UNIT_LDADD)
test_unit_dirty_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_dirty_LDADD = $(UNIT_LDADD)
test_unit_pcp_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_pcp_LDADD = $(UNIT_LDADD)
test_unit_page_alloc_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_page_alloc_LDADD = $(UNIT_LDADD)
test_unit_resize_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_resize_LDADD = $(UNIT_LDADD)
test_unit_highmem_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_highmem_LDADD = $(UNIT_LDADD)
test_unit_page_threads_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_page_threads_LDADD = $(UNIT_LDADD)
test_unit_slowpath_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slowpath_LDADD = $(UNIT_LDADD)
test_unit_reclaim_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_reclaim_LDADD = $(UNIT_LDADD)
test_unit_in_flight_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_in_flight_LDADD = $(UNIT_LDADD)
test_unit_kswapd_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_kswapd_LDADD = $(UNIT_LDADD)
test_unit_limit_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_limit_LDADD = $(UNIT_LDADD)
test_unit_limit_group_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_limit_group_LDADD = $(UNIT_LDADD)
test_unit_cgroup_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_cgroup_LDADD = $(UNIT_LDADD)
test_unit_pressure_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_pressure_LDADD = $(UNIT_LDADD)
test_unit_thp_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_thp_LDADD = $(UNIT_LDADD)
test_unit_thp_gain_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_thp_gain_LDADD = $(UNIT_LDADD)
test_unit_thp_split_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_thp_split_LDADD = $(UNIT_LDADD)
test_unit_decay_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_decay_LDADD = $(UNIT_LDADD)
test_unit_decay_at_once_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_decay_at_once_LDADD = $(UNIT_LDADD)
test_unit_refault_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_refault_LDADD = $(UNIT_LDADD)
test_unit_lazy_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_lazy_LDADD = $(UNIT_LDADD)
test_unit_size_class_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_size_class_LDADD = $(UNIT_LDADD)
test_unit_slab_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slab_LDADD = $(UNIT_LDADD)
test_unit_slab_single_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slab_single_LDADD = $(UNIT_LDADD)
test_unit_slab_random_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_slab_random_LDADD = $(UNIT_LDADD)
test_unit_punch_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_punch_LDADD = $(UNIT_LDADD)
test_unit_punch_meanwhile_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_punch_meanwhile_LDADD = $(UNIT_LDADD)
test_unit_shard_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_shard_LDADD = $(UNIT_LDADD)
test_unit_checks_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_checks_LDADD = $(UNIT_LDADD)
test_unit_sparse_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_sparse_LDADD = $(UNIT_LDADD)
test_unit_empty_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_empty_LDADD = $(UNIT_LDADD)
test_unit_dropped_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_dropped_LDADD = $(UNIT_LDADD)
test_unit_stack_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_stack_LDADD = $(UNIT_LDADD)
test_unit_tcache_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_tcache_LDADD = $(UNIT_LDADD)
test_unit_sheaves_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_sheaves_LDADD = $(UNIT_LDADD)
test_unit_singles_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_singles_LDADD = $(UNIT_LDADD)
test_unit_tcache_threads_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_tcache_threads_LDADD = $(UNIT_LDADD)
test_unit_transfer_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_transfer_LDADD = $(UNIT_LDADD)
test_unit_tcache_fork_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_tcache_fork_LDADD = $(UNIT_LDADD)
test_unit_fork_midst_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_fork_midst_LDADD = $(UNIT_LDADD)
test_unit_idle_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_idle_LDADD = $(UNIT_LDADD)
test_unit_gone_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_gone_LDADD = $(UNIT_LDADD)
test_unit_zones_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_zones_LDADD = $(UNIT_LDADD)
test_unit_low_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_low_LDADD = $(UNIT_LDADD)
test_unit_nodes_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_nodes_LDADD = $(UNIT_LDADD)
test_unit_mapping_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_mapping_LDADD = $(UNIT_LDADD)
test_unit_moving_CPPFLAGS = $(UNIT_CPPFLAGS)
test_unit_moving_LDADD = $(UNIT_LDADD)
endif

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS) test/unit/layers.sh
EXTRA_DIST += test/unit/layers.sh
