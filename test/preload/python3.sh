#!/bin/sh
# Python: threads, json, subprocess, fork. Once as it is, once with every object from malloc.
. "${srcdir:-.}/test/lib/preload.sh"
need python3
# Not a wrapper script of that name: what is tested is the interpreter.
python=$(python3 -c 'import sys; print(sys.executable)') && [ -x "$python" ] ||
	skip 'python3 does not tell its own path'

plain "$python" "$tests/preload/python3.py"
preloaded "$python" "$tests/preload/python3.py"
same
served 'python3[0-9.]*'

# Python's own small-object allocator is in the way otherwise.
PYTHONMALLOC=malloc
export PYTHONMALLOC
preloaded "$python" "$tests/preload/python3.py"
same
served 'python3[0-9.]*'
