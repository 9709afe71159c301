"""`skipway runs`: list runs, or query all of them with SQL."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

_LIST = """
    select study, run, gate, depth, learning_rate, seed,
        status, train_loss, validation_loss, validation_error, test_error, reason
    from runs order by study, gate, depth, learning_rate, seed
"""


@dataclass(frozen=True)
class RunsCommand:
    """List the runs below a folder, or query them with SQL where they lie.

    Views: runs (a row a run), metrics (a row an interval), probes (a row a layer and moment).
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

    columns, rows = query(command.sql or _LIST, command.folder)
    if command.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
    else:
        _print_table(columns, rows)
    return 0


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console = Console(markup=False)  # a gate's or a folder's name may hold brackets
    if not console.is_terminal:
        console = Console(
            markup=False, width=sum(max(len(_cell(r[i])) for r in [columns, *rows]) + 2 for i in range(len(columns)))
        )
    console.print(table)
    console.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", style="dim")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
