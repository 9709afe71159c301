"""When a training saves its state: now and then, and at once when it is asked to end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from skipway.training.checkpoint import Checkpoints
from skipway.training.loop import Hook, Training

# Processes agree on saving after so many steps: to ask in every step would make all wait for the slowest one.
_STEPS_BETWEEN_QUESTIONS = 20
_LEAST_SECONDS = 30.0
_LARGEST_SHARE = 0.02  # of the time goes into saving


class Stopped(BaseException):
    """A training was asked to end, and has saved its state."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class Saver(Hook):
    """Saves the state every half minute, or seldom enough to cost a fiftieth of the time; and before a stop.

    Args:
        checkpoints: where to.
        seconds: the least time between two; None is half a minute.
    """

    def __init__(self, checkpoints: Checkpoints, seconds: float | None = None) -> None:
        self._checkpoints = checkpoints
        self._pause = self._least = _LEAST_SECONDS if seconds is None else seconds
        self._last = time.monotonic()

    def on_step(self, training: Training) -> None:
        world = training.world
        if world.size > 1 and training.step % _STEPS_BETWEEN_QUESTIONS:
            return
        stop = _asked_to_stop()
        due = time.monotonic() - self._last >= self._pause
        if world.size > 1:
            stop, due = _agreed(training, stop, due)
        if stop or (due and training.step < training.steps):
            self._save(training)
        if stop:
            raise Stopped(stop)

    def _save(self, training: Training) -> None:
        began = time.monotonic()
        state = training.state_dict()
        if training.world.rank == 0:
            self._checkpoints.save(training.step, state)
        self._last = time.monotonic()
        self._pause = max(self._least, (self._last - began) / _LARGEST_SHARE) if self._least else 0.0


def _agreed(training: Training, stop: int, due: bool) -> tuple[int, bool]:
    """What any process was asked for, and what process 0's clock says."""
    told = torch.tensor([stop, int(due and training.world.rank == 0)], device=training.device)
    number, due_now = training.world.max(told).tolist()
    return int(number), bool(due_now)


_stop = 0


def _asked_to_stop() -> int:
    return _stop


@contextmanager
def stopping_tidily() -> Iterator[None]:
    """SIGTERM (a machine that is taken away) and Ctrl-C save the state first; the second of them ends at once.

    Raises:
        Stopped: out of the training, once its state is saved.
    """
    global _stop
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        global _stop
        _stop = number
        for each, handler in before.items():
            signal.signal(each, handler)

    _stop = 0
    before: dict[int, Any] = {each: signal.signal(each, ask) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        _stop = 0
        for each, handler in before.items():
            signal.signal(each, handler)
