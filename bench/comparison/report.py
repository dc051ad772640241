"""What stands for all rounds, ratios, geometric means, and the tables that show them."""

import math
import statistics

from .allocators import OURS

MIB = 1024.0 * 1024.0


def paired(samples, others):
    """What a row took, relative to the other allocators in the same rounds: a
    machine whose speed changes between rounds falls out. The median of that,
    times what the median round took. `others` are all that took part in every
    round, these samples among them."""
    rounds = [statistics.geometric_mean(turn) for turn in zip(*others)]
    return statistics.median(rounds) * statistics.median(
        mine / turn for mine, turn in zip(samples, rounds))


class Results:
    """What was measured: samples by row, allocator and figure.

    `time` names the figure that ranks rows by time: wall_ns or cpu_ns."""

    def __init__(self, rows, allocators, clock, statistic):
        self.statistic = statistic
        self.rows = rows
        self.names = [a.name for a in allocators]
        self.time = "%s_ns" % clock
        self.samples = {}
        self.failures = {}

    def add(self, row, allocator, figures):
        cell = self.samples.setdefault((row.name, allocator.name), {})
        for figure, value in figures.items():
            cell.setdefault(figure, []).append(value)

    def fail(self, row, allocator, why):
        self.failures[(row.name, allocator.name)] = why

    def value(self, row, name, figure):
        """What stands for the rounds; None where the row failed (in any round)
        or has no such figure."""
        if (row.name, name) in self.failures:
            return None
        values = self.samples.get((row.name, name), {}).get(figure)
        if not values:
            return None
        if self.statistic == "min":
            return min(values)
        if self.statistic == "paired" and figure == self.time:
            return paired(values, self.complete(row, figure, len(values)))
        return statistics.median(values)

    def complete(self, row, figure, rounds):
        """The samples of the allocators that have so many."""
        cells = (self.samples.get((row.name, n), {}).get(figure, [])
                 for n in self.names if (row.name, n) not in self.failures)
        return [c for c in cells if len(c) == rounds]

    def why_none(self, row, name):
        """What stands where a figure would."""
        if (row.name, name) in self.failures:
            return "failed"
        return "killed" if self.value(row, name, "survived") == 0 else "-"

    def best(self, row, figure, names):
        """(value, name) of the least value among the named allocators."""
        values = [(self.value(row, n, figure), n) for n in names]
        values = [v for v in values if v[0] is not None]
        return min(values) if values else (None, None)

    def peers(self):
        return [n for n in self.names if n != OURS]

    def kind(self, kind, metric="time"):
        return [r for r in self.rows if r.kind == kind and r.metric == metric]

    def geomeans(self, rows, figure):
        """{name: geometric mean of value / best of the row}, over the rows
        that every allocator finished; and how many rows those are."""
        logs = {n: [] for n in self.names}
        for row in rows:
            values = {n: self.value(row, n, figure) for n in self.names}
            if any(not v for v in values.values()):
                continue
            least = min(values.values())
            for n in self.names:
                logs[n].append(math.log(values[n] / least))
        means = {n: math.exp(statistics.fmean(v))
                 for n, v in logs.items() if v}
        return means, len(logs[self.names[0]]) if self.names else 0

    def to_best_peer(self, rows, figure):
        """Ours over the best peer, by geometric means; None without either."""
        means, _ = self.geomeans(rows, figure)
        peers = [means[n] for n in self.peers() if n in means]
        return means[OURS] / min(peers) if OURS in means and peers else None


def number(value):
    """Three significant digits, and no more than the reader needs."""
    if abs(value) >= 99.95 or value == 0:
        return "%.0f" % value
    return "%.1f" % value if abs(value) >= 9.995 else "%.2f" % value


def table(results, rows, figure, title, unit, divide=1.0, against=None,
          means=True):
    """One figure of all rows: a column per allocator, then ours over the best
    peer (or over the one named), which is what the targets speak of."""
    rows = [r for r in rows
            if any(results.value(r, n, f) is not None
                   for n in results.names for f in (figure, "survived"))]
    if not rows:
        return []
    peers = [against] if against else results.peers()
    ours = OURS in results.names and peers
    width = max(len(r.name) for r in rows)
    width = max(width, len("geometric mean"))
    columns = ["%*s" % (max(9, len(n)), n) for n in results.names]
    lines = ["", "%s (%s)" % (title, unit),
             "%-*s %s%s" % (width, "", " ".join(columns),
                            "  ours / " + (against or "best peer")
                            if ours else "")]
    for row in rows:
        cells = []
        for name, column in zip(results.names, columns):
            value = results.value(row, name, figure)
            text = results.why_none(row, name) if value is None else \
                number(value / divide)
            cells.append("%*s" % (len(column), text))
        line = "%-*s %s" % (width, row.name, " ".join(cells))
        best, name = results.best(row, figure, peers) if ours else (None, None)
        mine = results.value(row, OURS, figure)
        if best and mine is not None:
            line += "  %6.2f" % (mine / best)
            line += "" if against else "  " + name
        lines.append(line)
    if not means:
        return lines
    geomeans, count = results.geomeans(rows, figure)
    if count > 1:
        cells = ["%*.3f" % (len(c), geomeans[n])
                 for n, c in zip(results.names, columns)]
        line = "%-*s %s" % (width, "geometric mean", " ".join(cells))
        if ours:
            line += "  %6.2f" % (geomeans[OURS] /
                                 min(geomeans[n] for n in peers))
        lines.append(line)
        lines.append("%-*s of value / best of the row; %d rows that all finished"
                     % (width, "", count))
    return lines


def times(results, against=None):
    clock = results.time[:-3]
    return (table(results, results.kind("workload"), results.time,
                  "Time of workloads", "ns per operation, %s clock" % clock,
                  against=against) +
            table(results, results.kind("program"), results.time,
                  "Time of programs", "ms, %s clock" % clock, 1e6, against))


def memory(results, against=None):
    timed = results.kind("workload") + results.kind("program")
    return (table(results, timed, "rss_peak", "Peak RSS", "MiB", MIB, against) +
            table(results, timed, "rss_freed", "RSS after everything is freed",
                  "MiB", MIB, against) +
            table(results, timed, "rss_trimmed",
                  "RSS after a trim that follows", "MiB", MIB, against) +
            table(results, results.kind("workload", "rss"), "rss",
                  "What comes back (see README.md for each row)", "MiB RSS",
                  MIB, against) +
            table(results, timed, "faults", "Page faults", "count", 1, against,
                  means=False))


def survival(results, against=None):
    rows = results.kind("limited", "survived")
    return (table(results, rows, "rss_peak",
                  "Under a memory limit: peak RSS of who survives", "MiB", MIB,
                  against, means=False) +
            table(results, rows, results.time, "and its time",
                  "ms, %s clock" % results.time[:-3], 1e6, against, means=False))


def counts(results, against=None):
    return table(results, results.kind("instructions", "instructions"),
                 "instructions", "Instructions", "per call, by callgrind",
                 against=against)


def targets(results):
    """Ours against the best peer, in the few figures that sum it up."""
    if OURS not in results.names or not results.peers():
        return []
    workloads, programs = results.kind("workload"), results.kind("program")
    lines = []
    for text, rows, figure in (
            ("time of workloads", workloads, results.time),
            ("time of programs", programs, results.time),
            ("peak RSS of both", workloads + programs, "rss_peak")):
        ratio = results.to_best_peer(rows, figure)
        if ratio:
            lines.append("%-20s %.3f x the best peer's geometric mean"
                         % (text, ratio))
    for rows, limit in ((workloads, 1.05), (programs, 1.02)):
        for row in rows:
            best, name = results.best(row, results.time, results.peers())
            mine = results.value(row, OURS, results.time)
            if best and mine and mine > limit * best:
                lines.append("%-24s %.2f x %s" % (row.name, mine / best, name))
    return ["", "Summary, and rows in which a peer is ahead"] + lines \
        if lines else []


def as_json(results, allocators, environment):
    """Everything, for other programs: medians, and every sample behind them."""
    rows = []
    for row in results.rows:
        cells = {}
        for name in results.names:
            if (row.name, name) in results.failures:
                cells[name] = {"failed": results.failures[(row.name, name)]}
                continue
            cell = results.samples.get((row.name, name), {})
            cells[name] = {f: {"median": statistics.median(v), "samples": v}
                           for f, v in cell.items()}
        rows.append({"row": row.name, "kind": row.kind, "metric": row.metric,
                     "about": row.about, "results": cells})
    summary = {}
    for text, rows_of, figure in (
            ("time_workloads", results.kind("workload"), results.time),
            ("time_programs", results.kind("program"), results.time),
            ("rss_peak", results.kind("workload") + results.kind("program"),
             "rss_peak"),
            ("rss_rows", results.kind("workload", "rss"), "rss")):
        means, count = results.geomeans(rows_of, figure)
        if means:
            summary[text] = {"rows": count, "geomean_over_best": means}
    return {"environment": environment, "ranked_by": results.time,
            "statistic": results.statistic,
            "allocators": {a.name: a.path for a in allocators},
            "summary": summary, "rows": rows}
