"""The order of training samples, and what augmentations draw for each: both follow from seeds alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

Draw = Callable[[int, Generator], Tensor]
"""What is drawn at random for so many samples, (N, ...)."""


class SampleOrder:
    """For each seed an endless chain of permutations of N samples, with whatever is drawn at random for every sample.

    Samples and draws come from generators of their own, so the order is the same with and without draws. The
    generators are the CPU's on every device: an order must not depend on where it is used.

    Args:
        size: N.
        seeds: distinct.
        draws: what augmentations draw, each for all samples of a permutation.
        device: where what is taken lies. It goes there a permutation at a time, so that a batch waits for no copy.
    """

    def __init__(
        self,
        size: int,
        seeds: Sequence[int],
        *,
        draws: Sequence[Draw] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self._size, self._draws, self._device = size, tuple(draws), device
        self._orders = [Generator().manual_seed(seed) for seed in seeds]
        self._changes = [Generator().manual_seed(_seed_of_changes(seed)) for seed in seeds]
        self.taken = 0
        """How many samples of each seed were taken: the ordinal number of the next."""
        self._ahead = self._permutations()

    def take(self, count: int) -> list[Tensor]:
        """The next `count` samples of each seed, at most N, and what was drawn for them.

        Returns:
            Their places in the split, int64 (seeds, count); then of each draw (seeds, count, ...).
        """
        if self._ahead[0].shape[1] < count:
            self._ahead = [torch.cat(parts, 1) for parts in zip(self._ahead, self._permutations(), strict=True)]
        taken = [held[:, :count] for held in self._ahead]
        self._ahead = [held[:, count:] for held in self._ahead]
        self.taken += count
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Where the order stands, in a few kilobytes a seed: what is ahead is drawn again, not kept.

        That is always a part of one permutation, since whoever takes more than was left takes all of that.
        """
        return {"generators": self._before.clone(), "taken": self.taken, "left": self._ahead[0].shape[1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the order stood that gave `state`; it must have been made of the same arguments."""
        for generator, saved in zip(self._orders + self._changes, state["generators"], strict=True):
            # A copy, because torch 2.13 ignores a view's offset here and reads another generator's state, or crashes.
            generator.set_state(saved.cpu().clone())
        left = state["left"]
        self._ahead = [held[:, self._size - left :] for held in self._permutations()]
        self.taken = state["taken"]

    def _permutations(self) -> list[Tensor]:
        """One more permutation for each seed, int64 (seeds, N), and each draw, (seeds, N, ...)."""
        self._before = torch.stack([generator.get_state() for generator in self._orders + self._changes])
        drawn = [[torch.randperm(self._size, generator=generator) for generator in self._orders]]
        for draw in self._draws:
            drawn.append([draw(self._size, changes) for changes in self._changes])
        return [torch.stack(of_seeds).to(self._device) for of_seeds in drawn]


def _seed_of_changes(seed: int) -> int:
    """The seed of the augmentations' draws, far from every seed that a replica's order may have."""
    return int.from_bytes(hashlib.sha256(f"augmentations of {seed}".encode()).digest()[:4], "big")
