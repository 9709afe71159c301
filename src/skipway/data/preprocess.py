"""How pixels become a net's input: scaled, centred on the training images, and that rule kept with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from skipway.data.splits import Data

Kind = Literal["pixel", "channel"]


@dataclass(frozen=True, eq=False)
class Preprocess:
    """``(pixels / scale - mean) / std``, a function of a batch; it travels with weights and runs."""

    kind: Kind
    """`pixel`: a mean for each pixel and std 1 (He et al. 2015). `channel`: a mean and a std for each channel."""
    scale: float
    """The largest value a pixel can have."""
    mean: Tensor
    """float32, of pixels / scale: (C, H, W) for `pixel`, (C,) for `channel`."""
    std: Tensor
    """float32, (C,), of pixels / scale."""

    @classmethod
    def fit(cls, data: Data, kind: Kind = "channel") -> Preprocess:
        """Measure mean and standard deviation on the training split alone.

        Args:
            data: what `load` returned.
            kind: `pixel` or `channel`.

        Raises:
            ValueError: if the kind is another.
        """
        if kind not in get_args(Kind):
            raise ValueError(f"unknown preprocessing {kind!r}. Valid: {', '.join(get_args(Kind))}.")
        images = data.train.images
        if kind == "pixel":
            mean = _sum_of_images(images).double() / (len(images) * data.scale)
            return cls(kind, data.scale, mean.float(), torch.ones(images.shape[1]))
        mean, std = _channel_moments(images)
        # A constant channel has nothing to scale; dividing by 1 leaves it at 0.
        std = torch.where(std > 0, std / data.scale, 1.0)
        return cls(kind, data.scale, (mean / data.scale).float(), std.float())

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels, uint8 (..., C, H, W), as a net's input, float32 of the same shape, on the device of both."""
        weight = 1 / (self.scale * self.std[:, None, None])
        mean = self.mean if self.mean.dim() == 3 else self.mean[:, None, None]
        # One fused pass on an accelerator; on a CPU the promotion of uint8 is a second one.
        return torch.addcmul(-mean / self.std[:, None, None], images, weight)

    def to(self, device: torch.device | str) -> Preprocess:
        """The same rule with its numbers on another device."""
        return Preprocess(self.kind, self.scale, self.mean.to(device), self.std.to(device))

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON can hold it; `from_dict` gives back the very same numbers."""
        return {"kind": self.kind, "scale": self.scale, "mean": _to_lists(self.mean), "std": _to_lists(self.std)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preprocess:
        """The rule that `to_dict` wrote."""
        mean, std = (torch.tensor(content[name], dtype=torch.float32) for name in ("mean", "std"))
        return cls(content["kind"], float(content["scale"]), mean, std)


def _sum_of_images(images: Tensor) -> Tensor:
    """(C, H, W), int64: exact, and in blocks, so that a large split is never widened whole."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for block in torch.split(images, 4096):
        total += block.sum(0, dtype=torch.int64)
    return total


def _channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of each channel, float64 (C,), from exact counts of its 256 values."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for block in torch.split(images, 4096):
        for channel, pixels in enumerate(block.unbind(1)):
            counts[channel] += torch.bincount(pixels.reshape(-1), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64)
    mean = share @ value
    variance = (share * (value - mean[:, None]) ** 2).sum(1)
    return mean, variance.sqrt()


def _to_lists(numbers: Tensor) -> Any:
    """Nested lists of the shortest decimals that name these float32 values: a mean image is long enough as it is."""
    array = numbers.cpu().numpy()
    return np.array([float(str(number)) for number in array.flat]).reshape(array.shape).tolist()
