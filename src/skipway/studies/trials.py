"""Trials of replicas: whether nets of somebody's own are trained several at a time, for each gate and depth.

A trial measures time, and may decide otherwise the next time. So study.json keeps what was decided, and a study that is
started again goes by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import nn

from skipway.data.dataset import evenly
from skipway.nets.factory import is_function_name
from skipway.rundir.layout import Json, run_id
from skipway.studies.grid import Cell, Plan, Way
from skipway.training.execution import choose_execution
from skipway.training.machine import machine
from skipway.training.mapped_trial import Batch, speed_up, why_not_mapped

_BATCHES, _SAMPLES = 3, 4  # of the comparison
_MOST_REPLICAS = 16  # of nets in whose row no block is seen, so that nothing tells what the caches allow
_STEPS = 8  # a trial takes about so many steps of each replica, and at most such a share of the training:
_SHARE = 0.1


@dataclass
class Trials:
    """Decides for the nets of a function: `skipway.studies.grid.Ways`.

    Args:
        device: where they train.
        recompute: whether blocks are computed again for the backward pass.
        decided: by the id of a gate's and depth's first cell, from an earlier start; what is new is added.
    """

    device: torch.device
    recompute: bool = False
    decided: dict[str, Json] = field(default_factory=dict)

    def __call__(self, plan: Plan, cells: Sequence[Cell], net: nn.Module, most: int) -> Way:
        """The way of the cells of one gate and depth.

        Args:
            plan: of the study.
            cells: all of a gate and depth.
            net: of the first of them.
            most: replicas that the caches allow.
        """
        size = min(most, len(cells), _MOST_REPLICAS)
        if not is_function_name(plan.nets.spec) or size == 1:
            return Way()
        key = run_id(plan.identity(cells[0]))
        if key not in self.decided:
            self.decided[key] = asdict(self._try(plan, cells, net, size))
        return Way(**self.decided[key])

    def _try(self, plan: Plan, cells: Sequence[Cell], net: nn.Module, size: int) -> Way:
        recipe, data = plan.config.recipe, plan.data
        steps = recipe.total_steps(len(data.train))
        execution = choose_execution(net, data.spec.example(), images=steps * recipe.batch_size)
        reason = None
        if self.recompute or execution.compiled:
            reason = f"blocks are {'computed again' if self.recompute else 'compiled'}, which replicas cannot be"
        elif steps * len(cells) * _SHARE < _STEPS * size:
            reason = "the trainings are too short to earn a trial of replicas"
        if reason:
            return Way(why=reason)
        with machine(1):
            batches = [self._batch(plan, _SAMPLES, place) for place in range(_BATCHES)]
            if reason := why_not_mapped(net.to(self.device), batches, plan.task.losses):
                return Way(why=reason)
            nets = [plan.build(cell).to(self.device) for cell in cells[:size]]
            times = speed_up(nets, self._batch(plan, recipe.batch_size), plan.task.losses)
        told = f"{size} replicas as one computation are {times:.2f} times as fast as one after another"
        return Way(size, True, told) if times > 1 else Way(why=told)

    def _batch(self, plan: Plan, samples: int, place: int = 0) -> Batch:
        """Samples of the training split; those of other places are others."""
        train = plan.data.train
        wanted = evenly(train, min(len(train), samples * (place + 1)))
        *_, batch = plan.data.pipeline().batches(wanted, samples, device=self.device)
        return batch
