"""The training loop: the only one. What goes beside it is passed in as hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipway.training.evaluate import Scores, cross_entropy, error_rate
from skipway.training.optim import make_update
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas

Row = dict[str, Any]

# Points of a curve: enough to see its shape; fewer, and then of fewer samples, where evaluating would cost more than a
# tenth of the training. 500 samples tell an error to two points of a hundred.
_MOST_POINTS, _FEWEST_POINTS = 30, 8
_FEWEST_SAMPLES = 500


class Hook:
    """What may be done beside the training; every method does nothing unless a subclass says otherwise."""

    def on_start(self, net: Replicas) -> None:
        """Before the first step."""

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        """At the end of an interval; `rows` holds one row a replica: the content of metrics.jsonl."""

    def on_end(self, net: Replicas) -> None:
        """After the last step."""


@dataclass(frozen=True)
class Curves:
    """What a training leaves beside the weights."""

    rows: list[list[Row]]  # for each replica, one row an interval
    diverged_at: list[int | None]  # the first step (from 1) at which a replica's loss was not finite


def train(
    net: Replicas,
    stream: Iterator[tuple[Tensor, Tensor]],
    recipe: Recipe,
    *,
    rates: Sequence[float],
    steps: int,
    epoch_steps: float,
    validate: Callable[[Replicas], Scores],
    intervals: int,
    hooks: Sequence[Hook] = (),
) -> Curves:
    """Train every replica for so many steps.

    Args:
        net: the replicas, on their device.
        stream: endless batches, (replicas, batch, ...) and (replicas, batch).
        recipe: optimizer, schedule, clipping. Its learning rates, steps and epochs are not read.
        rates: each replica's learning rate at the schedule's height.
        steps: optimizer steps in all.
        epoch_steps: steps in one pass over the training split, for the rows.
        validate: scores the replicas at the end of each interval.
        intervals: how many rows to write.
        hooks: called in their order.
    """
    device = next(net.parameters()).device
    update = make_update(net, recipe)
    base = torch.tensor(rates, dtype=torch.float32)  # on the CPU, where an optimizer reads it without waiting
    ends = _interval_ends(steps, intervals)
    meter = _Meter(net.count, device)
    rows: list[list[Row]] = [[] for _ in rates]
    net.train()
    for hook in hooks:
        hook.on_start(net)
    for step in range(1, steps + 1):
        rates_now = base * recipe.rate_factor(step - 1, steps)
        x, y = next(stream)
        scores = net(x)
        losses = cross_entropy(scores, y)
        # Each replica's loss reaches its own parameters alone, so the sum's gradient is each one's own.
        losses.sum().backward()  # type: ignore[no-untyped-call]
        update.step(rates_now)
        meter.add(step, losses.detach(), error_rate(scores.detach(), y))
        if step in ends:
            found = _rows(step, epoch_steps, rates_now, meter.take(), validate(net))
            for own, row in zip(rows, found, strict=True):
                own.append(row)
            for hook in hooks:
                hook.on_interval(step, steps, found)
    for hook in hooks:
        hook.on_end(net)
    return Curves(rows, meter.diverged_at())


def affordable_samples(steps: int, batch_size: int) -> int:
    """How many samples can be evaluated in a tenth of a training's time: a forward pass is about a third of a step."""
    return int(0.3 * steps * batch_size)


def curve_plan(steps: int, batch_size: int, validation_samples: int) -> tuple[int, int]:
    """How many rows a training writes, and on how many validation samples each is measured, at a tenth of its time.

    Up to 30 rows on all samples; 8 rows at least, for which a part of the samples must do where all cost too much.
    """
    affordable = affordable_samples(steps, batch_size)
    points = min(steps, max(_FEWEST_POINTS, min(_MOST_POINTS, affordable // max(1, validation_samples))))
    return points, min(validation_samples, max(_FEWEST_SAMPLES, affordable // points))


class _Meter:
    """Sums on the device; read at the end of an interval only, so that no step waits for them."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._sums = torch.zeros(2, count, device=device)
        self._bad_step = torch.zeros(count, dtype=torch.int64, device=device)
        self._steps = 0

    def add(self, step: int, losses: Tensor, errors: Tensor) -> None:
        self._sums += torch.stack([losses, errors])
        fresh = ~torch.isfinite(losses) & (self._bad_step == 0)
        self._bad_step.masked_fill_(fresh, step)
        self._steps += 1

    def take(self) -> tuple[list[float], list[float]]:
        losses, errors = (self._sums / self._steps).tolist()
        self._sums.zero_()
        self._steps = 0
        return losses, errors

    def diverged_at(self) -> list[int | None]:
        return [step or None for step in self._bad_step.tolist()]


def _interval_ends(steps: int, intervals: int) -> set[int]:
    return {round(place * steps / intervals) for place in range(1, intervals + 1)}


def _rows(
    step: int, epoch_steps: float, rates: Tensor, trained: tuple[list[float], list[float]], validated: Scores
) -> list[Row]:
    columns = (rates.tolist(), *trained, validated.loss.tolist(), validated.error.tolist())
    names = ("learning_rate", "train_loss", "train_error", "validation_loss", "validation_error")
    start = {"step": step, "epoch": step / epoch_steps}
    return [{**start, **dict(zip(names, values, strict=True))} for values in zip(*columns, strict=True)]
