"""The charts, as Vega-Lite specifications built with Altair: one each for the page and for its PNG file.

A specification names its rows ("groups", "sweep", "curves" or "layers") and holds none, so that a page carries each set
of rows once. Colours: a gate has the same one everywhere (Okabe and Ito's, told apart with any colour vision), a depth
one of a scale from light to dark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import altair as alt

from skipway.report.charts import depth_charts, layer_charts
from skipway.report.charts.axes import ValueAxis
from skipway.report.charts.encode import Chart, crosses, depth_colour, facet, over, spec, tooltips, zero_or_not
from skipway.report.charts.theme import THEME
from skipway.report.metric import LOSS
from skipway.report.summary import Question, Summary
from skipway.rundir.layout import Json


def charts(summary: Summary) -> list[Chart]:
    """All charts that the study has rows for."""
    with alt.theme.enable(THEME):
        return [chart for make in MAKERS.values() if (chart := make(summary)) is not None]


def rows(summary: Summary) -> dict[str, list[Json]]:
    """The rows that the specifications name."""
    return {
        "groups": depth_charts.rows(summary),
        "sweep": list(summary.sweep),
        "curves": list(summary.curves),
        "layers": list(summary.layers),
    }


def curves(summary: Summary) -> Chart | None:
    """The metric over the steps, on training and validation data; the loss where there is no metric."""
    if not summary.curves:
        return None
    measured = "metric" in summary.curves[0]
    metric, column = (summary.metric, "metric") if measured else (LOSS, "loss")
    values = [row[column] for row in summary.curves if row[column]]
    y = alt.Y("metric:Q", title=metric.heading(""), scale=zero_or_not(values, metric), axis=alt.Axis(tickCount=5))
    y = y if measured else ValueAxis("loss", values).y("loss")
    word, above, high = metric.word, *(("above", "high") if metric.lower else ("below", "low"))
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
            tooltip=tooltips("gate:N", "depth:Q", "set:N", "step:Q", (f"{column}:Q", metric.label())),
        )
    )
    return Chart(
        "error-over-time",
        f"How do training and validation {word} {'fall' if metric.lower else 'rise'}?",
        f"Dashed lines are the {word} on the training data, full lines that on the validation data, at the rate "
        f"that trains best, mean over seeds. Where a deeper net's dashed line stays {above} a shallower one's, it is "
        f"the training itself that fails; where only the full line stays {high}, the net has learned its data by "
        "heart.",
        "Deep residual learning (He et al. 2015), Fig. 1 and 6",
        spec(
            summary,
            facet(lines, "gate", summary.gates),
            f"Training and validation {word} over the steps",
            "mean over seeds at the rate that trains best",
        ),
    )


def training_rates(summary: Summary) -> Chart | None:
    """Final training loss against the learning rate."""
    return _rates(
        summary,
        "training",
        "How much does the learning rate matter to training?",
        f"{_tried(summary)}; the large point is the rate that trains best, with the lowest mean training loss and no "
        "seed diverged.",
        "the lowest loss",
    )


def _tried(summary: Summary) -> str:
    if summary.search:
        return "Every net was trained at several learning rates, more where the best was the lowest or the highest"
    return "Every net was trained at each of these learning rates"


def validation_rates(summary: Summary) -> Chart | None:
    """Final validation loss against the learning rate."""
    metric = summary.metric
    chosen = f"{metric.best} mean validation {metric.word}"
    if not metric.is_loss:
        chosen += " (of equals, the lowest loss), which need not be the lowest loss of its line"
    return _rates(
        summary,
        "validation",
        "How much does it matter to what has not been seen?",
        f"The same on the validation data; the large point is the rate that generalises best, with the {chosen}.",
        f"the {metric.best} validation {metric.word}",
    )


def _rates(summary: Summary, question: Question, title: str, reading: str, chosen: str) -> Chart | None:
    """Final loss on one split against the learning rate, with the rate that answers the question best."""
    if len({row["learning_rate"] for row in summary.sweep}) < 2:
        return None
    loss = {"training": "train_loss", "validation": "validation_loss"}[question]
    tried = sorted({row["learning_rate"] for row in summary.sweep})
    x = alt.X(
        "learning_rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log", domain=[tried[0] / 1.4, tried[-1] * 1.4], nice=False),
        axis=alt.Axis(values=tried, format="~g", grid=False, labelOverlap=True),
    )
    diverged = sorted({row["depth"] for row in summary.sweep if row["diverged"]})
    axis = ValueAxis(f"{question} loss at the end", [row[loss] for row in summary.sweep if row[loss]], diverged)
    few = min((row["seeds"] for row in summary.sweep), default=0) < summary.seeds
    told = tooltips(
        "gate:N",
        "depth:Q",
        ("learning_rate:Q", "learning rate"),
        (f"{loss}:Q", f"{question} loss"),
        "seeds:Q",
        ("diverged:Q", "of them diverged"),
        (f"{question}:N", "chosen"),
    )
    base = over("sweep").encode(x=x, color=depth_colour(summary))
    layers = [
        base.mark_line(strokeWidth=1.8).encode(y=axis.y(loss)),
        base.mark_point(filled=True).encode(
            y=axis.y(loss),
            tooltip=told,
            opacity=alt.condition(f"datum.seeds < {summary.seeds}", alt.value(0.45), alt.value(1)),
            size=alt.condition(f"datum.{question}", alt.value(110), alt.value(22)),
        ),
        *crosses(base.transform_filter("datum.diverged > 0"), axis, "depth", told),
    ]
    return Chart(
        f"{question}-rates",
        title,
        f"{reading} A wide flat valley forgives a wrong guess and a narrow one does not. A large point at either end "
        "of a line says that the rate beyond might be better. A cross above marks a rate at which a seed diverged; "
        f"several are spread apart.{_FEW if few else ''}",
        "",
        spec(
            summary,
            facet(alt.layer(*layers), "gate", summary.gates),
            f"{question.capitalize()} loss against the learning rate",
            f"mean over the seeds that did not diverge; large points: {chosen}",
        ),
    )


_FEW = " A pale point has fewer seeds than the others: it fell out of the search."

MAKERS: Mapping[str, Callable[[Summary], Chart | None]] = {
    "loss-by-depth": depth_charts.loss,
    "error-by-depth": depth_charts.metric,
    "error-over-time": curves,
    "training-rates": training_rates,
    "rate-by-depth": depth_charts.rates,
    "validation-rates": validation_rates,
    "gradient-by-layer": layer_charts.gradients,
    "gate-by-layer": layer_charts.gates,
    "activation-by-layer": layer_charts.activations,
}
"""Every chart there is by its name, in the page's order; the pictures of all metrics have these names."""
