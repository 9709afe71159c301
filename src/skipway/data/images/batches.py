"""Batches on the device: an endless stream for training, one pass in order for evaluation. No per-sample Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from skipway.data.cuts import check_saved, check_stream, slices
from skipway.data.images.augment import Augmentation, Shape
from skipway.data.images.encoded import Encoded
from skipway.data.images.labelled import Split
from skipway.data.images.mixing import with_neighbours
from skipway.data.images.pipeline import BatchTransform
from skipway.data.images.pixels import Held, Pixels, Streamed
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.workers import decoded
from skipway.data.order import SampleOrder
from skipway.data.part import WHOLE, Part


class BatchStream:
    """An endless stream of training batches for R replicas, each in the order of its own seed.

    A replica's order is a chain of permutations of the split, cut into batches of exactly B samples; a batch may
    straddle two permutations, and every sample comes once in each. It follows from the replica's seed alone, so a
    replica sees the same batches by itself and in any stack, on any device. So do the draws of the augmentations, from
    a generator of their own: the order is the same with and without them.

    Args:
        split: the samples; they are kept on the device as uint8. Images that stay encoded are decoded, and cropped at
            random, by worker processes that run some batches ahead.
        preprocess: applied to each batch.
        batch_size: B, at most the size of the split.
        seeds: one for each replica; replicas with equal seeds share the work.
        device: where the batches are.
        augment: applied to each batch, in this order: those that change pixels before preprocessing, the others after.
            Where one mixes images, labels become probabilities.
        part: which share b of every batch is this process's; all of them by default. Every process draws the whole
            order, so together they see what one process alone would.
        workers: processes that decode, for images that stay encoded; 0 for none, None for one a core. Batches are the
            same bits with any number.
        scale: the largest value a pixel can have, `Images.scale`; for augmentations that change pixels.
        num_classes: how many classes there are, `Images.num_classes`; for augmentations that mix labels.

    Raises:
        ValueError: if there is no seed, the batch size is not between 1 and the size of the split, there are more
            parts than samples in a batch, the images are too small for an augmentation, or scale or num_classes is
            needed and not given.
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
        part: Part = WHOLE,
        workers: int | None = None,
        scale: float | None = None,
        num_classes: int | None = None,
    ) -> None:
        check_stream(len(split), batch_size, seeds, part)
        self.batch_size = batch_size
        self.seeds = tuple(seeds)
        self._labels = split.labels.to(device)
        self._augment = tuple(augment)
        self._prepare = BatchTransform(preprocess.to(device), self._augment, scale=scale, num_classes=num_classes)
        distinct = list(dict.fromkeys(self.seeds))
        self._row_of_replica = torch.tensor([distinct.index(seed) for seed in self.seeds], device=device)
        self._share = share = part.of(batch_size)
        if self._prepare.mixes:
            self._share = with_neighbours(share, batch_size)
        self._own = slice(share.start - self._share.start, share.stop - self._share.start)
        shape = cast(Shape, tuple(split.images.shape[1:]))
        draws = [partial(_draw, augmentation, shape) for augmentation in self._augment]
        self._order = SampleOrder(len(split), distinct, draws=draws, device=device)
        self._pixels: Pixels
        if isinstance(split.images, Encoded):
            self._pixels = Streamed(
                split.images, distinct, batch_size=batch_size, share=self._share, device=device, workers=workers
            )
        else:
            self._pixels = Held(split.images, device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """This part's share b of the next batch: inputs, float32 (R, b, C, H, W), and labels, int64 (R, b).

        If an augmentation mixes images, the labels are probabilities, float32 (R, b, classes).
        """
        index, *draws = (held[:, self._share] for held in self._order.take(self.batch_size))
        labels = self._labels.index_select(0, index.reshape(-1)).view_as(index)
        x, y = (values[:, self._own] for values in self._prepare(self._pixels.take(index), labels, draws))
        if len(index) == len(self.seeds):  # all seeds differ: row r is replica r already
            return x, y
        return x.index_select(0, self._row_of_replica), y.index_select(0, self._row_of_replica)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to continue exactly."""
        return {**self._about(), **self._order.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the stream that wrote `state` stood.

        Raises:
            ValueError: if that stream had other seeds, another batch size, a split of another size or other
                augmentations.
        """
        check_saved(state, self._about())
        self._order.load_state_dict(state)
        self._pixels.go_on(state)

    def close(self) -> None:
        """End the worker processes, if there are any; so does dropping the stream."""
        self._pixels.close()

    def _about(self) -> dict[str, Any]:
        """What a saved stream must have in common with this one."""
        return {
            "seeds": list(self.seeds),
            "batch_size": self.batch_size,
            "samples": len(self._labels),
            "augment": [repr(augmentation) for augmentation in self._augment],
        }


def _draw(augmentation: Augmentation, shape: Shape, count: int, generator: Generator) -> Tensor:
    return augmentation.draw(count, shape, generator)


def batches(
    split: Split,
    preprocess: Preprocess,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    part: Part = WHOLE,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over a split in order, for evaluation; the last batch may be smaller.

    Args:
        split: the samples.
        preprocess: applied to each batch.
        batch_size: at least 1.
        device: where the batches go.
        part: which share of the split to go over. All parts together are every sample once, however many there are;
            of a split smaller than the number of parts, some get nothing.
        workers: processes that decode, for images that stay encoded; 0 for none, None for one a core.

    Yields:
        Inputs, float32 (B, C, H, W), and labels, int64 (B,).

    Raises:
        ValueError: if the batch size is below 1.
    """
    preprocess = preprocess.to(device)
    parts = slices(len(split), batch_size, part)
    for here, images in zip(parts, _pixels_of(split.images, parts, device, workers), strict=True):
        yield preprocess(images), split.labels[here].to(device)


def _pixels_of(
    images: Tensor | Encoded, parts: Sequence[slice], device: torch.device | str, workers: int | None
) -> Iterator[Tensor]:
    """The images of each part, uint8 (B, C, H, W), on the device."""
    if isinstance(images, Tensor):
        return (images[part].to(device) for part in parts)
    jobs = [[(place, None) for place in range(part.start, part.stop)] for part in parts]
    return decoded(images, jobs, device=device, workers=workers)
