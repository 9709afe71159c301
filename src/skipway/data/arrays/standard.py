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
    """Of every place of a sample's tensor, float32, without the batch; of whole numbers and masks there are none."""

    mean: Tensor
    deviation: Tensor  # population; 1 where all samples are alike, which leaves them at 0

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Those of float values, (N, ...)."""
        blocks = torch.split(values, _BLOCK)
        # Exact for a feature that is the same everywhere: its float32 numbers have bits to spare in float64.
        mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(values)
        variance = torch.stack([((block.double() - mean) ** 2).sum(0) for block in blocks]).sum(0) / len(values)
        deviation = variance.sqrt().float()
        return cls(mean.float(), torch.where(deviation > 0, deviation, 1.0))


@dataclass(frozen=True, eq=False)
class Standard:
    """``(x - mean) / deviation`` of every float tensor of a tree; all else passes as it is."""

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
            "leaves": [m and {name: t.tolist() for name, t in m._asdict().items()} for m in self.moments],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Standard:
        """What `to_dict` wrote, to the same bits."""
        return cls(
            tuple(m and Moments(torch.tensor(m["mean"]), torch.tensor(m["deviation"])) for m in content["leaves"])
        )

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
    return values if moments is None else (values - moments.mean) / moments.deviation
