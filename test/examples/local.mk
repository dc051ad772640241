# Example programs, built against the installed library as a user would build them.
TESTS += test/examples/run.sh
EXTRA_DIST += test/examples/run.sh test/examples/arena.c test/examples/pages.c \
	test/examples/dma32.c test/examples/figures.c test/examples/group.c test/examples/heap.c test/examples/options.c
