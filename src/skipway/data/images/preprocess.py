"""How pixels become a net's input: scaled, centred on the training images, and that rule kept with the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from skipway.data.images.encoded import Encoded
from skipway.data.images.labelled import Labelled
from skipway.settings.registry import UnknownNameError

Kind = Literal["pixel", "channel", "scale", "contrast"]
_BLOCK = 512  # images that `fit` widens at a time
_IN_CACHE = 2**18  # float32 numbers, a megabyte
_SAMPLE = 2_000  # encoded images that `fit` decodes


@dataclass(frozen=True, eq=False)
class Preprocess:
    """``(pixels / scale - mean) / std``, a function of a batch; it travels with weights and runs.

    For `contrast`, each image's own contrast comes first: see `kind`.
    """

    kind: Kind
    """Which numbers these are.

    `pixel`: a mean for each pixel and std 1 (1512.03385, section 4.2). `channel`: a mean and a std for each channel.
    `scale`: neither; pixels / 256, or by whatever number of values a pixel has (the highway authors' MNIST net).
    `contrast`: of each image its own mean is subtracted, and it is divided by its own standard deviation, both over all
    channels; then the mean of the training images so treated is subtracted (the highway authors' CIFAR nets).
    """
    scale: float
    """What pixels are divided by: the largest value that one can have; for `scale` one more, for `contrast` 1."""
    mean: Tensor
    """float32, of pixels / scale: (C, H, W) for `pixel` and `contrast`, (C,) for `channel` and `scale`."""
    std: Tensor
    """float32, (C,), of pixels / scale."""

    def __post_init__(self) -> None:
        check_kind(self.kind)

    @classmethod
    def fit(cls, data: Labelled, kind: Kind = "channel") -> Preprocess:
        """Measure what a kind needs on the training split alone.

        Of images that stay encoded (`load(..., image_size=224)`) it is measured on at most 2,000, evenly spaced and cut
        as for evaluation.

        Args:
            data: what `load` returned.
            kind: `pixel`, `channel`, `scale` or `contrast`.

        Raises:
            ValueError: if the kind is another.
        """
        check_kind(kind)
        images = data.train.images
        if isinstance(images, Encoded):
            images = images.evenly(_SAMPLE)
        nothing, one = torch.zeros(images.shape[1]), torch.ones(images.shape[1])
        if kind == "scale":
            return cls(kind, data.scale + 1, nothing, one)
        if kind == "contrast":
            return cls(kind, 1.0, _mean_of_contrasts(images).float(), one)
        if kind == "pixel":
            mean = _sum_of_images(images).double() / (len(images) * data.scale)
            return cls(kind, data.scale, mean.float(), one)
        mean, std = _channel_moments(images)
        # A constant channel has nothing to scale; dividing by 1 leaves it at 0.
        std = torch.where(std > 0, std / data.scale, 1.0)
        return cls(kind, data.scale, (mean / data.scale).float(), std.float())

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels, uint8 (..., C, H, W), as a net's input, float32 of the same shape, on the device of both."""
        if self.kind == "contrast":
            return _contrast_normalised(images).add_(self._shift)
        if images.device.type != "cpu":
            return torch.addcmul(self._shift, images, self._weight)  # one fused pass
        # On a CPU the promotion of uint8 is a pass of its own: a part at a time, so that the second finds the first in
        # the cache (measured: half the time for images of 224 x 224).
        result = torch.empty_like(images, dtype=torch.float32)
        rows = max(1, _IN_CACHE // max(1, images[:1].numel()))
        for part, target in zip(torch.split(images, rows), torch.split(result, rows), strict=True):
            torch.addcmul(self._shift, part, self._weight, out=target)
        return result

    @cached_property
    def _weight(self) -> Tensor:
        """What pixels are multiplied by, (C, 1, 1)."""
        return 1 / (self.scale * self.std[:, None, None])

    @cached_property
    def _shift(self) -> Tensor:
        """What is added then, (C, 1, 1) or (C, H, W)."""
        mean = self.mean if self.mean.dim() == 3 else self.mean[:, None, None]
        return -mean / self.std[:, None, None]

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


def check_kind(kind: str) -> None:
    """Hold a preprocessing's name to those that there are.

    Raises:
        ValueError: with the nearest valid names.
    """
    if kind not in get_args(Kind):
        raise UnknownNameError("preprocessing", kind, get_args(Kind))


def _contrast_normalised(images: Tensor) -> Tensor:
    """Each image minus its own mean, divided by its own (population) standard deviation, float32 (..., C, H, W).

    The deviation is at least that of an image of which one pixel in one channel is one step off: of a constant image it
    is 0, and it may not be divided by.
    """
    pixels = images.int()
    count = images.shape[-3:].numel()
    total, squares = _sum_of_image(pixels), _sum_of_image(pixels * pixels)
    deviation = (count * squares - total * total).float().sqrt() / count
    return images.float().sub_(total / count).div_(deviation.clamp(min=count**-0.5))


def _sum_of_image(numbers: Tensor) -> Tensor:
    """The sum over (C, H, W) of int32 numbers up to 255 squared, int64 (..., 1, 1, 1).

    Whole numbers, so it is exact in whatever order, and an image is treated alike in every batch. A row's sum fits into
    int32 up to 33,000 pixels, and takes a third of the time of int64.
    """
    return numbers.sum(-1, keepdim=True, dtype=torch.int32).sum((-3, -2), keepdim=True)


def _mean_of_contrasts(images: Tensor | Encoded) -> Tensor:
    """The mean of images of which each is normalised to its own contrast, float64 (C, H, W)."""
    total = torch.zeros(images.shape[1:], dtype=torch.float64)
    for block in _blocks(images):
        total += _contrast_normalised(block).sum(0, dtype=torch.float64)
    return total / len(images)


def _sum_of_images(images: Tensor | Encoded) -> Tensor:
    """(C, H, W), int64: exact, and in blocks, so that a large split is never widened whole."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for block in _blocks(images):
        total += block.sum(0, dtype=torch.int64)
    return total


def _channel_moments(images: Tensor | Encoded) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of each channel, float64 (C,), from exact counts of its 256 values."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for block in _blocks(images):
        for channel, pixels in enumerate(block.unbind(1)):
            counts[channel] += torch.bincount(pixels.reshape(-1), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64)
    mean = share @ value
    variance = (share * (value - mean[:, None]) ** 2).sum(1)
    return mean, variance.sqrt()


def _blocks(images: Tensor | Encoded) -> Iterator[Tensor]:
    """The images, uint8 (n, C, H, W), so many at a time that a large split is never widened, or decoded, whole."""
    for places in torch.split(torch.arange(len(images)), _BLOCK):
        yield (
            images[places[0] : places[-1] + 1]
            if isinstance(images, Tensor)
            else images.index_select(0, places).to("cpu")
        )


def _to_lists(numbers: Tensor) -> Any:
    """Nested lists of the shortest decimals that name these float32 values: a mean image is long enough as it is."""
    array = numbers.cpu().numpy()
    return np.array([float(str(number)) for number in array.flat]).reshape(array.shape).tolist()
