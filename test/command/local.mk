# Tests of the installed command and of its manual pages: shell scripts, run in the build
# directory.
command_tests = test/command/status.sh test/command/environment.sh \
	test/command/stats.sh test/command/help.sh test/command/man.sh
TESTS += $(command_tests)
EXTRA_DIST += $(command_tests) test/command/lib.sh test/command/installed.sh

installcheck-local:
	srcdir='$(srcdir)' CC='$(CC) $(CFLAGS)' DESTDIR='$(DESTDIR)' \
		bindir='$(DESTDIR)$(bindir)' libdir='$(DESTDIR)$(libdir)' \
		$(SHELL) '$(srcdir)/test/command/installed.sh'
