#!/bin/sh
# --help and --version: complete, on stdout, and an error if that cannot be written.
. "${srcdir:-.}/test/command/lib.sh"

run --help
is 'help: status' "$status" 0
is 'help: stderr' "$err" ''
names=$(def_names options OPTION_)
[ -n "$names" ] || is 'names in options.def' none some
for name in $names; do
	grep -q "^  $name:" "$scratch/out" || is "option $name in --help" missing listed
done
# The forms of a value: every kind once.
for form in 'verbose:true|false (default false)' 'cgroup:auto|off|any (default auto)' \
	'hard_limit:BYTES, 0 or 4K to 64T, or 1% to 100% (default 0)' \
	'min_free:BYTES, 0 to 1T (default 64K)' \
	'decay_ms:NUMBER, -1 to 3600000 ms (default 1000)' \
	'numa_node:NUMBER, -1 to 63 (default -1)' 'stats_file:TEXT (empty by default)'; do
	grep -qxF "  $form" "$scratch/out" || is "$form in --help" missing there
done
is 'what values may look like' "$(grep -A 1 '^Options of CONF' "$scratch/out")" \
	'Options of CONF. For true also yes, on or 1 is taken, for false no, off or 0.
BYTES may end in K, M, G or T, in either case.'
is 'options in --help' "$(sed -n 's/^  \([a-z_0-9]*\):.*/\1/p' "$scratch/out")" "$names"
is 'lines wider than 80' "$(grep '.\{81\}' "$scratch/out")" ''

run --version
is 'version: status' "$status" 0
is 'version' "$out" \
	"buddymalloc (libbuddymalloc) $(sed -n 's/^PACKAGE_VERSION = //p' Makefile)"

if [ -c /dev/full ]; then
	# What the buffer of stdio has room for, too.
	"$command_" --version >/dev/full 2>"$scratch/err"
	is 'full device, short: status' $? 125
	"$command_" --help >/dev/full 2>"$scratch/err"
	is 'full device: status' $? 125
	is 'full device: message' "$(cat "$scratch/err")" \
		'buddymalloc: cannot write: No space left on device'
fi

finish
