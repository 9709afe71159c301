"""Files of tables, read: CSV, TSV and parquet, one file or a folder with one for each split."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from skipway.data.address import TABLE_ENDINGS
from skipway.data.guard import check_regular
from skipway.data.split_files import split_files

_MOST_BYTES = 2**31 - 1  # of a CSV file: all of it says of which type a column is
_INDEX = re.compile(r"__index_level_\d+__")  # where pandas writes a DataFrame's index


class Table(NamedTuple):
    """The rows of all splits, one after the other."""

    rows: pa.Table
    sizes: dict[str, int]
    """How many are of which split."""


def read(path: Path) -> Table:
    """A file of rows, or a folder of files that are named by their splits: train.csv, test-00000-of-00002.parquet.

    Raises:
        ValueError: if there is no such file, or it is not readable; the message names it.
    """
    files = split_files(path, TABLE_ENDINGS) if path.is_dir() else {"train": [path]}
    return joined({split: pa.concat_tables(map(read_file, found)) for split, found in files.items()}, str(path))


def read_file(path: Path) -> pa.Table:
    """The rows of one file; see `plain`."""
    if not os.path.lexists(path):
        raise ValueError(f"there is no file {str(path)!r}.")
    check_regular(path)
    try:
        rows = pa.parquet.ParquetFile(path).read() if path.suffix.lower() == ".parquet" else _read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not readable as a table: {error}") from error
    return plain(rows, _class_names(rows.schema))


def plain(rows: pa.Table, classes: Mapping[str, list[str]]) -> pa.Table:
    """Rows without what only a library reads: categories become text, numbers of classes their names, an index goes.

    Args:
        rows: as a library gives them.
        classes: the names that stand for whole numbers, by column; -1 is none.
    """
    columns = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type).cast(pa.string())
        elif name in classes and pa.types.is_integer(column.type):
            column = _named(column, classes[name])
        if name in columns:
            raise ValueError(f"two columns are called {name!r}: rename one of them.")
        if not _INDEX.fullmatch(name):
            columns[name] = column
    return pa.table(columns)


def joined(splits: Mapping[str, pa.Table], where: str) -> Table:
    """The rows of all splits; columns must be the same ones.

    Raises:
        ValueError: if they are not, or one has numbers in one split and text in another.
    """
    columns = splits["train"].column_names
    for split, rows in splits.items():
        for one, other, names in (("train", split, columns), (split, "train", rows.column_names)):
            if missing := [name for name in names if name not in splits[other].column_names]:
                raise ValueError(
                    f"{where}: {one} has the column {missing[0]!r}, and {other} has not. All splits need the same "
                    "columns, their target too: what has none cannot be scored. Leave that file out, and a part of "
                    "train is held out in its place."
                )
    try:
        parts = [rows.select(columns) for rows in splits.values()]
        together = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise ValueError(f"{where}: a column is not of one type in all splits: {error}") from error
    return Table(together, {name: len(rows) for name, rows in splits.items()})


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.readline()
    tabs = path.suffix.lower() == ".tsv"
    rows: pa.Table = pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=min(max(path.stat().st_size, 1) + 1, _MOST_BYTES)),
        parse_options=pa.csv.ParseOptions(
            delimiter="\t" if tabs else max(",;\t", key=head.count), newlines_in_values=True
        ),
        convert_options=pa.csv.ConvertOptions(strings_can_be_null=True),
    )
    _check_text(path, rows)
    if "" in rows.column_names:
        raise ValueError(
            f"{path}: column {rows.column_names.index('') + 1} has no name. If these are row numbers that pandas "
            "wrote, write the file with index=False; or give the column a name, and leave it out with drop=NAME."
        )
    return rows


def _check_text(path: Path, rows: pa.Table) -> None:
    """Arrow reads what is no UTF-8 as bytes.

    Raises:
        ValueError: if there is such text.
    """
    try:
        if rows.column_names and not any(pa.types.is_binary(kind) for kind in rows.schema.types):
            return
    except UnicodeDecodeError:  # a column's name is none
        pass
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8, in which tables are read. "
                    "Write the file so; if it is of an older Windows: "
                    "pandas.read_csv(FILE, encoding='cp1252').to_csv(NEW, index=False)."
                ) from None


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of classes that `datasets` wrote into a parquet file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about["names"] for name, about in features.items() if about.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _named(column: Any, names: list[str]) -> Any:
    """Text in place of whole numbers; -1, which stands for no class, is missing."""
    import pyarrow.compute as compute

    return compute.take(pa.array(names, pa.string()), compute.if_else(compute.less(column, 0), None, column))
