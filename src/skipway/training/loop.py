"""The training loop: the only one. What goes beside it is passed in as hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipway.batch.trees import Tree, chunks, first
from skipway.data.dataset import Stream
from skipway.tasks.task import Task
from skipway.training.evaluate import Scores
from skipway.training.optim import make_update
from skipway.training.random_state import random_state, set_random_state
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas
from skipway.training.world import ALONE, World

Row = dict[str, Any]
State = dict[str, Any]

# Points of a curve: enough to see its shape; fewer, and then of fewer samples, where evaluating would cost more than a
# tenth of the training. 500 samples tell an error to two points of a hundred.
_MOST_POINTS, _FEWEST_POINTS = 30, 8
_FEWEST_SAMPLES = 500
_STEPS_BETWEEN_LOOKS = 50  # at whether any replica still learns: to look makes the step wait for the device


class Hook:
    """What may be done beside the training; every method does nothing unless a subclass says otherwise.

    `skipway.fit` takes some as `hooks`. They are no part of a run's name: they look, and change no number.
    """

    def on_start(self, net: Replicas) -> None:
        """Before the first step; not where a training goes on that was saved."""

    def on_step(self, training: Training) -> None:
        """After every step. It runs between two steps: whatever waits for the device here makes the device wait."""

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        """At the end of an interval; `rows` holds one row a replica: the content of metrics.jsonl."""

    def on_end(self, net: Replicas, step: int) -> None:
        """After the last step, which was number `step`: the training's last, or the one at which it had diverged."""

    def state_dict(self) -> State:
        """What it must remember where a saved training goes on: tensors, and what JSON can hold."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` gave."""


@dataclass(frozen=True)
class Curves:
    """What a training leaves beside the weights."""

    rows: list[list[Row]]  # for each replica, one row an interval
    diverged_at: list[int | None]  # the first step (from 1) at which a replica's loss was not finite
    steps: int  # taken


class Training:
    """A training under way: all that a step reads and changes. Its state, given to another one, goes on exactly.

    Args:
        net: the replicas, on their device.
        stream: endless batches; of several processes, this process's share of each.
        recipe: optimizer, schedule, clipping, batch size. Its learning rates, steps and epochs are not read.
        task: how outputs are judged by targets.
        rates: each replica's learning rate at the schedule's height.
        steps: optimizer steps in all.
        hooks: called in their order.
        accumulate: so many parts of a batch pass one after another, for one step; batch norms see each by itself.
        world: the processes that share every batch.
        precision: the context in which forward passes run.
    """

    def __init__(
        self,
        net: Replicas,
        stream: Stream,
        recipe: Recipe,
        task: Task,
        *,
        rates: Sequence[float],
        steps: int,
        hooks: Sequence[Hook] = (),
        accumulate: int = 1,
        world: World = ALONE,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.net, self.task, self.steps, self.step = net, task, steps, 0
        self.world = world
        self.rows: list[list[Row]] = [[] for _ in rates]
        self.device = next(net.parameters()).device
        self.rates = torch.tensor(rates, dtype=torch.float32)  # on the CPU, where an optimizer reads it without waiting
        self._stream, self._recipe, self._hooks = stream, recipe, hooks
        self._accumulate, self._precision = accumulate, precision
        self._forward = world.wrap(net)
        self._update = make_update(net, recipe)
        self.meter = Meter(net.count, self.device)

    @property
    def rates_now(self) -> Tensor:
        """The learning rates of the step that was taken last, (replicas,); before the first, of the first."""
        return self.rates * self._recipe.rate_factor(max(0, self.step - 1), self.steps)

    @property
    def over(self) -> bool:
        """Whether there is no more to learn: all steps are taken, or no replica's loss has stayed finite."""
        if self.step == self.steps:
            return True
        return self.step % _STEPS_BETWEEN_LOOKS == 0 and self.meter.all_diverged(self.world)

    def advance(self) -> None:
        """Take one step."""
        self.step += 1
        x, y = next(self._stream)
        parts = list(zip(chunks(x, self._accumulate, 1), chunks(y, self._accumulate, 1), strict=True))
        for place, (inputs, targets) in enumerate(parts, 1):
            # Its share of the batch, so that shares, of whatever sizes, sum up to the batch's mean.
            share = first(targets).shape[1] / self._recipe.batch_size
            with self.world.no_sync(self._forward, place < len(parts)):
                with self._precision():
                    outputs = self._forward(inputs)
                losses = self.task.losses(outputs, targets).mean(1) * share
                # Each replica's loss reaches its own parameters alone, so the sum's gradient is each one's own.
                # Gradients of several processes are averaged, not summed.
                (losses.sum() * self.world.size).backward()
            self.meter.add(losses.detach(), self._scores(outputs, targets) * share)
        self.meter.end_step(self.step)
        self._update.step(self.rates_now)

    @torch.no_grad()
    def _scores(self, outputs: Tree, targets: Tree) -> Tensor:
        """What a part of a batch adds to the metric, each replica's mean, (replicas,); 0 where there is none."""
        if self.task.metric is None:
            return torch.zeros(self.net.count, device=self.device)
        return self.task.scores(outputs, targets).mean(1)

    def state_dict(self) -> State:
        """All that `load_state_dict` needs to go on to the same bits: tensors, and what JSON can hold.

        Every process must ask for it at the same step; all get the same.
        """
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "update": self._update.state_dict(),
            "stream": self._stream.state_dict(),
            "meter": self.meter.state_dict(self.world),
            "rows": self.rows,
            "random": self.world.gather(random_state(self.device)),
            "hooks": {name: state for name, hook in self._named_hooks() if (state := hook.state_dict())},
        }

    def load_state_dict(self, state: State) -> None:
        """Go on where the training that gave `state` stood."""
        self.step, self.rows = state["step"], state["rows"]
        self.net.load_state_dict(state["net"])
        self._update.load_state_dict(state["update"])
        self._stream.load_state_dict(state["stream"])
        self.meter.load_state_dict(state["meter"], self.world)
        first, index = state["random"][0], self.world.rank
        # Processes that were not there before draw from their own seeds, but gates as in the others.
        gates_alone = {name: value for name, value in first.items() if name == "rules"}
        set_random_state(state["random"][index] if index < len(state["random"]) else gates_alone, self.device)
        for name, hook in self._named_hooks():  # those that remember nothing may be others than before
            if name in state["hooks"]:
                hook.load_state_dict(state["hooks"][name])

    def _named_hooks(self) -> Iterator[tuple[str, Hook]]:
        """The hooks by class; of several of one class, which keep their order, by number."""
        met: Counter[str] = Counter()
        for hook in self._hooks:
            name = type(hook).__qualname__
            met[name] += 1
            yield (name if met[name] == 1 else f"{name} {met[name]}"), hook


def train(
    net: Replicas,
    stream: Stream,
    recipe: Recipe,
    task: Task,
    *,
    rates: Sequence[float],
    steps: int,
    epoch_steps: float,
    validate: Callable[[Replicas], Scores],
    intervals: int,
    hooks: Sequence[Hook] = (),
    accumulate: int = 1,
    world: World = ALONE,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    saved: Mapping[str, Any] | None = None,
) -> Curves:
    """Train every replica for so many steps, or until no replica's loss has stayed finite.

    Args:
        net: as of `Training`, like all that is not named here.
        stream: likewise.
        recipe: likewise.
        task: likewise.
        rates: likewise.
        steps: likewise.
        epoch_steps: steps in one pass over the training split, for the rows.
        validate: scores the replicas at the end of each interval.
        intervals: how many rows to write.
        hooks: likewise.
        accumulate: likewise.
        world: likewise.
        precision: likewise.
        saved: the state of a training to go on with: `Training.state_dict`.
    """
    training = Training(
        net,
        stream,
        recipe,
        task,
        rates=rates,
        steps=steps,
        hooks=hooks,
        accumulate=accumulate,
        world=world,
        precision=precision,
    )
    ends = _interval_ends(steps, intervals)
    net.train()
    if saved is not None:
        training.load_state_dict(dict(saved))
    else:
        for hook in hooks:
            hook.on_start(net)
    while not training.over:
        training.advance()
        if training.step in ends or training.over:
            found = _rows(training, epoch_steps, validate(net))
            for own, row in zip(training.rows, found, strict=True):
                own.append(row)
            for hook in hooks:
                hook.on_interval(training.step, steps, found)
        for hook in hooks:
            hook.on_step(training)
    for hook in hooks:
        hook.on_end(net, training.step)
    return Curves(training.rows, training.meter.diverged_at(), training.step)


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


class Meter:
    """Sums on the device; read at the end of an interval only, so that no step waits for them."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._sums = torch.zeros(2, count, device=device)  # of several processes, this process's shares
        self._step_loss = torch.zeros(count, device=device)
        self._bad_step = torch.zeros(count, dtype=torch.int64, device=device)
        self._steps = 0

    def add(self, losses: Tensor, scores: Tensor) -> None:
        """Count a part of a step's batch, its mean loss and score times its share of the batch."""
        self._sums += torch.stack([losses, scores])
        self._step_loss += losses

    def end_step(self, step: int) -> None:
        """Count a step."""
        fresh = ~torch.isfinite(self._step_loss) & (self._bad_step == 0)
        self._bad_step.masked_fill_(fresh, step)
        self._step_loss.zero_()
        self._steps += 1

    def take(self, world: World) -> tuple[Tensor, Tensor]:
        """The mean loss and score of the steps since the last call, (replicas,) each."""
        losses, scores = world.sum(self._sums) / self._steps
        self._sums.zero_()
        self._steps = 0
        # A loss that is not finite in one process spoils all of them with its gradient, in the next step.
        self._bad_step = world.max(self._bad_step)
        return losses, scores

    def all_diverged(self, world: World) -> bool:
        """Whether no replica's loss has stayed finite; every process must ask at the same step."""
        return bool(world.max(self._bad_step).all())

    def diverged_at(self) -> list[int | None]:
        """The first step at which each replica's loss was not finite."""
        return [step or None for step in self._bad_step.tolist()]

    def state_dict(self, world: World) -> State:
        """The sums over all processes."""
        return {"sums": world.sum(self._sums), "bad_step": world.max(self._bad_step), "steps": self._steps}

    def load_state_dict(self, state: State, world: World) -> None:
        """Take back what `state_dict` gave; process 0 holds all of it."""
        self._sums.copy_(state["sums"] if world.rank == 0 else torch.zeros_like(self._sums))
        self._bad_step.copy_(state["bad_step"])
        self._steps = state["steps"]


def _interval_ends(steps: int, intervals: int) -> set[int]:
    return {round(place * steps / intervals) for place in range(1, intervals + 1)}


def _rows(training: Training, epoch_steps: float, validated: Scores) -> list[Row]:
    losses, scores = training.meter.take(training.world)
    task = training.task
    columns = {"learning_rate": training.rates_now}
    for split, found in (("train", Scores(losses, task.total(scores))), ("validation", validated)):
        columns[f"{split}_loss"] = found.loss
        if task.metric is not None and found.metric is not None:
            columns[f"{split}_{task.metric.name}"] = found.metric
    start = {"step": training.step, "epoch": training.step / epoch_steps}
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{**start, **dict(zip(columns, own, strict=True))} for own in values]
