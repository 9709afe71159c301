"""Arrays as a data set: any tree of tensors in, batches of the same tree out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skipway.batch.specification import Specification, TensorSpec
from skipway.batch.trees import tree_map
from skipway.data.address import Address
from skipway.data.arrays.standard import Standard
from skipway.data.arrays.store import recall
from skipway.data.dataset import Request
from skipway.data.in_memory import InMemory
from skipway.data.samples import Samples
from skipway.data.splits import divide
from skipway.data.targets import NEXT_TOKEN, targets_for


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays(InMemory):
    """Any trees of tensors as inputs and targets: what `skipway.load` makes of ``(x, y)``.

    Preprocessing ``standard`` standardises each float feature by the training split; whole numbers (tokens) and truth
    values (masks) pass as they are. ``none`` passes all.
    """

    outputs: int | None = None
    """Classes or tokens that a net answers with; None where the task tells."""

    preprocess: ClassVar[str] = "standard"
    kinds: ClassVar[tuple[str, ...]] = ("standard", "none")

    @property
    def spec(self) -> Specification:
        return Specification(tree_map(_seen, self.train.inputs), self.outputs, self.classes)

    def fit(self, kind: str) -> Standard:
        inputs = self.train.inputs
        return Standard.fit(inputs) if kind == "standard" else Standard.nothing(inputs)

    def transform_of(self, state: dict[str, Any]) -> Standard:
        found = Standard.from_dict(state)
        found.check_fits(self.train.inputs)
        return found


def _seen(leaf: Tensor) -> TensorSpec:
    """A net sees float32, whatever is kept."""
    return TensorSpec(tuple(leaf.shape[1:]), torch.float32 if leaf.is_floating_point() else leaf.dtype)


def load(address: Address, request: Request) -> Arrays:
    """Arrays that the cache holds, in splits, with targets as a task takes them.

    Raises:
        ValueError: if the cache has none of this name, there are too few samples, or targets that there is nothing to
            learn of.
    """
    address.check()
    raw = recall(address.place)
    targets = targets_for(request.task, raw.samples.targets, raw.names)
    samples = Samples(raw.samples.inputs, targets.values)
    splits = divide(samples, raw.sizes, targets.classes, request)
    tokens = int(targets.values.max()) + 1 if targets.task == NEXT_TOKEN else None
    return Arrays(
        name=address.place,
        fingerprint=raw.fingerprint,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        validation_rule=splits.rule,
        task=targets.task,
        classes=targets.classes,
        outputs=len(targets.classes) or tokens,
    )
