# Every page is made from its .in file; libbuddymalloc(7) takes its tables from the .def
# files, those of the page interface and what is built on it their examples from the tests.
# They are in the tarball, so that they are read there without building.
bm_interface_mans = man/bm_alloc_pages.3 man/bm_gfp.7 man/bm_group_create.3 \
	man/bm_heap_create.3 man/bm_malloc.3 man/bm_mallocx.3 man/bm_reclaim.3 \
	man/bm_trace_set.3
bm_mans = man/buddymalloc.1 man/libbuddymalloc.7 $(bm_interface_mans)
dist_man_MANS += $(bm_mans)
EXTRA_DIST += $(bm_mans:=.in) man/tables.awk
MAINTAINERCLEANFILES += $(bm_mans)

bm_man_sources = $(srcdir)/man/tables.awk $(srcdir)/src/base/options.def \
	$(srcdir)/src/base/stats.def $(srcdir)/src/base/figures.def \
	$(srcdir)/src/malloc/mallctl.def $(srcdir)/configure.ac \
	$(srcdir)/test/examples/arena.c $(srcdir)/test/examples/figures.c \
	$(srcdir)/test/examples/group.c $(srcdir)/test/examples/heap.c \
	$(srcdir)/test/examples/pages.c

$(bm_mans): man/%: $(srcdir)/man/%.in $(bm_man_sources)
	$(AM_V_GEN)$(MKDIR_P) man && \
	$(AWK) -v version='$(PACKAGE_VERSION)' -v date='$(PACKAGE_DATE)' \
		-v options='$(srcdir)/src/base/options.def' \
		-v stats='$(srcdir)/src/base/stats.def' \
		-v figures='$(srcdir)/src/base/figures.def' \
		-v ctls='$(srcdir)/src/malloc/mallctl.def' -v examples='$(srcdir)/test/examples' \
		-f '$(srcdir)/man/tables.awk' '$(srcdir)/$@.in' >$@.tmp
	@mv -f $@.tmp $@

# Each function that a page's NAME section lists can be asked for by its own name.
bm_man_names = $(SED) -n '/^\.SH NAME/,/\\-/{/^\./d;s/\\-.*//;s/,/ /g;p;}'

install-data-hook:
	$(AM_V_at)for page in $(bm_interface_mans); do \
		if [ -f "$$page" ]; then file=$$page; else file=$(srcdir)/$$page; fi; \
		page=$$(basename "$$page"); \
		for name in $$($(bm_man_names) "$$file"); do \
			[ "$$name.3" = "$$page" ] || [ "$${page%.3}" = "$$page" ] || \
				echo ".so man3/$$page" >"$(DESTDIR)$(man3dir)/$$name.3"; \
		done; \
	done

uninstall-hook:
	$(AM_V_at)for page in $(bm_interface_mans); do \
		if [ -f "$$page" ]; then file=$$page; else file=$(srcdir)/$$page; fi; \
		case $$page in *.3) \
			for name in $$($(bm_man_names) "$$file"); do \
				rm -f "$(DESTDIR)$(man3dir)/$$name.3"; \
			done ;; \
		esac; \
	done
