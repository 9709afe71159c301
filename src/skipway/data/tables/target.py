"""A table's target: one column, or several of numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import torch
from torch import Tensor

from skipway.data.rounding import rounded
from skipway.data.tables.columns import check_names, codes_of, is_number, is_text, numbers_of, reads_as_number
from skipway.data.targets import REGRESSION, Targets, targets_for

MOST_CLASSES = 20
"""Whole numbers of so many different values are classes, unless a task is given; of more they are numbers."""


def named_columns(asked: str, rows: pa.Table, where: str) -> list[str]:
    """The columns that a text names: one, or several with a plus between them.

    Raises:
        ValueError: if there is no such column.
    """
    names = [asked] if asked in rows.column_names else asked.split("+")
    check_names(names, rows, where)
    return names


class Target(NamedTuple):
    """A target as the table has it."""

    columns: tuple[str, ...]
    values: Tensor
    """float32 (float64 where `skipway.data.rounding` says so), int64 or bool, (N,); of several columns (N, columns); of
    text int64 places among the names."""
    names: tuple[str, ...]
    """The different texts, sorted; none of numbers."""

    def for_task(self, task: str | None) -> Targets:
        """In the form that a task takes: text and truth values are classes, see `targets_for`.

        Raises:
            ValueError: if there is nothing to learn of it.
        """
        try:
            return targets_for(task, self.values, self.names, most_classes=MOST_CLASSES)
        except ValueError as error:
            raise ValueError(f"column {' and '.join(map(repr, self.columns))}: {error}") from error


def target_of(rows: pa.Table, names: list[str], task: str | None) -> Target:
    """The target of all rows.

    Raises:
        ValueError: if a value is missing, or it is text where numbers are asked for.
    """
    for name in names:
        _check(rows.column(name), name, task, alone=len(names) == 1)
    column = rows.column(names[0])
    if len(names) > 1:
        several = [numbers_of(rows.column(name), name) for name in names]
        return Target(tuple(names), rounded(torch.stack(several, 1)), ())
    return Target(tuple(names), *(codes_of(column) if is_text(column.type) else (_as_written(column, names[0]), ())))


def _check(column: pa.ChunkedArray, name: str, task: str | None, *, alone: bool) -> None:
    missing = column.is_null(nan_is_null=True)
    if count := compute.sum(missing).as_py():
        row = compute.index(missing, True).as_py()
        raise ValueError(
            f"the target, column {name!r}, is missing in {count:,} of {len(column):,} rows, the first of them row "
            f"{row} (counted from 0): leave such rows out."
        )
    if is_text(column.type):
        if not alone or (task or "").partition(":")[0] == REGRESSION:
            told = "is text, and numbers are asked for"
            raise ValueError(f"the target, column {name!r}, {told}: {_why_no_number(column)}")
        if task is None and _are_nearly_numbers(column):
            told = "is read as text, and most of it are numbers"
            raise ValueError(f"the target, column {name!r}, {told}: {_why_no_number(column)}")
    elif not is_number(column.type):
        raise ValueError(
            f"the target, column {name!r}, holds {column.type}; a target is numbers, truth values or text."
        )


def _why_no_number(column: pa.ChunkedArray) -> str:
    texts = column.to_pylist()
    words = [row for row, text in enumerate(texts) if not reads_as_number(text)]
    row = words[0] if words else 0
    comma = " Decimals are written with a point." if reads_as_number(texts[row].replace(",", ".")) else ""
    return (
        f"{len(words):,} of {len(texts):,} values are none, the first, {texts[row]!r}, in row {row} (counted from 0)."
        f"{comma} Correct them, or leave such rows out; for classes give one target and task=classification."
    )


def _are_nearly_numbers(column: pa.ChunkedArray) -> bool:
    """Whether text is too many different values for classes, and most of them are numbers but for a comma."""
    values = compute.unique(column).to_pylist()
    return len(values) > MOST_CLASSES and sum(reads_as_number(text.replace(",", ".")) for text in values) * 2 > len(
        values
    )


def _as_written(column: pa.ChunkedArray, name: str) -> Tensor:
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        return torch.from_numpy(np.array(column.to_numpy(zero_copy_only=False)))
    return rounded(numbers_of(column, name))
