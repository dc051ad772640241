#!/bin/sh
# --stats: the report, and only then; the program's output stays as it is.
. "${srcdir:-.}/test/command/lib.sh"

# Not a shell: some leave with _exit(2), and no report is made then.
echo 'to stdout' >"$scratch/text"
run --stats sed q4 "$scratch/text"
is 'status' "$status" 4
is 'output' "$out" 'to stdout'
case $(head -n 1 "$scratch/err") in
'buddymalloc: report of pid '[0-9]*' (sed)') ;;
*) is 'first line' "$(head -n 1 "$scratch/err")" 'buddymalloc: report of pid N (sed)' ;;
esac
for name in $(def_names stats STAT); do
	grep -qE "^buddymalloc: $name [0-9]+\$" "$scratch/err" ||
		is "counter $name" missing 'a line with its value'
done
# sed does not run without small objects: the library served it.
grep -qE '^buddymalloc: objects_refilled [1-9]' "$scratch/err" ||
	is 'objects refilled' "$(grep objects_refilled "$scratch/err")" 'more than 0'

# Coreutils close stderr before the report is made.
run --stats ls -d /
grep -q '^buddymalloc: report of pid [0-9]* (ls)$' "$scratch/err" ||
	is 'report of ls' "$(head -n 1 "$scratch/err")" 'its first line'

# What a program has opened in stderr's place may be its data.
run --stats bash -c 'exec 2>"$1"; echo data >&2' bash "$scratch/data"
is 'data' "$(cat "$scratch/data")" 'data'
grep -q '^buddymalloc: report of pid [0-9]* (bash)$' "$scratch/err" ||
	is 'report of bash' "$(head -n 1 "$scratch/err")" 'its first line'

# A FIFO that nobody reads is no place for a report, and nothing to wait for.
mkfifo "$scratch/fifo"
run -o stats_file:"$scratch/fifo" bash -c 'echo output'
is 'output' "$out" 'output'
grep -q '^buddymalloc: stats_file: no report, ' "$scratch/err" ||
	is 'report into a FIFO' "$(head -n 1 "$scratch/err")" 'that there is none'

run sed q4 "$scratch/text"
is 'no report unasked' "$err" ''

finish
