"""What goes beside every training: signals at its start and end, and the time it takes."""

from __future__ import annotations

import time

import torch
from torch import nn

from skipway.anatomy.layers import layers_of_net
from skipway.batch.trees import Tree, tree_map
from skipway.data.dataset import Data, Pipeline, evenly
from skipway.probe.signals import measure
from skipway.tasks.task import Task
from skipway.training.loop import Hook, Row, State
from skipway.training.mapped import Mapped
from skipway.training.replicas import Replicas, Stack

_SAMPLES = 256


class SignalProbe(Hook):
    """Signals at the start and the end, on the same batch of the training split for every net."""

    def __init__(self, data: Data, pipeline: Pipeline, task: Task, net: Replicas, device: torch.device) -> None:
        self._task = task
        self._x, self._targets = next(pipeline.batches(evenly(data.train, _SAMPLES), _SAMPLES, device=device))
        self._replicas = net.count if isinstance(net, Stack) else None
        if self._replicas is not None:
            self._x = tree_map(lambda leaf: leaf.expand(net.count, *leaf.shape), self._x)
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
        if isinstance(net, Mapped):  # nothing can be read within the mapping
            found = [rows for index in range(net.count) for rows in self._measured(net.member(index))]
        else:
            found = self._measured(net.net)
        for own, rows in zip(self.rows, found, strict=True):
            own.extend({"moment": moment, "step": step, **row} for row in rows)

    def _measured(self, net: nn.Module) -> list[list[Row]]:
        layers = layers_of_net(net, self._x)
        return measure(net, self._x, self._losses, layers=layers, replicas=self._replicas)

    def _losses(self, outputs: Tree) -> torch.Tensor:
        if self._replicas is None:
            outputs = tree_map(lambda leaf: leaf[None], outputs)
        count = self._replicas or 1
        targets = tree_map(lambda leaf: leaf.expand(count, *leaf.shape), self._targets)
        return self._task.losses(outputs, targets).mean(1)


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
