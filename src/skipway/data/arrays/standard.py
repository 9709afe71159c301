"""Standardisation: every float feature of a sample with mean 0 and deviation 1 over the training split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skipway.batch.trees import Tree, leaves, tree_map
from skipway.data.samples import Samples

_BLOCK = 2**16  # samples that are widened at a time


class Moments(NamedTuple):
    """Of every place of a sample's tensor, without the batch; of whole numbers and masks there are none.

    float32 like the values, or float64 where these need it (`skipway.data.rounding`).
    """

    mean: Tensor
    deviation: Tensor  # population; 1 where all samples are alike, which leaves them at 0

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Those of float values, (N, ...)."""
        if values.dtype == torch.float64:  # it has no bits to spare: numbers from the first one on have
            start = values[0]
            mean, deviation = cls._of(values - start)
            return cls(start + mean, torch.where(deviation > 0, deviation, 1.0))
        mean, deviation = (moment.float() for moment in cls._of(values))
        return cls(mean, torch.where(deviation > 0, deviation, 1.0))

    @staticmethod
    def _of(values: Tensor) -> tuple[Tensor, Tensor]:
        """In float64."""
        blocks = torch.split(values, _BLOCK)
        # Exact for a feature that is the same everywhere: its float32 numbers have bits to spare in float64.
        mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(values)
        variance = torch.stack([((block.double() - mean) ** 2).sum(0) for block in blocks]).sum(0) / len(values)
        return mean, variance.sqrt()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        wide = {"dtype": "float64"} if self.mean.dtype == torch.float64 else {}
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist(), **wide}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Moments:
        """What `to_dict` wrote, to the same bits."""
        kind = torch.float64 if content.get("dtype") == "float64" else torch.float32
        return cls(*(torch.tensor(content[name], dtype=kind) for name in ("mean", "deviation")))


@dataclass(frozen=True, eq=False)
class Standard:
    """``(x - mean) / deviation`` of every float tensor of a tree, as float32; all else passes as it is."""

    moments: tuple[Moments | None, ...]
    """Of each leaf, from left to right; None where it passes."""

    @classmethod
    def fit(cls, inputs: Tree) -> Standard:
        """Measure a training split's inputs."""
        return cls(tuple(Moments.of(leaf) if leaf.is_floating_point() else None for leaf in leaves(inputs)))

    @classmethod
    def nothing(cls, inputs: Tree) -> Standard:
        """What leaves such inputs as they are."""
        return cls((None,) * sum(1 for _ in leaves(inputs)))

    def __call__(self, samples: Samples) -> tuple[Tree, Tree]:
        moments = iter(self.moments)
        return tree_map(lambda leaf: _standardised(leaf, next(moments)), samples.inputs), samples.targets

    def to(self, device: torch.device | str) -> Standard:
        return Standard(tuple(m and Moments(m.mean.to(device), m.deviation.to(device)) for m in self.moments))

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "arrays",
            "leaves": [m and m.to_dict() for m in self.moments],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Standard:
        """What `to_dict` wrote, to the same bits."""
        return cls(tuple(m and Moments.from_dict(m) for m in content["leaves"]))

    def check_fits(self, inputs: Tree) -> None:
        """Hold it to inputs, (N, ...).

        Raises:
            ValueError: if it was fitted on others.
        """
        own = [m and tuple(m.mean.shape) for m in self.moments]
        theirs = [tuple(leaf.shape[1:]) for leaf in leaves(inputs)]
        if len(own) != len(theirs) or any(a is not None and a != b for a, b in zip(own, theirs, strict=True)):
            raise ValueError(f"the preprocessing was fitted on samples of {own}, and these are of {theirs}.")


def _standardised(values: Tensor, moments: Moments | None) -> Tensor:
    """float32; all else as it is."""
    if moments is not None:
        values = (values.to(moments.mean.dtype) - moments.mean) / moments.deviation
    return values.float() if values.is_floating_point() else values
