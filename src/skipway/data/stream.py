"""From samples that memory holds to batches on the device: a stream for training, one pass in order for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch

from skipway.batch.trees import Tree, tree_map
from skipway.data.cuts import check_saved, check_stream, slices
from skipway.data.dataset import Pipeline
from skipway.data.order import SampleOrder
from skipway.data.part import WHOLE, Part
from skipway.data.samples import Samples


class Transform(Protocol):
    """What was fitted on the training split: from samples as they are held to what a net sees and is judged by."""

    def __call__(self, samples: Samples) -> tuple[Tree, Tree]:
        """Inputs and targets, (N, ...), on the samples' device."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same with its numbers on another device."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        ...


@dataclass(frozen=True, eq=False)
class SamplePipeline(Pipeline):
    """Gathers samples on the device and transforms them there, a batch at a time."""

    transform: Transform

    def stream(
        self,
        split: Samples,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        part: Part = WHOLE,
    ) -> SampleStream:
        return SampleStream(split, self.transform, batch_size=batch_size, seeds=seeds, device=device, part=part)

    def batches(
        self, split: Samples, batch_size: int, *, device: torch.device | str = "cpu", part: Part = WHOLE
    ) -> Iterator[tuple[Tree, Tree]]:
        transform = self.transform.to(device)
        for here in slices(len(split), batch_size, part):
            yield transform(split.cut(here).to(device))

    def to_dict(self) -> dict[str, Any]:
        return self.transform.to_dict()


class SampleStream:
    """An endless stream of training batches for R replicas, each in the order of its own seed.

    A replica's order is a chain of permutations of the split, cut into batches of exactly B samples; a batch may
    straddle two permutations, and every sample comes once in each. It follows from the replica's seed alone.

    Args:
        split: the samples; they are kept on the device.
        transform: applied to each batch.
        batch_size: B, at most the size of the split.
        seeds: one for each replica; replicas with equal seeds share the work.
        device: where the batches are.
        part: which share b of every batch is this process's. Every process draws the whole order, so together they see
            what one process alone would.

    Raises:
        ValueError: as `skipway.data.cuts.check_stream`.
    """

    def __init__(
        self,
        split: Samples,
        transform: Transform,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        part: Part = WHOLE,
    ) -> None:
        check_stream(len(split), batch_size, seeds, part)
        self.batch_size, self.seeds = batch_size, tuple(seeds)
        self._split, self._transform, self._share = split.to(device), transform.to(device), part.of(batch_size)
        distinct = list(dict.fromkeys(self.seeds))
        self._row_of_replica = torch.tensor([distinct.index(seed) for seed in self.seeds], device=device)
        self._order = SampleOrder(len(split), distinct, device=device)

    def __iter__(self) -> Iterator[tuple[Tree, Tree]]:
        return self

    def __next__(self) -> tuple[Tree, Tree]:
        """This part's share b of the next batch: trees of inputs and targets, (R, b, ...)."""
        index = self._order.take(self.batch_size)[0][:, self._share]
        batch = self._transform(self._split.select(index.reshape(-1)))
        x, y = (tree_map(lambda leaf: leaf.view(*index.shape, *leaf.shape[1:]), tree) for tree in batch)
        if len(index) == len(self.seeds):  # all seeds differ: row r is replica r already
            return x, y
        x, y = (tree_map(lambda leaf: leaf.index_select(0, self._row_of_replica), tree) for tree in (x, y))
        return x, y

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to continue exactly."""
        return {**self._about(), **self._order.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the stream that wrote `state` stood.

        Raises:
            ValueError: if that stream had other seeds, another batch size or a split of another size.
        """
        check_saved(state, self._about())
        self._order.load_state_dict(state)

    def close(self) -> None:
        """Nothing runs beside it."""

    def _about(self) -> dict[str, Any]:
        """What a saved stream must have in common with this one."""
        return {"seeds": list(self.seeds), "batch_size": self.batch_size, "samples": len(self._split)}
