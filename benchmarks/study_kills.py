"""Kills of studies: their parent is ended by SIGKILL at random moments and started again at once.

    python benchmarks/study_kills.py [--kills 50]

Half of the kills come while workers start, half while they train; the stacks save after every step, so that a worker
that outlived its parent would meet the next one's checkpoint. Printed: the kills, the workers that were running, how
many of them were left five seconds later, the stacks that went on from a checkpoint, and whether weights, curves and
signals are those of a study that was never killed, byte for byte.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

import skipway as sw
from skipway.rundir.layout import METRICS, PROBES, WEIGHTS
from skipway.rundir.study import Study
from skipway.training import saving

SECONDS = 5.0


class SavedOften(sw.Gate, name="saved-often"):
    """The identity path, and, in whichever process it is built, a checkpoint after every step."""

    def __init__(self, placement: sw.Placement) -> None:
        super().__init__(placement)
        saving._LEAST_SECONDS = 0.0

    def forward(self, z: object) -> sw.Flow:
        return sw.Flow(0.5, 1.0)


class Orphans:
    """Workers whose parent was killed; after five seconds each is looked for."""

    def __init__(self) -> None:
        self.seen, self.left = 0, list[psutil.Process]()
        self._looks: list[threading.Timer] = []

    def follow(self, workers: list[psutil.Process]) -> None:
        """Look for them in five seconds."""
        self.seen += len(workers)
        look = threading.Timer(SECONDS, lambda: self.left.extend(filter(runs, workers)))
        look.start()
        self._looks.append(look)

    def wait(self) -> None:
        """Until the last look."""
        for look in self._looks:
            look.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)  # what this program starts, and kills
    wanted = parser.parse_args()
    if wanted.study:
        study(wanted.study)
        return
    draw, orphans, resumed = random.Random(wanted.seed), Orphans(), 0
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        start(whole).wait()
        for kill in range(wanted.kills):
            process = start(killed)
            workers = await_workers(process)
            if kill % 2:
                resumed += bool(await_change(killed, process))
            time.sleep(draw.uniform(0.0, 1.0))
            workers = workers_of(process)
            process.kill()
            process.wait()
            orphans.follow(workers)
        start(killed).wait()
        orphans.wait()
        equal = contents(whole) == contents(killed) and Study(killed).info()["status"] == "done"
    print(f"{'kills':>6} {'workers':>8} {'left after 5 s':>15} {'kills after a new checkpoint':>29} {'equal':>6}")
    print(f"{wanted.kills:6} {orphans.seen:8} {len(orphans.left):15} {resumed:29} {'yes' if equal else 'NO':>6}")
    sys.exit(not equal or bool(orphans.left))


def study(out: Path) -> None:
    recipe = sw.Recipe(learning_rates=(0.1, 0.03), steps=1000)
    sw.study("digits", gates=["saved-often"], depths=[6, 8, 10, 12], seeds=[0, 1], recipe=recipe, workers=2, out=out)


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--study", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers of a study, as soon as there are any."""
    while process.poll() is None:
        if found := workers_of(process):
            return found
        time.sleep(0.01)
    return []


def await_change(out: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a checkpoint is written."""
    before = checkpoints(out)
    while process.poll() is None:
        if checkpoints(out) - before:
            return True
        time.sleep(0.005)
    return False


def checkpoints(out: Path) -> set[Path]:
    return set(out.glob(".checkpoints/*/step-*"))


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children() if process.poll() is None else ():
        with suppress(psutil.NoSuchProcess):  # it has ended just now
            found += [child] * ("popen_loky" in " ".join(child.cmdline()))
    return found


def runs(worker: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    return False


def contents(out: Path) -> dict[str, bytes]:
    """Every run's files, by their place in the study."""
    files = (run.path / name for run in Study(out).runs() for name in (WEIGHTS, METRICS, PROBES))
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


if __name__ == "__main__":
    main()
