#!/bin/sh
# Exit status and messages: the program's own, and what is said when there is none.
. "${srcdir:-.}/test/command/lib.sh"

run sh -c 'exit 7'
is 'status of the program' "$status" 7
is 'nothing said' "$err" ''
run sh -c 'kill -TERM $$'
is 'signal of the program' "$status" 143
run -- sh -c 'exit 3'
is 'after --' "$status" 3
run printf '%s|' --stats -o --help
is "the program's own options" "$out" '--stats|-o|--help|'

run no-such-program
is 'no program: status' "$status" 127
is 'no program: message' "$err" "buddymalloc: no program 'no-such-program' in PATH"
run "$scratch/none"
is 'no file: status' "$status" 127
is 'no file: message' "$err" "buddymalloc: no program '$scratch/none'"

run "$scratch"
is 'a folder: status' "$status" 126
is 'a folder: message' "$err" "buddymalloc: cannot run '$scratch': Permission denied"
echo '#!/no/such/interpreter' >"$scratch/script"
run "$scratch/script"
is 'not executable: status' "$status" 126
is 'not executable: message' "$err" \
	"buddymalloc: cannot run '$scratch/script': Permission denied"
chmod +x "$scratch/script"
run "$scratch/script"
is 'no interpreter: status' "$status" 126
is 'no interpreter: message' "$err" \
	"buddymalloc: cannot run '$scratch/script': its interpreter does not exist"

run
is 'no arguments: status' "$status" 125
is 'no arguments: message' "$err" 'buddymalloc: no PROGRAM to run; see buddymalloc --help'
run --nonsense true
is 'unknown option: status' "$status" 125
is 'unknown option: message' "$err" \
	"buddymalloc: bad option '--nonsense'; see buddymalloc --help"
for abbreviation in --stat --st --h --v --versio; do
	run $abbreviation true
	is "$abbreviation: status" "$status" 125
	is "$abbreviation: message" "$err" \
		"buddymalloc: bad option '$abbreviation'; see buddymalloc --help"
done
run --stats=yes true
is 'a value where none belongs' "$err" \
	"buddymalloc: bad option '--stats=yes'; see buddymalloc --help"
run -x true
is 'unknown letter' "$err" "buddymalloc: bad option '-x'; see buddymalloc --help"
run -o
is '-o alone' "$err" 'buddymalloc: -o needs a CONF; see buddymalloc --help'

finish
