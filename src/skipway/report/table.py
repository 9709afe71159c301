"""The study's table: the same columns for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skipway.report import computed
from skipway.report.means import Mean
from skipway.report.metric import Metric
from skipway.report.numbers import MISSING, counted, plus_minus, rounded
from skipway.report.summary import Choice, Group, Summary
from skipway.report.summary import summarise as summarise

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table


_READING = (
    "{seeds}. Training columns: at the learning rate with the lowest training loss; "
    "validation and test: at that with the {best} validation {word}."
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
    """The columns that this study fills: T only where a gate moves."""
    gated = any(_gated(group) for group in summary.groups)
    return [*_identity(), *_trained(summary.metric), *_judged(summary.metric), _seeds(), *_inside(gated=gated)]


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


def _trained(metric: Metric) -> list[Column]:
    """What the training leaves, at the rate that trains best."""
    wrong = "share of the training data classified wrongly"
    shown = [
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
            metric.heading("Training"),
            f"{wrong if metric.counts_wrong else f'{metric.word} on the training data'}, at the rate that trains best",
            lambda group: _cell(metric, group.train_metric),
            metric.short_heading("Train."),
        ),
    ]
    return shown[:2] if metric.is_loss else shown


def _judged(metric: Metric) -> list[Column]:
    """What the nets are worth on other data, at the rate that generalises best."""
    share = "share wrong" if metric.counts_wrong else metric.word
    ties = "" if metric.is_loss else " of equals that with the lowest loss,"
    return [
        Column(
            "Generalises best at rate",
            f"the learning rate with the {metric.best} mean validation {metric.word},{ties} among those at which no "
            f"seed diverged; {_ARROWS}",
            lambda group: _rate(group.validation),
            "Valid.\nbest at",
        ),
        Column(
            metric.heading("Validation"),
            f"{share} on the data that this rate is chosen by",
            lambda group: _cell(metric, group.validation_metric),
            metric.short_heading("Valid."),
        ),
        Column(
            metric.heading("Test"),
            f"{share} on data used for nothing else, at the rate that generalises best; ± the standard deviation over "
            "seeds",
            lambda group: _cell(metric, group.test_metric),
            metric.short_heading("Test"),
        ),
    ]


def _seeds() -> Column:
    return Column(
        "Seeds",
        "trainings that the means on this line are taken over",
        lambda group: f"{group.train_loss.n}" if group.train_loss else MISSING,
    )


def _inside(*, gated: bool) -> list[Column]:
    shown = [
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
    return shown if gated else shown[:1]


def table(summary: Summary) -> Table:
    """The table for a terminal: the columns that 80 characters have room for, which the verdict speaks of."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Text, not strings: a gate's specification or a unit may hold brackets, which rich would read as markup.
    shown = [column for column in columns(summary) if column.short]
    made = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in shown:
        justify: JustifyMethod = "left" if column.text else "right"
        made.add_column(Text(column.short), justify=justify, no_wrap=not column.text, overflow="fold")
    for gate in summary.gates:
        for group in summary.of(gate):
            cells = (Text(_narrow(column, column.cell(group))) for column in shown)
            made.add_row(*cells, style="" if group.state == "done" else "dim")
        made.add_section()
    told = [_reading(summary), *notes(summary)]
    made.caption, made.caption_justify = Text("\n".join(told)), "left"
    return made


def _reading(summary: Summary) -> str:
    metric = summary.metric
    seeds = "A single seed" if summary.seeds else "No results"
    if summary.seeds > 1:
        seeds = f"Means of {counted(summary.seeds, 'seed')}, ± one standard deviation"
    return _READING.format(seeds=seeds, best=metric.best, word=metric.word)


def _narrow(column: Column, text: str) -> str:
    """A cell for a terminal: a spread with test errors alone, a long gate with its settings on a second line."""
    if column.text and len(text) > 10:
        return text.replace(":", ":\n", 1)
    return text if column.heading.startswith("Test") else text.split(" ± ")[0]


def markdown(summary: Summary) -> str:
    """The table in Markdown, with every column."""
    shown = columns(summary)
    lines = [
        [column.heading.replace("|", "\\|") for column in shown],
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


def _cell(metric: Metric, mean: Mean | None) -> str:
    return metric.text(mean.value, mean.std, unit=False) if mean else MISSING
