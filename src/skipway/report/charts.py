"""The charts, as Vega-Lite specifications built with Altair: one each for the page and for its PNG file.

A specification names its rows ("groups", "sweep", "curves" or "layers") and holds none, so that a page carries each set
of rows once. Colours: a gate has the same one everywhere (Okabe and Ito's, told apart with any colour vision), a depth
one of a scale from light to dark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from skipway.report.axes import LogAxis
from skipway.report.summary import Summary
from skipway.report.theme import THEME, depth_colours
from skipway.rundir import Json

WIDTH, HEIGHT = 760, 300


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


def charts(summary: Summary) -> list[Chart]:
    """All charts that the study has rows for."""
    makers: list[Callable[[Summary], Chart | None]] = [loss, errors, rates, gradients, gates, activations]
    with alt.theme.enable(THEME):
        return [chart for maker in makers if (chart := maker(summary)) is not None]


def rows(summary: Summary) -> dict[str, list[Json]]:
    """The rows that the specifications name."""
    groups = [
        {
            "gate": group.gate,
            "depth": group.depth,
            "loss": max(group.train_loss.value, 1e-12) if group.train_loss else None,
            "low": max(group.train_loss.low or group.train_loss.value, 1e-12) if group.train_loss else None,
            "high": max(group.train_loss.high or group.train_loss.value, 1e-12) if group.train_loss else None,
            "seeds": group.train_loss.n if group.train_loss else 0,
            "state": group.state,
        }
        for group in summary.groups
        if group.state != "unfinished"
    ]
    return {
        "groups": groups,
        "sweep": list(summary.sweep),
        "curves": list(summary.curves),
        "layers": list(summary.layers),
    }


def loss(summary: Summary) -> Chart | None:
    """Final training loss against depth."""
    if not any(group.state == "done" for group in summary.groups):
        return None
    depths = summary.depths
    x = alt.X(
        "depth:Q",
        title="depth, layers",
        scale=alt.Scale(type="log", domain=[depths[0] / 1.15, depths[-1] * 1.15], nice=False),
        axis=alt.Axis(values=depths, grid=False, format="d", labelOverlap=True),
    )
    diverged = [gate for gate in summary.gates if any(group.state == "diverged" for group in summary.of(gate))]
    ends = [value for group in summary.groups if group.train_loss for value in (group.train_loss.low, group.train_loss.high)]
    axis = LogAxis("training loss at the end", [value for value in ends if value], diverged)
    base = _chart("groups").encode(x=x, color=_gate_colour(summary))
    told = _told("gate:N", "depth:Q", ("loss:Q", "training loss"), ("low:Q", "lowest seed"), ("high:Q", "highest seed"), "seeds:Q")
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.25, strokeCap="round").encode(y=axis.y("low"), y2="high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=axis.y("loss")),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            y=axis.y("loss"), shape=_gate_shape(summary), tooltip=told
        ),
        *_crosses(base.transform_filter("datum.state == 'diverged'"), axis, "gate", _told("gate:N", "depth:Q", "state:N")),
    ]
    return Chart(
        "loss-by-depth",
        "How well do deeper nets fit the training data?",
        "Each point is one gate at one depth: the training loss at the end, at its best learning rate, mean over seeds "
        "(the bar behind it goes from the lowest seed to the highest). A line that climbs to the right is a net that "
        "cannot even learn its training data once it is deep; a cross at the top diverged at every learning rate.",
        "Highway networks (Srivastava et al. 2015), Fig. 1",
        _spec(alt.layer(*layers).properties(width=WIDTH - 60, height=HEIGHT), "Training loss against depth"),
    )


def errors(summary: Summary) -> Chart | None:
    """Training and validation error over the steps."""
    if not summary.curves:
        return None
    quantity = "error" if "error" in summary.curves[0] else "loss"
    values = [row[quantity] for row in summary.curves if row[quantity]]
    y = alt.Y("error:Q", title="error, %", axis=alt.Axis(tickCount=5))
    y = y if quantity == "error" else LogAxis("loss", values).y("loss")
    lines = (
        _chart("curves")
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(opacity=0, size=40))
        .encode(
            x=alt.X("step:Q", title="training steps", axis=alt.Axis(tickCount=4, grid=False)),
            y=y,
            color=_depth_colour(summary),
            strokeDash=alt.StrokeDash(
                "set:N",
                title="measured on",
                scale=alt.Scale(domain=["training", "validation"], range=[[4, 3], [1, 0]]),
                legend=alt.Legend(symbolType="stroke", symbolStrokeColor="#888888"),
            ),
            tooltip=_told("gate:N", "depth:Q", "set:N", "step:Q", f"{quantity}:Q"),
        )
    )
    return Chart(
        "error-over-time",
        f"How do training and validation {quantity} fall?",
        f"Dashed lines are the {quantity} on the training data, full lines that on the validation data, at the best "
        "learning rate, mean over seeds. Where a deeper net's dashed line stays above a shallower one's, it is the "
        "training itself that fails; where only the full line stays high, the net has learned its data by heart.",
        "Deep residual learning (He et al. 2015), Fig. 1 and 6",
        _spec(_facet(lines, "gate", summary.gates), f"Training and validation {quantity} over the steps"),
    )


def rates(summary: Summary) -> Chart | None:
    """Final validation loss against the learning rate."""
    if len({row["learning_rate"] for row in summary.sweep}) < 2:
        return None
    tried = sorted({row["learning_rate"] for row in summary.sweep})
    x = alt.X(
        "learning_rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log", domain=[tried[0] / 1.4, tried[-1] * 1.4], nice=False),
        axis=alt.Axis(values=tried, format="~g", grid=False, labelOverlap=True),
    )
    diverged = sorted({row["depth"] for row in summary.sweep if row["diverged"]})
    values = [row["validation_loss"] for row in summary.sweep if row["validation_loss"]]
    axis = LogAxis("validation loss at the end", values, diverged)
    told = _told(
        "gate:N",
        "depth:Q",
        ("learning_rate:Q", "learning rate"),
        ("validation_loss:Q", "validation loss"),
        "seeds:Q",
        ("diverged:Q", "of them diverged"),
        ("chosen:N", "chosen"),
    )
    base = _chart("sweep").encode(x=x, color=_depth_colour(summary))
    layers = [
        base.mark_line(strokeWidth=1.8).encode(y=axis.y("validation_loss")),
        base.mark_point(filled=True, opacity=1).encode(
            y=axis.y("validation_loss"),
            tooltip=told,
            size=alt.condition("datum.chosen", alt.value(110), alt.value(22)),
        ),
        *_crosses(base.transform_filter("datum.diverged > 0"), axis, "depth", told),
    ]
    return Chart(
        "learning-rates",
        "How much does the learning rate matter?",
        "Every net was trained at each of these learning rates; the large point is the one that the study chose, by the "
        "mean validation loss. A wide flat valley forgives a wrong guess and a narrow one does not; a cross at the top "
        "marks a rate at which at least one seed diverged.",
        "",
        _spec(_facet(alt.layer(*layers), "gate", summary.gates), "Validation loss against the learning rate"),
    )


def gradients(summary: Summary) -> Chart | None:
    """Gradient by layer."""
    chart = _by_layer(summary, summary.gates, "gradient_norm", "gradient norm", logarithmic=True)
    return chart and Chart(
        "gradient-by-layer",
        "Does the gradient reach the first layers?",
        "The norm of the loss's gradient with respect to each layer's output, from the first layer (left) to the last "
        "block (right), before and after training. Training moves from right to left: a line that drops steeply "
        "to the left is a net whose early layers hear almost nothing of the error.",
        "",
        _spec(chart, "Gradient by layer"),
    )


def gates(summary: Summary) -> Chart | None:
    """Mean T by layer, for the gates whose T is not one constant."""
    moving = []
    for gate in summary.gates:
        values = [row["transform_mean"] for row in summary.layers if row["gate"] == gate]
        present = [value for value in values if value is not None]
        if present and max(present) - min(present) > 1e-6:
            moving.append(gate)
    chart = _by_layer(summary, moving, "transform_mean", "mean T", logarithmic=False)
    return chart and Chart(
        "gate-by-layer",
        "Where are the gates open?",
        "The gate T of each block, mean over data, units and seeds, from the first block (left) to the last (right), "
        "before and after training. Near 0 a block hands its input on almost untouched; the larger T, the more "
        "of its own work it puts in.",
        "Highway networks (Srivastava et al. 2015), Fig. 2",
        _spec(chart, "Mean gate T by layer"),
    )


def activations(summary: Summary) -> Chart | None:
    """Activation's standard deviation by layer."""
    chart = _by_layer(summary, summary.gates, "activation_std", "standard deviation", logarithmic=True)
    return chart and Chart(
        "activation-by-layer",
        "Does the signal keep its size on its way forward?",
        "The standard deviation of each layer's output over data and units, from the first layer (left) to the last "
        "block (right), before and after training. A level line carries the signal; one that falls towards "
        "nothing loses it, and one that climbs by orders of magnitude is about to blow up.",
        "Deep residual learning (He et al. 2015), Fig. 7",
        _spec(chart, "Standard deviation of the activation by layer"),
    )


def _by_layer(summary: Summary, gates: Sequence[str], field: str, title: str, *, logarithmic: bool) -> Any | None:
    """Panels in pairs, a gate a row: before training on the left, after it on the right."""
    values = [row[field] for row in summary.layers if row["gate"] in gates and row[field] is not None]
    if not values:
        return None
    y = alt.Y(f"{field}:Q", title=title, axis=alt.Axis(tickCount=5))
    y = LogAxis(title, values).y(field) if logarithmic else y
    lines = (
        _chart("layers")
        .transform_filter(alt.FieldOneOfPredicate(field="gate", oneOf=list(gates)))
        .transform_filter(f"isValid(datum.{field})")
        .transform_calculate(panel="datum.gate + (datum.moment == 'start' ? ', before training' : ', after training')")
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(opacity=0, size=40))
        .encode(
            x=alt.X(
                "position:Q",
                title="place in the net, % of its depth",
                scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=False),
            ),
            y=y,
            color=_depth_colour(summary),
            tooltip=_told("gate:N", "depth:Q", "layer:Q", (f"{field}:Q", title)),
        )
    )
    panels = [f"{gate}, {moment} training" for gate in gates for moment in ("before", "after")]
    return _facet(lines, "panel", panels, columns=2)


def _chart(name: str) -> Any:
    return alt.Chart(alt.NamedData(name=name))


def _facet(chart: Any, field: str, order: Sequence[str], columns: int = 3) -> Any:
    columns = min(columns, len(order))
    width = (WIDTH - 60 - 24 * (columns - 1)) // columns
    facet = alt.Facet(f"{field}:N", sort=list(order), title=None)
    return chart.properties(width=width, height=160).facet(facet=facet, columns=columns, bounds="flush")


def _crosses(base: Any, axis: LogAxis, key: str, told: list[alt.Tooltip]) -> list[Any]:
    """What diverged has no loss: crosses above the axis's values, each `key` at a height of its own."""
    if not axis.above:
        return []
    keys, heights = json.dumps(list(axis.above)), json.dumps(list(axis.above.values()))
    placed = base.transform_calculate(height=f"{heights}[indexof({keys}, datum.{key})]")
    return [placed.mark_point(shape="cross", angle=45, size=90, filled=True, opacity=1).encode(y=axis.y("height"), tooltip=told)]


def _gate_colour(summary: Summary) -> alt.Color:
    return alt.Color("gate:N", title="gate", scale=alt.Scale(domain=summary.gates), sort=None)


def _gate_shape(summary: Summary) -> alt.Shape:
    return alt.Shape("gate:N", title="gate", scale=alt.Scale(domain=summary.gates))


def _depth_colour(summary: Summary) -> alt.Color:
    return alt.Color(
        "depth:O",
        title="depth",
        scale=alt.Scale(domain=summary.depths, range=depth_colours(len(summary.depths))),
        legend=alt.Legend(symbolType="stroke"),
    )


def _told(*fields: str | tuple[str, str]) -> list[alt.Tooltip]:
    """Tooltips: names of the fields, or (field, title) where the field's name is not a word."""
    pairs = [(field, field.split(":")[0]) if isinstance(field, str) else field for field in fields]
    return [
        alt.Tooltip(field, title=title, format=".3~g") if field.endswith(":Q") else alt.Tooltip(field, title=title)
        for field, title in pairs
    ]


def _spec(chart: Any, title: str) -> Json:
    """The specification, with a title for the PNG; the page sets its own titles and shares one `config`."""
    spec: Json = chart.properties(title=title).to_dict(validate=False)
    return spec
