"""What a table's training split says of its columns: scales, fillings, and which text becomes which column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipway.data.arrays.standard import Moments
from skipway.data.tables.columns import Columns, reads_as_number

MOST_TEXTS = 100
"""So many different values of a text column become columns of their own; more are refused."""


@dataclass(frozen=True)
class Encoding:
    """What was found in the training split, as JSON can hold it.

    Numbers are ``(x - shift) / scale``; a missing one is filled with the training split's mean before that, and marked
    in a column of its own if any was missing in training. Text is one column of 0 and 1 for each value that training
    had; any other value is 0 in all of them.
    """

    numbers: tuple[str, ...]
    """Columns of numbers, in their order."""
    fill: tuple[float, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    texts: dict[str, tuple[str, ...]]
    """Columns of text, in their order, with the values of each that have a column, sorted."""
    marked: tuple[str, ...]
    """Columns, of numbers or text, of which values were missing."""
    wide: bool = False
    """Whether numbers are float64 until they are standardised (`skipway.data.rounding`), and float32 otherwise."""

    @classmethod
    def fit(cls, inputs: Mapping[str, Tensor], columns: Columns, *, standard: bool) -> Encoding:
        """Measure a training split's inputs.

        Args:
            inputs: `numbers` and `codes`, as `Columns` has them.
            columns: says what they are called.
            standard: whether numbers get mean 0 and deviation 1, as they are once filled.

        Raises:
            ValueError: if a column is empty, or has too many different texts.
        """
        numbers, codes = inputs["numbers"], inputs["codes"]
        missing = numbers.isnan()
        gone = [*missing.any(0).tolist(), *(codes < 0).any(0).tolist()]
        names = (*columns.number_names, *columns.values)
        for name, empty in zip(names, [*missing.all(0).tolist(), *(codes < 0).all(0).tolist()], strict=True):
            if empty:
                raise ValueError(f"column {name!r} is empty in every training row: leave it out with drop={name}.")
        fill = numbers.double().nanmean(0).to(numbers.dtype) if len(columns.number_names) else torch.zeros(0)
        moments = Moments.of(torch.where(missing, fill, numbers))
        texts = {
            name: _values(name, values, codes[:, place]) for place, (name, values) in enumerate(columns.values.items())
        }
        return cls(
            numbers=columns.number_names,
            fill=_plain(fill),
            shift=_plain(moments.mean if standard else torch.zeros_like(fill)),
            scale=_plain(moments.deviation if standard else torch.ones_like(fill)),
            texts=texts,
            marked=tuple(name for name, some in zip(names, gone, strict=True) if some),
            wide=numbers.dtype == torch.float64,
        )

    @property
    def features(self) -> tuple[str, ...]:
        """What each of a net's inputs is."""
        marks = (f"{name} is missing" for name in (*self.numbers, *self.texts) if name in self.marked)
        ones = (f"{name}={value}" for name, values in self.texts.items() for value in values)
        return (*self.numbers, *marks, *ones)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"kind": "table", **vars(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Encoding:
        """What `to_dict` wrote, after JSON made lists of its tuples."""
        fields = {name: tuple(content[name]) for name in ("numbers", "fill", "shift", "scale", "marked")}
        texts = {name: tuple(values) for name, values in content["texts"].items()}
        return cls(**fields, texts=texts, wide=content.get("wide", False))


def _values(name: str, values: tuple[str, ...], codes: Tensor) -> tuple[str, ...]:
    """The values that training has of a text column."""
    found = [values[code] for code in torch.unique(codes).tolist() if code >= 0]
    if len(found) > MOST_TEXTS:
        raise ValueError(
            f"column {name!r} holds {len(found):,} different texts in training, such as {found[0]!r}{_hint(found)}; "
            f"up to {MOST_TEXTS} become columns of their own. Leave it out with drop={name}, write fewer values, or "
            f"read it as text: text={name}."
        )
    return tuple(found)


def _hint(values: list[str]) -> str:
    """What tells a column of numbers that holds a few words."""
    words = [value for value in values if not reads_as_number(value)]
    if len(words) * 2 > len(values):
        return ""
    shown = ", ".join(map(repr, words[:3]))
    return f" (most are numbers, and would be read as such without {shown})"


def _plain(numbers: Tensor) -> tuple[float, ...]:
    return tuple(numbers.tolist())
