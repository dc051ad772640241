# Random sequences of calls against what malloc promises. The program has the
# library linked in; `-no-install` makes it a program and not libtool's script,
# so that a debugger, or LD_PRELOAD of another malloc, works as usual.
check_PROGRAMS += test/model/model
TESTS += test/model/model test/model/options.sh
test_model_model_SOURCES = test/model/model.c test/model/shadow.c test/model/shadow.h
test_model_model_CFLAGS = $(TEST_CFLAGS)
test_model_model_CPPFLAGS = $(TEST_CPPFLAGS)
test_model_model_LDFLAGS = -no-install
test_model_model_LDADD = test/lib/libtest.a libbuddymalloc.la
EXTRA_DIST += test/model/options.sh
