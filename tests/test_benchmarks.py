"""The benchmarks run, at a size that says nothing about speed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_train_step(peers):
    size = "--nets resnet-8 --batch 8 --rounds 1 --steps 2 --images 64"
    command = [sys.executable, str(BENCHMARKS / "train_step.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ways = [line for line in printed.splitlines() if line.startswith("resnet-8")]
    assert [line[13:29].strip() for line in ways] == ["usual loop", "ours, eager", "ours"]
    assert all(float(line.split()[-3].removesuffix("x")) > 0 for line in ways)


def test_replicas():
    size = "--replicas 3 --depth 4 --batch 8 --rounds 1 --steps 1"
    command = [sys.executable, str(BENCHMARKS / "replicas.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for gate in ("plain", "residual", "highway"):
        ways = [line for line in printed.splitlines() if line.startswith(gate)]
        assert len(ways) == 3
        assert all(float(line.split()[-4]) > 0 for line in ways)
