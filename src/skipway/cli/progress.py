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
        self.scores = ""

    def on_start(self, net: Replicas) -> None:
        self._looks.append((time.monotonic(), 0))

    def on_step(self, training: Training) -> None:
        now = time.monotonic()
        if not self._looks or now - self._looks[-1][0] >= _SECONDS_BETWEEN or training.step == training.steps:
            self._device = training.device
            self._looks.append((now, training.step))
            self.show(training.step, training.steps)

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        row = rows[0]
        self.scores = (
            f"training loss {row['train_loss']:.4f}, error {row['train_error']:.2%}; "
            f"validation {row['validation_loss']:.4f}, {row['validation_error']:.2%}"
        )

    def speed(self) -> float:
        """Images a second, lately; 0 where nothing is known yet."""
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


class _Bar(TrainingProgress):
    def __init__(self, batch_size: int, progress: Progress) -> None:
        super().__init__(batch_size)
        self._progress = progress
        self._task = progress.add_task("training", total=None, speed="", scores="")

    def show(self, step: int, steps: int) -> None:
        speed = f"{self.speed():,.0f} images/s  {self.memory()}"
        self._progress.update(self._task, completed=step, total=steps, speed=speed, scores=self.scores)


class _Lines(TrainingProgress):
    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        super().on_interval(step, steps, rows)
        told = f"step {step}/{steps}: {self.scores}"
        if speed := self.speed():
            told += f"; {speed:,.0f} images/s, {(steps - step) * self._batch_size / speed:,.0f} s left, {self.memory()}"
        tell(told)


@contextmanager
def follow_training(batch_size: int, speaks: bool) -> Iterator[Hook]:
    """A hook that shows a training while it goes on, on standard error; a silent one for one that does not speak."""
    console = Console(file=sys.stderr)
    if not speaks:
        yield Hook()
    elif console.is_terminal:
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
            *(TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[scores]}", style="dim")),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _Bar(batch_size, progress)
    else:
        yield _Lines(batch_size)
