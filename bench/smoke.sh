#!/bin/sh
# The benchmarks still work: every workload once with hardly any work, and a
# comparison of one allocator that writes its JSON. Figures are not looked at.
set -e
srcdir=${srcdir:-.}
workloads=bench/workloads
if ! test -x $workloads; then
	echo "skipped: no Google Benchmark"
	exit 77
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
	echo "skipped: no python3 from 3.8 on"
	exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The peak row needs 2 GiB and two seconds; it has nothing a pass could break.
rows=$($workloads --list | cut -f1 | grep -v '^memory/peak')
$workloads --scale 0.001 --benchmark_format=json $rows >"$out/rows" 2>"$out/log" || {
	cat "$out/log"
	exit 1
}
python3 - "$out/rows" $rows <<'END'
import json, sys
with open(sys.argv[1]) as f:
    done = {b["name"].rsplit("/iterations", 1)[0]: b
            for b in json.load(f)["benchmarks"]}
for name in sys.argv[2:]:
    assert name in done, "no figures for " + name
    assert not done[name].get("error_occurred"), done[name]
    assert done[name]["rss_peak"] > 0 and done[name]["items_per_second"] > 0
END

"$srcdir/bench/compare" --build . --rows '^table/pair' --allocators glibc \
	--scale 0.01 --rounds 2 --json "$out/json" --markdown "$out/markdown"
python3 - "$out/json" <<'END'
import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
assert row["row"] == "table/pair-64", row
assert len(row["results"]["glibc"]["wall_ns"]["samples"]) == 2, row
END
grep -q '^| all workloads (1) | \*\*1\.00\*\* |$' "$out/markdown"

# Rounds of different speed: each is measured by itself.
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$srcdir/bench python3 - <<'END'
from comparison.report import paired
fast, slow = [10, 90, 30, 20], [20, 90, 60, 40]
assert abs(paired(slow, [fast, slow]) / paired(fast, [fast, slow]) - 2) < 1e-9
assert paired(fast, [fast]) == 25
END

# A limit kills: in a control group, or by launch's watch where none can be made.
"$srcdir/bench/compare" --build . --rows '^limited/1.3x' --allocators glibc \
	--json "$out/json" >/dev/null
python3 - "$out/json" <<'END'
import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
assert row["results"]["glibc"]["survived"]["samples"] == [0], row
END
bench/launch -m 1000000000 bench/cache 1 >"$out/launch"
grep -q ' 0$' "$out/launch"
bench/launch -m 100000 bench/cache 64 >"$out/launch"
grep -q ' 137$' "$out/launch"

# Bad input is one line and exit status 2.
for bad in 'cache 1x' 'cache 0' 'launch -m 1k true' 'launch -n 0 true' 'icount 16 many'; do
	status=0
	bench/$bad >"$out/bad" 2>&1 || status=$?
	test $status = 2 && test "$(wc -l <"$out/bad")" = 1 || {
		echo "$bad: exit status $status"
		cat "$out/bad"
		exit 1
	}
done
for bad in '--rounds 0' '--rows (' '--lib x' '--scale nan' '--nonsense'; do
	status=0
	"$srcdir/bench/compare" --build . $bad 2>"$out/bad" >&2 || status=$?
	test $status = 2 && test "$(wc -l <"$out/bad")" = 1 || {
		echo "compare $bad: exit status $status"
		cat "$out/bad"
		exit 1
	}
done
