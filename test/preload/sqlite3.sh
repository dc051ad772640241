#!/bin/sh
# sqlite3: inserts, indices, joins, aggregates; and the database files are the same.
. "${srcdir:-.}/test/lib/preload.sh"
need sqlite3

plain sqlite3 -init /dev/null plain.db ".read '$tests/preload/sqlite3.sql'"
preloaded sqlite3 -init /dev/null preloaded.db ".read '$tests/preload/sqlite3.sql'"
same
cmp plain.db preloaded.db || fail 'the database files differ'
served sqlite3
