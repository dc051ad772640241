# For the tests of this folder: sourced, with the harness's $srcdir set and the build
# directory current.
set -u
command_=$PWD/buddymalloc
top=$(cd "$srcdir" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 99' HUP INT TERM
failures=0
unset BUDDYMALLOC_CONF BUDDYMALLOC_LIB LD_PRELOAD

# run ARG...: the command's output, messages and exit status, in $out, $err and $status.
run() {
	"$command_" "$@" >"$scratch/out" 2>"$scratch/err"
	status=$?
	out=$(cat "$scratch/out")
	err=$(cat "$scratch/err")
}

# is WHAT ACTUAL EXPECTED
is() {
	if [ "$2" != "$3" ]; then
		printf 'not ok: %s\n  is:       %s\n  expected: %s\n' "$1" "$2" "$3"
		failures=$((failures + 1))
	fi
}

# The names of a table: def_names options OPTION_ or def_names stats STAT
def_names() {
	sed -n "s/^$2[A-Z]* *(\([a-z0-9_]*\)[,)].*/\1/p" "$top/src/base/$1.def"
}

finish() {
	[ "$failures" = 0 ]
	exit
}
