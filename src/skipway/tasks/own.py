"""A task of one's own: any function of outputs and targets to a loss of each sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skipway.batch.trees import Tree, first, tree_map
from skipway.tasks.task import Task

LOSSES: dict[str, Callable[..., Tensor]] = {}
"""Losses of one's own, by the name that stands in a config: ``package.module:function``."""


class OwnLoss(Task):
    """A function ``loss(outputs, targets)`` that gives one number for each sample of a batch, (batch,).

    It is called once a replica: what it takes from the batch, such as a mean, is of that replica's batch alone.

    Args:
        function: the loss; outputs and targets are (batch, ...), as a net alone has them.
    """

    def __init__(self, function: Callable[[Tree, Tree], Tensor]) -> None:
        self.function = function

    def losses(self, outputs: Tree, targets: Tree) -> Tensor:
        replicas, batch = first(targets).shape[:2]
        return torch.stack([self._of_one(index, batch, outputs, targets) for index in range(replicas)])

    def _of_one(self, index: int, batch: int, outputs: Tree, targets: Tree) -> Tensor:
        found = self.function(*(tree_map(lambda leaf: leaf[index], tree) for tree in (outputs, targets)))
        if not isinstance(found, Tensor) or found.shape != (batch,):
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the loss of a batch of {batch} samples must be one number each, ({batch},); it is {came}. Give "
                "torch's losses reduction='none', and take the mean over all but the first dimension."
            )
        return found
