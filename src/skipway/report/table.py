"""The study's table: the same columns for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skipway.report import computed
from skipway.report.means import Mean
from skipway.report.numbers import MISSING, counted, percent, plus_minus, rounded
from skipway.report.summary import Choice, Group, Summary
from skipway.report.summary import summarise as summarise

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table


_READING = (
    "Means of {seeds}, ± one standard deviation. Training columns: at the learning rate with the lowest training loss; "
    "validation and test: at that with the lowest validation error."
)
_ARROWS = "↓ the lowest tried, ↑ the highest tried: another might be better still"


@dataclass(frozen=True)
class Column:
    """A column: its heading, what a newcomer needs to know of it, and the text of a cell."""

    heading: str
    meaning: str
    cell: Callable[[Group], str]
    short: str = ""
    """The heading for a terminal of 80 characters; empty where that has no room for the column."""
    text: bool = False
    """Whether the cells are words, set to the left; numbers are set to the right."""


def columns(summary: Summary) -> list[Column]:
    """The columns that this study fills: errors only where it classifies, T only where a gate moves."""
    shown = [*_identity(), *_results(), *_inside()]
    groups = summary.groups
    if not any(group.train_error or group.validation_error or group.test_error for group in groups):
        shown = [column for column in shown if "error" not in column.heading]
    if not any(_gated(group) for group in groups):
        shown = [column for column in shown if column.heading != "Mean gate T"]
    return shown


def _identity() -> list[Column]:
    return [
        Column(
            "Gate", "how a block mixes its input with its body's output", lambda group: group.gate, "Gate", text=True
        ),
        Column("Depth", "layers, as the net's family counts them", lambda group: f"{group.depth:,}", "Depth"),
        Column("Parameters", "trained numbers in the net", lambda group: _whole(group.parameters), "Para-\nmeters"),
        Column(
            "Multiply-adds",
            "products in the layers of the net, in one forward pass for one input",
            lambda group: _whole(group.multiply_adds),
        ),
    ]


def _results() -> list[Column]:
    return [
        Column(
            "Trains best at rate",
            f"the learning rate with the lowest mean training loss, among those at which no seed diverged; {_ARROWS}",
            lambda group: _rate(group.training),
            "Trains\nbest at",
        ),
        Column(
            "Training loss",
            "mean loss on the training data at the end, at the rate that trains best",
            lambda group: _loss(group.train_loss),
            "Train.\nloss",
        ),
        Column(
            "Training error, %",
            "share of the training data classified wrongly, at the rate that trains best",
            lambda group: _error(group.train_error),
            "Train.\nerr., %",
        ),
        Column(
            "Generalises best at rate",
            "the learning rate with the lowest mean validation error, of equals that with the lowest loss, among those "
            f"at which no seed diverged; {_ARROWS}",
            lambda group: _rate(group.validation),
            "Valid.\nbest at",
        ),
        Column(
            "Validation error, %",
            "share wrong on the data that this rate is chosen by",
            lambda group: _error(group.validation_error),
            "Valid.\nerr., %",
        ),
        Column(
            "Test error, %",
            "share wrong on data used for nothing else, at the rate that generalises best; ± the standard deviation "
            "over seeds",
            lambda group: _error(group.test_error),
            "Test\nerror, %",
        ),
        Column(
            "Seeds",
            "trainings that the means on this line are taken over",
            lambda group: f"{group.train_loss.n}" if group.train_loss else MISSING,
        ),
    ]


def _inside() -> list[Column]:
    return [
        Column(
            "Gradient, first ÷ last block",
            "before training: norm of the loss's gradient at the first block's output, divided by that at the last "
            "block's; geometric mean over seeds; far below 1, it fades on its way back",
            lambda group: rounded(group.gradient_ratio),
        ),
        Column(
            "Mean gate T",
            "after training, at the rate that trains best: how much of its body's output a block lets through; mean "
            "over blocks, data and seeds",
            lambda group: rounded(group.transform_end),
        ),
    ]


def table(summary: Summary) -> Table:
    """The table for a terminal: the columns that 80 characters have room for, which the verdict speaks of."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [column for column in columns(summary) if column.short]
    made = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in shown:
        justify: JustifyMethod = "left" if column.text else "right"
        made.add_column(column.short, justify=justify, no_wrap=not column.text, overflow="fold")
    for gate in summary.gates:
        for group in summary.of(gate):
            # Text, not strings: a gate's specification may hold brackets, which rich would read as markup.
            cells = (Text(_narrow(column, column.cell(group))) for column in shown)
            made.add_row(*cells, style="" if group.state == "done" else "dim")
        made.add_section()
    told = [_READING.format(seeds=counted(summary.seeds, "seed")), *notes(summary)]
    made.caption, made.caption_justify = Text("\n".join(told)), "left"
    return made


def _narrow(column: Column, text: str) -> str:
    """A cell for a terminal: a spread with test errors alone, a long gate with its settings on a second line."""
    if column.text and len(text) > 10:
        return text.replace(":", ":\n", 1)
    return text if column.heading.startswith("Test") else text.split(" ± ")[0]


def markdown(summary: Summary) -> str:
    """The table in Markdown, with every column."""
    shown = columns(summary)
    lines = [
        [column.heading for column in shown],
        [":--" if column.text else "--:" for column in shown],
        *([column.cell(group).replace("|", "\\|") for column in shown] for group in summary.groups),
    ]
    told = "".join(f"\n- {note}" for note in notes(summary))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + (f"{told}\n" if told else "")


def notes(summary: Summary) -> list[str]:
    """What a reader must know besides the numbers, a line each.

    First what the marks mean, then of a row what diverged, failed or is missing; last in what ways the trainings were
    computed, where in more than one.
    """
    edges = {choice.edge for group in summary.groups for choice in (group.training, group.validation) if choice}
    marks = [_ARROWS[0].upper() + _ARROWS[1:] + "."] if edges & {"lowest", "highest"} else []
    told = ((group, " ".join(group.note.split())) for group in summary.groups)  # a reason may have several lines
    rows = [f"{group.gate} at depth {group.depth}: {note}" for group, note in told if note]
    different = computed.note(way for group in summary.groups for way in group.computed)
    return [*marks, *rows, *([different] if different else [])]


def _gated(group: Group) -> bool:
    """Whether the gate is one that opens or closes: neither always 1 (plain, residual) nor unknown."""
    return any(value is not None and value != 1 for value in (group.transform_start, group.transform_end))


def _rate(choice: Choice | None) -> str:
    """A chosen learning rate, marked where none lower or none higher was tried."""
    if choice is None:
        return MISSING
    return f"{choice.learning_rate:g}" + {"lowest": " ↓", "highest": " ↑"}.get(choice.edge, "")


def _whole(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _loss(mean: Mean | None) -> str:
    return plus_minus(mean.value, mean.std) if mean else MISSING


def _error(mean: Mean | None) -> str:
    return percent(mean.value, mean.std, sign=False) if mean else MISSING
