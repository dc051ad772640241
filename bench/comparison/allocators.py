"""The allocators that are compared, and where their shared objects are."""

import os
import subprocess

OURS = "buddymalloc"

# Peers a distribution packages, by the names their files have had. The C
# library needs no file: it is what a program gets without a preload.
PEERS = {
    "jemalloc": ("libjemalloc.so.2",),
    "mimalloc": ("libmimalloc.so.2.0", "libmimalloc.so.2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4",),
}
PACKAGES = {
    "jemalloc": "libjemalloc2",
    "mimalloc": "libmimalloc2.0",
    "tcmalloc": "libtcmalloc-minimal4",
}


class Allocator:
    """A name and the file to preload; None is the C library's own malloc."""

    def __init__(self, name, path):
        self.name = name
        self.path = path

    def preload(self, linked_elsewhere=False):
        """The value of LD_PRELOAD that makes a program use this allocator.

        A program may be linked to an allocator of its own choice (Debian's
        redis-server is). Preloading the C library puts its malloc back in
        front there.
        """
        if self.path:
            return self.path
        return find_library(("libc.so.6",)) if linked_elsewhere else None


_folders = None


def library_folders():
    """Folders the dynamic loader searches, without /etc/ld.so.conf parsing."""
    global _folders
    if _folders is None:
        _folders = []
        for command in ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"):
            try:
                out = subprocess.run([command, "-p"], text=True,
                                     stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL).stdout
            except OSError:
                continue
            for line in out.splitlines():
                if " => " in line:
                    folder = os.path.dirname(line.split(" => ")[1].strip())
                    if folder not in _folders:
                        _folders.append(folder)
            break
        _folders += ["/usr/lib", "/usr/lib64", "/usr/local/lib"]
        # A foreign architecture's library (multiarch, 32 bit) would be
        # found by name but cannot be preloaded: native folders come first.
        native = "%s-linux-gnu" % os.uname().machine
        _folders.sort(key=lambda folder: native not in folder)
    return _folders


def find_library(names):
    for name in names:
        for folder in library_folders():
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path
    return None


def find_all(build, extra, note):
    """All allocators there are: ours, the C library, peers, then --lib ones.

    What is missing is told through note() and left out.
    """
    found = []
    ours = os.path.join(build, ".libs", "libbuddymalloc.so")
    if os.path.exists(ours):
        found.append(Allocator(OURS, os.path.abspath(ours)))
    else:
        note("%s: skipped, %s is not built" % (OURS, ours))
    found.append(Allocator("glibc", None))
    for name, files in PEERS.items():
        path = find_library(files)
        if path:
            found.append(Allocator(name, path))
        else:
            note("%s: skipped, not installed (package %s)"
                 % (name, PACKAGES[name]))
    for name, path in extra:
        found = [a for a in found if a.name != name]
        found.append(Allocator(name, os.path.abspath(path)))
    return found
