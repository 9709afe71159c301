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
    markdown: bool = False
    """Print the table in Markdown, with all its columns, and nothing else."""


def run(arguments: Sequence[str]) -> int:
    """Parse, write, print.

    Raises:
        FileNotFoundError: if the directory holds no study.
    """
    command = tyro.cli(ReportCommand, args=[*arguments], prog="skipway report")
    from skipway.cli.show import show, show_markdown

    return show_markdown(command.study) if command.markdown else show(command.study)
