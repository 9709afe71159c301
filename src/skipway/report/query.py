"""SQL over run directories where they lie: DuckDB reads their files when it is asked; there is no server to keep."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from skipway.report.answer import Answer, answer
from skipway.report.files import run_info, study_info
from skipway.report.metric import metric_of
from skipway.rundir.files import DamagedError
from skipway.rundir.integrity import run_folders
from skipway.rundir.layout import METRICS, PROBE_COLUMNS, PROBES, STUDY, Json, home_of
from skipway.rundir.records import FINISHED
from skipway.rundir.run import Run
from skipway.rundir.study import Study

if TYPE_CHECKING:
    import duckdb

RUN_COLUMNS: dict[str, str] = {
    "study": "string",
    "run": "string",
    "in_study": "bool",
    "gate": "string",
    "depth": "int64",
    "learning_rate": "float64",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "net": "string",
    "body": "string",
    "parameters": "int64",
    "blocks": "int64",
    "train_loss": "float64",
    "train_error": "float64",
    "validation_loss": "float64",
    "validation_error": "float64",
    "test_loss": "float64",
    "test_error": "float64",
    "metric": "string",
    "train_metric": "float64",
    "validation_metric": "float64",
    "test_metric": "float64",
    "seconds": "float64",
    "path": "string",
}
_METRIC_COLUMNS = {
    "step": "BIGINT",
    "epoch": "DOUBLE",
    "learning_rate": "DOUBLE",
    "train_loss": "DOUBLE",
    "train_error": "DOUBLE",
    "validation_loss": "DOUBLE",
    "validation_error": "DOUBLE",
    "train_metric": "DOUBLE",
    "validation_metric": "DOUBLE",
}
_METRIC = "replace(replace(runs.metric, '~', '~0'), '/', '~1')"  # a run's own metric, as a JSON pointer has it
_POINTERS = {f"{split}_metric": f"'/{split}_' || {_METRIC}" for split in ("train", "validation")}
_PROBE_COLUMNS = {
    name: {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE"}[kind] for name, kind in PROBE_COLUMNS.items()
}
_FILES = {"metrics": (METRICS, _METRIC_COLUMNS), "probes": (PROBES, _PROBE_COLUMNS)}
_CELL = ("study", "run", "gate", "depth", "learning_rate", "seed")


def runs(root: str | os.PathLike[str]) -> list[Json]:
    """All runs in a folder, of one study or of many: a row each, with `RUN_COLUMNS`.

    `metric` names what its nets are judged by, the loss if nothing else; `train_metric` and the like are its values, as
    on the disk: errors are fractions. A damaged run has the status "damaged", the reason, and no numbers.

    Raises:
        ValueError: if there is no such folder.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root} is not a folder: give a study's directory, or a folder with studies below it.")
    folders = list(run_folders(Path(root)))
    asked = {home: _asked(home) for home in {home_of(folder) for folder in folders}}
    return [_row(folder, asked[home_of(folder)]) for folder in folders]


def query(sql: str, root: str | os.PathLike[str]) -> Answer:
    """Answer a SELECT over the tables `runs`, `metrics` and `probes` of all runs in a folder.

    `metrics` and `probes` begin with the run's own study, run, gate, depth, learning_rate and seed; the learning rate
    in force at a step of the schedule is `step_learning_rate`. Nothing is written: a statement that is not a SELECT is
    refused. Nothing is read but those tables: no other file, no variable of the program, no network.

    Args:
        sql: One statement.
        root: A study, or a folder with studies below it.

    Returns:
        The columns' names, and the rows; times with a time zone are text.

    Raises:
        ValueError: if the statement is not a SELECT, or if DuckDB refuses it; the message lists the tables.
    """
    rows = [_read_whole(row, sql) for row in runs(root)]
    for damaged in (row for row in rows if row["status"] == "damaged"):
        logging.getLogger("skipway").warning("left out: %s is damaged: %s", damaged["path"], damaged["reason"])
    try:
        return answer(sql, lambda connection: _fill(connection, rows, sql))
    except ValueError as error:
        tables = "\n".join(f"  {name}({', '.join(columns)})" for name, columns in _tables().items())
        raise ValueError(
            f"the query is not valid: {error}\nIt was: {sql}\nThere are these tables:\n{tables}"
        ) from error


def _asked(home: Path) -> set[str] | None:
    """The runs that a study asks for; None where there is none, or what it says is damaged."""
    if not (home / STUDY).is_file():
        return None
    try:
        return {cell["id"] for cell in study_info(Study(home))["cells"]}
    except DamagedError:
        return None


def _row(folder: Path, asked: set[str] | None) -> Json:
    try:
        row = _flat(folder)
    except DamagedError as error:
        row = _damaged(folder, error)
    return {**row, "in_study": None if asked is None else folder.name in asked}


def _read_whole(row: Json, sql: str) -> Json:
    """A run's row; "damaged" if a file is that the query names, since DuckDB would give up all runs for it."""
    run = Run(Path(row["path"]))
    try:
        if "metrics" in sql.lower() and (run.path / METRICS).is_file():
            run.metrics()
        if "probes" in sql.lower() and row["status"] in FINISHED:
            run.probes()
    except DamagedError as error:
        return {**_damaged(run.path, error), "in_study": row["in_study"]}
    return row


def _damaged(folder: Path, error: DamagedError) -> Json:
    study = home_of(folder)
    known = {"study": study.name if study != folder else None, "run": folder.name, "status": "damaged"}
    known |= {"reason": f"{error.path.name}: {error.reason}", "path": str(folder)}
    return {name: known.get(name) for name in RUN_COLUMNS}


def _flat(folder: Path) -> Json:
    info = run_info(Run(folder))
    net, metric = info["net"], metric_of(info).name
    study = folder.parent.parent
    known = {
        **info["metrics"],
        **{f"{split}_metric": info["metrics"].get(f"{split}_{metric}") for split in ("train", "validation", "test")},
        **info["cell"],
        "metric": metric,
        "study": study.name if (study / STUDY).is_file() else None,
        "run": folder.name,
        "status": info["status"],
        "reason": info.get("reason"),
        "net": net.get("name"),
        "body": net.get("body"),
        "parameters": net.get("parameters"),
        "blocks": net.get("blocks"),
        "path": str(folder),
    }
    return {name: known.get(name) for name in RUN_COLUMNS}


def _fill(connection: duckdb.DuckDBPyConnection, rows: list[Json], sql: str) -> None:
    """Make the tables; the runs' other files are read only where the statement speaks of them."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in RUN_COLUMNS.items()])
    connection.register("found", pa.Table.from_pylist(rows, schema=schema))
    connection.execute("CREATE TABLE runs AS FROM found")
    connection.unregister("found")
    cell = ", ".join(f"runs.{column}" for column in _CELL)
    for table, (name, columns) in _FILES.items():
        source = _source(rows if table in sql.lower() else [], name, columns)
        own = ", ".join(f"{_value(name, column)}::{kind} AS {_renamed(column)}" for column, kind in columns.items())
        connection.execute(
            f"CREATE TABLE {table} AS SELECT {cell}, {own} FROM {source} file JOIN runs ON file.folder = runs.path"
        )


def _tables() -> dict[str, list[str]]:
    """Each table's columns."""
    others = {table: [*_CELL, *map(_renamed, columns)] for table, (_, columns) in _FILES.items()}
    return {"runs": [*RUN_COLUMNS], **others}


def _renamed(column: str) -> str:
    """A file's column as its table calls it, where the cell's columns stand beside it."""
    return f"step_{column}" if column in _CELL else column


def _value(name: str, column: str) -> str:
    """A column of a file: Parquet has columns, each line of JSON is an object."""
    if name == PROBES:
        return f"file.{column}"
    pointer = _POINTERS.get(column, f"'/{column}'")
    return f"(file.json ->> ({pointer}))"


def _source(rows: list[Json], name: str, columns: dict[str, str]) -> str:
    """A table expression over one file of every run, with the run's folder beside each row."""
    whole = [Path(row["path"]) / name for row in rows if row["status"] != "damaged"]
    files = [path for path in whole if path.is_file() and path.stat().st_size]
    if not files:
        empty = ", ".join(f"NULL::{kind} AS {column}" for column, kind in columns.items())
        return f"(SELECT {empty}, NULL::JSON AS json, NULL::VARCHAR AS folder WHERE false)"
    listed = ", ".join(_pattern(path) for path in files)
    reader, cut = "read_parquet" if name == PROBES else "read_ndjson_objects", len(name) + 1
    return f"(SELECT *, left(filename, length(filename) - {cut}) AS folder FROM {reader}([{listed}], filename = true))"


def _pattern(path: Path) -> str:
    """A path as DuckDB reads one: what would be a wildcard stands for itself."""
    plain = re.sub(r"([*?\[])", r"[\1]", str(path))
    return "'" + plain.replace("'", "''") + "'"
