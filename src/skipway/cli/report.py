"""`skipway report`: rebuild a study's report from its files, anywhere, any time; or show one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from skipway.rundir.layout import RUN, STUDY


@dataclass(frozen=True)
class ReportCommand:
    """Rebuild a study's page and pictures from its run directories, and print its table and verdict.

    Of a single run, as `skipway train` and `skipway.watch` leave it, print its curve's ends and its layers.
    """

    study: tyro.conf.Positional[Path]
    """The study's directory: what `skipway study` printed at its end; or a run's."""
    markdown: bool = False
    """Print the table in Markdown, with all its columns, and its notes."""


def run(arguments: Sequence[str]) -> int:
    """Parse, write, print.

    Raises:
        FileNotFoundError: if the directory holds no study and no run.
        ValueError: if a run's table is asked for in Markdown.
    """
    command = tyro.cli(ReportCommand, args=[*arguments], prog="skipway report")
    if (command.study / RUN).is_file() and not (command.study / STUDY).is_file():
        if command.markdown:
            raise ValueError(f"{command.study} is a run: --markdown prints the table of a study.")
        from skipway.cli.show_signals import show_signals

        return show_signals(command.study)
    from skipway.cli.show import show, show_markdown

    return show_markdown(command.study) if command.markdown else show(command.study)
