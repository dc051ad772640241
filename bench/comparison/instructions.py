"""Instructions per malloc and per free, counted by callgrind.

Unlike time, the count does not depend on what else the machine does; like any
count, it says nothing about cache misses."""

import re
import shutil
import subprocess

from .rows import Row, RowFailed, environment, last_line

# callgrind runs a program some fifty times slower; the difference between
# this many rounds and twice as many is exact all the same.
ROUNDS = 1000
BATCH = 4  # operations in a round of icount.c


class Instructions(Row):
    kind = "instructions"
    metric = "instructions"

    def __init__(self, program, call, size):
        super().__init__("instructions/%s-%d" % (call, size),
                         "instructions of one %s of %d B, loop taken off"
                         % (call, size))
        self.program = program
        self.call = call
        self.size = size
        self.loop = None

    def count(self, allocator, rounds, *options):
        command = ["valgrind", "--tool=callgrind",
                   "--callgrind-out-file=/dev/null",
                   "--toggle-collect=collect_" + self.call,
                   self.program, *options, str(self.size), str(rounds)]
        try:
            done = subprocess.run(command, text=True, capture_output=True,
                                  timeout=120,
                                  env=environment(allocator.preload()))
        except subprocess.TimeoutExpired:
            raise RowFailed("no end after 120 s under callgrind")
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or not found:
            raise RowFailed("under callgrind: " + last_line(done.stderr))
        return int(found.group(1))

    def per_call(self, allocator, *options):
        once = self.count(allocator, ROUNDS, *options)
        twice = self.count(allocator, 2 * ROUNDS, *options)
        return (twice - once) / (ROUNDS * BATCH)

    def run(self, allocator):
        if self.loop is None:
            # The empty function returns at once: one instruction, which is
            # part of what a real call costs.
            self.loop = self.per_call(allocator, "--empty") - 1
        return {"instructions": self.per_call(allocator) - self.loop}


def instructions(program, pattern, note):
    rows = [Instructions(program, call, size)
            for size in (64, 1024) for call in ("malloc", "free")]
    rows = [r for r in rows if re.search(pattern, r.name)]
    if rows and not shutil.which("valgrind"):
        note("instructions: skipped, valgrind is not installed")
        return []
    return rows
