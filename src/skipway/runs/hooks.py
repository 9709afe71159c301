"""What goes beside every training: signals at its start and end, and the time it takes."""

from __future__ import annotations

import time

import torch

from skipway.anatomy.layers import layers_of_net
from skipway.data.batches import batches
from skipway.data.images.preprocess import Preprocess
from skipway.data.splits import Split
from skipway.probe.signals import measure
from skipway.training.evaluate import cross_entropy
from skipway.training.loop import Hook, Row, State
from skipway.training.replicas import Replicas, Stack

_SAMPLES = 256


def evenly(split: Split, most: int) -> Split:
    """At most so many samples of a split, evenly spaced: the same ones for every net."""
    if len(split) <= most:
        return split
    return split.select(torch.linspace(0, len(split) - 1, most).long())


class SignalProbe(Hook):
    """Signals at the start and the end, on the same batch of the training split for every net."""

    def __init__(self, split: Split, preprocess: Preprocess, net: Replicas, device: torch.device) -> None:
        self._x, self._labels = next(batches(evenly(split, _SAMPLES), preprocess, _SAMPLES, device=device))
        self._replicas = net.count if isinstance(net, Stack) else None
        if self._replicas is not None:
            self._x = self._x.expand(net.count, *self._x.shape)
        self.rows: list[list[Row]] = [[] for _ in range(net.count)]

    def on_start(self, net: Replicas) -> None:
        self._add(net, "start", 0)

    def on_end(self, net: Replicas, step: int) -> None:
        self._add(net, "end", step)

    def state_dict(self) -> State:
        return {"rows": self.rows}

    def load_state_dict(self, state: State) -> None:
        self.rows = state["rows"]

    def _add(self, net: Replicas, moment: str, step: int) -> None:
        layers = layers_of_net(net.net, self._x)
        found = measure(net.net, self._x, self._losses, layers=layers, replicas=self._replicas)
        for own, rows in zip(self.rows, found, strict=True):
            own.extend({"moment": moment, "step": step, **row} for row in rows)

    def _losses(self, scores: torch.Tensor) -> torch.Tensor:
        if self._replicas is None:
            scores = scores[None]
        return cross_entropy(scores, self._labels.expand(scores.shape[:-1]))


class Clock(Hook):
    """Seconds that a training took, those before it was stopped and went on included."""

    def __init__(self) -> None:
        self._before, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """So many until now."""
        return self._before + time.perf_counter() - self._began

    def state_dict(self) -> State:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: State) -> None:
        self._before = state["seconds"]
