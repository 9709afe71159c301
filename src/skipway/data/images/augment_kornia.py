"""Augmentations made of Kornia's batched operations: RandAugment and ColorJitter. The extra `kornia` brings them.

Kornia is imported where it is used: their names and settings are known without it. Its operations are functions of a
batch and a number for each image. Its random modules are not used: they draw from torch's global generator, and some
things once for a whole batch. Here draws follow from the generator given, and an image is changed alike in every batch,
to the bits; two operations of Kornia's are not alike, and have their own form here, with the reason beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skipway.data.images.augmentation import Augmentation, Shape

Operation = Callable[[Tensor, Tensor], Tensor]

# The paper's operations (1909.13719, section 3): those that move pixels, then those that change their values.
MOVES = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
VALUES = ("autocontrast", "equalize", "solarize", "posterize", "color", "contrast", "brightness", "sharpness")
OPERATIONS = (*MOVES, *VALUES, "identity")
_STRONGEST = 30  # the largest m
# At the largest m, as in torchvision: radians; the share of a side by which the far side is moved; the share of a side.
_ROTATION, _SHEAR, _TRANSLATION = math.radians(30), 0.3, 150 / 331
_ENHANCEMENT, _BITS = 0.9, 4


@dataclass(frozen=True, kw_only=True)
class RandAugment(Augmentation, name="randaugment"):
    """Change each image by some of 14 operations, drawn with replacement, all of one strength (1909.13719, section 3).

    Strengths are torchvision's, and so is what is drawn besides: the direction. Pixels from outside an image are black,
    and the nearest pixel is taken, not a mean.
    """

    on_pixels: ClassVar[bool] = True

    n: int = 2
    """Operations, one after another."""
    m: int = 9
    """Their strength, 1 to 30."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"augmentation randaugment: n is a number of operations, 1 or more; it is {self.n}.")
        if not 1 <= self.m <= _STRONGEST:
            raise ValueError(f"augmentation randaugment: m is a strength, from 1 to {_STRONGEST}; it is {self.m}.")
        _check_installed(self.name)

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Which operations, int64 (N, n): twice the place in `OPERATIONS`, plus 1 for a negative strength."""
        _check_colours(self.name, shape)
        if min(shape[1:]) < 3:
            raise ValueError(
                f"augmentation randaugment on images of {shape[2]} x {shape[1]} pixels: it sharpens by the pixels "
                "around each, so 3 x 3 pixels or more are valid."
            )
        return torch.randint(2 * len(OPERATIONS), (count, self.n), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        share = self.m / _STRONGEST
        for step in drawn.unbind(1):
            place = torch.arange(len(OPERATIONS), device=step.device)
            sign = (1 - 2 * (step % 2)).to(images.dtype)
            images = _operated(images, torch.where((step // 2)[:, None] == place, share * sign[:, None], 0))
        return images


@dataclass(frozen=True, kw_only=True)
class ColorJitter(Augmentation, name="colorjitter"):
    """Change brightness, contrast, saturation and hue of each image, in this order (2002.05709, appendix A).

    The order is not drawn, as it is there: images of one batch would each need the operations in an order of their own.
    The defaults are what was used there on CIFAR-10. Grey images keep saturation and hue, since they have none.
    """

    on_pixels: ClassVar[bool] = True

    brightness: float = 0.4
    """The factor is drawn from 1 - brightness (0 at least) to 1 + brightness."""
    contrast: float = 0.4
    """Likewise the factor of the difference from the mean grey."""
    saturation: float = 0.4
    """Likewise the factor of the difference from each pixel's grey."""
    hue: float = 0.1
    """The hue is turned by a share of the full circle from -hue to hue."""

    def __post_init__(self) -> None:
        for setting in ("brightness", "contrast", "saturation"):
            if (value := getattr(self, setting)) < 0:
                raise ValueError(f"augmentation colorjitter: {setting} is 0 or more; it is {value:g}.")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(
                f"augmentation colorjitter: hue is a share of the circle of hues, from 0 to 0.5; it is {self.hue:g}."
            )
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ValueError("augmentation colorjitter: every setting is 0, so it would change nothing.")
        _check_installed(self.name)

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Each image's factors of brightness, contrast and saturation, and its turn of the hue, float32 (N, 4)."""
        _check_colours(self.name, shape)
        if shape[0] == 1 and not (self.brightness or self.contrast):
            raise ValueError(
                "augmentation colorjitter with neither brightness nor contrast changes nothing about images of one "
                "channel: give one of these above 0."
            )
        reach = (self.brightness, self.contrast, self.saturation)
        low = torch.tensor([*(max(0.0, 1 - width) for width in reach), -self.hue])
        high = torch.tensor([*(1 + width for width in reach), self.hue])
        return torch.lerp(low, high, torch.rand(count, 4, generator=generator))

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        from kornia import enhance

        brightness, contrast, saturation, hue = drawn.to(images.dtype).unbind(1)
        if self.brightness:
            images = enhance.adjust_brightness_accumulative(images, brightness)
        if self.contrast:
            images = _contrasted(images, contrast)
        if images.shape[1] == 1:
            return images
        if self.saturation:
            images = enhance.adjust_saturation_with_gray_subtraction(images, saturation)
        if self.hue:
            images = enhance.adjust_hue(images, 2 * math.pi * hue).clamp(0, 1)
        return images


def _operated(images: Tensor, strengths: Tensor) -> Tensor:
    """One operation on each image, new images.

    Args:
        images: (N, C, H, W), from 0 to 1.
        strengths: (N, operations), from -1 to 1; of each image, all but one are 0.
    """
    moves, values, _ = torch.split(strengths, [len(MOVES), len(VALUES), 1], 1)
    result = _put(images.clone(), moves.any(1), _moved, images, moves)  # all moves at once, by a matrix an image
    for operation, strength in zip(_operations(), values.unbind(1), strict=True):
        result = _put(result, strength != 0, operation, images, strength)
    return result


def _put(result: Tensor, chosen: Tensor, operation: Operation, images: Tensor, strength: Tensor) -> Tensor:
    """The result with what an operation makes of the chosen images in their places; it may be changed in place.

    A GPU operates on all images: to learn which are chosen, it would have to be waited for. A CPU has no time for that.
    """
    if images.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], operation(images, strength), result)
    rows = chosen.nonzero().squeeze(1)
    return result.index_copy_(0, rows, operation(images[rows], strength[rows])) if len(rows) else result


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    """Images rotated, sheared or translated; black comes in from outside.

    Args:
        images: (N, C, H, W).
        moves: (N, 5), the strengths of `MOVES`; of each image, all but one are 0.
    """
    from kornia.geometry.transform import warp_affine

    height, width = images.shape[2:]
    rotation, shear_x, shear_y, right, down = moves.unbind(1)
    cos, sin = torch.cos(_ROTATION * rotation), torch.sin(_ROTATION * rotation)
    shear_x, shear_y = -_SHEAR * shear_x, -_SHEAR * shear_y
    # Where a pixel goes. A rotation leaves the centre where it is, a shear the upper left corner, half a pixel from the
    # first pixel's centre; a translation is by whole pixels.
    x, y = (width - 1) / 2, (height - 1) / 2
    to_right = x - cos * x - sin * y + 0.5 * shear_x + (_TRANSLATION * width * right).trunc()
    to_bottom = y + sin * x - cos * y + 0.5 * shear_y + (_TRANSLATION * height * down).trunc()
    rows = [torch.stack([cos, sin + shear_x, to_right], 1), torch.stack([shear_y - sin, cos, to_bottom], 1)]
    return warp_affine(images, torch.stack(rows, 1), (height, width), mode="nearest")


@cache
def _operations() -> tuple[Operation, ...]:
    """Those of `VALUES`: images, (N, C, H, W) from 0 to 1, and a strength each, (N,) from -1 to 1, to images."""
    from kornia import enhance

    def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
        flat = images.amax((2, 3), keepdim=True) == images.amin((2, 3), keepdim=True)
        return torch.where(flat, images, enhance.normalize_min_max(images))  # of a flat channel that would make black

    def equalize(images: Tensor, strength: Tensor) -> Tensor:
        return enhance.equalize(images)

    def solarize(images: Tensor, strength: Tensor) -> Tensor:
        return enhance.solarize(images, 1 - strength.abs())

    def posterize(images: Tensor, strength: Tensor) -> Tensor:
        return enhance.posterize(images, 8 - (_BITS * strength.abs()).round().int())

    def color(images: Tensor, strength: Tensor) -> Tensor:
        return enhance.adjust_saturation_with_gray_subtraction(images, 1 + _ENHANCEMENT * strength)

    def contrast(images: Tensor, strength: Tensor) -> Tensor:
        return _contrasted(images, 1 + _ENHANCEMENT * strength)

    def brightness(images: Tensor, strength: Tensor) -> Tensor:
        return enhance.adjust_brightness_accumulative(images, 1 + _ENHANCEMENT * strength)

    def sharpness(images: Tensor, strength: Tensor) -> Tensor:
        # Not Kornia's: its convolution differs in the last bits between one image and several, and with TF32 in more.
        blurred = images.clone()
        inner = blurred[:, :, 1:-1, 1:-1]
        inner.mul_(4).add_(F.avg_pool2d(images, 3, stride=1), alpha=9).div_(13)  # by 5 the middle, by 1 what is around
        return torch.lerp(blurred, images, (1 + _ENHANCEMENT * strength)[:, None, None, None]).clamp_(0, 1)

    return autocontrast, equalize, solarize, posterize, color, contrast, brightness, sharpness


def _contrasted(images: Tensor, factor: Tensor) -> Tensor:
    """Each image's difference from its mean grey multiplied by its factor, (N,); at most from 0 to 1.

    Kornia's own takes the mean of all pixels at once, which of a large image differs in the last bits between one image
    and several, on more threads than one; row by row it does not.
    """
    from kornia.color import rgb_to_grayscale

    grey = images if images.shape[1] == 1 else rgb_to_grayscale(images)
    mean = grey.mean(3, keepdim=True).mean(2, keepdim=True)
    return torch.lerp(mean, images, factor[:, None, None, None]).clamp_(0, 1)


def _check_installed(name: str) -> None:
    if find_spec("kornia") is None:
        raise ValueError(f"augmentation {name} needs the package kornia: pip install 'skipway[kornia]'.")


def _check_colours(name: str, shape: Shape) -> None:
    if shape[0] not in (1, 3):
        raise ValueError(
            f"augmentation {name} on images of {shape[0]} channels: it changes colours, so images of 1 channel (grey) "
            "or 3 (red, green, blue) are valid."
        )
