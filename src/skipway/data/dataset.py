"""What a data set is to everybody else: splits, a specification, and the pipeline from samples to a net's inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from skipway.batch.specification import Specification
from skipway.batch.trees import Tree
from skipway.data.part import WHOLE, Part

AUTO = "auto"
"""The preprocessing that is usual for a data set, whatever its kind."""


class Split(Protocol):
    """Samples in an order."""

    def __len__(self) -> int: ...

    def select(self, index: Tensor) -> Self:
        """The samples at `index` (int64, (M,)), in that order."""
        ...


class Stream(Protocol):
    """Endless training batches, from where its state says: trees of inputs and targets, (replicas, batch, ...)."""

    def __next__(self) -> tuple[Tree, Tree]: ...

    def __iter__(self) -> Iterator[tuple[Tree, Tree]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class Pipeline(ABC):
    """From a split's samples to what a net sees. It is fitted on the training split and travels with the weights."""

    @abstractmethod
    def stream(
        self,
        split: Any,
        *,
        batch_size: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        part: Part = WHOLE,
    ) -> Stream:
        """An endless stream of training batches, for each seed in an order of its own."""

    @abstractmethod
    def batches(
        self, split: Any, batch_size: int, *, device: torch.device | str = "cpu", part: Part = WHOLE
    ) -> Iterator[tuple[Tree, Tree]]:
        """One pass over a split in order, for evaluation: inputs and targets, (batch, ...)."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What was fitted, as JSON can hold it; `Data.restored` reads it."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How data were asked for, in a config's words: by these any process loads them again."""

    data: str
    """A path or a name."""
    task: str | None = None
    """A specification; None is what such data are usually for."""
    validation: float = 0.1
    """Share of the training data to hold out, where the data set does not say."""
    split_seed: int = 0
    """Decides which samples are held out."""
    image_size: int | None = None
    """For images that stay encoded."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Data(ABC):
    """A data set, ready for training."""

    name: str
    """As a person would write it: `digits`, `uoft-cs/cifar10`, or the name of a local folder or file."""
    fingerprint: str
    """SHA-256 of the content, whatever its path and the seed of the validation split."""
    train: Any
    """A `Split`, like the other two."""
    validation: Any
    test: Any
    validation_rule: str
    """Where the validation split comes from, such as `0.1 of train, stratified, seed 0`: part of a run's identity."""
    task: str
    """What such data are usually for: the name of a task."""
    request: Request | None = None
    """What they were loaded by; None where no `skipway.load` made them."""

    preprocess: ClassVar[str]
    """The usual preprocessing of such data."""
    samples: ClassVar[str] = "samples"
    """The word for several of them."""

    @property
    @abstractmethod
    def spec(self) -> Specification:
        """What a net sees of a sample, and the classes' names where there are any."""

    @abstractmethod
    def targets(self, split: Any) -> Tree:
        """A split's targets as they are, (N, ...)."""

    @abstractmethod
    def check(self, *, preprocess: str, augment: Sequence[str]) -> None:
        """Hold a recipe's preprocessing and augmentations to what such data have.

        Raises:
            ValueError: if one is not for them.
        """

    @abstractmethod
    def pipeline(self, *, preprocess: str = AUTO, augment: Sequence[str] = ()) -> Pipeline:
        """A pipeline that is fitted on the training split."""

    @abstractmethod
    def restored(self, state: dict[str, Any]) -> Pipeline:
        """The pipeline that `Pipeline.to_dict` wrote, without augmentations."""

    def describe(self) -> dict[str, Any]:
        """As study.json holds it."""
        sizes = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "sizes": sizes,
            "samples": self.samples,
            "validation_rule": self.validation_rule,
        }


def evenly(split: Any, most: int) -> Any:
    """At most so many samples of a split, evenly spaced: the same ones for every net."""
    if len(split) <= most:
        return split
    return split.select(torch.linspace(0, len(split) - 1, most).long())
