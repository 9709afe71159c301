"""Samples that memory holds: trees of tensors with a leading sample dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.batch.trees import Tree, first, tree_map


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs with their targets: trees of tensors, (N, ...)."""

    inputs: Tree
    targets: Tree

    def __len__(self) -> int:
        return len(first(self.targets))

    def select(self, index: Tensor) -> Samples:
        """The samples at `index` (int64, (M,), on the device of the tensors), in that order; copied."""
        return self._map(lambda leaf: leaf.index_select(0, index))

    def cut(self, here: slice) -> Samples:
        """A run of samples, as views."""
        return self._map(lambda leaf: leaf[here])

    def to(self, device: torch.device | str) -> Samples:
        """The same on another device."""
        return self._map(lambda leaf: leaf.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Samples:
        return Samples(tree_map(function, self.inputs), tree_map(function, self.targets))
