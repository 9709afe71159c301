"""How samples become splits: as they were given, and what was not given held out of the training split.

What stands for a test split is a fifth of the samples, always the same ones, whichever are held out for validation:
another share or seed would be other data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skipway.data.dataset import Request
from skipway.data.holdout import hold_out
from skipway.data.samples import Samples

NAMES = ("train", "validation", "test")
TEST_SHARE, TEST_SEED = 0.2, 0


class Splits(NamedTuple):
    """Those of a data set, and how they were made."""

    train: Samples
    validation: Samples
    test: Samples
    rule: str


def divide(
    samples: Samples,
    sizes: Mapping[str, int],
    classes: Sequence[str],
    request: Request,
) -> Splits:
    """Divide samples.

    Args:
        samples: all, one split's after the other's.
        sizes: how many are of which split, in their order; what is missing is held out of train.
        classes: where there are some, every class gives its share of what is held out.
        request: says which share of train to hold out for validation, once test is.

    Raises:
        ValueError: if there are too few samples, or the share is not between 0 and 1.
    """
    starts = [sum(list(sizes.values())[:place]) for place in range(len(sizes))]
    given = {name: samples.cut(slice(at, at + sizes[name])) for name, at in zip(sizes, starts, strict=True)}
    _check_enough(given["train"], classes, 1 + len(NAMES) - len(given))
    way = "stratified" if classes else "at random"
    rule, after = "given by the source", ""
    if "test" not in given:
        given["train"], given["test"] = _held_out(given["train"], bool(classes), TEST_SHARE, TEST_SEED)
        after = f"; test {TEST_SHARE:g} before that, {way}, seed {TEST_SEED}"
    if "validation" not in given:
        given["train"], given["validation"] = _held_out(
            given["train"], bool(classes), request.validation, request.split_seed
        )
        rule = f"{request.validation:g} of train, {way}, seed {request.split_seed}"
    return Splits(given["train"], given["validation"], given["test"], rule + after)


def _held_out(samples: Samples, stratified: bool, share: float, seed: int) -> tuple[Samples, Samples]:
    labels = samples.targets if stratified else torch.zeros(len(samples), dtype=torch.int64)
    kept, held = hold_out(labels, share, seed)
    return samples.select(kept), samples.select(held)


def _check_enough(train: Samples, classes: Sequence[str], needed: int) -> None:
    """Every split gets a sample, of each class where there are classes."""
    if len(train) < needed:
        raise ValueError(f"there are {len(train)} training samples, and {needed} splits are to be made of them.")
    counts: Tensor = torch.bincount(train.targets, minlength=len(classes)) if classes else torch.tensor([])
    for name, count in zip(classes, counts.tolist(), strict=True):
        if 0 < count < needed:
            quantities = " If these are quantities and no classes, give task='regression'." if _whole(classes) else ""
            raise ValueError(
                f"class {name!r} has {count} training sample{'s' * (count > 1)}, and {needed} splits are to be made of "
                f"them. Leave out such samples, give the splits yourself, or give more: {needed} a class at least."
                f"{quantities}"
            )


def _whole(classes: Sequence[str]) -> bool:
    """Whether classes are whole numbers, as they were written."""
    return all(name.removeprefix("-").isdecimal() for name in classes)
