"""Dense nets as one stack, against one alone."""

from __future__ import annotations

import math

import torch

from gpu_parts.bench import Bench
from gpu_parts.settings import DENSE, allow_tf32
from skipway.nets.registry import build
from skipway.tasks.classification import Classification
from skipway.training.optim import make_update
from skipway.training.replicas import stack


def replicas(bench: Bench) -> None:
    allow_tf32(True)
    alone = math.nan
    for count in bench.size.stacks:
        with bench.guarded("replicas", bench.size.dense, f"{count} replicas"):
            seconds = time_stack(bench, count)
            alone = seconds if count == 1 else alone
            ratio = count * alone / seconds
            bench.add(
                *("replicas", bench.size.dense, f"{count} replicas, TF32", "ms a replica and step"),
                seconds / count * 1e3,
                target="20x alone" if count == 64 else "",
                note=f"{ratio:.1f}x as fast as one alone; {seconds * 1e3:.2f} ms a step",
                steps=bench.size.stack_steps,
                speed_up=f"{ratio:.2f}",
            )


def time_stack(bench: Bench, count: int) -> float:
    """Seconds a step of so many replicas; of one alone, as an ordinary net with torch's own optimizer."""
    torch.manual_seed(0)
    net = stack([build(bench.size.dense, in_features=64, num_classes=10) for _ in range(count)]).to(bench.device)
    update, rates = make_update(net, DENSE), torch.full((count,), 1e-3)
    x = torch.randn(count, DENSE.batch_size, 64, device=bench.device)
    y = torch.randint(10, x.shape[:2], device=bench.device)

    def run(steps: int) -> None:
        for _ in range(steps):
            Classification().losses(net(x), y).mean(1).sum().backward()
            update.step(rates)

    bench.timed(lambda: run(bench.size.warm))
    return bench.timed(lambda: run(bench.size.stack_steps)) / bench.size.stack_steps
