# Both pages are made from .in files; libbuddymalloc(7) takes its tables from the .def
# files. They are in the tarball, so that they are read there without building.
dist_man_MANS += man/buddymalloc.1 man/libbuddymalloc.7
EXTRA_DIST += man/buddymalloc.1.in man/libbuddymalloc.7.in man/tables.awk
MAINTAINERCLEANFILES += man/buddymalloc.1 man/libbuddymalloc.7

bm_man_sources = $(srcdir)/man/tables.awk $(srcdir)/src/base/options.def \
	$(srcdir)/src/base/stats.def $(srcdir)/configure.ac
bm_make_man = $(AM_V_GEN)$(MKDIR_P) man && \
	$(AWK) -v version='$(PACKAGE_VERSION)' -v options='$(srcdir)/src/base/options.def' \
		-v stats='$(srcdir)/src/base/stats.def' -f '$(srcdir)/man/tables.awk'

man/buddymalloc.1: $(srcdir)/man/buddymalloc.1.in $(bm_man_sources)
	$(bm_make_man) '$(srcdir)/man/buddymalloc.1.in' >$@.tmp
	@mv -f $@.tmp $@

man/libbuddymalloc.7: $(srcdir)/man/libbuddymalloc.7.in $(bm_man_sources)
	$(bm_make_man) '$(srcdir)/man/libbuddymalloc.7.in' >$@.tmp
	@mv -f $@.tmp $@
