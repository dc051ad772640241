"""The comparison in one small table, as a README shows it."""

import os

from .report import MIB, number

# What a family of rows is about. A family that is not here has its own name.
FAMILIES = {
    "table": "small objects: pairs, batches, churn, hand-over",
    "pair": "malloc and free at once, 16 B to 16 MiB",
    "batch": "100 to 1 000 000 objects, freed in order, in reverse, shuffled",
    "mix": "mixed sizes and lifetimes",
    "data": "trees, hash tables and lists: built, walked, dropped",
    "thread": "threads: own work, hand-over, storms of short ones",
    "large": "16 KiB to 25 MiB",
    "realloc": "growing blocks",
    "calloc": "cleared blocks",
    "aligned": "aligned blocks",
}


def family(row):
    return row.name.split("/")[0]


def line(title, names, values, form, none=lambda name: "-"):
    """One row; the least of its values stands out."""
    cells = []
    least = min((v for v in values.values() if v is not None), default=None)
    for name in names:
        value = values.get(name)
        text = none(name) if value is None else form(value)
        cells.append("**%s**" % text if value is not None and
                     text == form(least) else text)
    return "| %s | %s |" % (title, " | ".join(cells))


def section(results, title):
    return ["", "| %s | %s |" % (title, " | ".join(results.names)),
            "|---|%s" % ("---:|" * len(results.names))]


def geomean_line(results, title, rows, figure):
    means, count = results.geomeans(rows, figure)
    return [line("%s (%d)" % (title, count), results.names, means,
                 lambda v: "%.2f" % v)] if count else []


def value_lines(results, rows, figure, divide):
    lines = []
    for row in rows:
        values = {n: results.value(row, n, figure) for n in results.names}
        lines.append(line(row.name, results.names,
                          {n: v / divide for n, v in values.items()
                           if v is not None}, number,
                          lambda name, row=row: results.why_none(row, name)))
    return lines


def write(results, found, machine, rounds, path):
    """Writes the table to a file."""
    workloads, programs = results.kind("workload"), results.kind("program")
    lines = ["%(cpu)s, %(cpus)d CPUs, %(memory)s, Linux %(kernel)s, %(libc)s, "
             "huge pages %(transparent_hugepage)s, %(date)s;" % machine,
             "%d rounds. %s." % (rounds, ", ".join(
                 "%s is `%s`" % (a.name, os.path.basename(os.path.realpath(a.path)))
                 for a in found if a.path))]
    lines += section(results, "time / best of the row, geometric mean")
    families = []
    for row in workloads:
        if family(row) not in families:
            families.append(family(row))
    for name in families:
        lines += geomean_line(results, FAMILIES.get(name, name),
                              [r for r in workloads if family(r) == name],
                              results.time)
    lines += geomean_line(results, "all workloads", workloads, results.time)
    lines += geomean_line(results, "whole programs", programs, results.time)
    lines += section(results, "peak RSS / leanest of the row, geometric mean")
    lines += geomean_line(results, "workloads", workloads, "rss_peak")
    lines += geomean_line(results, "whole programs", programs, "rss_peak")
    rss = results.kind("workload", "rss")
    if rss:
        lines += section(results, "what comes back, MiB RSS")
        lines += value_lines(results, rss, "rss", MIB)
    limited = results.kind("limited", "survived")
    if limited:
        lines += section(results, "peak RSS under a memory limit of so many times the "
                         "cache, MiB")
        lines += value_lines(results, limited, "rss_peak", MIB)
    counts = results.kind("instructions", "instructions")
    if counts:
        lines += section(results, "instructions of one call")
        lines += value_lines(results, counts, "instructions", 1)
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
