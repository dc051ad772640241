# The library, rank by rank; src/README.md is the map.

# Ranks 0 to 6: no exported name, linked by the unit tests too.
OS_SOURCES = src/os/os.h src/os/keep_errno.h src/os/read_file.h src/os/os_linux.c \
	src/os/mapping.c src/os/cgroup.c src/os/nodes.c src/os/pressure.c
CORE_SOURCES = \
	src/base/figures.def src/base/lock.c src/base/lock.h src/base/options.c \
	src/base/options.def src/base/options.h src/base/report.c src/base/report.h \
	src/base/stats.c src/base/stats.def src/base/stats.h src/base/trace.c src/base/trace.h \
	src/base/types.h \
	src/memmap/internal.h src/memmap/low.c src/memmap/memmap.c src/memmap/memmap.h \
	src/memmap/pfn_list.h src/memmap/window.c \
	src/buddy/buddy.c src/buddy/dirty.c src/buddy/lru.c src/buddy/lru.h src/buddy/pcp.c \
	src/buddy/pcp.h src/buddy/range.c src/buddy/run.c src/buddy/run.h src/buddy/run_list.c \
	src/buddy/zone.c src/buddy/zone.h \
	src/page_alloc/backing.c src/page_alloc/clear.c src/page_alloc/drop.c \
	src/page_alloc/free.c src/page_alloc/gfp.c \
	src/page_alloc/highmem.c src/page_alloc/in_flight.c src/page_alloc/internal.h \
	src/page_alloc/kswapd.c src/page_alloc/limit.c src/page_alloc/page_alloc.c \
	src/page_alloc/page_alloc.h src/page_alloc/pgdat.c src/page_alloc/poison.c \
	src/page_alloc/poison.h src/page_alloc/purge.c src/page_alloc/reclaim.c \
	src/page_alloc/resize.c src/page_alloc/scope.c src/page_alloc/scope.h \
	src/page_alloc/slowpath.c src/page_alloc/thp.c src/page_alloc/thp_gain.c \
	src/page_alloc/thp_split.c src/page_alloc/unmap.c src/page_alloc/zoneinfo.c \
	src/slab/empty.c src/slab/free.c src/slab/internal.h src/slab/punch.c src/slab/shard.c \
	src/slab/size_class.c src/slab/size_class.def src/slab/size_class.h src/slab/slab.c \
	src/slab/slab.h src/slab/transfer.c \
	src/tcache/free.c src/tcache/idle.c src/tcache/internal.h src/tcache/orphan.c \
	src/tcache/sheaf.c src/tcache/single.c src/tcache/spare.c src/tcache/tcache.h src/tcache/thread.c
# Rank 7: malloc's own names.
MALLOC_SOURCES = \
	src/malloc/aligned.c src/malloc/arena.c src/malloc/arena.h src/malloc/atfork.c \
	src/malloc/bringup.c src/malloc/ctl.c src/malloc/ctl.h src/malloc/cxx.c \
	src/malloc/derived.c src/malloc/figures.h src/malloc/group.c src/malloc/heap.c \
	src/malloc/info.c src/malloc/internal.h src/malloc/large.c src/malloc/mallctl.c \
	src/malloc/mallctl.def src/malloc/malloc.c src/malloc/mallocx.c src/malloc/move.c \
	src/malloc/next.c src/malloc/page_api.c src/malloc/trace_api.c

# -fexceptions: C++ exceptions pass through operator new.
# -fno-semantic-interposition: our own calls of exported names are ours, and inline.
LIBRARY_CFLAGS = $(AM_CFLAGS) -fexceptions -fno-semantic-interposition -include config.h

lib_LTLIBRARIES += libbuddymalloc.la
libbuddymalloc_la_SOURCES = $(OS_SOURCES) $(CORE_SOURCES) $(MALLOC_SOURCES) src/malloc/dlopen.c
libbuddymalloc_la_CFLAGS = $(LIBRARY_CFLAGS) -DBM_SHARED
# nodelete: pointers into the heap outlive any dlclose. Not initfirst: that runs our constructor
# before a program's .preinit_array, where clang's thread sanitizer readies its open and read.
# noseparate-code: code and constants are one mapping instead of three. Two mappings less are 3%
# of the time of a program that does nothing.
# sort-section: see BULKY. A page that is touched costs 2 to 4 microseconds on virtual machines.
# What -version-info makes of the name is in libbuddymalloc_names below and in
# src/command/buddymalloc.c too.
libbuddymalloc_la_LDFLAGS = -shared -version-info 0:0:0 \
	-Wl,--version-script=$(srcdir)/src/libbuddymalloc.map \
	-Wl,-z,nodelete -Wl,-z,noseparate-code -Wl,-z,now -Wl,-z,relro -Wl,--no-undefined \
	-Wl,--sort-section=name
libbuddymalloc_la_DEPENDENCIES = src/libbuddymalloc.map

# The static library is one object whose inner names are local, so that none of
# them can meet a name of the program's.
noinst_LIBRARIES = libbmparts.a
libbmparts_a_SOURCES = $(OS_SOURCES) $(CORE_SOURCES) $(MALLOC_SOURCES)
libbmparts_a_CFLAGS = $(LIBRARY_CFLAGS) -fPIC

staticlibdir = $(libdir)
staticlib_DATA = libbuddymalloc.a
CLEANFILES += libbuddymalloc.a libbuddymalloc.o
libbuddymalloc.a: libbmparts.a
	$(AM_V_GEN)rm -f $@ libbuddymalloc.o && \
	$(LD) -r -o libbuddymalloc.o \
		--whole-archive libbmparts.a --no-whole-archive && \
	$(OBJCOPY) --localize-hidden libbuddymalloc.o && \
	$(AR) cr $@ libbuddymalloc.o

# libtool's file says that there is no static library, for that one is not libtool's. Without
# it libtool does not know what to remove.
libbuddymalloc_names = libbuddymalloc.so libbuddymalloc.so.0 libbuddymalloc.so.0.0.0

install-exec-hook:
	$(AM_V_at)rm -f "$(DESTDIR)$(libdir)/libbuddymalloc.la"

uninstall-local:
	$(AM_V_at)for name in $(libbuddymalloc_names); do \
		rm -f "$(DESTDIR)$(libdir)/$$name"; \
	done

# What programs that use more than malloc include.
bm_includedir = $(includedir)/buddymalloc
bm_include_HEADERS = include/buddymalloc/gfp.h include/buddymalloc/group.h \
	include/buddymalloc/heap.h include/buddymalloc/jemalloc.h include/buddymalloc/malloc.h \
	include/buddymalloc/page_alloc.h \
	include/buddymalloc/reclaim.h include/buddymalloc/trace.h

EXTRA_DIST += src/README.md src/libbuddymalloc.map

include src/command/local.mk
