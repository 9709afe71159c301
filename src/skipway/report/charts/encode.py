"""What the charts share: named rows, panels, one colour a gate and a depth everywhere, tooltips."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from skipway.report.charts.axes import ValueAxis
from skipway.report.charts.theme import depth_colours
from skipway.report.metric import Metric
from skipway.report.summary import Summary
from skipway.rundir.layout import Json

WIDTH = 760
"""Width of a PNG's chart in CSS pixels; the page fits charts to its own."""
PANEL_HEIGHT = 160


@dataclass(frozen=True)
class Chart:
    """A chart, what it shows, and how to read it."""

    name: str
    """The PNG file's name, without its ending."""
    title: str
    reading: str
    """Two sentences for somebody who sees such a chart for the first time."""
    source: str
    """The figure of a paper that it is made after; empty if none."""
    spec: Json


def over(name: str) -> Any:
    """A chart of the rows of this name."""
    return alt.Chart(alt.NamedData(name=name))


def facet(chart: Any, field: str, order: Sequence[str], columns: int = 3) -> Any:
    """Panels side by side, at most `columns` in a row, which share their axes."""
    columns = min(columns, len(order))
    width = (WIDTH - 60 - 24 * (columns - 1)) // columns
    facet = alt.Facet(f"{field}:N", sort=list(order), title=None)
    return chart.properties(width=width, height=PANEL_HEIGHT).facet(facet=facet, columns=columns, bounds="flush")


def gate_colour(summary: Summary) -> alt.Color:
    """A gate's colour: the same in every chart."""
    return alt.Color("gate:N", title="gate", scale=alt.Scale(domain=summary.gates), sort=None)


def gate_shape(summary: Summary) -> alt.Shape:
    """A gate's shape, so that no colour need be told apart."""
    return alt.Shape("gate:N", title="gate", scale=alt.Scale(domain=summary.gates))


def depth_colour(summary: Summary) -> alt.Color:
    """A depth's colour, from the shallowest to the deepest."""
    return alt.Color(
        "depth:O",
        title="depth",
        scale=alt.Scale(domain=summary.depths, range=depth_colours(len(summary.depths))),
        legend=alt.Legend(symbolType="stroke", symbolSize=250),
    )


def tooltips(*fields: str | tuple[str, str]) -> list[alt.Tooltip]:
    """Tooltips: names of the fields, or (field, title) where the field's name is not a word."""
    pairs = [(field, field.split(":")[0]) if isinstance(field, str) else field for field in fields]
    return [
        alt.Tooltip(field, title=title, format=".3~g") if field.endswith(":Q") else alt.Tooltip(field, title=title)
        for field, title in pairs
    ]


def spec(summary: Summary, chart: Any, title: str, subtitle: str = "") -> Json:
    """The specification, with a title for the PNG file, which stands alone; the page sets titles of its own."""
    subject = ", ".join(part for part in (str(summary.info.get("name", "")), subtitle) if part)
    made: Json = chart.properties(title=alt.TitleParams(title, subtitle=subject)).to_dict(validate=False)
    return made


def zero_or_not(values: Sequence[float], metric: Metric) -> alt.Scale:
    """A linear scale for a metric's values: from 0, unless all are far from it and would crowd at its top."""
    low, high = min(values), max(values)
    if low < 0.4 * high:
        return alt.Scale(zero=True)
    per_cent = metric.unit == "%" and high <= 100
    margin = max(1.0, 0.05 * (high - low)) if per_cent else max(0.02 * abs(high), 0.05 * (high - low))
    return alt.Scale(domain=[max(0.0, low - margin), min(100.0 if per_cent else math.inf, high + margin)], nice=5)


def crosses(base: Any, axis: ValueAxis, key: str, told: list[alt.Tooltip]) -> list[Any]:
    """What diverged has no loss: crosses above the axis's values, each `key` at a height of its own."""
    if not axis.above:
        return []
    keys, heights = json.dumps(list(axis.above)), json.dumps(list(axis.above.values()))
    placed = base.transform_calculate(height=f"{heights}[indexof({keys}, datum.{key})]")
    return [
        placed.mark_point(shape="cross", angle=45, size=90, filled=True, opacity=1).encode(
            y=axis.y("height"), tooltip=told
        )
    ]
