"""The charts, as Vega-Lite specifications built with Altair: one each for the page and for its PNG file.

A specification names its rows ("groups", "sweep", "curves" or "layers") and holds none, so that a page carries each set
of rows once. Colours: a gate has the same one everywhere (Okabe and Ito's, told apart with any colour vision), a depth
one of a scale from light to dark.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import altair as alt

from skipway.report.axes import LogAxis
from skipway.report.encode import WIDTH, Chart, depth_colour, facet, gate_colour, gate_shape, over, spec, tooltips
from skipway.report.layer_charts import activations, gates, gradients
from skipway.report.summary import Summary
from skipway.report.theme import THEME
from skipway.rundir import Json

HEIGHT = 300


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
    ends = [
        value for group in summary.groups if group.train_loss for value in (group.train_loss.low, group.train_loss.high)
    ]
    axis = LogAxis("training loss at the end", [value for value in ends if value], diverged)
    base = over("groups").encode(x=x, color=gate_colour(summary))
    told = tooltips(
        "gate:N",
        "depth:Q",
        ("loss:Q", "training loss"),
        ("low:Q", "lowest seed"),
        ("high:Q", "highest seed"),
        "seeds:Q",
    )
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.25, strokeCap="round").encode(y=axis.y("low"), y2="high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=axis.y("loss")),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            y=axis.y("loss"), shape=gate_shape(summary), tooltip=told
        ),
        *_crosses(
            base.transform_filter("datum.state == 'diverged'"), axis, "gate", tooltips("gate:N", "depth:Q", "state:N")
        ),
    ]
    return Chart(
        "loss-by-depth",
        "How well do deeper nets fit the training data?",
        "Each point is one gate at one depth: the training loss at the end, at its best learning rate, mean over seeds "
        "(the bar behind it goes from the lowest seed to the highest). A line that climbs to the right is a net that "
        "cannot even learn its training data once it is deep; a cross above is a net that diverged at every learning "
        "rate.",
        "Highway networks (Srivastava et al. 2015), Fig. 1",
        spec(
            summary,
            alt.layer(*layers).properties(width=WIDTH - 60, height=HEIGHT),
            "Training loss against depth",
            "mean over seeds at the best learning rate; bars from the lowest seed to the highest",
        ),
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
        over("curves")
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(opacity=0, size=40))
        .encode(
            x=alt.X("step:Q", title="training steps", axis=alt.Axis(tickCount=4, grid=False)),
            y=y,
            color=depth_colour(summary),
            strokeDash=alt.StrokeDash(
                "set:N",
                title="measured on",
                scale=alt.Scale(domain=["training", "validation"], range=[[4, 3], [1, 0]]),
                legend=alt.Legend(
                    symbolType="stroke", symbolStrokeColor="#888888", symbolFillColor="transparent", symbolSize=250
                ),
            ),
            tooltip=tooltips("gate:N", "depth:Q", "set:N", "step:Q", f"{quantity}:Q"),
        )
    )
    return Chart(
        "error-over-time",
        f"How do training and validation {quantity} fall?",
        f"Dashed lines are the {quantity} on the training data, full lines that on the validation data, at the best "
        "learning rate, mean over seeds. Where a deeper net's dashed line stays above a shallower one's, it is the "
        "training itself that fails; where only the full line stays high, the net has learned its data by heart.",
        "Deep residual learning (He et al. 2015), Fig. 1 and 6",
        spec(
            summary,
            facet(lines, "gate", summary.gates),
            f"Training and validation {quantity} over the steps",
            "mean over seeds at the best learning rate",
        ),
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
    told = tooltips(
        "gate:N",
        "depth:Q",
        ("learning_rate:Q", "learning rate"),
        ("validation_loss:Q", "validation loss"),
        "seeds:Q",
        ("diverged:Q", "of them diverged"),
        ("chosen:N", "chosen"),
    )
    base = over("sweep").encode(x=x, color=depth_colour(summary))
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
        "Every net was trained at each of these learning rates; the large point is the one that the study chose: the "
        "lowest mean validation loss with no seed diverged. A wide flat valley forgives a wrong guess and a narrow one "
        "does not; a cross above marks a rate at which at least one seed diverged.",
        "",
        spec(
            summary,
            facet(alt.layer(*layers), "gate", summary.gates),
            "Validation loss against the learning rate",
            "mean over seeds; large points are the chosen rates",
        ),
    )


def _crosses(base: Any, axis: LogAxis, key: str, told: list[alt.Tooltip]) -> list[Any]:
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
