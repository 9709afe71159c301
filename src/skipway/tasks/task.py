"""What a task is: how outputs are judged by targets, in numbers and in words.

One class a task. A subclass that names itself is registered, and can then be named on the command line::

    class Ranking(Task, name="ranking"):
        def losses(self, outputs, targets): ...

Its keyword-only arguments are its settings, written ``ranking:margin=0.2`` in a specification.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

from torch import Tensor

from skipway.batch.trees import Tree
from skipway.settings.registry import Named, Registry

TASKS: Registry[type[Task]] = Registry("task")


@dataclass(frozen=True)
class Metric:
    """A number that says how good a net is: its name on the disk, and how people read it."""

    name: str
    """As run.json and metrics.jsonl have it behind ``train_``, ``validation_`` and ``test_``."""
    word: str
    """As sentences, columns and axes have it: "error", "RMSE"."""
    unit: str = ""
    """Behind a value: "%", "nats"; empty where it has none."""
    factor: float = 1.0
    """What a value on the disk is multiplied by to be shown: 100 for per cent."""
    better: Literal["lower", "higher"] = "lower"
    digits: int | None = None
    """Digits behind the point; None: two that count."""

    def to_dict(self) -> dict[str, Any]:
        """As study.json and run.json hold it."""
        return asdict(self)


class Guess(NamedTuple):
    """What the best constant answer gets: a net that does no better has learned nothing."""

    loss: float
    metric: float | None  # None where the task has none


class Task(Named, ABC):
    """How a net's outputs are judged. Subclasses say `class Mine(Task, name="mine")` and define `losses`.

    Attributes:
        name: in a specification.
        version: part of a run's identity: one more when a task's numbers change.
        loss: how its losses are named and read.
        metric: what else counts for each sample, or None.
        stratified: whether a validation split keeps the shares of the targets' values.
    """

    loss: Metric = Metric("loss", "loss")
    metric: Metric | None = None
    stratified: ClassVar[bool] = False

    registry = TASKS

    def fit(self, targets: Tree) -> Self:
        """The task with what it must know of the training targets, (N, ...), such as their scale.

        Raises:
            ValueError: if they are not what it judges by; the message says what is.
        """
        return self

    @abstractmethod
    def losses(self, outputs: Tree, targets: Tree) -> Tensor:
        """The loss of each sample, (replicas, batch), of outputs and targets, (replicas, batch, ...)."""

    def scores(self, outputs: Tree, targets: Tree) -> Tensor:
        """What each sample adds to the metric, (replicas, batch); `total` makes it of their mean."""
        raise NotImplementedError(f"task {self.name!r} has no metric")

    def total(self, mean: Tensor) -> Tensor:
        """The metric, of the mean of `scores`."""
        return mean

    def answers(self, outputs: Tree) -> Tree:
        """Outputs as people read them, such as in the targets' unit; without a rule they stay as they are."""
        return outputs

    def outputs(self, targets: Tree) -> int | None:
        """How many values a net must answer with for each sample; None where nobody can tell."""
        return None

    def guess(self, targets: Tree) -> Guess | None:
        """What the best constant answer gets on targets, (N, ...); None where nobody can tell."""
        return None

    def guessing_loss(self, outputs: int | None) -> float | None:
        """The loss of a guess that knows nothing of the targets' shares; 100 times that is divergence."""
        return None

    def state(self) -> dict[str, Any]:
        """What `fit` found, as JSON can hold it: it travels with the weights."""
        return {}

    def load_state(self, state: dict[str, Any]) -> Self:
        """The task that `state` came from."""
        return self

    def describe(self) -> dict[str, Any]:
        """As run.json and study.json hold it: what the half that shows needs to know."""
        return {
            "name": self.name,
            "loss": self.loss.to_dict(),
            "metric": None if self.metric is None else self.metric.to_dict(),
        }
