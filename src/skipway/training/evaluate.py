"""Evaluation: the mean loss and the share of errors on a split, exact for any number of samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.batches import batches
from skipway.data.images.preprocess import Preprocess
from skipway.data.part import Part
from skipway.data.splits import Split
from skipway.skip.eager import eager
from skipway.training.replicas import Replicas
from skipway.training.world import ALONE, World


class Scores(NamedTuple):
    """Of every replica, (replicas,)."""

    loss: Tensor  # mean cross-entropy, in nats
    error: Tensor  # share of samples whose highest score is not their class


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Each replica's mean cross-entropy in nats, (replicas,).

    Args:
        scores: (replicas, batch, classes).
        labels: int64 (replicas, batch); or probabilities, (replicas, batch, classes), where images were mixed.
    """
    losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(0, 1), reduction="none")
    return losses.view(scores.shape[:2]).mean(1)


def error_rate(scores: Tensor, labels: Tensor) -> Tensor:
    """Each replica's share of wrong classes, (replicas,); arguments as of `cross_entropy`.

    Of probabilities, the likeliest class is the right one.
    """
    if labels.is_floating_point():
        labels = labels.argmax(-1)
    return (scores.argmax(-1) != labels).float().mean(1)


@torch.no_grad()
def evaluate(
    net: Replicas,
    split: Split,
    preprocess: Preprocess,
    *,
    batch_size: int = 512,
    device: str | torch.device = "cpu",
    world: World = ALONE,
) -> Scores:
    """Score every replica on every sample of a split, in evaluation mode; the mode is put back after.

    Each of several processes goes over its own part of the split; together they count every sample once.
    """
    was_training = net.training
    world.share_buffers(net)
    net.eval()
    loss = torch.zeros(net.count, dtype=torch.float64, device=device)
    wrong = torch.zeros(net.count, dtype=torch.float64, device=device)
    with eager():  # to compile the evaluation too would take longer than it saves
        for x, y in batches(split, preprocess, batch_size, device=device, part=Part(world.rank, world.size)):
            scores = net(x.expand(net.count, *x.shape))
            labels = y.expand(net.count, len(y))
            loss += cross_entropy(scores, labels).double() * len(y)
            wrong += (scores.argmax(-1) != labels).double().sum(1)
    net.train(was_training)
    return Scores(world.sum(loss) / len(split), world.sum(wrong) / len(split))
