"""Whole programs: what users would notice. Inputs are made in a folder of the
run's own, from fixed seeds, and removed afterwards."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time

from .inputs import INPUTS
from .rows import Row, RowFailed, environment, last_line


# A program does much besides malloc, so allocators differ less than the machine
# does from one run to the next.
TURNS = 3


class Ended(RowFailed):
    """The program ended with another status than 0."""

    def __init__(self, status, why):
        super().__init__("exit status %d: %s" % (status, why))
        self.status = status


class Launched:
    """A program running under launch(1) of ours, and its figures at the end."""

    def __init__(self, folder, launch, preload, command, stdin=None, times=1,
                 env=None, options=()):
        self.errors = os.path.join(folder, "stderr")
        self.output = os.path.join(folder, "stdout")
        if os.path.exists(self.errors):
            os.unlink(self.errors)
        arguments = [launch, "-n", str(times), "-o", self.output,
                     "-e", self.errors] + list(options)
        if preload:
            arguments += ["-p", preload]
        if stdin:
            arguments += ["-i", stdin]
        self.process = subprocess.Popen(
            arguments + ["--"] + command, text=True, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env=dict(environment(None), **(env or {})),
            start_new_session=True)

    def stop(self):
        """The whole group: it is a session that this object began."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def figures(self, timeout):
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise RowFailed("no end after %d s" % timeout)
        except KeyboardInterrupt:
            # A session of its own does not get the terminal's interrupt.
            self.stop()
            raise
        try:
            with open(self.errors, errors="replace") as f:
                errors = f.read()
        except OSError:
            errors = ""
        if "cannot be preloaded" in errors:
            raise RowFailed("the library cannot be preloaded")
        fields = out.split()
        if self.process.returncode != 0 or len(fields) != 5:
            raise RowFailed("could not be started: " + last_line(errors))
        wall, cpu, peak_kib, faults, status = map(int, fields)
        if status != 0:
            raise Ended(status, last_line(errors))
        return {"wall_ns": wall, "cpu_ns": cpu, "rss_peak": peak_kib * 1024,
                "faults": faults}


class Program(Row):
    """One command, from start to exit."""

    kind = "program"
    turns = TURNS
    TIMEOUT_S = 180

    def __init__(self, name, about, command, needs=(), inputs=(), stdin=None,
                 times=1, env=None):
        super().__init__("program/" + name, about)
        self.digest = None
        self.command = command
        self.needs = needs or (command[0],)
        self.inputs = inputs
        self.stdin = stdin
        self.times = times
        self.env = env

    def prepare(self, folder, launch):
        self.folder, self.launch = folder, launch
        for name in self.inputs:
            path = os.path.join(folder, name)
            if not os.path.exists(path):
                with open(path, "w") as f:
                    INPUTS[name](f, random.Random(20))

    def run(self, allocator):
        launched = Launched(self.folder, self.launch, allocator.preload(),
                            self.command, self.stdin, self.times, self.env)
        figures = launched.figures(self.TIMEOUT_S)
        self.check_output(launched.output, allocator)
        for figure in ("wall_ns", "cpu_ns", "faults"):
            figures[figure] /= self.times
        return figures

    def check_output(self, path, allocator):
        """A program that prints something else has not done the same work."""
        with open(path, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        if self.digest is None:
            self.digest, self.first = digest, allocator.name
        elif digest != self.digest:
            raise RowFailed("its output differs from that under " + self.first)


class Redis(Row):
    """redis-server under load from redis-benchmark, over a Unix socket.

    Only the server runs under the allocator; the time is the client's, which
    is what a user of the server sees, and includes no start of the server."""

    kind = "program"
    turns = TURNS
    needs = ("redis-server", "redis-benchmark")
    LOAD = ["-t", "set,get,lpush,lrange_100,hset,zadd", "-n", "40000",
            "-r", "100000", "-d", "100", "-P", "16", "-q"]

    def __init__(self):
        super().__init__("program/redis",
                         "redis-server under redis-benchmark, Unix socket")

    def prepare(self, folder, launch):
        self.folder, self.launch = folder, launch

    def run(self, allocator):
        socket = os.path.join(self.folder, "redis.sock")
        if os.path.exists(socket):
            os.unlink(socket)
        server = Launched(
            self.folder, self.launch, allocator.preload(linked_elsewhere=True),
            ["redis-server", "--port", "0", "--unixsocket", socket,
             "--save", "", "--appendonly", "no", "--daemonize", "no"])
        try:
            self.wait_for(server, socket)
            start = time.monotonic_ns()
            client = subprocess.run(
                ["redis-benchmark", "-s", socket] + self.LOAD, text=True,
                capture_output=True, timeout=120, env=environment(None))
            wall_ns = time.monotonic_ns() - start
            if client.returncode != 0 or "rror" in client.stdout:
                raise RowFailed("redis-benchmark: " + last_line(client.stdout)
                                + last_line(client.stderr))
            # launch hands SIGTERM on; the server then shuts down in order.
            server.process.send_signal(signal.SIGTERM)
            figures = server.figures(30)
        except subprocess.TimeoutExpired:
            raise RowFailed("no end after 120 s")
        finally:
            if server.process.poll() is None:
                server.stop()
        figures["wall_ns"] = wall_ns
        return figures

    @staticmethod
    def wait_for(server, socket):
        for _ in range(500):
            if os.path.exists(socket):
                return
            if server.process.poll() is not None:
                server.figures(1)
                raise RowFailed("the server ended at once")
            time.sleep(0.01)
        raise RowFailed("the server did not open its socket in 5 s")


def system_python():
    """The distribution's own: a python3 first in PATH may be a shell script
    that chooses one, and then the script would be measured."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"


def all_programs(build):
    python = system_python()
    stl = os.path.abspath(os.path.join(build, "bench", "stl"))
    lua = "lua5.4" if shutil.which("lua5.4") else "lua"
    return [
        Program("true", "start and end of the smallest program, mean of 200",
                ["true"], times=200),
        Redis(),
        Program("python3", "classes, dictionaries, json, regular expressions",
                [python, "script.py"], inputs=("script.py",)),
        Program("python3-malloc", "the same without Python's own small-object "
                "allocator", [python, "script.py"], inputs=("script.py",),
                env={"PYTHONMALLOC": "malloc"}),
        Program("gcc", "gcc -O2 on a file of 200 functions",
                ["gcc", "-O2", "-w", "-c", "large.c", "-o", "large.o"],
                inputs=("large.c",)),
        Program("sqlite3", "tables, indexes and joins in memory",
                ["sqlite3", "-batch", "-init", "/dev/null", ":memory:"],
                inputs=("script.sql",), stdin="script.sql"),
        Program("perl", "hashes, sorting and regular expressions",
                ["perl", "script.pl"], inputs=("script.pl",)),
        Program("node", "objects, strings, buffers and JSON",
                ["node", "script.js"], inputs=("script.js",)),
        Program("ghostscript", "pages of text and curves to PNG",
                ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER",
                 "-sDEVICE=png16m", "-r100", "-o", "page.png", "pages.ps"],
                inputs=("pages.ps",)),
        Program("lua", "tables, strings and closures", [lua, "script.lua"],
                inputs=("script.lua",)),
        Program("xz", "xz -T2 on 8 MB of text",
                ["xz", "-T2", "-1", "--block-size=2MiB", "-k", "-f", "text"],
                inputs=("text",)),
        Program("stl", "C++ strings, maps, lists, shared pointers, 2 threads",
                [stl], needs=(stl,)),
    ]


def programs(build, folder, pattern, note):
    """The program rows that match and whose programs are there."""
    launch = os.path.abspath(os.path.join(build, "bench", "launch"))
    rows = []
    for row in all_programs(build):
        if not re.search(pattern, row.name):
            continue
        missing = [n for n in row.needs if not shutil.which(n)]
        if missing:
            note("%s: skipped, no %s" % (row.name, " and no ".join(missing)))
            continue
        if folder:
            row.prepare(folder, launch)
        rows.append(row)
    return rows
