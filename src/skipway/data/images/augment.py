"""Augmentations: training images, changed at random, a whole batch at a time on the device.

One class an augmentation, registered by name; ``crop:pad=4`` names one with its settings. Those of this file run after
preprocessing, so the zeros that they fill with are the mean of the training images wherever preprocessing subtracts
that. What is random is drawn apart from what is done with it, on the CPU, so that the draws are the same on every
device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

import skipway.data.images.augment_kornia
import skipway.data.images.mixing  # noqa: F401  (as the line above: what is defined there has its names from here on)
from skipway.data.images.augmentation import AUGMENTATIONS as AUGMENTATIONS
from skipway.data.images.augmentation import Augmentation as Augmentation
from skipway.data.images.augmentation import Shape as Shape
from skipway.settings.registry import Spec, check_settings


@dataclass(frozen=True, kw_only=True)
class Crop(Augmentation, name="crop"):
    """Pad with zeros on every side and cut an image of the old size out, at a random place (1512.03385, 4.2)."""

    pad: int = 4
    """Pixels on each side."""

    def __post_init__(self) -> None:
        if self.pad < 1:
            raise ValueError(f"augmentation crop: pad is a number of pixels, 1 or more; it is {self.pad}.")

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """The top and the left of each cut, int64 (N, 2), from 0 to twice the padding."""
        _check_fits(f"crop:pad={self.pad}", self.pad, shape)
        return torch.randint(2 * self.pad + 1, (count, 2), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        height, width = images.shape[2:]
        # Every cut there could be, as a view, (N, C, tops, lefts, H, W); the index copies one of each image.
        cuts = F.pad(images, (self.pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = drawn.unbind(1)
        return cuts[torch.arange(len(images), device=images.device), :, top, left]


@dataclass(frozen=True, kw_only=True)
class Flip(Augmentation, name="flip"):
    """Mirror an image, left to right, by chance (1512.03385, 4.2)."""

    p: float = 0.5
    """The chance."""

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError(f"augmentation flip: p is a probability, above 0 and up to 1; it is {self.p}.")

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Which are mirrored, bool (N,)."""
        return torch.rand(count, generator=generator) < self.p

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        return torch.where(drawn[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True, kw_only=True)
class Cutout(Augmentation, name="cutout"):
    """Put zeros into a square whose centre is any pixel; what lies outside the image is cut off (1708.04552, 3.2)."""

    size: int = 8
    """Pixels on a side."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"augmentation cutout: size is a number of pixels, 1 or more; it is {self.size}.")

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """The row and the column of each centre, int64 (N, 2)."""
        _check_fits(f"cutout:size={self.size}", self.size, shape)
        return torch.stack([torch.randint(side, (count,), generator=generator) for side in shape[1:]], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        rows, columns = (
            self._covers(side, centre) for side, centre in zip(images.shape[2:], drawn.unbind(1), strict=True)
        )
        return torch.where(rows[:, None, :, None] & columns[:, None, None, :], 0, images)

    def _covers(self, side: int, centre: Tensor) -> Tensor:
        """Which of `side` places along one axis the square covers, bool (N, side)."""
        first = centre[:, None] - self.size // 2
        place = torch.arange(side, device=centre.device)
        return (first <= place) & (place < first + self.size)


def canonical(spec: str) -> str:
    """The one way to write an augmentation's specification.

    Raises:
        ValueError: if there is no such augmentation or setting, a setting is out of range, or it needs an extra that
            is not installed.
    """
    checked = _checked(spec)
    _make(checked)
    return str(checked)


def make_augmentations(specs: Sequence[str]) -> tuple[Augmentation, ...]:
    """What specifications such as ``["crop:pad=4", "flip"]`` name; they are applied in this order.

    Raises:
        ValueError: if there is no such augmentation or setting, a setting is out of range, an extra is not installed,
            or one that changes pixels comes after one that changes what preprocessing makes of them.
    """
    made = tuple(_make(_checked(spec)) for spec in specs)
    before = [augmentation.on_pixels for augmentation in made]
    if before != sorted(before, reverse=True):
        late = before.index(True, before.index(False))
        right = [
            spec for first in (True, False) for spec, on_pixels in zip(specs, before, strict=True) if on_pixels == first
        ]
        raise ValueError(
            f"augmentation {specs[late]} changes pixels, before preprocessing, and {specs[before.index(False)]} what "
            f"preprocessing makes of them: it cannot come after that. Valid: {' '.join(right)}."
        )
    return made


def _checked(spec: str) -> Spec:
    parsed = Spec.parse(spec)
    return check_settings(parsed, AUGMENTATIONS[parsed.name], "augmentation")


def _make(spec: Spec) -> Augmentation:
    return AUGMENTATIONS[spec.name](**dict(spec.settings))


def _check_fits(spec: str, pixels: int, shape: Shape) -> None:
    """A crop that may miss its image, or a square as large as it, leaves nothing to learn from."""
    smallest = min(shape[1:])
    if pixels >= smallest:
        raise ValueError(
            f"augmentation {spec} on images of {shape[2]} x {shape[1]} pixels may leave nothing of one. "
            f"It must be smaller than the images' smaller side: 1 to {smallest - 1} are valid."
        )
