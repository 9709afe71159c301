"""Regression: one or more numbers of each sample, on scales of their own."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.batch.trees import Tree, wide
from skipway.tasks.task import Guess, Metric, Task

Loss = Literal["squared", "absolute", "huber"]
_LOSSES = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.smooth_l1_loss,
}


class Regression(Task, name="regression"):
    """A loss of standardised targets, and the root of the mean squared error in the targets' own unit.

    Targets are standardised by mean and deviation of the training split, so that outputs, (replicas, batch) or
    (replicas, batch, targets), are of order one whatever the unit: a squared loss of 1 is that of always answering the
    mean. `answers` turns outputs into the targets' unit.

    Args:
        loss: "squared", "absolute" or "huber" (squared within one deviation, absolute beyond).
        unit: of the targets, for tables and axes.
    """

    def __init__(self, *, loss: str = "squared", unit: str = "") -> None:
        if loss not in _LOSSES:
            raise ValueError(f"regression:loss={loss}: the losses are {', '.join(_LOSSES)}.")
        self._loss, self._unit = _LOSSES[loss], unit
        self.metric = Metric("rmse", "RMSE", unit)
        self.mean, self.deviation = torch.zeros(()), torch.ones(())

    def fit(self, targets: Tree) -> Regression:
        if not isinstance(targets, Tensor) or not targets.is_floating_point() or targets.dim() not in (1, 2):
            kind = str(targets.dtype).removeprefix("torch.") if isinstance(targets, Tensor) else type(targets).__name__
            raise ValueError(
                f"regression needs numbers, float (samples,) or (samples, targets); the targets are {kind}. For "
                "classes use task classification."
            )
        precision = torch.float64 if targets.dtype == torch.float64 else torch.float32
        # float64 has no bits to spare: numbers from the first one on have.
        start = targets[0] if precision == torch.float64 else targets.new_zeros((), dtype=torch.float64)
        wide = targets.double() - start
        self.mean, self.deviation = (start + wide.mean(0)).to(precision), wide.std(0, correction=0).to(precision)
        if not bool((self.deviation > 0).all()):
            raise ValueError("a target is the same number in every training sample: there is nothing to learn of it.")
        return self

    def losses(self, outputs: Tree, targets: Tree) -> Tensor:
        outputs = _like(wide(outputs), targets)
        wanted = (targets - self.mean.to(targets)) / self.deviation.to(targets)
        losses: Tensor = self._loss(outputs, wanted.to(outputs.dtype), reduction="none")
        return losses.flatten(2).mean(-1) if losses.dim() > 2 else losses

    def scores(self, outputs: Tree, targets: Tree) -> Tensor:
        return _by_sample((self.answers(_like(wide(outputs), targets)) - targets) ** 2)

    def total(self, mean: Tensor) -> Tensor:
        return mean.sqrt()

    def answers(self, outputs: Tensor) -> Tensor:
        """Outputs in the targets' unit."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, self.mean.dtype))
        return outputs * self.deviation.to(outputs) + self.mean.to(outputs)

    def outputs(self, targets: Tree) -> int:
        return 1 if targets.dim() == 1 else int(targets.shape[1])

    def guess(self, targets: Tree) -> Guess:
        """The training mean."""
        constant = torch.zeros_like(targets)[None]
        loss = self.losses(constant, targets[None]).double().mean()
        return Guess(float(loss), float(self.total(self.scores(constant, targets[None]).double().mean())))

    def guessing_loss(self, outputs: int | None) -> float:
        """About that of the mean, whatever the loss: targets are standardised."""
        return 1.0

    def state(self) -> dict[str, Any]:
        wide = {"dtype": "float64"} if self.mean.dtype == torch.float64 else {}
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist(), **wide}

    def load_state(self, state: dict[str, Any]) -> Regression:
        kind = torch.float64 if state.get("dtype") == "float64" else torch.float32
        self.mean, self.deviation = (torch.tensor(state[name], dtype=kind) for name in ("mean", "deviation"))
        return self


def _by_sample(values: Tensor) -> Tensor:
    """The mean over the targets of each sample, (replicas, batch)."""
    return values.mean(-1) if values.dim() > 2 else values


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the targets' shape: a last dimension of one may be there or not.

    Raises:
        ValueError: if they do not fit.
    """
    if outputs.dim() == targets.dim() + 1 and outputs.shape[-1] == 1:
        outputs = outputs.squeeze(-1)
    if outputs.shape != targets.shape:
        raise ValueError(
            f"regression: the net answers {tuple(outputs.shape[1:])} for a batch, the targets are "
            f"{tuple(targets.shape[1:])}; they must be of one shape."
        )
    return outputs
