"""Tables in memory: DataFrames of any library, Arrow tables, data sets of `datasets`."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from skipway.data import kept
from skipway.data.address import Address
from skipway.data.splits import NAMES
from skipway.data.tables.read import Table, joined, plain

_SIZES = b"sizes"


def keep(source: Any) -> str | None:
    """Keep a table; returns its name, ``frame:<16 digits of its digest>``, and None where this is no table.

    Args:
        source: a DataFrame, an Arrow table or a `datasets.Dataset`; a pair of a DataFrame of inputs with a Series or a
            DataFrame of targets, which the name says then; a bunch of scikit-learn's that holds these; or a dictionary
            of such by split.
    """
    is_split = isinstance(source, Mapping) and "train" in source and not set(source) - set(NAMES)
    given = {name: source[name] for name in NAMES if name in source} if is_split else {"train": source}
    tables, target = {}, None
    for split, part in given.items():
        frame, target = _with_target(part)
        rows = rows_in(frame)
        if rows is None:
            return None
        tables[split] = rows
    table = joined(tables, "the tables given")
    content = _bytes(table)
    name = kept.name_of("frame", hashlib.sha256(content).hexdigest())
    kept.keep(name, content)
    return str(Address(name, {}).with_options(target=target))


def recall(name: str) -> Table:
    """The table of a name.

    Raises:
        ValueError: if it is not in the cache, or not as it was kept.
    """
    content = kept.find(name).read_bytes()
    if kept.name_of("frame", hashlib.sha256(content).hexdigest()) != name:
        raise kept.damaged(name)
    rows = pa.parquet.read_table(io.BytesIO(content))
    return Table(rows.replace_schema_metadata(), json.loads(rows.schema.metadata[_SIZES]))


def _bytes(table: Table) -> bytes:
    rows = table.rows.replace_schema_metadata({_SIZES: json.dumps(table.sizes)})
    file = io.BytesIO()
    pa.parquet.write_table(rows, file)
    return file.getvalue()


def _with_target(source: Any) -> tuple[Any, tuple[str, ...] | None]:
    """One frame of a frame of inputs and its targets, with the targets' columns; other sources as they are."""
    if isinstance(source, Mapping) and {"data", "target"} <= set(source):
        source = source["data"], source["target"]
    if not (isinstance(source, tuple) and len(source) == 2 and _is_pandas(source[0])):
        return source, None
    inputs, targets = source
    columns = targets if hasattr(targets, "columns") else {str(getattr(targets, "name", None) or "target"): targets}
    names = tuple(map(str, columns))
    if taken := [name for name in names if name in inputs.columns]:
        raise ValueError(f"the target's name, {taken[0]!r}, is that of an input, too: rename one of them.")
    return inputs.assign(**{name: columns[name] for name in columns}), names


def rows_in(source: Any) -> pa.Table | None:
    """The rows of a table in memory; None where this is none."""
    if isinstance(source, pa.Table):
        return plain(source, {})
    if _is_pandas(source):
        try:
            return plain(pa.Table.from_pandas(source, preserve_index=False), {})
        except pa.ArrowException as error:
            raise ValueError(f"a column of this DataFrame is not of one type: {error}") from error
    if hasattr(source, "with_format") and hasattr(source, "features"):  # a datasets.Dataset
        return rows_of_dataset(source)
    if hasattr(source, "__arrow_c_stream__") and hasattr(source, "columns"):
        return plain(pa.table(source), {})
    return None


def rows_of_dataset(dataset: Any) -> pa.Table:
    """The rows of a `datasets.Dataset`; classes have their names."""
    classes = {
        name: list(feature.names)
        for name, feature in dataset.features.items()
        if type(feature).__name__ == "ClassLabel"
    }
    return plain(dataset.with_format("arrow")[:], classes)


def _is_pandas(source: Any) -> bool:
    """Whether it is a DataFrame of pandas, which need not be installed."""
    return type(source).__name__ == "DataFrame" and type(source).__module__.partition(".")[0] == "pandas"
