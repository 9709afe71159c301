"""Memory and time of a training step, stored against recomputed: `--memory store` against `--memory recompute`.

    python benchmarks/memory.py [--nets residual-dense-1000 resnet-110]

Activation memory, above what weights, gradients and optimizer hold, in two counts: `live`, the most bytes of tensors
that were alive at a time in a step, by torch's own record of every allocation; and `process`, the growth of the largest
resident memory of the process in a step, with what the C library keeps of freed memory. Each way has a fresh process
that keeps its memory as `skipway`'s processes do, and the ways take turns. Times are medians of a process's steps, and
all figures medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from skipway.anatomy.cost import block_costs
from skipway.nets.registry import FAMILIES, build, parse_name
from skipway.training.execution import Execution, prepare
from skipway.training.machine import keep_memory

SHAPES = {"dense": (1, 8, 8)}
BATCH, STEPS = 128, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["residual-dense-1000", "resnet-110"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, batch {wanted.batch}")
    head = f"{'net':22} {'way':10} {'live MiB':>9} {'of stored':>10} {'process MiB':>12} {'of stored':>10}"
    parts = f"{'forward':>8} {'backward':>9} {'update':>7}"
    print(f"{head} {parts} {'ms a step':>10} {'times':>6}")
    for name in wanted.nets:
        found: dict[str, list[Figures]] = {"store": [], "recompute": []}
        for _ in range(wanted.rounds):
            for way, rows in found.items():
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    rows.append(pool.submit(step, name, wanted.batch, way == "recompute").result())
        report(name, found)


class Figures(NamedTuple):
    """Of one process."""

    live: float  # MiB
    process: float  # MiB
    forward: float  # ms
    backward: float  # ms
    update: float  # ms

    @property
    def step(self) -> float:
        return self.forward + self.backward + self.update


def report(name: str, found: dict[str, list[Figures]]) -> None:
    figures = {way: Figures(*map(statistics.median, zip(*rows, strict=True))) for way, rows in found.items()}
    stored = figures["store"]
    for way, own in figures.items():
        live = f"{own.live:9.0f} {own.live / stored.live:10.0%}"
        process = f"{own.process:12.0f} {own.process / stored.process:10.0%}"
        parts = f"{own.forward:8.1f} {own.backward:9.1f} {own.update:7.1f}"
        times = f"{own.step:10.1f} {own.step / stored.step:5.2f}x"
        print(f"{name:22} {way:10} {live} {process} {parts} {times}", flush=True)


def step(name: str, batch: int, recompute: bool) -> Figures:
    """What a step holds beside weights, gradients and optimizer, and its time."""
    torch.set_flush_denormal(True)
    keep_memory()
    net, shape = made(name), shape_of(name)
    execution = Execution(channels_last=len(shape) == 3 and shape[0] == 3, recompute=recompute)
    prepare(net, execution, block_costs(net, shape) if recompute else ())
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
    x, y = torch.randn(batch, *shape), torch.randint(10, (batch,))

    def once() -> tuple[float, float, float]:
        began = perf_counter()
        loss = nn.functional.cross_entropy(net(x), y)
        forward = perf_counter()
        loss.backward()
        backward = perf_counter()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return forward - began, backward - forward, perf_counter() - backward

    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # its buffers, before anything is measured
    nn.functional.cross_entropy(net(x[:2]), y[:2]).backward()  # what torch's kernels keep for themselves
    before = resident(reset=True)
    once()
    held = resident() - before
    milliseconds = (1e3 * statistics.median(times) for times in zip(*(once() for _ in range(STEPS)), strict=True))
    return Figures(live(lambda: nn.functional.cross_entropy(net(x), y).backward()), held, *milliseconds)


def live(run: Callable[[], None]) -> float:
    """The most MiB of tensors alive at a time while something runs, above those alive before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(changes)) / 2**20


def made(name: str) -> nn.Module:
    family, _ = parse_name(name)
    return build(name, **family.data_settings(shape_of(name), 10))


def shape_of(name: str) -> tuple[int, int, int]:
    family, _ = parse_name(name)
    return SHAPES.get(family.name, FAMILIES[family.name].shape)


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
