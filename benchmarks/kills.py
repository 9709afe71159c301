"""Kills: a training is ended by SIGKILL at random moments, and must end with the bits of one that never was.

    python benchmarks/kills.py [--kills 50]

It saves after every step, so that many kills come in the middle of a checkpoint's write. Printed: at which steps it
went on, the time of a resumed step's checkpoint, and whether weights, curve and signals are equal byte for byte.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from skipway.rundir.layout import METRICS, PROBES, WEIGHTS

# A highway net's gates, dropout-free; a net with batch norm and augmentations.
NETS = {
    "highway-dense-20": "--net highway-dense-20 --steps 4000 --learning-rates 0.03",
    "resnet-8": "--net resnet-8 --width 4 --steps 600 --batch-size 32 --augment crop:pad=1 flip",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    draw, failed = random.Random(wanted.seed), False
    print(f"{'net':18} {'kills':>6} {'while writing':>14} {'resumed':>8} {'equal':>6}")
    for name, flags in NETS.items():
        with tempfile.TemporaryDirectory() as folder:
            whole, killed = Path(folder, "whole"), Path(folder, "killed")
            run(flags, whole).wait()
            writing = resumed = 0
            for _ in range(wanted.kills // len(NETS)):
                before = newest(killed)
                process = run(flags, killed)
                until = time.monotonic() + 120
                while newest(killed) <= before and process.poll() is None and time.monotonic() < until:
                    time.sleep(0.005)
                resumed += newest(killed) > before
                time.sleep(draw.uniform(0.0, 0.05))
                process.kill()
                process.wait()
                writing += bool(list(killed.glob("checkpoint/.step-*")))
            run(flags, killed).wait()
            files = (WEIGHTS, METRICS, PROBES)
            equal = all((whole / file).read_bytes() == (killed / file).read_bytes() for file in files)
            failed |= not equal
            kills = wanted.kills // len(NETS)
            print(f"{name:18} {kills:6} {writing:14} {resumed:8} {'yes' if equal else 'NO':>6}", flush=True)
    sys.exit(failed)


def run(flags: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "skipway", "train", *flags.split(), "--save-every", "0", "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def newest(out: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in out.glob("checkpoint/step-*")), default=0)


if __name__ == "__main__":
    main()
