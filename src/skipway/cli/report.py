"""`skipway report`: rebuild a study's report from its files, anywhere, any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class ReportCommand:
    """Rebuild a study's page and pictures from its run directories, and print its table and verdict."""

    study: tyro.conf.Positional[Path]
    """The study's directory: what `skipway study` printed at its end."""


def run(arguments: Sequence[str]) -> int:
    """Parse, write, print.

    Raises:
        FileNotFoundError: if the directory holds no study.
    """
    command = tyro.cli(ReportCommand, args=[*arguments], prog="skipway report")
    from skipway.cli.show import show

    return show(command.study)
