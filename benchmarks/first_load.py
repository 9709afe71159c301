"""Seconds until a data set is open: the first time, with an empty cache, and again; each in a fresh process.

    python benchmarks/first_load.py [--source cifar10]

What is timed is `load` alone: the interpreter's start and the import of torch are not counted, the imports of whatever
decodes are. Printed beside: bytes read from files (Linux counts them for a process), and whether the decoder was
imported; a second load that reads fewer bytes than the images have, and no decoder, has read none again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

TIMED = """
import sys, time
import torch
from skipway.data.images.sources import load
before = time.perf_counter()
data = load(sys.argv[1])
seconds = time.perf_counter() - before
count = len(data.train) + len(data.validation) + len(data.test)
read = sum(int(line.split()[1]) for line in open("/proc/self/io") if line.startswith("rchar"))
print(count, seconds, read / 2**20, "skipway.data.images.decode" in sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="cifar10", help="as `skipway.load` takes it")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    print(f"{'load':8} {'images':>8} {'seconds':>8} {'MiB read':>9} {'decoder':>8}")
    for _ in range(wanted.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("first", "second"):
                done = subprocess.run(
                    [sys.executable, "-c", TIMED, wanted.source],
                    env={**os.environ, "SKIPWAY_CACHE": cache},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                count, seconds, read, decoder = done.stdout.split()
                used = "used" if decoder == "True" else "not used"
                print(f"{name:8} {int(count):8,} {float(seconds):8.2f} {float(read):9.0f} {used:>8}", flush=True)


if __name__ == "__main__":
    main()
