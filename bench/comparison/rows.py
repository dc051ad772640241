"""Rows: one thing to measure, and how to measure it under one allocator."""

import json
import os
import re
import subprocess


class RowFailed(Exception):
    """This row under this allocator gives no figures; the text says why."""


class Row:
    """A row has a name, a kind (workload, program, limited, instructions), the
    figure that ranks allocators (metric) and run(allocator) -> {figure: number}.

    Figures: wall_ns and cpu_ns (per operation for workloads, in all for
    programs), rss_peak, rss_freed, rss_trimmed (bytes), faults, survived,
    instructions.
    """

    kind = "workload"
    metric = "time"
    turns = 1  # within each round

    def __init__(self, name, about):
        self.name = name
        self.about = about


def environment(preload):
    """Ours, with nothing preloaded except what is asked for."""
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    if preload:
        env["LD_PRELOAD"] = preload
    return env


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class Workload(Row):
    """A row of the workloads program, in a process of its own."""

    TIMEOUT_S = 120

    def __init__(self, program, name, metric, about, scale):
        super().__init__(name, about)
        self.program = program
        self.metric = metric
        self.scale = scale

    def run(self, allocator):
        command = [self.program, "--scale", str(self.scale),
                   "--benchmark_format=json", self.name]
        try:
            done = subprocess.run(command, text=True, capture_output=True,
                                  env=environment(allocator.preload()),
                                  timeout=self.TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RowFailed("no end after %d s" % self.TIMEOUT_S)
        if "cannot be preloaded" in done.stderr:
            raise RowFailed("the library cannot be preloaded")
        if done.returncode != 0:
            raise RowFailed("exit status %d: %s"
                            % (done.returncode, last_line(done.stderr)))
        try:
            figures = json.loads(done.stdout)["benchmarks"][0]
        except (ValueError, KeyError, IndexError):
            raise RowFailed("output is not Google Benchmark's JSON")
        if figures.get("error_occurred"):
            raise RowFailed(figures.get("error_message", "failed"))
        served_by = os.path.realpath(figures["label"])
        if allocator.path and served_by != os.path.realpath(allocator.path):
            raise RowFailed("malloc came from %s" % served_by)

        wall_ns = 1e9 / figures["items_per_second"]
        result = {
            "wall_ns": wall_ns,
            "cpu_ns": wall_ns * figures["cpu_time"] / figures["real_time"],
        }
        for name, value in figures.items():
            if name.startswith("rss") or name == "faults":
                result[name] = value
        return result


def workloads(program, pattern, scale):
    """The rows of the workloads program whose names match."""
    out = subprocess.run([program, "--list"], text=True, check=True,
                         stdout=subprocess.PIPE, env=environment(None)).stdout
    rows = []
    for line in out.splitlines():
        name, metric, about = line.split("\t")
        if re.search(pattern, name):
            rows.append(Workload(program, name, metric, about, scale))
    return rows
