"""Encoded images that stay where they are until they are needed: in files, or in the rows of a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Store(Protocol):
    """Where encoded images lie. It is sent to worker processes, so it must be small or shared."""

    def read(self, row: int) -> tuple[bytes, str]:
        """The bytes of an encoded image, and what messages call it.

        Raises:
            ValueError: if there are none.
        """


Job = tuple[int, str | None]
"""An image's place, and what its crop is drawn from; None for the crop of evaluation."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded images of any size. In a split it stands where the tensor of images would, (N, 3, S, S)."""

    store: Store
    rows: Tensor
    """int64, (N,): which of the store's."""
    size: int
    """S, pixels on a side of what is cut out of an image."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """Of the tensor that it stands for: (N, 3, S, S)."""
        return torch.Size((len(self), 3, self.size, self.size))

    def index_select(self, dim: int, index: Tensor) -> Encoded:
        """The images at `index` (int64, (M,)), in that order; `dim` is 0."""
        return replace(self, rows=self.rows.index_select(dim, index))

    def evenly(self, most: int) -> Encoded:
        """At most so many of them, evenly spaced: always the same."""
        count = min(most, len(self))
        return self.index_select(0, torch.arange(count) * len(self) // max(count, 1))

    def to(self, device: torch.device | str) -> Tensor:
        """All of them decoded and cut as for evaluation, uint8 (N, 3, S, S): for a handful, since memory holds them.

        Raises:
            ValueError: if one cannot be read; the message names it.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # Pillow decodes without the interpreter's lock
            decoded = pool.map(self.decode, [[(place, None)] for place in range(len(self))])
            whole = torch.cat([*decoded, torch.empty(0, self.size, self.size, 3, dtype=torch.uint8)])
        return whole.permute(0, 3, 1, 2).contiguous().to(device)

    def decode(self, jobs: Sequence[Job]) -> Tensor:
        """Decode and cut, one by one: uint8, (jobs, S, S, 3).

        Raises:
            ValueError: if one cannot be read; the message names it.
        """
        from skipway.data.images.crops import (
            cut,  # and with it Pillow, which a process that only gives orders does without
        )

        pixels = np.empty((len(jobs), self.size, self.size, 3), np.uint8)
        for target, (place, drawn_from) in zip(pixels, jobs, strict=True):
            content, where = self.store.read(int(self.rows[place]))
            target[...] = cut(content, where, self.size, drawn_from)
        return torch.from_numpy(pixels)
