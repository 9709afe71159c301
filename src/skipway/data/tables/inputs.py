"""Rows of another table than a net was trained on, as its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skipway.data.samples import Samples
from skipway.data.tables.columns import check_names, columns_of
from skipway.data.tables.encode import Encoder
from skipway.data.tables.encoding import Encoding
from skipway.data.tables.frames import rows_in


def inputs_of(state: Mapping[str, Any], frame: Any) -> Tensor:
    """Rows as a net takes them, float32, (N, features).

    Args:
        state: what `Encoding.to_dict` wrote.
        frame: a DataFrame, or an Arrow table; columns beside those that the net was trained on do not count.

    Raises:
        ValueError: if it is none, or lacks a column, or one holds text where numbers were or numbers where text was.
    """
    rows = rows_in(frame)
    if rows is None:
        raise ValueError(f"the net was trained on a table: give a DataFrame or an Arrow table, not {type(frame)}.")
    encoding = Encoding.from_dict(state)
    names = [*encoding.numbers, *encoding.texts]
    check_names(names, rows, "the table given")
    columns = columns_of(rows, names)
    samples = Samples({"numbers": columns.numbers, "codes": columns.codes}, ())
    inputs: Tensor = Encoder.of(encoding, columns)(samples)[0]
    return inputs
