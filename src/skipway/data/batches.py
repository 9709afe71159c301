"""Batches on the device: an endless stream for training, one pass in order for evaluation. No per-sample Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from skipway.data.preprocess import Preprocess
from skipway.data.splits import Split


class BatchStream:
    """An endless stream of training batches for R replicas, each in the order of its own seed.

    A replica's order is a chain of permutations of the split, cut into batches of exactly B samples; a batch may
    straddle two permutations, and every sample comes once in each. It follows from the replica's seed alone, so a
    replica sees the same batches by itself and in any stack, on any device.

    Args:
        split: the samples; they are kept on the device as uint8.
        preprocess: applied to each batch.
        batch_size: B, at most the size of the split.
        seeds: one for each replica; replicas with equal seeds share the work.
        device: where the batches are.

    Raises:
        ValueError: if there is no seed, or the batch size is not between 1 and the size of the split.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
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
        distinct = list(dict.fromkeys(self.seeds))
        # The generators are the CPU's on every device: an order must not depend on where it is used.
        self._generators = [torch.Generator().manual_seed(seed) for seed in distinct]
        self._row_of_replica = torch.tensor([distinct.index(seed) for seed in self.seeds], device=device)
        self._ahead = torch.empty(len(distinct), 0, dtype=torch.int64, device=device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """The next batch: inputs, float32 (R, B, C, H, W), and labels, int64 (R, B)."""
        if self._ahead.shape[1] < self.batch_size:
            self._ahead = torch.cat([self._ahead, self._permutations()], 1)
        index, self._ahead = self._ahead.tensor_split([self.batch_size], 1)
        flat = index.reshape(-1)
        x = self._preprocess(self._images.index_select(0, flat)).view(*index.shape, *self._images.shape[1:])
        y = self._labels.index_select(0, flat).view_as(index)
        if len(index) == len(self.seeds):  # all seeds differ: row r is replica r already
            return x, y
        return x.index_select(0, self._row_of_replica), y.index_select(0, self._row_of_replica)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to continue exactly."""
        return {
            "seeds": list(self.seeds),
            "batch_size": self.batch_size,
            "samples": len(self._labels),
            "ahead": self._ahead.cpu().clone(),  # what is left of the permutations under way, a row a distinct seed
            "generators": torch.stack([generator.get_state() for generator in self._generators]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the stream that wrote `state` stood.

        Raises:
            ValueError: if that stream had other seeds, another batch size or a split of another size.
        """
        mine = {"seeds": list(self.seeds), "batch_size": self.batch_size, "samples": len(self._labels)}
        for name, value in mine.items():
            if state[name] != value:
                raise ValueError(f"the saved stream has {name} {state[name]}, this one {value}; they must be equal.")
        self._ahead = state["ahead"].to(self._ahead.device)
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            # A copy, because torch 2.13 ignores a view's offset here and reads another generator's state, or crashes.
            generator.set_state(saved.cpu().clone())

    def _permutations(self) -> Tensor:
        """One more permutation of the split for each distinct seed, int64 (distinct seeds, N)."""
        size = len(self._labels)
        drawn = [torch.randperm(size, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self._ahead.device)


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
