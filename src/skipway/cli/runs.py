"""`skipway runs`: list runs, or query all of them with SQL."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from skipway.report.printable import printable

_LIST = """
    select study, run, gate, depth, learning_rate, seed,
        status, train_loss, validation_loss, {metrics}, reason
    from runs order by study, gate, depth, learning_rate, seed
"""
_METRICS = {"error": "validation_error, test_error", "loss": "test_loss"}
_ANY_METRIC = "metric, validation_metric, test_metric"


@dataclass(frozen=True)
class RunsCommand:
    """List the runs below a folder, or query them with SQL where they lie.

    Tables: runs (a row a run), metrics (a row an interval), probes (a row a layer and moment).
    """

    folder: tyro.conf.Positional[Path] = Path()
    """A study, or any folder above several."""
    sql: str | None = None
    """A query, such as "select gate, depth, min(validation_loss) from runs group by all"."""
    csv: bool = False
    """Print comma-separated values instead of a table."""


def run(arguments: Sequence[str]) -> int:
    """Parse, query, print.

    Raises:
        ValueError: if the query is not valid, or if there is no such folder.
    """
    command = tyro.cli(RunsCommand, args=[*arguments], prog="skipway runs")
    from skipway.report.query import query

    columns, rows = query(command.sql or _LIST.format(metrics=_metrics(command.folder)), command.folder)
    if command.csv:
        _print_csv(columns, rows)
    else:
        _print_table(columns, rows)
    return 0


def _metrics(folder: Path) -> str:
    """The columns of the list for what the runs below a folder are judged by."""
    from skipway.report.query import runs

    names = {row["metric"] for row in runs(folder)} - {None} or {"error"}
    return _METRICS.get(names.pop(), _ANY_METRIC) if len(names) == 1 else _ANY_METRIC


def _print_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [columns, *rows]
    if sys.stdout.isatty():  # a file gets what the runs hold, to the letter
        lines = [[printable(value) if isinstance(value, str) else value for value in line] for line in lines]
    csv.writer(sys.stdout, lineterminator="\n").writerows(lines)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.cells import cell_len
    from rich.table import Table

    from skipway.cli.console import Console

    lines = [[_cell(value) for value in line] for line in [columns, *rows]]
    table = Table(*lines[0], box=None, header_style="bold", pad_edge=False)
    for line in lines[1:]:
        table.add_row(*line)
    console = Console()
    if not console.is_terminal:  # a file or a pipe is not cut to a width
        console = Console(width=sum(max(map(cell_len, column)) + 2 for column in zip(*lines, strict=True)))
    console.print(table)
    console.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", style="dim")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
