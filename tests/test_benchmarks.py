"""The benchmarks run, at a size that says nothing about speed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux's own count")
def test_memory():
    size = "--nets resnet-8 --batch 8 --rounds 1"
    command = [sys.executable, str(BENCHMARKS / "memory.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [line.split()[:2] for line in printed.splitlines()[2:]] == [
        ["resnet-8", way] for way in ("store", "recompute")
    ]


def test_train_step(peers):
    size = "--nets resnet-8 --batch 8 --rounds 1 --steps 2 --images 64 --product 64"
    command = [sys.executable, str(BENCHMARKS / "train_step.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ways = [line for line in printed.splitlines() if line.startswith("resnet-8")]
    assert [line[13:29].strip() for line in ways] == ["usual loop", "ours, eager", "ours"]
    assert all(float(line.split()[-3].removesuffix("x")) > 0 for line in ways)


def test_replicas():
    size = "--gates highway --replicas 3 --depth 4 --batch 8 --rounds 1 --steps 1 --product 64"
    command = [sys.executable, str(BENCHMARKS / "replicas.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ways = [line for line in printed.splitlines() if line.startswith("highway")]
    assert len(ways) == 3
    assert all(float(line.split()[-4]) > 0 for line in ways)


def test_watch(peers):
    size = "--every 1 2 --batch 2 --size 32 --rounds 1 --steps 2"
    command = [sys.executable, str(BENCHMARKS / "watch.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in printed.splitlines()[3:]] == ["1", "2"]
    assert printed.count("%") == 12


def test_the_depth_that_is_known_is_found():
    size = "--sizes 2 --gates residual --seeds 0 1 --steps 60 --workers 1"
    command = [sys.executable, str(BENCHMARKS / "known_depth.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("| 2")]
    errors = {"1": "25.0", "2": "0.0", "3": "0.0"}
    assert rows == [["2", "residual", depth, least, *[f"{least} ± 0.0"] * 3] for depth, least in errors.items()]
    assert "residual, n = 2: no deeper net is better from depth 2 on" in printed


def test_a_deeper_net_is_better_beyond_the_seeds_or_it_is_not(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from known_depth import depth_found
    from skipway.report.means import Mean

    def found(*errors):
        return depth_found({depth: values and Mean(values) for depth, values in enumerate(errors, 1)})

    assert found((0.5, 0.5), (0.2, 0.3), (0.0, 0.0), (0.0, 0.0)) == 3
    assert found((0.5, 0.5), (0.2, 0.3), (0.1, 0.2), (0.6, 0.7)) == 2  # a seed of the third is no better
    assert found((0.5, 0.5), (0.2, 0.3), None, (0.1, 0.1)) == 4
    assert found((0.1, 0.2), (0.5, 0.5), None) == 1


def test_a_verdict_claims_nothing_where_nothing_differs_and_finds_what_is_there(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import verdict as benchmark

    studies = 60  # of which 7 or more would claim something by chance once in 60 times at 5 %
    for size, scatter in (((3, 5, 3), 0), ((10, 5, 3), 0), ((3, 5, 3), 3), ((3, 2, 2), 5)):
        found = benchmark.false_claims(size, benchmark.SCATTERS[scatter], studies)
        assert found * studies < 7, (size, benchmark.SCATTERS[scatter].name)
    assert benchmark.false_claims((3, 5, 3), benchmark.SCATTERS[3], studies, benchmark.VALUES) * studies < 7
    shown = benchmark.power(benchmark.DIGITS, benchmark.INFO, 3, 40)
    assert shown["depth makes plain harder to train"] > 0.9
    assert shown["residual is better at depth 100"] > 0.9
    shown = benchmark.power(benchmark.CIFAR, benchmark.CIFAR_INFO, 3, 40)
    assert shown["depth makes plain harder to train"] > 0.8
    assert shown["residual is better at depth 56"] > 0.6


@pytest.mark.slow
def test_gpu(tmp_path):
    size = f"--device cpu --small --seconds 3000 --out {tmp_path}"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *size.split()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with next(tmp_path.glob("gpu-*.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == {"correctness", "steps", "full", "replicas", "cifar94"}
    wrong = [row for row in rows if row["measure"] in ("WRONG", "failed", "cut")]
    assert not wrong
    assert all(float(row["value"]) >= 0 and row["torch"] and row["device"] for row in rows)
    assert printed.count("s to train") == 4  # as it happens, and in the table at the end
