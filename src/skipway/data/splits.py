"""Labelled images in splits, what identifies them, and how a validation split is held out of the training split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
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


class Guess(NamedTuple):
    """What the best constant answer gets."""

    loss: float
    """Its cross-entropy in nats, where the answer is the classes' shares."""
    error: float
    """The share it gets wrong, where the answer is the commonest class."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready for training: what `skipway.data.sources.load` returns."""

    name: str
    """As a person would write it: `digits`, `uoft-cs/cifar10`, or the name of a local folder."""
    classes: tuple[str, ...]
    scale: float
    """The largest value a pixel can have: 16 for digits, otherwise 255."""
    fingerprint: str
    """Of the content as the source gives it, whatever its path and the seed of the validation split.

    The content is classes, labels and decoded pixels; of images that stay encoded (`load(..., image_size=224)`) it is
    classes, labels, that size, and the files' names and sizes in bytes: the files are not read for it.
    """
    train: Split
    validation: Split
    test: Split
    validation_rule: str
    """Where the validation split comes from, such as `0.1 of train, stratified, seed 0`: part of a run's identity."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many class names there are."""
        return len(self.classes)

    @property
    def guess(self) -> Guess:
        """What the best constant answer gets on the training split: a net that does no better has learned nothing."""
        shares = torch.bincount(self.train.labels).double() / len(self.train)
        return Guess(float(-torch.xlogy(shares, shares).sum()), float(1 - shares.max()))


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Choose a stratified share of samples to hold out.

    Each class gives `round(fraction * n)` of its n samples, at least one, and keeps at least one.

    Args:
        labels: int64, (N,).
        fraction: the share held out, between 0 and 1.
        seed: decides which samples; the global generator is not touched.

    Returns:
        The indices kept and the indices held out, both int64 and ascending.

    Raises:
        ValueError: if the fraction is not between 0 and 1, or a class has fewer than two samples.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share held out for validation is {fraction}; it must lie between 0 and 1, such as 0.1.")
    counts = torch.bincount(labels)
    if (counts == 1).any():
        alone = int((counts == 1).nonzero()[0])
        raise ValueError(
            f"class {alone} has one sample; holding out needs at least 2, one to keep and one to hold out."
        )
    wanted = [min(max(round(fraction * n), 1), n - 1) if n else 0 for n in counts.tolist()]
    return _draw(labels, wanted, seed)


def hold_out_exactly(labels: Tensor, total: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose exactly `total` samples to hold out, each class in proportion.

    Whole shares first; what is then missing comes from the classes with the largest remainders, the first of equals.

    Args:
        labels: int64, (N,).
        total: how many to hold out.
        seed: decides which samples.

    Returns:
        The indices kept and the indices held out, both int64 and ascending.
    """
    counts = torch.bincount(labels).tolist()
    shares = [divmod(n * total, len(labels)) for n in counts]
    wanted = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(counts)), key=lambda c: shares[c][1], reverse=True)
    for c in by_remainder[: total - sum(wanted)]:
        wanted[c] += 1
    return _draw(labels, wanted, seed)


def _draw(labels: Tensor, wanted: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Hold out `wanted[c]` random samples of each class c; returns ascending (kept, held) indices."""
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    by_class = torch.split(labels.argsort(stable=True), torch.bincount(labels, minlength=len(wanted)).tolist())
    for members, count in zip(by_class, wanted, strict=True):
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


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
