"""From an encoded image of any size to a square of pixels: a random part of it for training, its middle otherwise."""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from skipway.data.images.pictures import opened, plain, reading

# Inception's crops (1409.4842, section 6) as torchvision's RandomResizedCrop has them: share of the area, ratio.
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
# For evaluation the shorter side becomes 256 where the net's images are 224 wide, and the middle is cut (1512.03385).
_MIDDLE = 224 / 256


class Box(NamedTuple):
    """A rectangle of an image, in pixels; it need not be of whole ones."""

    left: float
    top: float
    right: float
    bottom: float


def cut(content: bytes, where: str, size: int, drawn_from: str | None) -> np.ndarray:
    """Decode an image and resize a part of it, bilinearly and antialiased.

    Args:
        content: the encoded image.
        where: begins the message if it cannot be read.
        size: S, pixels on a side of the result.
        drawn_from: a random part follows from this text alone; None for the middle.

    Returns:
        RGB, uint8 (S, S, 3).

    Raises:
        ValueError: if the image cannot be read.
    """
    with reading(where):
        image = opened(content)
        width, height = image.size
        box = middle_box(width, height) if drawn_from is None else random_box(width, height, Random(drawn_from))
        _decode_no_larger_than_needed(image, box, size)
        across, down = image.width / width, image.height / height  # 1, or less where fewer pixels were decoded
        right, bottom = min(box.right * across, image.width), min(box.bottom * down, image.height)  # despite rounding
        box = Box(box.left * across, box.top * down, right, bottom)
        # The box goes to `resize`, which then computes no more pixels than are kept.
        square = plain(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
        return np.asarray(square if square.mode == "RGB" else square.convert("RGB"))


def random_box(width: int, height: int, draw: Random) -> Box:
    """A part of 8 % to 100 % of the area, its ratio between 3:4 and 4:3, at a random place.

    Where ten draws of area and ratio fit nowhere, the largest middle part of an allowed ratio.
    """
    for _ in range(_TRIES):
        area = width * height * _between(*_AREA, draw)
        ratio = math.exp(_between(math.log(_RATIO[0]), math.log(_RATIO[1]), draw))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = _between(0, width - across, draw), _between(0, height - down, draw)
            return Box(left, top, left + across, top + down)
    return _middle(width, height, min(width, height * _RATIO[1]), min(height, width / _RATIO[0]))


def middle_box(width: int, height: int) -> Box:
    """The square in the middle of which a side is 7/8 of the image's shorter one."""
    side = _MIDDLE * min(width, height)
    return _middle(width, height, side, side)


def _middle(width: int, height: int, across: float, down: float) -> Box:
    left, top = (width - across) / 2, (height - down) / 2
    return Box(left, top, left + across, top + down)


def _between(low: float, high: float, draw: Random) -> float:
    # `random` alone is promised to give the same numbers in every version of Python.
    return low + (high - low) * draw.random()


def _decode_no_larger_than_needed(image: Image.Image, box: Box, size: int) -> None:
    """Of a JPEG, decode a half, a fourth or an eighth of the pixels on a side, if the box then still has S or more."""
    across, down = box.right - box.left, box.bottom - box.top
    image.draft(None, (math.ceil(image.width * size / across), math.ceil(image.height * size / down)))
