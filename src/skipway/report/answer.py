"""One SELECT, answered by DuckDB over tables that are given, and over nothing else; signals end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

Answer = tuple[list[str], list[tuple[Any, ...]]]
"""The columns' names, and the rows."""

# What a statement meets: no file, no network, no extension, no spilling beside the user's files, and no way back.
_LOCKED = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "temp_directory = ''",
    "enable_external_access = false",
    "lock_configuration = true",
)
_ZONE = "WITH TIME ZONE"
_PATIENCE = 2.0  # seconds; DuckDB looks for an interruption between two batches of rows, not within a function's call


def answer(sql: str, fill: Callable[[DuckDBPyConnection], None]) -> Answer:
    """Answer a SELECT. Times with a time zone come as text.

    Args:
        sql: One statement.
        fill: Makes the tables; it may read files, which the statement cannot.

    Raises:
        ValueError: if the statement is not one SELECT, or if DuckDB refuses it.
        BaseException: whatever a signal's handler raises, such as `KeyboardInterrupt`; the query then ends.
    """
    import duckdb

    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    told: Future[Answer] = Future()

    def work() -> None:
        try:
            told.set_result(_select(connection, sql, fill))
        except duckdb.Error as error:
            told.set_exception(ValueError(str(error)))
        except BaseException as error:
            told.set_exception(error)

    # In a thread of its own: while DuckDB computes, it lets no signal through to the one that called it.
    threading.Thread(target=work, daemon=True).start()
    try:
        return told.result()
    except BaseException:
        _end(connection, told)
        raise
    finally:
        if told.done():
            connection.close()


def _select(connection: DuckDBPyConnection, sql: str, fill: Callable[[DuckDBPyConnection], None]) -> Answer:
    import duckdb

    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("give one SELECT statement; runs are only read")
    fill(connection)
    for setting in _LOCKED:
        connection.execute(f"SET {setting}")
    relation = connection.sql(sql)
    return relation.columns, _zones_as_text(relation).fetchall()


def _zones_as_text(relation: DuckDBPyRelation) -> DuckDBPyRelation:
    """The same rows; DuckDB makes Python's times of a time zone only where pytz is installed."""
    kinds = [str(kind) for kind in relation.types]
    if not any(_ZONE in kind for kind in kinds):
        return relation
    places = enumerate(kinds, 1)
    return relation.project(
        ", ".join(f"CAST(#{place} AS VARCHAR)" if _ZONE in kind else f"#{place}" for place, kind in places)
    )


def _end(connection: DuckDBPyConnection, told: Future[Answer]) -> None:
    """Interrupt a query until it is over; one that is busy within a single call of a function is left behind."""
    enough = time.monotonic() + _PATIENCE
    while not told.done() and time.monotonic() < enough:
        connection.interrupt()
        wait([told], timeout=0.05)
