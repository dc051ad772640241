# The installed command. It links nothing of the library.
bin_PROGRAMS += buddymalloc
buddymalloc_SOURCES = src/command/buddymalloc.c
buddymalloc_CPPFLAGS = $(AM_CPPFLAGS) -DBINDIR='"$(bindir)"' -DLIBDIR='"$(libdir)"'
