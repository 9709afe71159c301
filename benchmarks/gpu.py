"""A CUDA device: whether it computes what the CPU computes, then how fast. One call, under eight minutes.

    python benchmarks/gpu.py [--data CIFAR10_FOLDER] [--parts correctness steps full replicas cifar94] [--out results]
    python benchmarks/gpu.py --device cpu --small       # all parts in a minute; it says nothing about speed

correctness: forward pass, loss and gradients against the CPU's in float64; a checkpoint resumed against a training that
never stopped. steps: 500 timed steps of the recipe he2015 (rate 0.1 without warm-up, batch 128, crop and flip, images
held on the device; the Highway-110 of 2025 was trained so, too), between two synchronisations, after others that
compile and warm up. full: ResNet-20's 64,000 steps in the fastest setting of `steps` whose mean training loss lies
within 5 % of the one in float32 without TF32. replicas: dense nets as one stack against one alone. cifar94: a wide net,
30 epochs of all 50,000 training images, with CIFAR-10's test error at the end.

Each part has a process of its own and its share of the seconds that are left; it is ended when they are over, and a row
says so. Times are of training alone: loading, compiling and the final test are not in them. Without --data, images are
random pixels: times mean what they say, errors nothing. cuDNN chooses convolutions by its own timing
(`torch.backends.cudnn.benchmark`), but for correctness. Every result is a row of OUT/gpu-TIME.csv.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch

from gpu_parts.bench import COLUMNS, Bench, line, machine
from gpu_parts.correctness import RELATIVE, correctness
from gpu_parts.stacks import replicas
from gpu_parts.steps import steps
from gpu_parts.whole import cifar94, full

# Each with the seconds it is meant to have.
PARTS: dict[str, tuple[Callable[[Bench], None], float]] = {
    "correctness": (correctness, 40),
    "steps": (steps, 230),
    "full": (full, 90),
    "replicas": (replicas, 30),
    "cifar94": (cifar94, 75),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a check that all parts run")
    parser.add_argument("--data", type=Path, help="the folder of CIFAR-10; without it, random pixels")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=465.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "results")))
    wanted = parser.parse_args()
    if wanted.device != "cpu" and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device can be used here (torch {torch.__version__}). This benchmark measures one; "
            "--device cpu --small checks on a CPU that it runs."
        )
    if wanted.data is not None and not wanted.data.is_dir():
        parser.error(f"--data {wanted.data} is no folder; it must be that of CIFAR-10's parquet files.")
    wanted.out.mkdir(parents=True, exist_ok=True)
    sheet = wanted.out / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    print(", ".join(f"{name} {value}" for name, value in machine(wanted.device).items() if value), flush=True)
    ends, parts = time.time() + wanted.seconds, [part for part in PARTS if part in wanted.parts]
    for place, part in enumerate(parts):
        share = PARTS[part][1] / sum(PARTS[later][1] for later in parts[place:])
        deadline = time.time() + max(1.0, (ends - time.time()) * share)
        bench = Bench(wanted.device, wanted.small, wanted.data, sheet, deadline)
        print(f"\n{part}: up to {bench.left:.0f} s", flush=True)
        run_apart(part, bench)
    rows = bench.rows()
    print(f"\n{sheet}\n" + "\n".join(map(line, [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows])))
    sys.exit(any(row["part"] == "correctness" and row["measure"] != RELATIVE for row in rows))


def run_apart(part: str, bench: Bench) -> None:
    """In a process of its own: what a failing kernel leaves behind, or a compiler that does not end, ends with it."""
    process = get_context("spawn").Process(target=run_part, args=(part, bench))
    process.start()
    process.join(max(1.0, bench.left))
    cut = process.is_alive()
    if cut:
        process.kill()
        process.join()
    if cut or process.exitcode:
        why = "its time was over" if cut else f"its process ended with {process.exitcode}"
        bench.add(part, "", "", "cut" if cut else "failed", note=f"{why}; what it had measured is above")


def run_part(part: str, bench: Bench) -> None:
    torch.backends.cudnn.benchmark = part != "correctness"
    with bench.guarded(part, "", ""):
        PARTS[part][0](bench)


if __name__ == "__main__":
    main()
