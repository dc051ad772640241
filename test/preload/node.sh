#!/bin/sh
# Node.js with worker threads.
. "${srcdir:-.}/test/lib/preload.sh"
need node

plain node "$tests/preload/node.js"
preloaded node "$tests/preload/node.js"
same
served node
