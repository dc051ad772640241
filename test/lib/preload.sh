# For the tests of real programs: sourced, with the harness's $srcdir and $BM_LIB set.
#
# A test runs a program twice, `plain` and `preloaded`, in a directory of its own, and
# ends with `same` (both wrote and returned the same) and `served NAME` (the preloaded
# run was really served by this library: the report that NAME wrote at its exit says
# so). What a test needs and does not find makes it skipped, never passed.
set -u
: "${BM_LIB:?the library under test}"
tests=$(cd "${srcdir:-.}/test" && pwd) || exit 99
# Tests that only pass unless they are disturbed by the caller's settings are no tests.
unset LD_PRELOAD BUDDYMALLOC_CONF
LC_ALL=C.UTF-8 TZ=UTC
export LC_ALL TZ

work=$(mktemp -d "${TMPDIR:-/tmp}/buddymalloc-XXXXXX") || exit 99
mkdir "$work/reports" "$work/home" || exit 99
HOME=$work/home
export HOME
at_exit=:
trap '$at_exit; rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM
cd "$work" || exit 99

# Longer than this and a program hangs; the slowest needs a tenth of it.
limit=${BM_TIMEOUT:-150}

skip() {
	echo "skipped: $*"
	exit 77
}

fail() {
	echo "FAILED: $*"
	exit 1
}

need() {
	for program; do
		command -v "$program" >/dev/null 2>&1 || skip "$program is not installed"
	done
}

[ -r "$BM_LIB" ] || fail "no library at $BM_LIB"

# plain COMMAND...: leaves plain.out, plain.err and plain.status
plain() {
	timeout -k 5 "$limit" "$@" >plain.out 2>plain.err </dev/null
	echo $? >plain.status
}

# preloaded COMMAND...: leaves preloaded.* and reports/PID of every process that exited.
# BM_CONF=hardened:true make check TESTS=... runs the programs under further settings.
conf="stats_file:$work/reports/%p${BM_CONF:+,$BM_CONF}"
preloaded() {
	timeout -k 5 "$limit" env LD_PRELOAD="$BM_LIB" \
		BUDDYMALLOC_CONF="$conf" "$@" \
		>preloaded.out 2>preloaded.err </dev/null
	echo $? >preloaded.status
}

# same: exit status, stdout and stderr of both runs
same() {
	[ "$(cat plain.status)" = 0 ] ||
		{ cat plain.err; fail "exit status $(cat plain.status) without the library"; }
	[ -s plain.out ] || fail 'no output to compare'
	for what in status err out; do
		cmp -s "plain.$what" "preloaded.$what" && continue
		diff -a "plain.$what" "preloaded.$what" | head -n 40
		[ "$what" = status ] && tail -n 40 preloaded.err
		fail "the program's $what differs under the library"
	done
}

# report_value FILE NAME
report_value() {
	sed -n "s/^buddymalloc: $2 \([0-9][0-9]*\)\$/\1/p" "$1"
}

# served NAME: some process of this name (an extended regular expression) says in its
# report that small objects came from this library.
served() {
	found=0
	for report in reports/*; do
		[ -f "$report" ] || continue
		head -n 1 "$report" |
			grep -Eq "^buddymalloc: report of pid ${report#reports/} \(($1)\)\$" || continue
		found=$((found + 1))
		refilled=$(report_value "$report" objects_refilled)
		[ "${refilled:-0}" -gt 0 ] ||
			{ cat "$report"; fail "$1 was not served: objects_refilled ${refilled:-missing}"; }
	done
	[ "$found" -gt 0 ] ||
		{ head -q -n 1 reports/*; cat preloaded.err; fail "no report of $1"; }
	echo "$found process(es) of $1 served, the last with $refilled objects"
}
