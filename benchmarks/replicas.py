"""Replicas: 16 nets trained as stacks against the same 16 one at a time, and both against this machine's products.

    python benchmarks/replicas.py [--replicas 16 --depth 50 --width 50 --batch 128]

One at a time: ordinary modules, eager, `torch.optim.SGD` and `clip_grad_norm_`, on all cores, as a loop over nets
does. One stack: all replicas as one `Stack`, on all cores. As a study: stacks as large as `stack_size` says, in a
worker process a core. The ways take turns, round after round; figures are medians. Peak is this machine's own float32
matrix product of 2048 x 2048, on all cores, in the same run. Memory is a process's peak above what it held before its
nets were built.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import loky
import torch
from torch.nn.functional import cross_entropy

from skipway.nets.registry import build
from skipway.studies.process import start_worker
from skipway.tasks.classification import Classification
from skipway.training.optim import make_update
from skipway.training.recipe import Recipe
from skipway.training.replicas import Stack, stack_size

GATES = ("plain", "residual", "highway")
RECIPE = Recipe()
FEATURES, CLASSES = 64, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", nargs="+", default=GATES)
    for name, default in (("replicas", 16), ("depth", 50), ("width", 50), ("batch", 128), ("rounds", 5), ("steps", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--product", type=int, default=2048, help="side of the matrices whose product is the peak")
    wanted = parser.parse_args()
    peak = peak_rate(wanted.product)
    cores = torch.get_num_threads()
    print(f"{cores} threads, torch {torch.__version__}; matrix-product peak {peak / 1e9:.0f} GFLOP/s")
    print(f"{wanted.replicas} nets of depth {wanted.depth}, batch {wanted.batch}; width {wanted.width} for every gate")
    print(f"\n{'gate':10} {'way':24} {'ms a replica':>12} {'speed-up':>9} {'of peak':>8} {'memory MiB':>11}")
    for gate in wanted.gates:
        job = (gate, wanted.depth, wanted.width, wanted.batch)
        report(gate, job, wanted, peak, cores)


def report(gate: str, job: tuple[str, int, int, int], wanted: argparse.Namespace, peak: float, cores: int) -> None:
    ways: dict[str, tuple[Callable[..., tuple[float, float]], list[tuple[int, int]]]] = {
        "one at a time": (alone, [(1, cores)]),
        "one stack": (stacked, [(wanted.replicas, cores)]),
        "as a study": (stacked, [(part, 1) for part in shares(job, wanted.replicas, cores)]),
    }
    pools = {
        name: loky.ProcessPoolExecutor(len(loads), initializer=start_worker, initargs=(os.getpid(), str(Path.cwd())))
        for name, (_, loads) in ways.items()
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, float] = {}
    for _ in range(wanted.rounds):
        for name, (way, loads) in ways.items():
            futures = [pools[name].submit(way, job, count, threads, wanted.steps) for count, threads in loads]
            found = [future.result() for future in futures]
            # Workers run side by side: a step of all of them is as long as the slowest one's.
            replicas = sum(count for count, _ in loads)
            times[name].append(max(seconds for seconds, _ in found) / replicas)
            # A process keeps what it took in its first round, so the largest round tells.
            memory[name] = max(memory.get(name, 0.0), sum(held for _, held in found))
    for pool in pools.values():
        pool.shutdown()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        ratio, share = medians["one at a time"] / seconds, flops(job) / seconds / peak
        print(f"{gate:10} {name:24} {seconds * 1e3:12.2f} {ratio:8.1f}x {share:8.0%} {memory[name]:11.0f}", flush=True)


def shares(job: tuple[str, int, int, int], replicas: int, cores: int) -> list[int]:
    """How many replicas each worker process trains."""
    return [len(range(core, replicas, cores)) for core in range(cores)]


def alone(job: tuple[str, int, int, int], count: int, threads: int, steps: int) -> tuple[float, float]:
    """Seconds for a step of one ordinary net, and MiB."""
    torch.set_num_threads(threads)
    before = resident(reset=True)
    gate, depth, width, batch = job
    net = build(f"{gate}-dense-{depth}", in_features=FEATURES, num_classes=CLASSES, width=width)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=RECIPE.momentum)
    x, y = torch.randn(batch, FEATURES), torch.randint(CLASSES, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), RECIPE.clip or 1.0)
        optimizer.step()

    return timed(step, steps), resident() - before


def stacked(job: tuple[str, int, int, int], count: int, threads: int, steps: int) -> tuple[float, float]:
    """Seconds for a step of all replicas of this process, in stacks, and MiB."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    before = resident(reset=True)
    gate, depth, width, batch = job
    size = count if threads > 1 else stack_size(4 * batch * width * (depth - 1), torch.device("cpu"))
    seconds = 0.0
    for start in range(0, count, size):
        members = range(start, min(start + size, count))
        name = f"{gate}-dense-{depth}"
        nets = [build(name, in_features=FEATURES, num_classes=CLASSES, width=width) for _ in members]
        seconds += timed(stack_step(Stack(nets), batch), steps)
    return seconds, resident() - before


def stack_step(net: Stack, batch: int) -> Callable[[], None]:
    update = make_update(net, RECIPE)
    x, y = torch.randn(net.count, batch, FEATURES), torch.randint(CLASSES, (net.count, batch))
    rates = torch.full((net.count,), 1e-3)

    def step() -> None:
        net.zero_grad()
        Classification().losses(net(x), y).mean(1).sum().backward()
        update.step(rates)

    return step


def timed(step: Callable[[], None], steps: int) -> float:
    for _ in range(3):
        step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def peak_rate(size: int) -> float:
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(timed(lambda: torch.mm(a, b), 5) for _ in range(5))


def flops(job: tuple[str, int, int, int]) -> float:
    """Of one replica's step: a multiplication and an addition count two; the backward pass is twice the forward."""
    gate, depth, width, batch = job
    products = 2 if gate == "highway" else 1
    return 3 * 2 * batch * (products * (depth - 1) * width * width + FEATURES * width + width * CLASSES)


def resident(reset: bool = False) -> float:
    """This process's largest resident memory since the last reset, MiB (Linux's own count; 0 elsewhere)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
