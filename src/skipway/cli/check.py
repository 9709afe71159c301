"""`skipway check`: whether every file of studies and runs is what was written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from skipway.cli.main import DONE, FAILED
from skipway.cli.tell import say
from skipway.rundir.layout import LOCK, RUN, RUNS, STUDY, home_of
from skipway.rundir.locks import locked

if TYPE_CHECKING:
    from skipway.rundir.integrity import Examined

_WIDTH = 80


@dataclass(frozen=True)
class CheckCommand:
    """Compare every file of studies and runs with the digests that were written with them.

    Reports and pictures are not checked: `skipway report` makes them anew.

    Exit status: 0 all is whole, 1 something is damaged or missing, 2 wrong usage.
    """

    folder: tyro.conf.Positional[Path]
    """A study, a run, or any folder above several."""
    mend: bool = False
    """Move what is damaged into .damaged/ beside it, so that it can be computed again; nothing is deleted."""


def run(arguments: Sequence[str]) -> int:
    """Parse, read everything, print what is whole and what is not.

    Raises:
        ValueError: if there is nothing to check.
        BusyError: if a study that is running is to be mended.
    """
    command = tyro.cli(CheckCommand, args=[*arguments], prog="skipway check")
    from skipway.rundir.integrity import examine

    found = []
    for examined in examine(command.folder):
        found.append(examined)
        _print(examined)
        if not examined.whole:
            moved = _mend(examined) if command.mend else {}
            say(_next_step(examined, moved, command.folder))
    if not found:
        raise ValueError(f"{command.folder} holds no study and no run: give one, or a folder above several.")
    return DONE if all(examined.whole for examined in found) else FAILED


def _print(examined: Examined) -> None:
    from rich.table import Table

    from skipway.cli.console import Console
    from skipway.report.numbers import counted

    console = Console(width=_WIDTH)
    counts = {state: len(examined.of(state)) for state in ("whole", "unfinished", "damaged", "missing")}
    others = counted(len(examined.parts) - 1, "run")
    what = "a run" if examined.path == examined.parts[0].path else f"{STUDY} and {others}"
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    console.print(f"{examined.path} ({what}): {said}", soft_wrap=True)
    if examined.whole:
        return
    table = Table("file", "why", box=None, header_style="bold", pad_edge=False)
    table.columns[0].overflow = "fold"
    for part in examined.of("damaged"):
        for error in part.damage:
            table.add_row(str(error.path.relative_to(examined.path)), error.reason)
    for part in examined.of("missing"):
        table.add_row(str(part.path.relative_to(examined.path)), "it is missing; study.json says that all are done")
    console.print(table)


def _mend(examined: Examined) -> dict[Path, Path]:
    """Set aside what is damaged. Returns what lay where, and where it lies now."""
    home = home_of(examined.path)
    if (home / RUNS).is_symlink():
        raise ValueError(f"{home / RUNS} is a symbolic link: nothing is moved where it leads.")
    with locked(home / LOCK, f"{{holder}} is at work in {home}: wait for it, then mend."):
        moved = {part.path: part.set_aside() for part in examined.of("damaged")}
    for place in moved.values():
        say(f"Set aside: {place}")
    return moved


def _next_step(examined: Examined, moved: Mapping[Path, Path], folder: Path) -> str:
    """How to compute again what is damaged or missing."""
    if examined.of("damaged") and not moved:
        return f"To set aside what is damaged: skipway check {shlex.quote(str(folder))} --mend"
    home = home_of(examined.path)
    out = shlex.quote(str(home))
    if (home / STUDY).is_file():
        return f"To compute it again: skipway study --config {out}/{STUDY} --out {out}"
    record = moved.get(examined.path, examined.path) / RUN
    if all(error.path.name != RUN for part in examined.parts for error in part.damage) and record.is_file():
        return f"To compute it again: skipway train --config {shlex.quote(str(record))} --out {out}"
    return "To compute it again, start the command that wrote it once more: what is damaged held its settings."
