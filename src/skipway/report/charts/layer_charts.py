"""Charts by layer, before and after training: the gradient, the gate, the activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from skipway.report.charts.axes import ValueAxis
from skipway.report.charts.encode import Chart, depth_colour, facet, over, spec, tooltips
from skipway.report.summary import Summary


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """What a chart by layer shows, and its words."""

    name: str
    field: str
    """The column of `series.layers`."""
    axis: str
    logarithmic: bool
    question: str
    reading: str
    source: str = ""
    title: str
    subtitle: str


_GRADIENT = _Figure(
    name="gradient-by-layer",
    field="gradient_norm",
    axis="gradient norm",
    logarithmic=True,
    question="Does the gradient reach the first layers?",
    reading="The norm of the loss's gradient with respect to each layer's output, from the first layer (left) to the "
    "last block (right), before and after training. Training moves from right to left: a line that drops steeply to "
    "the left is a net whose early layers hear almost nothing of the error.",
    title="Gradient by layer",
    subtitle="norm with respect to each layer's output, mean over seeds",
)
_GATE = _Figure(
    name="gate-by-layer",
    field="transform_mean",
    axis="mean T",
    logarithmic=False,
    question="Where are the gates open?",
    reading="The gate T of each block, mean over data, units and seeds, from the first block (left) to the last "
    "(right), before and after training. Near 0 a block hands its input on almost untouched; the larger T, the more of "
    "its own work it puts in.",
    source="Highway networks (Srivastava et al. 2015), Fig. 2",
    title="Mean gate T by layer",
    subtitle="mean over data, units and seeds",
)
_ACTIVATION = _Figure(
    name="activation-by-layer",
    field="activation_std",
    axis="standard deviation",
    logarithmic=True,
    question="Does the signal keep its size on its way forward?",
    reading="The standard deviation of each block's output over data and units, what its skip carries included, from "
    "the first layer (left) to the last block (right), before and after training. A level line carries the signal; one "
    "that falls towards nothing loses it, and one that climbs by orders of magnitude is about to blow up. In nets of "
    "several stages the line may step where the number of channels changes.",
    source="Deep residual learning (He et al. 2015), Fig. 7, which shows each layer before the skip is added",
    title="Standard deviation of the activation by layer",
    subtitle="of each block's output, over data and units, mean over seeds",
)


def gradients(summary: Summary) -> Chart | None:
    """Gradient by layer."""
    return _chart(_GRADIENT, summary, summary.gates)


def gates(summary: Summary) -> Chart | None:
    """Mean T by layer, for the gates whose T is not one constant."""
    moving = []
    for gate in summary.gates:
        values = [row["transform_mean"] for row in summary.layers if row["gate"] == gate]
        present = [value for value in values if value is not None]
        if present and max(present) - min(present) > 1e-6:
            moving.append(gate)
    return _chart(_GATE, summary, moving)


def activations(summary: Summary) -> Chart | None:
    """Standard deviation of the activation by layer."""
    return _chart(_ACTIVATION, summary, summary.gates)


def _chart(figure: _Figure, summary: Summary, gates: Sequence[str]) -> Chart | None:
    values = [row[figure.field] for row in summary.layers if row["gate"] in gates]
    present = [value for value in values if value is not None]
    if not present:
        return None
    panels = _panels(figure, summary, gates, present)
    made = spec(summary, panels, figure.title, figure.subtitle)
    return Chart(figure.name, figure.question, figure.reading, figure.source, made)


def _panels(figure: _Figure, summary: Summary, gates: Sequence[str], values: Sequence[float]) -> Any:
    """Panels in pairs, a gate a row: before training on the left, after it on the right."""
    y = alt.Y(f"{figure.field}:Q", title=figure.axis, axis=alt.Axis(tickCount=5))
    lines = (
        over("layers")
        .transform_filter(alt.FieldOneOfPredicate(field="gate", oneOf=list(gates)))
        .transform_filter(f"isValid(datum.{figure.field})")
        .transform_calculate(panel="datum.gate + (datum.moment == 'start' ? ', before training' : ', after training')")
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(opacity=0, size=40))
        .encode(
            x=alt.X(
                "position:Q",
                title="place in the net, % of its depth",
                scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=False),
            ),
            y=ValueAxis(figure.axis, values).y(figure.field) if figure.logarithmic else y,
            color=depth_colour(summary),
            tooltip=tooltips("gate:N", "depth:Q", "layer:Q", (f"{figure.field}:Q", figure.axis)),
        )
    )
    panels = [f"{gate}, {moment} training" for gate in gates for moment in ("before", "after")]
    return facet(lines, "panel", panels, columns=2)
