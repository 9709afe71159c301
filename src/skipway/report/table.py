"""The study's table: the same columns for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skipway.report.numbers import percent, plus_minus, rounded
from skipway.report.summary import Group, Mean, Summary
from skipway.report.summary import summarise as summarise

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Column:
    """A column: its heading, what a newcomer needs to know of it, and the text of a cell."""

    heading: str
    meaning: str
    cell: Callable[[Group], str]
    text: bool = False
    """Whether the cells are words, set to the left; numbers are set to the right."""
    narrow: bool = True
    """Whether a terminal has room for it."""


def columns(summary: Summary) -> list[Column]:
    """The columns that this study fills: none about gates where no gate opens or closes, no notes where there are none."""
    shown = [
        Column("Gate", "how a block mixes its input with its body's output", lambda group: group.gate, text=True),
        Column("Depth", "layers, as the net's family counts them", lambda group: f"{group.depth:,}"),
        Column("Parameters", "trained numbers in the net", lambda group: _whole(group.parameters)),
        Column(
            "Best learning rate",
            "the one with the lowest mean validation loss",
            lambda group: f"{group.learning_rate:g}" if group.learning_rate is not None else rounded(None),
        ),
        Column("Training loss", "mean loss on the training data at the end", lambda group: _loss(group.train_loss)),
        Column(
            "Training error, %",
            "share of the training data classified wrongly",
            lambda group: _error(group.train_error),
            narrow=False,
        ),
        Column(
            "Validation error, %",
            "share wrong on the data that the learning rate is chosen by",
            lambda group: _error(group.validation_error),
            narrow=False,
        ),
        Column(
            "Test error, %",
            "share wrong on data used for nothing else; ± the standard deviation over seeds",
            lambda group: _error(group.test_error),
        ),
        Column(
            "Seeds",
            "trainings that the means on this line are taken over",
            lambda group: f"{group.train_loss.n}" if group.train_loss else rounded(None),
        ),
        Column(
            "Gradient, first ÷ last block",
            "before training: norm of the loss's gradient at the first block's output, divided by that at the last "
            "block's; geometric mean over seeds; far below 1 it fades on its way back",
            lambda group: rounded(group.gradient_ratio),
        ),
    ]
    if any(_gated(group) for group in summary.groups):
        shown.append(
            Column(
                "Mean gate T",
                "after training: how much of its body's output a block lets through, mean over blocks, data and seeds",
                lambda group: rounded(group.transform_end),
            )
        )
    if any(group.note for group in summary.groups):
        shown.append(Column("Note", "diverged, failed or missing trainings", lambda group: group.note, text=True))
    errors = any(group.train_error or group.validation_error or group.test_error for group in summary.groups)
    return [column for column in shown if errors or "error" not in column.heading]


def table(summary: Summary) -> Table:
    """The table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = [column for column in columns(summary) if column.narrow]
    made = Table(title=None, header_style="bold", row_styles=[""], pad_edge=False)
    for column in shown:
        made.add_column(column.heading, justify="left" if column.text else "right", vertical="bottom")
    for gate in summary.gates:
        for group in summary.of(gate):
            style = "dim" if group.state != "done" else ""
            # Text, not strings: a gate's specification may hold brackets, which rich would read as markup.
            made.add_row(*(Text(column.cell(group)) for column in shown), style=style)
        made.add_section()
    return made


def markdown(summary: Summary) -> str:
    """The table in Markdown, with every column."""
    shown = columns(summary)
    lines = [
        [column.heading for column in shown],
        [":--" if column.text else "--:" for column in shown],
        *([column.cell(group).replace("|", "\\|") for column in shown] for group in summary.groups),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _gated(group: Group) -> bool:
    """Whether the gate is one that opens or closes: neither always 1 (plain, residual) nor unknown."""
    return any(value is not None and value != 1 for value in (group.transform_start, group.transform_end))


def _whole(number: int | None) -> str:
    return rounded(None) if number is None else f"{number:,}"


def _loss(mean: Mean | None) -> str:
    return plus_minus(mean.value, mean.std) if mean else rounded(None)


def _error(mean: Mean | None) -> str:
    return percent(mean.value, mean.std, sign=False) if mean else rounded(None)
