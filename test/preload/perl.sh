#!/bin/sh
# Perl: hashes, regular expressions, growing strings, interpreter threads.
. "${srcdir:-.}/test/lib/preload.sh"
need perl
# The order of a hash is random from run to run unless told otherwise.
PERL_HASH_SEED=0
export PERL_HASH_SEED

plain perl "$tests/preload/perl.pl"
preloaded perl "$tests/preload/perl.pl"
same
served perl
