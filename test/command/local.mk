# Tests of the command and of the manual pages as they were built: shell scripts, run in the
# build directory. What was installed is installed.sh's, which `make installcheck` runs.
command_tests = test/command/status.sh test/command/environment.sh \
	test/command/stats.sh test/command/help.sh test/command/man.sh
TESTS += $(command_tests)
EXTRA_DIST += $(command_tests) test/command/lib.sh test/command/installed.sh

installcheck-local:
	srcdir='$(srcdir)' CC='$(CC) $(CFLAGS)' CXX='$(CXX)' DESTDIR='$(DESTDIR)' \
		bindir='$(DESTDIR)$(bindir)' libdir='$(DESTDIR)$(libdir)' \
		$(SHELL) '$(srcdir)/test/command/installed.sh'
