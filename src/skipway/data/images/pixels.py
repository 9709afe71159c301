"""Where a training stream has its pixels from: held on the device, or decoded by worker processes just in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from skipway.data.images.encoded import Encoded, Job
from skipway.data.images.workers import decoded
from skipway.data.order import SampleOrder


class Pixels(Protocol):
    """Gives the images of batch after batch."""

    def take(self, index: Tensor) -> Tensor:
        """The images at `index`, int64 (seeds, b): uint8 (seeds * b, C, H, W). It is the order's next batch."""

    def go_on(self, state: dict[str, Any]) -> None:
        """Prepare for the batch at which an order stands, as its `state_dict` says."""

    def close(self) -> None:
        """Let go of what was started."""


class Held:
    """All images are on the device."""

    def __init__(self, images: Tensor, device: torch.device | str) -> None:
        self._images = images.to(device)

    def take(self, index: Tensor) -> Tensor:
        return self._images.index_select(0, index.reshape(-1))

    def go_on(self, state: dict[str, Any]) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing was started."""


class Streamed:
    """Worker processes decode what an order of their own, which runs ahead, says comes next.

    The crop of a sample is drawn from its seed and its ordinal number in the order, and from nothing else.

    Args:
        images: encoded.
        seeds: distinct, those of the order.
        batch_size: of all processes together.
        share: of each batch, that which this process takes.
        device: where batches go.
        workers: processes; 0 for none, None for a process a core.
    """

    def __init__(
        self,
        images: Encoded,
        seeds: Sequence[int],
        *,
        batch_size: int,
        share: slice,
        device: torch.device | str,
        workers: int | None,
    ) -> None:
        self._images, self._seeds, self._batch_size, self._share = images, tuple(seeds), batch_size, share
        self._device, self._workers = device, workers
        self._begin(self._order())

    def take(self, index: Tensor) -> Tensor:
        batch = next(self._batches, None)
        if batch is None:
            raise RuntimeError("this stream of images was closed, or ended at an image that could not be read.")
        assert len(batch) == index.numel()
        return batch

    def go_on(self, state: dict[str, Any]) -> None:
        order = self._order()
        order.load_state_dict(state)
        self.close()
        self._begin(order)

    def close(self) -> None:
        self._batches.close()

    def _order(self) -> SampleOrder:
        return SampleOrder(len(self._images), self._seeds)

    def _begin(self, order: SampleOrder) -> None:
        """From where an order stands; no process is started before the first batch is taken."""
        jobs = _jobs(order, self._seeds, self._batch_size, self._share)
        self._batches = decoded(self._images, jobs, device=self._device, workers=self._workers)


def _jobs(order: SampleOrder, seeds: Sequence[int], batch_size: int, share: slice) -> Iterator[list[Job]]:
    """A share of every batch of an order, all seeds' one after the other."""
    while True:
        ordinals = range(order.taken, order.taken + batch_size)[share]
        (index,) = order.take(batch_size)
        yield [
            (place, f"crop {ordinal} of {seed}")
            for seed, places in zip(seeds, index[:, share].tolist(), strict=True)
            for ordinal, place in zip(ordinals, places, strict=True)
        ]
