"""Labelled images as a data set: uint8 pixels in, normalised and augmented batches out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from skipway.batch.specification import Specification, TensorSpec
from skipway.batch.trees import Tree
from skipway.data.dataset import AUTO, Data, Pipeline
from skipway.data.images.augment import Augmentation, make_augmentations
from skipway.data.images.batches import BatchStream, batches
from skipway.data.images.labelled import Split
from skipway.data.images.preprocess import Kind, Preprocess, check_kind
from skipway.data.part import WHOLE, Part


@dataclass(frozen=True, eq=False)
class ImagePipeline(Pipeline):
    """Augmentations and input normalisation of images."""

    preprocess: Preprocess
    augment: tuple[Augmentation, ...] = ()
    scale: float | None = None
    """The largest value a pixel can have; for augmentations that change pixels."""
    num_classes: int | None = None
    """For augmentations that mix labels."""

    def stream(
        self,
        split: Split,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        part: Part = WHOLE,
    ) -> BatchStream:
        return BatchStream(
            split,
            self.preprocess,
            batch_size=batch_size,
            seeds=seeds,
            augment=self.augment,
            device=device,
            part=part,
            scale=self.scale,
            num_classes=self.num_classes,
        )

    def batches(
        self, split: Split, batch_size: int, *, device: torch.device | str = "cpu", part: Part = WHOLE
    ) -> Iterator[tuple[Tree, Tree]]:
        return batches(split, self.preprocess, batch_size, device=device, part=part)

    def to_dict(self) -> dict[str, Any]:
        return self.preprocess.to_dict()


@dataclass(frozen=True, eq=False, kw_only=True)
class Images(Data):
    """Labelled images of one shape: what `skipway.load` returns of a folder or a Hub name.

    The fingerprint's content is classes, labels and decoded pixels; of images that stay encoded (`load(...,
    image_size=224)`) it is classes, labels, that size, and the files' names and sizes in bytes: the files are not read
    for it.
    """

    classes: tuple[str, ...]
    scale: float
    """The largest value a pixel can have: 16 for digits, otherwise 255."""
    train: Split
    validation: Split
    test: Split
    task: str = "classification"

    preprocess: ClassVar[str] = "pixel"
    samples: ClassVar[str] = "images"

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
    def spec(self) -> Specification:
        return Specification(TensorSpec(self.shape), self.num_classes, self.classes)

    def targets(self, split: Split) -> Tensor:
        return split.labels

    def check(self, *, preprocess: str, augment: Sequence[str]) -> None:
        check_kind(self._kind(preprocess))
        for augmentation in make_augmentations(augment):
            augmentation.draw(1, self.shape, torch.Generator())  # says so if the images are too small for it

    def pipeline(self, *, preprocess: str = AUTO, augment: Sequence[str] = ()) -> ImagePipeline:
        normalised = Preprocess.fit(self, cast(Kind, self._kind(preprocess)))
        return ImagePipeline(normalised, tuple(make_augmentations(augment)), self.scale, self.num_classes)

    def restored(self, state: dict[str, Any]) -> ImagePipeline:
        return ImagePipeline(Preprocess.from_dict(state))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "classes": list(self.classes), "shape": list(self.shape)}

    def _kind(self, preprocess: str) -> str:
        return self.preprocess if preprocess == AUTO else preprocess
