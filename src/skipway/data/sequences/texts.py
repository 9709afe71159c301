"""Texts with a target each: a column of text of a table, cut into tokens, beside the column to be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from skipway.data.address import Address
from skipway.data.dataset import Request
from skipway.data.fingerprint import fingerprint
from skipway.data.samples import Samples
from skipway.data.sequences.dataset import Texts
from skipway.data.sequences.options import length_of
from skipway.data.sequences.vocabulary import Symbols, cut
from skipway.data.splits import divide
from skipway.data.tables.columns import check_names, is_text
from skipway.data.tables.load import find
from skipway.data.tables.target import named_columns, target_of

MOST_TOKENS = 256
"""The longest text is a sample's length, up to so many tokens, where nobody says; of longer texts this beginning."""


def load(address: Address, request: Request) -> Texts:
    """A table's texts in splits; its other columns do not count.

    Args:
        address: of a table; ``text`` is its column of text, ``target`` that to be learned, ``length`` a sample's tokens
            (longer texts are cut, shorter ones padded), ``unit`` what a token is: words (the usual) or characters.
        request: how splits are made, and for which task.

    Raises:
        ValueError: if a column is missing, or breaks a rule.
    """
    address.check("text", "target", "length", "unit")
    table, place = find(address.place), Path(address.place).name
    if "target" not in address.options:
        raise ValueError(f"{place}: which column is to be learned? Write {place}:text=COLUMN,target=COLUMN.")
    rows, column, unit = table.rows, address.options["text"], address.options.get("unit", "words")
    target = target_of(rows, named_columns(address.options["target"], rows, place), request.task)
    targets, symbols = target.for_task(request.task), Symbols()
    texts = [symbols.codes(cut(text, unit)) for text in _column(rows, column, place)]
    length = length_of(address) or max(1, min(MOST_TOKENS, max(map(len, texts))))
    codes = torch.tensor([[*text[:length], *(-1,) * (length - len(text))] for text in texts])
    splits = divide(Samples(codes, targets.values), table.sizes, targets.classes, request)
    about = {"symbols": symbols.all, "unit": unit, "sizes": table.sizes, "target": [target.columns, target.names]}
    return Texts(
        name=address.name,
        fingerprint=fingerprint({"codes": codes, "target": target.values}, about),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        validation_rule=splits.rule,
        task=targets.task,
        classes=targets.classes,
        symbols=symbols.all,
        unit=unit,
        length=length,
    )


def _column(rows: pa.Table, name: str, place: str) -> list[Any]:
    """The texts of all rows."""
    check_names([name], rows, place)
    column = rows.column(name)
    if not is_text(column.type):
        raise ValueError(
            f"column {name!r} holds {column.type}, and text= asks for text. Leave text= out to learn from it."
        )
    if column.null_count:
        row = column.to_pylist().index(None)
        raise ValueError(
            f"column {name!r}: the text is missing in {column.null_count:,} of {len(column):,} rows, the first of them "
            f"row {row} (counted from 0): leave such rows out."
        )
    return list(column.to_pylist())
