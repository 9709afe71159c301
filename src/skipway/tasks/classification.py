"""Classification: which of several classes a sample is of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.batch.trees import Tree, wide
from skipway.tasks.task import Guess, Metric, Task


class Classification(Task, name="classification"):
    """Cross-entropy in nats, and the share of samples whose highest score is not their class.

    Outputs are scores, (replicas, batch, classes). Targets are int64 (replicas, batch), or probabilities, (replicas,
    batch, classes), where samples were mixed: then the likeliest class is the right one.
    """

    loss = Metric("loss", "loss", "nats")
    metric = Metric("error", "error", "%", factor=100.0, digits=1)
    stratified = True

    def losses(self, outputs: Tree, targets: Tree) -> Tensor:
        losses: Tensor = F.cross_entropy(wide(outputs).flatten(0, 1), targets.flatten(0, 1), reduction="none")
        return losses.view(targets.shape[:2])

    def scores(self, outputs: Tree, targets: Tree) -> Tensor:
        if targets.is_floating_point():
            targets = targets.argmax(-1)
        wrong: Tensor = outputs.argmax(-1) != targets
        return wrong.float()

    def outputs(self, targets: Tree) -> int:
        return int(targets.max()) + 1

    def guess(self, targets: Tree) -> Guess:
        """The classes' shares as probabilities; the commonest class."""
        shares = torch.bincount(targets).double() / len(targets)
        return Guess(float(-torch.xlogy(shares, shares).sum()), float(1 - shares.max()))

    def guessing_loss(self, outputs: int | None) -> float | None:
        """That of equal probabilities, in nats.

        The classes' frequencies are left out: where nearly all is one class, to say that class costs next to nothing,
        and every net would have diverged before its first step.
        """
        return None if outputs is None else math.log(outputs)

    def fit(self, targets: Tree) -> Classification:
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.dim() != 1:
            raise ValueError(
                f"classification needs one whole number a sample, int64 (samples,); the targets are {_about(targets)}. "
                "For numbers on a scale use task regression."
            )
        return self


def _about(targets: Tree) -> str:
    if not isinstance(targets, Tensor):
        return f"a {type(targets).__name__}"
    return f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}"
