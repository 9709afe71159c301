"""Charts by layer, before and after training: the gradient, the gate, the activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from skipway.report.axes import LogAxis
from skipway.report.encode import Chart, depth_colour, facet, over, spec, tooltips
from skipway.report.summary import Summary


def gradients(summary: Summary) -> Chart | None:
    """Gradient by layer."""
    chart = _by_layer(summary, summary.gates, "gradient_norm", "gradient norm", logarithmic=True)
    if chart is None:
        return None
    return Chart(
        "gradient-by-layer",
        "Does the gradient reach the first layers?",
        "The norm of the loss's gradient with respect to each layer's output, from the first layer (left) to the last "
        "block (right), before and after training. Training moves from right to left: a line that drops steeply "
        "to the left is a net whose early layers hear almost nothing of the error.",
        "",
        spec(summary, chart, "Gradient by layer", "norm with respect to each layer's output, mean over seeds"),
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
    if chart is None:
        return None
    return Chart(
        "gate-by-layer",
        "Where are the gates open?",
        "The gate T of each block, mean over data, units and seeds, from the first block (left) to the last (right), "
        "before and after training. Near 0 a block hands its input on almost untouched; the larger T, the more "
        "of its own work it puts in.",
        "Highway networks (Srivastava et al. 2015), Fig. 2",
        spec(summary, chart, "Mean gate T by layer", "mean over data, units and seeds"),
    )


def activations(summary: Summary) -> Chart | None:
    """Activation's standard deviation by layer."""
    chart = _by_layer(summary, summary.gates, "activation_std", "standard deviation", logarithmic=True)
    if chart is None:
        return None
    return Chart(
        "activation-by-layer",
        "Does the signal keep its size on its way forward?",
        "The standard deviation of each layer's output over data and units, from the first layer (left) to the last "
        "block (right), before and after training. A level line carries the signal; one that falls towards "
        "nothing loses it, and one that climbs by orders of magnitude is about to blow up.",
        "Deep residual learning (He et al. 2015), Fig. 7",
        spec(summary, chart, "Standard deviation of the activation by layer", "over data and units, mean over seeds"),
    )


def _by_layer(summary: Summary, gates: Sequence[str], field: str, title: str, *, logarithmic: bool) -> Any | None:
    """Panels in pairs, a gate a row: before training on the left, after it on the right."""
    values = [row[field] for row in summary.layers if row["gate"] in gates and row[field] is not None]
    if not values:
        return None
    y = alt.Y(f"{field}:Q", title=title, axis=alt.Axis(tickCount=5))
    y = LogAxis(title, values).y(field) if logarithmic else y
    lines = (
        over("layers")
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
            color=depth_colour(summary),
            tooltip=tooltips("gate:N", "depth:Q", "layer:Q", (f"{field}:Q", title)),
        )
    )
    panels = [f"{gate}, {moment} training" for gate in gates for moment in ("before", "after")]
    return facet(lines, "panel", panels, columns=2)
