"""From a table's columns to tensors: numbers, and text as places in a list of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import torch
from torch import Tensor

from skipway.settings.registry import UnknownNameError


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns that a net learns from, of all rows."""

    numbers: Tensor
    """(N, F): numbers, and truth values as 0 and 1; NaN where one is missing.

    float64 as they are read; in a data set float32, where none of the columns needs more (`skipway.data.rounding`).
    """
    codes: Tensor
    """int64, (N, K): places among each text column's values; -1 where one is missing."""
    number_names: tuple[str, ...]
    values: dict[str, tuple[str, ...]]
    """The different texts of each text column, sorted."""


def columns_of(rows: pa.Table, names: list[str]) -> Columns:
    """These columns of a table.

    Raises:
        ValueError: if one holds neither numbers nor text, or numbers that are infinite; the message names it.
    """
    numbers: dict[str, Tensor] = {}
    codes: dict[str, Tensor] = {}
    values: dict[str, tuple[str, ...]] = {}
    for name in names:
        column = rows.column(name)
        if is_number(column.type):
            numbers[name] = numbers_of(column, name)
        elif is_text(column.type):
            codes[name], values[name] = codes_of(column)
        else:
            raise ValueError(_why_not(column, name))
    size = len(rows)
    return Columns(
        numbers=torch.stack([*numbers.values()], 1) if numbers else torch.zeros(size, 0),
        codes=torch.stack([*codes.values()], 1) if codes else torch.zeros(size, 0, dtype=torch.int64),
        number_names=tuple(numbers),
        values=values,
    )


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of such a type holds numbers or truth values."""
    of = pa.types
    return any(each(kind) for each in (of.is_boolean, of.is_integer, of.is_floating, of.is_decimal))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of such a type holds text."""
    of = pa.types
    return any(each(kind) for each in (of.is_string, of.is_large_string, of.is_string_view))


def numbers_of(column: pa.ChunkedArray, name: str) -> Tensor:
    """float64, (N,), all within float32; NaN where one is missing.

    Raises:
        ValueError: if one is infinite.
    """
    wide = compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    numbers = torch.from_numpy(np.array(wide))
    numbers[numbers.isnan()] = torch.nan  # which has many forms, and a fingerprint sees them
    if (wrong := numbers.float().isinf()).any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"column {name!r}: {int(wrong.sum()):,} of {len(numbers):,} numbers are infinite or beyond float32, the "
            f"first, {wide[row]:g}, in row {row} (counted from 0). Leave such rows out, or the column: drop={name}."
        )
    return numbers


def codes_of(column: pa.ChunkedArray) -> tuple[Tensor, tuple[str, ...]]:
    """Places among the different values, int64 (N,), -1 where one is missing; and these values, sorted."""
    column = column.cast(pa.string())
    values = sorted(compute.unique(column).drop_null().to_pylist())
    places = compute.fill_null(compute.index_in(column, pa.array(values, pa.string())), -1)
    return torch.from_numpy(places.to_numpy().astype(np.int64)), tuple(values)


def check_names(names: list[str], rows: pa.Table, where: str) -> None:
    """Hold names to the columns that there are.

    Raises:
        ValueError: if there is no such column; the message lists those that there are, the nearest first.
    """
    for name in names:
        if name not in rows.column_names:
            raise UnknownNameError(f"column of {where}:", name, rows.column_names)


def _why_not(column: pa.ChunkedArray, name: str) -> str:
    kind, remedy = column.type, f"leave it out with drop={name}"
    if pa.types.is_null(kind):
        return f"column {name!r} is empty in every row: {remedy}."
    if pa.types.is_temporal(kind):
        return (
            f"column {name!r} holds dates or times ({kind}), and what of them counts is not for a program to guess: "
            f"write columns of numbers in its place (a year, a weekday, days since a start), or {remedy}."
        )
    return f"column {name!r} holds {_short(kind)}, and a table's columns are numbers, truth values or text: {remedy}."


def _short(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:57]}..."


def reads_as_number(text: str) -> bool:
    """Whether a text is a number as Python writes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True
