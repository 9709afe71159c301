"""Batches on the device: an endless stream for training, one pass in order for evaluation. No per-sample Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from skipway.data.augment import Augmentation
from skipway.data.preprocess import Preprocess
from skipway.data.splits import Split


class BatchStream:
    """An endless stream of training batches for R replicas, each in the order of its own seed.

    A replica's order is a chain of permutations of the split, cut into batches of exactly B samples; a batch may
    straddle two permutations, and every sample comes once in each. It follows from the replica's seed alone, so a
    replica sees the same batches by itself and in any stack, on any device. So do the draws of the augmentations, from
    a generator of their own: the order is the same with and without them.

    Args:
        split: the samples; they are kept on the device as uint8.
        preprocess: applied to each batch.
        batch_size: B, at most the size of the split.
        seeds: one for each replica; replicas with equal seeds share the work.
        device: where the batches are.
        augment: applied to each preprocessed batch, in this order.

    Raises:
        ValueError: if there is no seed, the batch size is not between 1 and the size of the split, or the images are
            too small for an augmentation.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        augment: Sequence[Augmentation] = (),
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise ValueError(
                f"batch size {batch_size} on a split of {len(split)} samples. A batch is one sample or more, at "
                f"most the whole split: 1 to {len(split)} are valid."
            )
        if not seeds:
            raise ValueError("no seed was given; a stream has one replica for each seed, such as seeds=[0].")
        self.batch_size = batch_size
        self.seeds = tuple(seeds)
        self._images = split.images.to(device)
        self._labels = split.labels.to(device)
        self._preprocess = preprocess.to(device)
        self._augment = tuple(augment)
        distinct = list(dict.fromkeys(self.seeds))
        # The generators are the CPU's on every device: an order must not depend on where it is used.
        self._orders = [Generator().manual_seed(seed) for seed in distinct]
        self._changes = [Generator().manual_seed(_seed_of_changes(seed)) for seed in distinct]
        self._row_of_replica = torch.tensor([distinct.index(seed) for seed in self.seeds], device=device)
        # What is left of the permutation under way: its samples, and a draw of each augmentation for each of them. They
        # go to the device a permutation at a time, so that a batch waits for no copy.
        self._ahead = self._permutations()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """The next batch: inputs, float32 (R, B, C, H, W), and labels, int64 (R, B)."""
        if self._ahead[0].shape[1] < self.batch_size:
            self._ahead = [torch.cat(parts, 1) for parts in zip(self._ahead, self._permutations(), strict=True)]
        index, *draws = (held[:, : self.batch_size] for held in self._ahead)
        self._ahead = [held[:, self.batch_size :] for held in self._ahead]
        flat = index.reshape(-1)
        x = self._preprocess(self._images.index_select(0, flat))
        for augmentation, drawn in zip(self._augment, draws, strict=True):
            x = augmentation.apply(x, drawn.flatten(0, 1))
        x = x.reshape(*index.shape, *x.shape[1:])
        y = self._labels.index_select(0, flat).view_as(index)
        if len(index) == len(self.seeds):  # all seeds differ: row r is replica r already
            return x, y
        return x.index_select(0, self._row_of_replica), y.index_select(0, self._row_of_replica)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to continue exactly."""
        return {
            **self._about(),
            "ahead": [held.cpu().clone() for held in self._ahead],
            "generators": torch.stack([generator.get_state() for generator in self._orders + self._changes]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the stream that wrote `state` stood.

        Raises:
            ValueError: if that stream had other seeds, another batch size, a split of another size or other
                augmentations.
        """
        for name, value in self._about().items():
            if state[name] != value:
                raise ValueError(f"the saved stream has {name} {state[name]}, this one {value}; they must be equal.")
        self._ahead = [saved.to(self._labels.device) for saved in state["ahead"]]
        for generator, saved in zip(self._orders + self._changes, state["generators"], strict=True):
            # A copy, because torch 2.13 ignores a view's offset here and reads another generator's state, or crashes.
            generator.set_state(saved.cpu().clone())

    def _about(self) -> dict[str, Any]:
        """What a saved stream must have in common with this one."""
        return {
            "seeds": list(self.seeds),
            "batch_size": self.batch_size,
            "samples": len(self._labels),
            "augment": [repr(augmentation) for augmentation in self._augment],
        }

    def _permutations(self) -> list[Tensor]:
        """One more permutation of the split for each distinct seed, int64 (distinct seeds, N), and what goes with it.

        That is what each augmentation draws for each of its samples, (distinct seeds, N, ...).
        """
        size, (channels, height, width) = len(self._labels), self._images.shape[1:]
        drawn = [[torch.randperm(size, generator=generator) for generator in self._orders]]
        for augmentation in self._augment:
            drawn.append([augmentation.draw(size, (channels, height, width), changes) for changes in self._changes])
        return [torch.stack(of_seeds).to(self._labels.device) for of_seeds in drawn]


def _seed_of_changes(seed: int) -> int:
    """The seed of the augmentations' draws, far from every seed that a replica's order may have."""
    return int.from_bytes(hashlib.sha256(f"augmentations of {seed}".encode()).digest()[:4], "big")


def batches(
    split: Split, preprocess: Preprocess, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over a split in order, for evaluation; the last batch may be smaller.

    Args:
        split: the samples.
        preprocess: applied to each batch.
        batch_size: at least 1.
        device: where the batches go.

    Yields:
        Inputs, float32 (B, C, H, W), and labels, int64 (B,).

    Raises:
        ValueError: if the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}; a batch holds at least 1 sample.")
    preprocess = preprocess.to(device)
    for images, labels in zip(
        torch.split(split.images, batch_size), torch.split(split.labels, batch_size), strict=True
    ):
        yield preprocess(images.to(device)), labels.to(device)
