"""What a person sees of a study at its end: table, verdict, failures, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from skipway.cli.console import Console
from skipway.cli.main import DONE, FAILED
from skipway.cli.tell import say
from skipway.report.files import study_info
from skipway.report.numbers import counted
from skipway.report.summary import summarise
from skipway.report.table import markdown, table
from skipway.report.verdict.sentences import verdict
from skipway.rundir.study import Study


def show(folder: Path) -> int:
    """Write a study's report and print it in short.

    Returns:
        The exit status: 1 if cells failed, else 0.

    Raises:
        FileNotFoundError: if the folder holds no study.
    """
    study = Study.open(folder)
    summary, info = summarise(study), study_info(study)
    # A report in a file or a pipe is not cut to 80 columns.
    console = Console(width=None if Console().is_terminal else 140, soft_wrap=False)
    console.print(table(summary))
    told = verdict(summary)
    for sentence in told.answers:
        console.print(f"• {sentence}")
    if told.inside:
        console.print(f"{counted(len(told.inside), 'sentence')} on gradients and gates: see the report.")
    for reason in sorted(set(info["failures"].values())):
        count = sum(other == reason for other in info["failures"].values())
        console.print(Text.assemble((f"{counted(count, 'training')} failed:", "bold red"), f" {reason}"))
    report, *pictures = _write(study)
    console.print(f"\nThe report: {report}", soft_wrap=True)
    console.print(f"The pictures: {len(pictures)} PNG files beside it")
    return FAILED if info["failures"] else DONE


def show_markdown(folder: Path) -> int:
    """Print a study's table in Markdown.

    Raises:
        FileNotFoundError: if the folder holds no study.
    """
    say(markdown(summarise(Study.open(folder))))
    return DONE


def _write(study: Study) -> tuple[Path, ...]:
    # Altair takes a quarter of a second to load, and the table should not wait for it.
    from skipway.report.page import write

    return write(study)
