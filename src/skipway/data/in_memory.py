"""Data sets that memory holds whole: arrays, tables and texts have this in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from skipway.batch.trees import Tree
from skipway.data.dataset import AUTO, Data
from skipway.data.samples import Samples
from skipway.data.stream import SamplePipeline, Transform
from skipway.settings.registry import UnknownNameError


@dataclass(frozen=True, eq=False, kw_only=True)
class InMemory(Data):
    """Samples in memory, and a transform from them to batches."""

    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...] = ()
    """Their names, where targets are classes."""

    kinds: ClassVar[tuple[str, ...]]
    """The preprocessings that such data have; the usual one is `preprocess`."""

    @abstractmethod
    def fit(self, kind: str) -> Transform:
        """The transform of a kind of preprocessing, fitted on the training split."""

    @abstractmethod
    def transform_of(self, state: dict[str, Any]) -> Transform:
        """The transform that `Transform.to_dict` wrote.

        Raises:
            ValueError: if it is of other data than these.
        """

    def targets(self, split: Samples) -> Tree:
        return split.targets

    def check(self, *, preprocess: str, augment: Sequence[str]) -> None:
        if preprocess not in (AUTO, *self.kinds):
            raise UnknownNameError(f"preprocessing of {self.samples}", preprocess, (AUTO, *self.kinds))
        if augment:
            raise ValueError(
                f"augmentation {' '.join(augment)}: augmentations change images, and {self.name} holds none. "
                "Leave them out."
            )

    def pipeline(self, *, preprocess: str = AUTO, augment: Sequence[str] = ()) -> SamplePipeline:
        self.check(preprocess=preprocess, augment=augment)
        return SamplePipeline(self.fit(self.preprocess if preprocess == AUTO else preprocess))

    def restored(self, state: dict[str, Any]) -> SamplePipeline:
        return SamplePipeline(self.transform_of(state))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **({"classes": list(self.classes)} if self.classes else {})}
