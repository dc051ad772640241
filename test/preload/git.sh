#!/bin/sh
# git: commits, a merge, a repack with threads, a clone, log, blame and fsck.
. "${srcdir:-.}/test/lib/preload.sh"
need git awk

plain sh "$tests/preload/git-steps.sh" plain
preloaded sh "$tests/preload/git-steps.sh" preloaded
same
served git
