"""A program in a control group with little more memory than it has in use: does
the group kill it?"""

import contextlib
import os
import re
import subprocess
import time

from .programs import Ended, Launched
from .rows import Row

CACHE_MIB = 128
# Of the whole process, over what the cache holds.
LIMITS = (1.3, 2, 3)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def parents():
    """Folders of control groups in which one may be made: (folder, limit's file, swap's)."""
    own = {}
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            own[controllers] = path.lstrip("/")
    for root, group, limit, swap in (
            ("/sys/fs/cgroup", own.get(""), "memory.max", "memory.swap.max"),
            ("/sys/fs/cgroup/memory", own.get("memory"), "memory.limit_in_bytes",
             "memory.memsw.limit_in_bytes")):
        if group is not None:
            for folder in (os.path.join(root, group), root):
                yield folder, limit, swap


def remove(group):
    """Once it is empty: who was killed takes a while to go."""
    for _ in range(100):
        try:
            os.rmdir(group)
            return
        except OSError:
            time.sleep(0.1)


def set_up(group, limit, swap, limit_bytes, launch):
    """Whether the group has a limit and can be joined."""
    if not os.path.exists(os.path.join(group, limit)):
        return False
    try:
        write(os.path.join(group, limit), str(limit_bytes))
    except OSError:
        return False
    with contextlib.suppress(OSError):
        write(os.path.join(group, swap),
              "0" if swap == "memory.swap.max" else str(limit_bytes))
    tried = subprocess.run([launch, "-g", os.path.join(group, "cgroup.procs"), "true"],
                           text=True, capture_output=True)
    return tried.stdout.endswith(" 0\n")


@contextlib.contextmanager
def memory_group(limit_bytes, launch):
    """The cgroup.procs of a new group with that limit and no swap; None where
    none can be made."""
    for parent, limit, swap in parents():
        group = os.path.join(parent, "bench-compare-%d" % os.getpid())
        try:
            os.mkdir(group)
        except OSError:
            continue
        try:
            if set_up(group, limit, swap, limit_bytes, launch):
                yield os.path.join(group, "cgroup.procs")
                return
        finally:
            remove(group)
    yield None


class Limited(Row):
    """The cache under one limit. Figures: survived (1 or 0), and, if so, time and
    peak RSS. Where no control group can be made our own hard_limit takes its place,
    and for all launch watches RSS."""

    kind = "limited"
    metric = "survived"
    TIMEOUT_S = 120

    def __init__(self, times_live):
        super().__init__("limited/%.1fx" % times_live,
                         "a cache of %d MiB under a memory limit of %.1f times that"
                         % (CACHE_MIB, times_live))
        self.limit = int(CACHE_MIB * times_live * (1 << 20))

    def prepare(self, folder, build):
        self.folder = folder
        self.launch, self.cache = (os.path.abspath(os.path.join(build, "bench", name))
                                   for name in ("launch", "cache"))

    def run(self, allocator):
        with memory_group(self.limit, self.launch) as procs:
            if procs:
                options, conf = ["-g", procs], "cgroup:any"
            else:
                options = ["-m", str(self.limit)]
                # Beside the heap there are its tables, stacks and the program itself.
                conf = "hard_limit:%d" % (self.limit - self.limit // 16)
            try:
                figures = Launched(self.folder, self.launch, allocator.preload(),
                                   [self.cache, str(CACHE_MIB)], options=options,
                                   env={"BUDDYMALLOC_CONF": conf}
                                   ).figures(self.TIMEOUT_S)
            except Ended as e:
                # Killed, or refused memory.
                if e.status in (128 + 9, 1):
                    return {"survived": 0}
                raise
        return dict(figures, survived=1)


def limited(build, folder, pattern):
    """The rows that match."""
    rows = [r for r in map(Limited, LIMITS) if re.search(pattern, r.name)]
    if folder:
        for row in rows:
            row.prepare(folder, build)
    return rows
