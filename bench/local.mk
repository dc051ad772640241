# Benchmarks. They link no allocator: each runs under whatever LD_PRELOAD says.
# The workloads need Google Benchmark; the rest of the comparison does not.

bench_programs = bench/cache bench/icount bench/launch bench/pages bench/stl
if HAVE_BENCHMARK
bench_programs += bench/workloads
endif
# `make check` builds them for bench/smoke.sh; plain `make` has no need of them.
check_PROGRAMS += $(bench_programs)
TESTS += bench/smoke.sh

EXTRA_DIST += \
	bench/README.md \
	bench/compare \
	bench/comparison.svg \
	bench/comparison/__init__.py \
	bench/comparison/allocators.py \
	bench/comparison/inputs.py \
	bench/comparison/instructions.py \
	bench/comparison/limited.py \
	bench/comparison/markdown.py \
	bench/comparison/picture.py \
	bench/comparison/programs.py \
	bench/comparison/report.py \
	bench/comparison/rows.py \
	bench/smoke.sh

bench_workloads_SOURCES = \
	bench/main.c \
	bench/process.c \
	bench/process.h \
	bench/ring.h \
	bench/rng.h \
	bench/row.h \
	bench/rows_data.c \
	bench/rows_large.c \
	bench/rows_memory.c \
	bench/rows_small.c \
	bench/rows_table.c \
	bench/rows_thread.c \
	bench/shim.cc \
	bench/shim.h
bench_workloads_CPPFLAGS = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS)
bench_workloads_LDADD = $(BENCHMARK_LIBS) -lm
bench_workloads_LDFLAGS = -pthread

bench_cache_SOURCES = bench/cache.c bench/number.h bench/rng.h
bench_cache_LDFLAGS = -pthread
bench_launch_SOURCES = bench/launch.c bench/number.h
bench_icount_SOURCES = bench/icount.c bench/number.h
bench_pages_SOURCES = bench/pages.c
bench_stl_SOURCES = bench/stl.cc
bench_stl_LDFLAGS = -pthread

bench_compare = $(top_srcdir)/bench/compare --build .

.PHONY: bench bench-pages bench-table bench-compare bench-programs

# The page interface against mmap.
bench-pages: $(lib_LTLIBRARIES) bench/pages
	LD_PRELOAD=$(abs_top_builddir)/.libs/libbuddymalloc.so ./bench/pages

bench-programs: $(bench_programs)

# Everything, under every allocator there is. BENCH_FLAGS passes options on.
bench-compare: $(lib_LTLIBRARIES) $(bench_programs)
	$(bench_compare) --json bench-compare.json --svg bench-compare.svg \
		--markdown bench-compare.md $(BENCH_FLAGS)

CLEANFILES += bench-compare.json bench-compare.svg bench-compare.md

if HAVE_BENCHMARK
# Every workload once, under this library.
bench: $(lib_LTLIBRARIES) $(bench_programs)
	$(bench_compare) --allocators buddymalloc --rows '^(?!program|limited|instructions)' --rounds 1 $(BENCH_FLAGS)

# The few rows to look at while tuning.
bench-table: $(lib_LTLIBRARIES) $(bench_programs)
	$(bench_compare) --rows '^table/' --against jemalloc --rounds 5 --brief $(BENCH_FLAGS)
else
bench bench-table:
	@echo "the benchmarks need Google Benchmark: install libbenchmark-dev and run configure again" >&2; exit 1
endif
