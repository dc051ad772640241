# Benchmarks. They link no allocator: each runs under whatever LD_PRELOAD says.

bench_programs =
if HAVE_BENCHMARK
bench_programs += bench/workloads
endif
# `make check` builds them; plain `make` has no need of them.
check_PROGRAMS += $(bench_programs)

bench_workloads_SOURCES = \
	bench/main.c \
	bench/process.c \
	bench/process.h \
	bench/ring.h \
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
