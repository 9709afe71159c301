"""Labelled images in splits, and what identifies them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from skipway.data.images.encoded import Encoded


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels."""

    images: Tensor | Encoded
    """uint8, (N, C, H, W); or images that stay encoded until they are needed, of the same interface."""
    labels: Tensor
    """int64, (N,), indices into the class names."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> Split:
        """The samples at `index` (int64, (M,)), in that order; tensors are copied."""
        return Split(self.images.index_select(0, index), self.labels.index_select(0, index))


@dataclass(frozen=True, eq=False)
class SourceData:
    """What a source holds, before anything is held out: this is what the cache keeps."""

    classes: tuple[str, ...]
    scale: float
    """The largest value a pixel can have."""
    splits: Mapping[str, Split]
    """`train` and `test`, and `validation` where the source has its own."""
    fingerprint: str
    """SHA-256 of the content, see `fingerprint` and `skipway.data.images.streamed`."""


class Labelled(Protocol):
    """What is measured on: a training split, and how large a pixel can be."""

    @property
    def train(self) -> Split: ...

    @property
    def scale(self) -> float: ...


def fingerprint(classes: tuple[str, ...], scale: float, splits: Mapping[str, Split]) -> str:
    """SHA-256, in hexadecimal, of class names, scale, and pixels and labels of the splits as a source gives them."""
    parts = {name: (held_images(splits[name]), splits[name].labels) for name in sorted(splits)}
    # The head states every length, so that no two contents can run together into the same bytes.
    shapes = {name: list(images.shape) for name, (images, _) in parts.items()}
    head = json.dumps({"classes": classes, "scale": scale, "shapes": shapes}, sort_keys=True)
    digest = hashlib.sha256(head.encode())
    for images, labels in parts.values():
        digest.update(images.contiguous().numpy().data)
        digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()


def held_images(split: Split) -> Tensor:
    """The images of a split that holds them decoded."""
    assert isinstance(split.images, Tensor)
    return split.images
