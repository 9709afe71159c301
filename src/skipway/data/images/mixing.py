"""Augmentations that mix two training images and their labels: Mixup and CutMix.

They are plain torch. Kornia's mix the batch that they are called with by one permutation of it, so a replica's images
would depend on who else is in the stack, and give labels as (one class, the other, share), which a second mixing cannot
take. Here each image is mixed with its neighbour: of a replica's batch the first with the second, the third with the
fourth, ... So a process that has a share of a batch needs one image of its neighbour process at most, and labels are
probabilities, which can be mixed again.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from skipway.data.images.augmentation import Augmentation, Shape


class Mixing(Augmentation):
    """Mixes each image with its neighbour, and their labels alike. Subclasses define `draw` and `own`.

    Images, labels and draws may have leading dimensions, such as that of replicas: neighbours are in one batch.
    """

    @abstractmethod
    def own(self, drawn: Tensor, shape: Shape) -> Tensor:
        """How much of each pixel is the image's own, from 0 to 1; the rest is its neighbour's.

        Args:
            drawn: (..., N, ...), what `draw` gave.
            shape: (C, H, W) of an image.

        Returns:
            float32, (..., N, 1, H, W), or with 1 for H and W where all pixels are alike.
        """

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The images, (..., N, C, H, W), mixed; the last of an odd number has no neighbour and stays as it is."""
        channels, height, width = images.shape[-3:]
        own = self.own(drawn, (channels, height, width)).to(images.dtype)
        return torch.lerp(_neighbours(images, images.dim() - 4), images, own)

    def apply_to_labels(self, labels: Tensor, drawn: Tensor, shape: Shape) -> Tensor:
        """The labels, probabilities (..., N, classes), mixed in the proportions in which `apply` mixes the pixels."""
        share = self.own(drawn, shape).mean((-3, -2, -1))
        return torch.lerp(_neighbours(labels, labels.dim() - 2), labels, share[..., None])


@dataclass(frozen=True, kw_only=True)
class Mixup(Mixing, name="mixup"):
    """The weighted mean of two images and of their labels (1710.09412, section 2), each image with a weight of its own.

    Needs no extra.
    """

    alpha: float = 0.2
    """The weight's distribution is Beta(alpha, alpha): small is near 0 or 1, 1 is any weight, large is near a half."""

    def __post_init__(self) -> None:
        _check_alpha(self.name, self.alpha)

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """The weight of each image itself, float32 (N,)."""
        return _beta(self.alpha, count, generator)

    def own(self, drawn: Tensor, shape: Shape) -> Tensor:
        return drawn[..., None, None, None]


@dataclass(frozen=True, kw_only=True)
class CutMix(Mixing, name="cutmix"):
    """Put the same box of another image into each; labels are mixed by area (1905.04899, section 3.1 and appendix A).

    Its centre is any pixel, and what lies outside the image is cut off. Needs no extra.
    """

    alpha: float = 1.0
    """The share of an image that is kept, before that, has the distribution Beta(alpha, alpha)."""

    def __post_init__(self) -> None:
        _check_alpha(self.name, self.alpha)

    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Where each box begins and ends, int64 (N, 4): rows, then columns; the ends are not in it."""
        side = (1 - _beta(self.alpha, count, generator)).sqrt()
        edges = []
        for length in shape[1:]:
            size = (side * length).long()
            first = torch.randint(length, (count,), generator=generator) - size // 2
            edges += [first.clamp(min=0), (first + size).clamp(max=length)]
        return torch.stack(edges, 1)

    def own(self, drawn: Tensor, shape: Shape) -> Tensor:
        top, bottom, left, right = (edge[..., None] for edge in drawn.unbind(-1))
        row, column = (torch.arange(length, device=drawn.device) for length in shape[1:])
        rows, columns = (top <= row) & (row < bottom), (left <= column) & (column < right)
        return (~(rows[..., :, None] & columns[..., None, :])).float().unsqueeze(-3)


def with_neighbours(share: slice, batch_size: int) -> slice:
    """A share of a batch and, where its ends part two neighbours, the other one too."""
    return slice(share.start - share.start % 2, min(share.stop + share.stop % 2, batch_size))


def _neighbours(values: Tensor, dim: int) -> Tensor:
    """The values with each two neighbours exchanged; the last of an odd number stays."""
    count = values.shape[dim]
    return values.index_select(dim, (torch.arange(count, device=values.device) ^ 1).clamp_(max=count - 1))


def _beta(alpha: float, count: int, generator: Generator) -> Tensor:
    """Draws of Beta(alpha, alpha), float32 (count,).

    By NumPy, seeded by the generator: torch's own draw from the global generator alone.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count).astype(np.float32))


def _check_alpha(name: str, alpha: float) -> None:
    if alpha <= 0:
        raise ValueError(f"augmentation {name}: alpha is that of a Beta distribution, above 0; it is {alpha:g}.")
