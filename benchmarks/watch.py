"""What `skipway.watch` costs a training: torchvision's ResNet-18 on random images, with and without it.

    python benchmarks/watch.py [--every 100 10] [--batch 32] [--size 64] [--rounds 5]

Two nets of equal weights take turns, a step each, and take turns in coming first: whatever else the machine does meets
both alike. A round is 100 steps of each, or `every` where that is more. The overhead is the ratio of what they took in
a round, less 1: once by the clock, once by the processor's time, which other programs disturb less. Its median over the
rounds is printed, with the least and the largest. "A look" is a step in which signals are measured; milliseconds a step
are medians of the processor's time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import skipway as sw
from skipway.training.machine import environment

CLASSES, WARM = 100, 5


class Training:
    """The usual loop, a step at a time, always on one batch."""

    def __init__(self, batch: int, size: int) -> None:
        torch.manual_seed(0)
        self.net = resnet18()
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.01, momentum=0.9)
        self.images, self.labels = torch.randn(batch, 3, size, size), torch.arange(batch) % CLASSES

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", nargs="+", type=int, default=[100, 10])
    for name, default in (("batch", 32), ("size", 64), ("rounds", 3), ("steps", 100), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads or torch.get_num_threads())
    about = environment("cpu")
    print(f"{about['model']} ({about['processor']}), {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"resnet18, batch {wanted.batch}, {wanted.size} x {wanted.size} pixels, {wanted.rounds} rounds")
    overheads = "  ".join(f"{name:>8} {'least':>8} {'largest':>8}" for name in ("clock", "processor"))
    print(f"{'every':>5} {'without':>8} {'watched':>8} {'a look':>8}  {overheads}")
    for every in wanted.every:
        report(every, wanted)


def report(every: int, wanted: argparse.Namespace) -> None:
    """Train both nets for all rounds, and print a line."""
    without, watched = (Training(wanted.batch, wanted.size) for _ in range(2))
    for training in (without, watched):
        for _ in range(WARM):
            training.step()
    steps = max(every, wanted.steps)
    ratios, seconds = list[Times](), {"without": list[float](), "watched": list[float](), "a look": list[float]()}
    with (
        tempfile.TemporaryDirectory() as folder,
        sw.watch(watched.net, watched.optimizer, every=every, out=Path(folder) / "run") as run,
    ):
        for _ in range(wanted.rounds):
            taken: list[list[Times]] = [[], []]
            for step in range(steps):
                for which in (0, 1) if step % 2 else (1, 0):
                    taken[which].append(timed(without.step if which == 0 else lambda: run.step(watched.step())))
                    name = "without" if which == 0 else "a look" if step % every == 0 else "watched"
                    seconds[name].append(taken[which][-1].processor)
            usual, own = (Times(*map(sum, zip(*times, strict=True))) for times in taken)
            ratios.append(Times(own.clock / usual.clock - 1, own.processor / usual.processor - 1))
    medians = [f"{1e3 * statistics.median(values):8.1f}" if values else f"{'–':>8}" for values in seconds.values()]
    shares = [
        f"{statistics.median(values):8.2%} {min(values):8.2%} {max(values):8.2%}"
        for values in ([ratio.clock for ratio in ratios], [ratio.processor for ratio in ratios])
    ]
    print(f"{every:5} {' '.join(medians)}  {'  '.join(shares)}", flush=True)


class Times(NamedTuple):
    """Seconds."""

    clock: float
    processor: float


def timed(step: Callable[[], object]) -> Times:
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return Times(time.perf_counter() - clock, time.process_time() - processor)


def resnet18() -> nn.Module:
    try:
        import torchvision
    except RuntimeError:  # its compiled operators may not fit this build of torch; a ResNet does not need them
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        import torchvision
    return torchvision.models.resnet18(num_classes=CLASSES)


if __name__ == "__main__":
    main()
