"""What targets are usually for, and in which form a task takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.batch.trees import Tree, leaves, tree_map
from skipway.data.rounding import rounded

CLASSIFICATION, REGRESSION, NEXT_TOKEN = "classification", "regression", "next-token"


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets as a task takes them."""

    values: Tree
    """Of classes int64, (N,), places among their names; of numbers float32, or for a regression float64 where it is
    needed (`skipway.data.rounding`); else as they were given."""
    classes: tuple[str, ...]
    """Names, in the order of the places; empty where they are no classes."""
    task: str
    """The name of the task that they are usually for, whichever they were asked for."""


def targets_for(
    task: str | None, values: Tree, names: tuple[str, ...] = (), *, most_classes: int | None = None
) -> Targets:
    """Targets of all splits in the form that a task takes.

    Text and truth values are classes, numbers with a point are numbers. Whole numbers, one a sample, are classes; of
    columns of a table only where they have few different values. Rows of whole numbers are tokens, rows of truth values
    numbers.

    Args:
        task: a specification; None is the usual one. Regression makes numbers of whole numbers and truth values;
            classification makes classes of whole numbers, however they are written.
        values: a tensor, (N, ...), or a tree; with `names`, int64 places among them.
        names: of classes.
        most_classes: so many different whole numbers are usually classes; None is any number of them.

    Raises:
        ValueError: if all are the same, or they are names where numbers are asked for.
    """
    asked = None if task is None else task.partition(":")[0]
    if names:
        if asked == REGRESSION:
            raise ValueError(
                f"the target is text, such as {names[0]!r}, and task regression needs numbers. Leave the task out, or "
                "give a target of numbers."
            )
        return _checked(Targets(values, names, CLASSIFICATION))
    if not isinstance(values, Tensor):
        return Targets(tree_map(_narrow, values), (), REGRESSION)
    if values.dim() == 2 and values.shape[1] == 1 and (asked == CLASSIFICATION or not values.is_floating_point()):
        values = values[:, 0]
    usual = _usual(values, most_classes)
    takes = asked if asked in (CLASSIFICATION, REGRESSION) else usual
    if takes == CLASSIFICATION and values.dim() == 1 and bool((values == values.long()).all()):
        return _checked(_classes(values, usual))
    if takes != REGRESSION and not values.is_floating_point():
        return _checked(Targets(values.long(), (), usual))
    # Regression standardises in the targets' own precision; a loss of somebody's own gets float32, as nets answer.
    numbers = rounded(values.double()) if asked in (None, REGRESSION) else values.float()
    return _checked(Targets(numbers, (), usual))


def _narrow(leaf: Tensor) -> Tensor:
    return leaf.float() if leaf.is_floating_point() else leaf


def _usual(values: Tensor, most_classes: int | None) -> str:
    if values.is_floating_point() or (values.dtype == torch.bool and values.dim() != 1):
        return REGRESSION
    if values.dim() != 1:
        return NEXT_TOKEN
    few = most_classes is None or len(torch.unique(values)) <= most_classes
    return CLASSIFICATION if few else REGRESSION


def _classes(values: Tensor, usual: str) -> Targets:
    found, places = torch.unique(values, return_inverse=True)
    as_written = found.tolist() if values.dtype == torch.bool else found.long().tolist()
    return Targets(places, tuple(map(str, as_written)), usual)


def _checked(targets: Targets) -> Targets:
    """Targets of which there is something to learn."""
    for leaf in leaves(targets.values):
        if len(leaf) and bool((leaf == leaf[:1]).all()):
            said = leaf.flatten()[0].item()
            same = targets.classes[said] if targets.classes else said
            raise ValueError(f"the target is {same!r} in every sample: there is nothing to learn of it.")
    return targets
