"""Charts against depth: the training loss and the study's metric on the training data at the end."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from skipway.report.charts.axes import ValueAxis, least
from skipway.report.charts.encode import (
    WIDTH,
    Chart,
    crosses,
    gate_colour,
    gate_shape,
    over,
    spec,
    tooltips,
    zero_or_not,
)
from skipway.report.means import Mean
from skipway.report.summary import Choice, Summary
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.reach import reach_of, searched
from skipway.rundir.layout import Json

HEIGHT = 300


def rows(summary: Summary) -> list[Json]:
    """A row a gate and depth: losses and the metric as it is shown, with the lowest and the highest seed."""
    losses = [value for net in summary.groups if net.train_loss for value in net.train_loss.values]
    stops = {(end["gate"], end["holds"]): end["stops"] for end in _stops(summary)}
    return [
        {
            "gate": group.gate,
            "depth": group.depth,
            **_spread("loss", group.train_loss, least=least(losses)),
            **_spread("metric", group.train_metric, factor=summary.metric.factor),
            "seeds": group.train_loss.n if group.train_loss else 0,
            "state": group.state,
            **_rate(group.training),
            "stops": stops.get((group.gate, group.depth)),
        }
        for group in summary.groups
        if group.state != "unfinished"
    ]


def _rate(chosen: Choice | None) -> Json:
    """The rate that trains best, and its neighbours among those that were tried: at an edge, itself."""
    if chosen is None:
        return {"rate": None, "rate_low": None, "rate_high": None}
    rate = chosen.learning_rate
    return {"rate": rate, "rate_low": chosen.low or rate, "rate_high": chosen.high or rate}


def _stops(summary: Summary) -> list[Json]:
    """For each gate of a study that searched depths: between which ones its nets stop training."""
    if not searched(summary):
        return []
    found = Findings(summary)
    ends = {gate: reach_of(found, gate) for gate in summary.gates}
    return [{"gate": gate, "holds": own.holds, "stops": own.stops} for gate, own in ends.items() if None not in own]


def loss(summary: Summary) -> Chart | None:
    """Final training loss against depth."""
    values = _values(summary, "loss")
    if not values:
        return None
    diverged = [gate for gate in summary.gates if any(group.state == "diverged" for group in summary.of(gate))]
    axis = ValueAxis("training loss at the end", values, diverged)
    marks = crosses(
        _base(summary).transform_filter("datum.state == 'diverged'"),
        axis,
        "gate",
        tooltips("gate:N", "depth:Q", "state:N"),
    )
    return Chart(
        "loss-by-depth",
        "How well do deeper nets fit the training data?",
        "Each point is one gate at one depth: the training loss at the end, at the rate that trains it best, mean over "
        "seeds (the bar behind it goes from the lowest seed to the highest). A line that climbs to the right is a net "
        "that fits its training data less well the deeper it is; a cross above is one that diverged at every learning "
        "rate.",
        "Highway networks (Srivastava et al. 2015), Fig. 1",
        _against_depth(summary, "loss", axis.y, "Training loss against depth", marks),
    )


def metric(summary: Summary) -> Chart | None:
    """The final metric on the training data against depth; none of one depth, or where there is only the loss."""
    values, own = _values(summary, "metric"), summary.metric
    if not values or len(summary.depths) < 2 or own.is_loss:
        return None
    scale = zero_or_not(values, own)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=own.heading("training", "at the end"), scale=scale, axis=alt.Axis(tickCount=5))

    shown = (
        "The share of the training data that the final weights classify wrongly, by depth"
        if own.counts_wrong
        else f"The {own.word} of the final weights on the training data, by depth"
    )
    return Chart(
        "error-by-depth",
        f"Does depth make the training {own.word} worse?",
        f"{shown}; points and bars as above. More layers could always copy what fewer do, so a line that "
        f"{'climbs' if own.lower else 'falls'} to the right is not overfitting but a net that is harder to train: the "
        f"degradation problem.{_BAND if _stops(summary) else ''}",
        "Deep residual learning (He et al. 2015), Fig. 1 and 6, by their ends",
        _against_depth(
            summary,
            "metric",
            y,
            f"Training {own.word} against depth",
            [_band(summary)] if _stops(summary) else [],
            label=own.label("training"),
        ),
    )


def rates(summary: Summary) -> Chart | None:
    """The rate that trains best against depth; none of one depth, or where one rate was tried."""
    chosen = [group.training for group in summary.groups if group.training]
    tried = sorted({row["learning_rate"] for row in summary.sweep})
    if len(summary.depths) < 2 or len(tried) < 2 or not chosen:
        return None

    def y(field: str) -> alt.Y:
        scale = alt.Scale(type="log", domain=[tried[0] / 1.4, tried[-1] * 1.4], nice=False)
        axis = alt.Axis(values=tried, format="~g", labelOverlap=True)
        return alt.Y(f"{field}:Q", title="learning rate that trains best", scale=scale, axis=axis)

    base = _base(summary)
    told = tooltips(
        "gate:N",
        "depth:Q",
        ("rate:Q", "trains best at"),
        ("rate_low:Q", "next lower tried"),
        ("rate_high:Q", "next higher tried"),
    )
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.2, strokeCap="round").encode(y=y("rate_low"), y2="rate_high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=y("rate")),
        base.mark_point(filled=True, size=90, opacity=1).encode(y=y("rate"), shape=gate_shape(summary), tooltip=told),
    ]
    return Chart(
        "rate-by-depth",
        "Does the best learning rate move with depth?",
        "Each point is one gate at one depth: the rate with the lowest mean training loss. The bar behind it goes from "
        "the next lower rate that was tried to the next higher one: no other was tried between them. Where a line "
        "leaves the bars, a rate that was found on a shallow net would not do for a deep one.",
        "",
        spec(
            summary,
            alt.layer(*layers).properties(width=WIDTH - 60, height=HEIGHT),
            "Best learning rate against depth",
            "lowest mean training loss; bars reach to the neighbours that were tried",
        ),
    )


_BAND = " A band is where a gate's nets stop training as well as shallower ones do."


def _band(summary: Summary) -> Any:
    """From the deepest net that trains as well as shallower ones to the first that does not."""
    return (
        _base(summary)
        .transform_filter("isValid(datum.stops)")
        .mark_rect(opacity=0.18)
        .encode(x2="stops:Q", tooltip=tooltips("gate:N", ("depth:Q", "trains to depth"), ("stops:Q", "no longer at")))
    )


def _against_depth(
    summary: Summary, name: str, y: Any, title: str, marks: list[Any], label: str = "training loss"
) -> Json:
    """Points, lines between them and bars from the lowest seed to the highest, with further marks."""
    base = _base(summary)
    told = tooltips(
        "gate:N",
        "depth:Q",
        (f"{name}:Q", label),
        (f"{name}_low:Q", "lowest seed"),
        (f"{name}_high:Q", "highest seed"),
        "seeds:Q",
    )
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.25, strokeCap="round").encode(y=y(f"{name}_low"), y2=f"{name}_high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=y(name)),
        base.mark_point(filled=True, size=90, opacity=1).encode(y=y(name), shape=gate_shape(summary), tooltip=told),
        *marks,
    ]
    return spec(
        summary,
        alt.layer(*layers).properties(width=WIDTH - 60, height=HEIGHT),
        title,
        "mean over seeds at the rate that trains best; bars from the lowest seed to the highest",
    )


def _base(summary: Summary) -> Any:
    depths = summary.depths
    x = alt.X(
        "depth:Q",
        title="depth, layers",
        scale=alt.Scale(type="log", domain=[depths[0] / 1.15, depths[-1] * 1.15], nice=False),
        axis=alt.Axis(values=depths, grid=False, format="d", labelOverlap=True),
    )
    return over("groups").encode(x=x, color=gate_colour(summary))


def _spread(name: str, mean: Mean | None, *, factor: float = 1.0, least: float = -math.inf) -> Json:
    """A mean with its lowest and highest seed; no lower than `least`, for a logarithmic axis."""
    if mean is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    middle, low, high = (max(factor * value, least) for value in (mean.value, mean.low, mean.high))
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _values(summary: Summary, name: str) -> list[float]:
    return [value for row in rows(summary) for end in ("low", "high") if (value := row[f"{name}_{end}"]) is not None]
