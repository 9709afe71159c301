"""Watching a training at the prompt: a live line on a terminal, a line an interval elsewhere."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from skipway.cli.console import Console
from skipway.cli.tell import tell
from skipway.report.metric import Metric, metric_of, samples_of
from skipway.training.loop import Hook, Row, Training
from skipway.training.replicas import Replicas

_SECONDS_BETWEEN = 0.25
_WINDOW = 40  # looks over which a speed is taken: ten seconds


class TrainingProgress(Hook):
    """What is known of a training while it goes on; subclasses show it."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._looks: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._device = torch.device("cpu")
        self._row: Row = {}
        self.samples, self.scores = "samples", ""

    def on_start(self, net: Replicas) -> None:
        self._looks.append((time.monotonic(), 0))

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        self._row = rows[0]

    def on_step(self, training: Training) -> None:
        task = {"task": training.task.describe()}
        self.samples = samples_of(task)
        if self._row:
            self.scores = _scores(self._row, metric_of(task))
            self.on_scores(training.step, training.steps)
            self._row = {}
        now = time.monotonic()
        if not self._looks or now - self._looks[-1][0] >= _SECONDS_BETWEEN or training.step == training.steps:
            self._device = training.device
            self._looks.append((now, training.step))
            self.show(training.step, training.steps)

    def speed(self) -> float:
        """Samples a second, lately; 0 where nothing is known yet."""
        if not self._looks:
            return 0.0
        (start, first), (end, last) = self._looks[0], self._looks[-1]
        return (last - first) * self._batch_size / (end - start) if end > start else 0.0

    def memory(self) -> str:
        """The most that was held, on the device of the training."""
        if self._device.type == "cuda":
            return f"{torch.cuda.max_memory_allocated(self._device) / 2**30:.2f} GiB on the GPU"
        unit = 1 if sys.platform == "darwin" else 1024
        return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"

    def show(self, step: int, steps: int) -> None:
        """Draw it."""

    def on_scores(self, step: int, steps: int) -> None:
        """After an interval, whose `scores` are new."""


class _Bar(TrainingProgress):
    def __init__(self, batch_size: int, progress: Progress) -> None:
        super().__init__(batch_size)
        self._progress = progress
        self._task = progress.add_task("training", total=None, speed="", scores="")

    def show(self, step: int, steps: int) -> None:
        speed = f"{self.speed():,.0f} {self.samples}/s  {self.memory()}"
        self._progress.update(self._task, completed=step, total=steps, speed=speed, scores=self.scores)


class _Lines(TrainingProgress):
    def on_scores(self, step: int, steps: int) -> None:
        told = f"step {step}/{steps}: {self.scores}"
        if speed := self.speed():
            left = f"{(steps - step) * self._batch_size / speed:,.0f} s left"
            told += f"; {speed:,.0f} {self.samples}/s, {left}, {self.memory()}"
        tell(told)


def _scores(row: Row, metric: Metric) -> str:
    """An interval's losses and metric in one line."""
    losses = [f"{row[f'{split}_loss']:.4f}" for split in ("train", "validation")]
    if metric.is_loss:
        return f"training loss {losses[0]}; validation {losses[1]}"
    # In so short a line no space stands before %.
    values = [metric.exact(row[f"{split}_{metric.name}"]).replace(" %", "%") for split in ("train", "validation")]
    return f"training loss {losses[0]}, {metric.word} {values[0]}; validation {losses[1]}, {values[1]}"


@contextmanager
def follow_training(batch_size: int, speaks: bool) -> Iterator[Hook]:
    """A hook that shows a training while it goes on, on standard error; a silent one for one that does not speak."""
    console = Console(file=sys.stderr)
    if not speaks:
        yield Hook()
    elif console.is_terminal:
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
            *(TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[scores]}", style="dim", markup=False)),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _Bar(batch_size, progress)
    else:
        yield _Lines(batch_size)
