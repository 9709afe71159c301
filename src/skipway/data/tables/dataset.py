"""Tables as a data set: rows in, one vector a row out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from skipway.batch.specification import Specification, TensorSpec
from skipway.data import kept
from skipway.data.address import Address
from skipway.data.dataset import Request
from skipway.data.fingerprint import fingerprint
from skipway.data.in_memory import InMemory
from skipway.data.rounding import rounded
from skipway.data.samples import Samples
from skipway.data.splits import divide
from skipway.data.tables.columns import Columns, columns_of
from skipway.data.tables.encode import Encoder
from skipway.data.tables.encoding import Encoding
from skipway.data.tables.read import Table
from skipway.data.tables.target import Target, named_columns, target_of


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows(InMemory):
    """The rows of a table, with one column or several as their target.

    Preprocessing ``standard``, the usual one, gives columns of numbers mean 0 and deviation 1; ``none`` leaves them as
    they are. Either way what is missing is filled and marked, and text becomes columns of 0 and 1: see
    `skipway.data.tables.encoding.Encoding`.
    """

    columns: Columns
    target: tuple[str, ...]
    """The target's columns."""

    preprocess: ClassVar[str] = "standard"
    kinds: ClassVar[tuple[str, ...]] = ("standard", "none")
    samples: ClassVar[str] = "rows"

    @property
    def spec(self) -> Specification:
        inputs = TensorSpec((len(self._standard.encoding.features),))
        return Specification(inputs, len(self.classes) or None, self.classes)

    def fit(self, kind: str) -> Encoder:
        return self._standard if kind == "standard" else self._fitted(standard=False)

    def transform_of(self, state: dict[str, Any]) -> Encoder:
        return Encoder.of(Encoding.from_dict(state), self.columns)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "target": list(self.target)}

    @cached_property
    def _standard(self) -> Encoder:
        return self._fitted(standard=True)

    def _fitted(self, *, standard: bool) -> Encoder:
        return Encoder.of(Encoding.fit(self.train.inputs, self.columns, standard=standard), self.columns)


def rows_of(table: Table, address: Address, request: Request) -> Rows:
    """A table in splits, with its target as a task takes it.

    Raises:
        ValueError: if a column is missing, or breaks a rule.
    """
    rows, place = table.rows, Path(address.place).name
    if "target" not in address.options and kept.is_name(address.place):
        raise ValueError(
            f"which column of this table is to be learned? Give sw.load(table, target='COLUMN') in its place, and "
            f"drop='COLUMN' for what does not count. Columns: {', '.join(rows.column_names)}."
        )
    if "target" not in address.options:
        raise ValueError(
            f"{place}: which column is to be learned? Write {place}:target=COLUMN, and drop=COLUMN for what does not "
            f"count (several with a plus: drop=A+B). Columns: {', '.join(rows.column_names)}."
        )
    target = named_columns(address.options["target"], rows, place)
    dropped = named_columns(address.options["drop"], rows, place) if "drop" in address.options else []
    if both := [name for name in target if name in dropped]:
        raise ValueError(f"{place}: column {both[0]!r} is the target, and drop leaves it out: give it one of the two.")
    names = [name for name in rows.column_names if name not in (*target, *dropped)]
    if not names:
        raise ValueError(f"{place}: no column is left to learn from, beside the target and what is dropped.")
    found = target_of(rows, target, request.task)
    targets, columns = found.for_task(request.task), columns_of(rows, names)
    columns = replace(columns, numbers=rounded(columns.numbers))
    samples = Samples({"numbers": columns.numbers, "codes": columns.codes}, targets.values)
    splits = divide(samples, table.sizes, targets.classes, request)
    data = Rows(
        name=address.name,
        fingerprint=_fingerprint(columns, found, table.sizes),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        validation_rule=splits.rule,
        task=targets.task,
        classes=targets.classes,
        columns=columns,
        target=tuple(target),
    )
    data.fit("standard")  # says what is wrong with its columns
    return data


def _fingerprint(columns: Columns, target: Target, sizes: dict[str, int]) -> str:
    """SHA-256 of the columns that count, whatever else the table holds, and of whichever file."""
    tensors = {"numbers": columns.numbers, "codes": columns.codes, "target": target.values}
    about = {
        "numbers": columns.number_names,
        "values": list(columns.values.items()),
        "target": [target.columns, target.names],
        "sizes": sizes,
    }
    return fingerprint(tensors, about)
