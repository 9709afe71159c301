"""Next token: which of a vocabulary's tokens comes after those that were read."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.batch.trees import Tree, wide
from skipway.tasks.task import Guess, Metric, Task

IGNORED = -100
"""A target that does not count: padding. The field's usual number."""


class NextToken(Task, name="next-token"):
    """Cross-entropy in nats a token, and the share of tokens that were not the likeliest.

    Outputs are scores, (replicas, batch, length, vocabulary). Targets are int64 (replicas, batch, length): of every
    place the token that comes next, or -100 where none counts.
    """

    loss = Metric("loss", "loss", "nats")
    metric = Metric("error", "token error", "%", factor=100.0, digits=1)

    def fit(self, targets: Tree) -> NextToken:
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.dim() != 2:
            raise ValueError("next-token needs the token after each place, int64 (samples, length).")
        return self

    def losses(self, outputs: Tree, targets: Tree) -> Tensor:
        losses = F.cross_entropy(
            wide(outputs).flatten(0, -2), targets.flatten(), reduction="none", ignore_index=IGNORED
        )
        return _mean_of_counted(losses.view(targets.shape), targets)

    def scores(self, outputs: Tree, targets: Tree) -> Tensor:
        return _mean_of_counted((outputs.argmax(-1) != targets).float(), targets)

    def outputs(self, targets: Tree) -> int:
        return int(targets.max()) + 1

    def guess(self, targets: Tree) -> Guess:
        """The tokens' shares as probabilities; the commonest token."""
        shares = torch.bincount(targets[targets != IGNORED]).double()
        shares /= shares.sum()
        return Guess(float(-torch.xlogy(shares, shares).sum()), float(1 - shares.max()))

    def guessing_loss(self, outputs: int | None) -> float | None:
        """That of equal probabilities, in nats."""
        return None if outputs is None else math.log(outputs)


def _mean_of_counted(values: Tensor, targets: Tensor) -> Tensor:
    """The mean over the places of each sample that count, (replicas, batch); 0 where none does."""
    counted = targets != IGNORED
    return (values * counted).sum(-1) / counted.sum(-1).clamp(min=1)
