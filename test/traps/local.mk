# The traps of a preloaded malloc. None of these programs has the library
# linked in: each starts itself anew, with the library preloaded, for every one
# of its cases (test/lib/trap.h). `PROGRAM CASE...` runs single cases.
trap_programs = \
	test/traps/background \
	test/traps/core \
	test/traps/cxx-operators \
	test/traps/debug \
	test/traps/deepbind \
	test/traps/extensions \
	test/traps/fork \
	test/traps/fork-handlers \
	test/traps/groups \
	test/traps/heaps \
	test/traps/interface \
	test/traps/interrupted \
	test/traps/jemalloc \
	test/traps/limits \
	test/traps/mappings \
	test/traps/misuse \
	test/traps/moves \
	test/traps/options \
	test/traps/pages \
	test/traps/plugin \
	test/traps/reclaim \
	test/traps/replaced \
	test/traps/sandbox \
	test/traps/scopes \
	test/traps/setuid \
	test/traps/signals \
	test/traps/sizes \
	test/traps/slabs-at-a-limit \
	test/traps/startup \
	test/traps/statistics \
	test/traps/storms \
	test/traps/threads
check_PROGRAMS += $(trap_programs) test/traps/setuid-helper
TESTS += $(trap_programs) test/traps/exports.sh test/traps/probes.sh
EXTRA_DIST += test/traps/exports.sh test/traps/probes.sh

# Of one source each, named as the program is.
test_traps_background_CFLAGS = $(TEST_CFLAGS)
test_traps_background_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_background_LDADD = test/lib/libtest.a
test_traps_core_CFLAGS = $(TEST_CFLAGS)
test_traps_core_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_core_LDADD = test/lib/libtest.a
test_traps_debug_CFLAGS = $(TEST_CFLAGS)
test_traps_debug_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_debug_LDADD = test/lib/libtest.a
test_traps_extensions_CFLAGS = $(TEST_CFLAGS)
test_traps_extensions_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_extensions_LDADD = test/lib/libtest.a
test_traps_fork_CFLAGS = $(TEST_CFLAGS)
test_traps_fork_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_fork_LDADD = test/lib/libtest.a
test_traps_groups_CFLAGS = $(TEST_CFLAGS)
test_traps_groups_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_groups_LDADD = test/lib/libtest.a
test_traps_heaps_CFLAGS = $(TEST_CFLAGS)
test_traps_heaps_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_heaps_LDADD = test/lib/libtest.a
test_traps_interface_CFLAGS = $(TEST_CFLAGS)
test_traps_interface_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_interface_LDADD = test/lib/libtest.a
test_traps_interrupted_CFLAGS = $(TEST_CFLAGS)
test_traps_interrupted_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_interrupted_LDADD = test/lib/libtest.a
test_traps_jemalloc_CFLAGS = $(TEST_CFLAGS)
test_traps_jemalloc_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_jemalloc_LDADD = test/lib/libtest.a
test_traps_limits_CFLAGS = $(TEST_CFLAGS)
test_traps_limits_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_limits_LDADD = test/lib/libtest.a
test_traps_mappings_CFLAGS = $(TEST_CFLAGS)
test_traps_mappings_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_mappings_LDADD = test/lib/libtest.a
test_traps_misuse_CFLAGS = $(TEST_CFLAGS)
test_traps_misuse_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_misuse_LDADD = test/lib/libtest.a
test_traps_moves_CFLAGS = $(TEST_CFLAGS)
test_traps_moves_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_moves_LDADD = test/lib/libtest.a
test_traps_options_CFLAGS = $(TEST_CFLAGS)
test_traps_options_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_options_LDADD = test/lib/libtest.a
test_traps_pages_CFLAGS = $(TEST_CFLAGS)
test_traps_pages_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_pages_LDADD = test/lib/libtest.a
test_traps_reclaim_CFLAGS = $(TEST_CFLAGS)
test_traps_reclaim_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_reclaim_LDADD = test/lib/libtest.a
test_traps_sandbox_CFLAGS = $(TEST_CFLAGS)
test_traps_sandbox_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_sandbox_LDADD = test/lib/libtest.a
test_traps_scopes_CFLAGS = $(TEST_CFLAGS)
test_traps_scopes_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_scopes_LDADD = test/lib/libtest.a
test_traps_setuid_CFLAGS = $(TEST_CFLAGS)
test_traps_setuid_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_setuid_LDADD = test/lib/libtest.a
test_traps_signals_CFLAGS = $(TEST_CFLAGS)
test_traps_signals_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_signals_LDADD = test/lib/libtest.a
test_traps_sizes_CFLAGS = $(TEST_CFLAGS)
test_traps_sizes_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_sizes_LDADD = test/lib/libtest.a
test_traps_slabs_at_a_limit_CFLAGS = $(TEST_CFLAGS)
test_traps_slabs_at_a_limit_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_slabs_at_a_limit_LDADD = test/lib/libtest.a
test_traps_startup_CFLAGS = $(TEST_CFLAGS)
test_traps_startup_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_startup_LDADD = test/lib/libtest.a
test_traps_statistics_CFLAGS = $(TEST_CFLAGS)
test_traps_statistics_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_statistics_LDADD = test/lib/libtest.a
test_traps_storms_CFLAGS = $(TEST_CFLAGS)
test_traps_storms_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_storms_LDADD = test/lib/libtest.a
test_traps_threads_CFLAGS = $(TEST_CFLAGS)
test_traps_threads_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_threads_LDADD = test/lib/libtest.a

test_traps_cxx_operators_SOURCES = test/traps/cxx-operators.cc
test_traps_cxx_operators_CXXFLAGS = $(TEST_CXXFLAGS)
test_traps_cxx_operators_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_cxx_operators_LDADD = test/lib/libtest.a

test_traps_deepbind_SOURCES = test/traps/deepbind.c test/traps/deepbind-module.h
test_traps_deepbind_CFLAGS = $(TEST_CFLAGS)
# The program finds its module by name as well: by its own RUNPATH.
test_traps_deepbind_CPPFLAGS = $(TEST_CPPFLAGS) -DMODULE_NAME='"deepbind-module.so"' \
	-DMODULE_PATH='"$(abs_top_builddir)/test/traps/.libs/deepbind-module.so"'
test_traps_deepbind_LDADD = test/lib/libtest.a
test_traps_deepbind_LDFLAGS = -Wl,--enable-new-dtags -Wl,-rpath,$(abs_top_builddir)/test/traps/.libs

check_LTLIBRARIES += test/traps/deepbind-module.la
test_traps_deepbind_module_la_SOURCES = test/traps/deepbind-module.c test/traps/deepbind-module.h
test_traps_deepbind_module_la_CFLAGS = $(TEST_CFLAGS)
# libtool builds a module that is not installed as a shared object only with an -rpath.
test_traps_deepbind_module_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

test_traps_plugin_SOURCES = test/traps/plugin.c
test_traps_plugin_CFLAGS = $(TEST_CFLAGS)
test_traps_plugin_CPPFLAGS = $(TEST_CPPFLAGS) \
	-DMODULE_PATH='"$(abs_top_builddir)/test/traps/.libs/plugin-module.so"' \
	-DLINKED_PATH='"$(abs_top_builddir)/test/traps/.libs/plugin-linked.so"'
test_traps_plugin_LDADD = test/lib/libtest.a

check_LTLIBRARIES += test/traps/plugin-module.la test/traps/plugin-linked.la
test_traps_plugin_module_la_SOURCES = test/traps/plugin-module.cc
test_traps_plugin_module_la_CXXFLAGS = $(TEST_CXXFLAGS)
test_traps_plugin_module_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

test_traps_plugin_linked_la_SOURCES = test/traps/plugin-module.cc
test_traps_plugin_linked_la_CXXFLAGS = $(TEST_CXXFLAGS)
test_traps_plugin_linked_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere
test_traps_plugin_linked_la_LIBADD = libbuddymalloc.la

test_traps_fork_handlers_SOURCES = test/traps/fork-handlers.c test/traps/fork-early.h
test_traps_fork_handlers_CFLAGS = $(TEST_CFLAGS)
test_traps_fork_handlers_CPPFLAGS = $(TEST_CPPFLAGS)
# By the file, as libtool would make a script of the program otherwise.
test_traps_fork_handlers_LDADD = test/lib/libtest.a test/traps/.libs/fork-early.so
test_traps_fork_handlers_DEPENDENCIES = test/lib/libtest.a test/traps/fork-early.la
test_traps_fork_handlers_LDFLAGS = -Wl,-rpath,$(abs_top_builddir)/test/traps/.libs

check_LTLIBRARIES += test/traps/fork-early.la
test_traps_fork_early_la_SOURCES = test/traps/fork-early.c test/traps/fork-early.h
test_traps_fork_early_la_CFLAGS = $(TEST_CFLAGS)
test_traps_fork_early_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

test_traps_replaced_SOURCES = test/traps/replaced.cc
test_traps_replaced_CXXFLAGS = $(TEST_CXXFLAGS)
test_traps_replaced_CPPFLAGS = $(TEST_CPPFLAGS)
test_traps_replaced_LDADD = test/lib/libtest.a

# Set-uid programs ignore LD_PRELOAD: this one has the static library in it.
test_traps_setuid_helper_SOURCES = test/traps/setuid-helper.c
test_traps_setuid_helper_CFLAGS = $(TEST_CFLAGS)
test_traps_setuid_helper_LDADD = libbuddymalloc.a
