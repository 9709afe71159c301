"""Memory and time of a training step, stored against recomputed: `--memory store` against `--memory recompute`.

    python benchmarks/memory.py [--nets residual-dense-1000 resnet-110]

Activation memory is a process's peak during steps above what it held before them with weights, gradients and optimizer
in place. Each way has a fresh process; the ways take turns, and times are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from skipway.nets.cost import block_costs, cost
from skipway.nets.registry import FAMILIES, build, parse_name
from skipway.training.execution import Execution, prepare

SHAPES = {"dense": (1, 8, 8)}
BATCH, STEPS = 128, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["residual-dense-1000", "resnet-110"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, batch {wanted.batch}")
    head = f"{'net':22} {'way':10} {'activations MiB':>16} {'counted MiB':>12} {'of stored':>10}"
    print(f"{head} {'ms a step':>10} {'times':>6}")
    for name in wanted.nets:
        found: dict[str, list[tuple[float, float]]] = {"store": [], "recompute": []}
        for _ in range(wanted.rounds):
            for way, rows in found.items():
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    rows.append(pool.submit(step, name, wanted.batch, way == "recompute").result())
        report(name, wanted.batch, found)


def report(name: str, batch: int, found: dict[str, list[tuple[float, float]]]) -> None:
    counted = cost(made(name), shape_of(name)).activation_bytes * batch / 2**20
    memory = {way: statistics.median(held for held, _ in rows) for way, rows in found.items()}
    times = {way: statistics.median(seconds for _, seconds in rows) for way, rows in found.items()}
    for way in found:
        share, ratio = memory[way] / memory["store"], times[way] / times["store"]
        all_kept = f"{counted:12.0f}" if way == "store" else f"{'':12}"
        row = f"{memory[way]:16.0f} {all_kept} {share:10.0%} {times[way] * 1e3:10.1f} {ratio:5.2f}x"
        print(f"{name:22} {way:10} {row}", flush=True)


def step(name: str, batch: int, recompute: bool) -> tuple[float, float]:
    """MiB that a step holds beside weights, gradients and optimizer, and its seconds."""
    torch.set_flush_denormal(True)
    net, shape = made(name), shape_of(name)
    execution = Execution(channels_last=len(shape) == 3 and shape[0] == 3, recompute=recompute)
    prepare(net, execution, block_costs(net, shape) if recompute else ())
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
    x, y = torch.randn(batch, *shape), torch.randint(10, (batch,))

    def once() -> None:
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # its buffers, before anything is measured
    nn.functional.cross_entropy(net(x[:2]), y[:2]).backward()  # what torch's kernels keep for themselves
    before = resident(reset=True)
    once()
    held = resident() - before
    began = perf_counter()
    for _ in range(STEPS):
        once()
    return held, (perf_counter() - began) / STEPS


def made(name: str) -> nn.Module:
    family, _ = parse_name(name)
    return build(name, **family.data_settings(shape_of(name), 10))


def shape_of(name: str) -> tuple[int, int, int]:
    family, _ = parse_name(name)
    return SHAPES.get(family.body, FAMILIES[family.body].shape)


def resident(reset: bool = False) -> float:
    """This process's largest resident memory since the last reset, MiB (Linux's own count)."""
    if sys.platform != "linux":
        raise SystemExit("memory is measured by Linux's own count, which is not here.")
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
