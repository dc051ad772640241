# Threads, json, subprocess, fork and large buffers; what is printed depends on nothing else.
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import zlib


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def documents(seed):
    x = seed
    for i in range(300):
        x = (x * 1103515245 + 12345) % 2147483648
        yield {
            "id": i,
            "tags": ["t%d" % (x >> s & 63) for s in range(0, 20, 3)],
            "text": "abc %d " % x * (x % 40),
            "nested": {str(k): [k, k * 0.5, None, True] for k in range(x % 15)},
        }


def work(index, results):
    kept = []
    for document in documents(index):
        again = json.loads(json.dumps(document))
        assert again == document
        kept.append(zlib.compress(json.dumps(again).encode() * 20, 6))
        if len(kept) > 50:
            assert zlib.decompress(kept.pop(0))
    words = re.findall(r"\w+", " ".join(d["text"] for d in documents(index)))
    results[index] = (digest(sorted(set(words))), sum(map(len, kept)))


def in_threads():
    results = {}
    threads = [threading.Thread(target=work, args=(i, results)) for i in range(8)]
    for thread in threads:
        thread.start()
    # Children of a threaded process: started by fork and exec, and by fork alone.
    script = "import sys, json; print(json.dumps(sorted(json.load(sys.stdin))))"
    for n in range(4):
        child = subprocess.run([sys.executable, "-c", script], text=True, check=True,
                               input=json.dumps([str(i * 7919 % 1000) for i in range(5000)]),
                               stdout=subprocess.PIPE)
        print("child", n, digest(json.loads(child.stdout)))
    for thread in threads:
        thread.join()
    for index in sorted(results):
        print("thread", index, *results[index])


def after_fork():
    sys.stdout.flush()
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            text = digest([digest(list(documents(n))), n])
            os.write(1, ("forked %d %s\n" % (n, text)).encode())
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


def large():
    grown = bytearray()
    for i in range(3000):
        grown += bytes([i % 251]) * (i * 3)
    print("grown", len(grown), zlib.crc32(grown))
    table = {("key", i): [i] * (i % 9) for i in range(200000)}
    for i in range(0, 200000, 3):
        del table[("key", i)]
    print("table", len(table), sum(map(len, table.values())))


in_threads()
after_fork()
large()
