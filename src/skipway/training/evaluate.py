"""Evaluation: the mean loss and the metric on a split, exact for any number of samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from skipway.batch.trees import first, tree_map
from skipway.data.dataset import Pipeline
from skipway.data.part import Part
from skipway.skip.as_found import as_found
from skipway.skip.eager import eager
from skipway.tasks.task import Task
from skipway.training.replicas import Replicas
from skipway.training.world import ALONE, World


class Scores(NamedTuple):
    """Of every replica, (replicas,)."""

    loss: Tensor  # the task's mean loss
    metric: Tensor | None  # the task's metric, where it has one


@torch.no_grad()
def evaluate(
    net: Replicas,
    split: Any,
    pipeline: Pipeline,
    task: Task,
    *,
    batch_size: int = 512,
    device: str | torch.device = "cpu",
    world: World = ALONE,
) -> Scores:
    """Score every replica on every sample of a split, in evaluation mode; the net is left as it was.

    Each of several processes goes over its own part of the split; together they count every sample once.
    """
    world.share_buffers(net)
    loss = torch.zeros(net.count, dtype=torch.float64, device=device)
    scores = torch.zeros(net.count, dtype=torch.float64, device=device)
    with as_found(net.net), eager():  # to compile the evaluation too would take longer than it saves
        net.net.eval()
        for x, y in pipeline.batches(split, batch_size, device=device, part=Part(world.rank, world.size)):
            inputs, targets = (tree_map(lambda leaf: leaf.expand(net.count, *leaf.shape), tree) for tree in (x, y))
            outputs = net(inputs)
            loss += task.losses(outputs, targets).mean(1).double() * len(first(y))
            if task.metric:
                scores += task.scores(outputs, targets).double().sum(1)
    mean = world.sum(scores) / len(split)
    return Scores(world.sum(loss) / len(split), task.total(mean) if task.metric else None)
