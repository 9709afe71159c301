"""Evaluation: the mean loss and the metric on a split, exact for any number of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skipway.batch.trees import first, tree_map
from skipway.data.dataset import Pipeline
from skipway.data.part import Part
from skipway.skip.as_found import as_found
from skipway.skip.draws import drawn_alike
from skipway.skip.eager import eager
from skipway.tasks.task import Task
from skipway.training.replicas import Replicas
from skipway.training.world import ALONE, World


class Scores(NamedTuple):
    """Of every replica, (replicas,)."""

    loss: Tensor  # the task's mean loss
    metric: Tensor | None  # the task's metric, where it has one


@contextmanager
def _seeded(draws: str) -> Iterator[None]:
    """A context in which all draws follow from a text; the generators are as they were after it."""
    seed = int.from_bytes(hashlib.sha256(f"draws of {draws}".encode()).digest()[:4], "big")
    with torch.random.fork_rng(), drawn_alike(seed):
        torch.manual_seed(seed)
        yield


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
    draws: str = "",
) -> Scores:
    """Score every replica on every sample of a split, in evaluation mode; the net is left as it was.

    Each of several processes goes over its own part of the split; together they count every sample once. What a net
    draws, if it draws in evaluation mode, follows from `draws`, such as the seed and the split; torch's generators
    are left as they were.
    """
    world.share_buffers(net)
    loss = torch.zeros(net.count, dtype=torch.float64, device=device)
    scores = torch.zeros(net.count, dtype=torch.float64, device=device)
    # Eager: to compile the evaluation too would take longer than it saves.
    with as_found(net.net), _seeded(f"{draws} in process {world.rank}"), eager():
        net.net.eval()
        for x, y in pipeline.batches(split, batch_size, device=device, part=Part(world.rank, world.size)):
            inputs, targets = (tree_map(lambda leaf: leaf.expand(net.count, *leaf.shape), tree) for tree in (x, y))
            outputs = net(inputs)
            loss += task.losses(outputs, targets).mean(1).double() * len(first(y))
            if task.metric:
                scores += task.scores(outputs, targets).double().sum(1)
    mean = world.sum(scores) / len(split)
    return Scores(world.sum(loss) / len(split), task.total(mean) if task.metric else None)
