#!/bin/sh
# The Java compiler and a multi-threaded program.
. "${srcdir:-.}/test/lib/preload.sh"
need java

cp "$tests/preload/Threads.java" .
if command -v javac >/dev/null 2>&1; then
	plain sh -c 'javac -d plain.classes Threads.java && cksum <plain.classes/Threads.class'
	preloaded sh -c 'javac -d preloaded.classes Threads.java && cksum <preloaded.classes/Threads.class'
	same
	served javac
	set -- -cp plain.classes Threads
else
	set -- Threads.java
fi
plain java -Xmx256m "$@"
preloaded java -Xmx256m "$@"
same
served java
