"""Rows behind the charts: means over seeds, thinned, so that the page of a very deep or large study stays small."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from skipway.report.metric import Metric
from skipway.rundir.layout import Json

POINTS_A_LINE = 200
ROWS_A_CHART = 6000

Line = list[Json]


def sweep(infos: Sequence[Json], chosen: Mapping[str, float], metric: Metric) -> list[Json]:
    """One gate and depth by learning rate: final losses and metrics, means of the seeds that did not diverge.

    Args:
        infos: run.json of every training of the gate and depth that is in.
        chosen: the rate that answers each question best, by the question.
        metric: what the study judges by; its columns are called so whatever its name.
    """
    rows = []
    columns = {
        f"{split}_{column}": f"{split}_{name}"
        for split in ("train", "validation")
        for column, name in (("loss", "loss"), ("metric", metric.name))
    }
    for rate in sorted({info["cell"]["learning_rate"] for info in infos}):
        here = [info for info in infos if info["cell"]["learning_rate"] == rate]
        done = [info["metrics"] for info in here if info["status"] == "done"]
        cell = here[0]["cell"]
        rows.append(
            {
                "gate": cell["gate"],
                "depth": cell["depth"],
                "learning_rate": rate,
                **{column: _mean(row.get(name) for row in done) for column, name in columns.items()},
                "seeds": len(here),
                "diverged": len(here) - len(done),
                **{question: rate == chosen.get(question) for question in ("training", "validation")},
            }
        )
    return rows


def curves(runs: Sequence[Sequence[Json]], gate: str, depth: int, metric: Metric) -> list[Line]:
    """The metric over the steps of one gate and depth: a line for the training data, one for the validation data.

    Its values are as they are shown, such as per cent; where a study has none, the lines are losses.

    Args:
        runs: For each run its rows of metrics.jsonl.
        gate: Their gate.
        depth: Their depth.
        metric: What the study judges by.
    """
    rows = [row for run in runs for row in run]
    measured = not metric.is_loss and any(row.get(f"train_{metric.name}") is not None for row in rows)
    name, column, factor = (metric.name, "metric", metric.factor) if measured else ("loss", "loss", 1.0)
    lines = []
    for split, shown in (("train", "training"), ("validation", "validation")) if rows else ():
        values = _by_step(rows, f"{split}_{name}")
        lines.append(
            [
                {"gate": gate, "depth": depth, "set": shown, "step": step, column: factor * statistics.fmean(seeds)}
                for step, seeds in values.items()
            ]
        )
    return lines


def layers(probes: Sequence[Sequence[Json]], gate: str, depth: int) -> list[Line]:
    """Probes of one gate and depth by layer, from the first layer to the last block: one line a moment.

    Means over seeds; of gradient norms, which differ by orders of magnitude, geometric ones. `position` is the layer's
    place in per cent of the last block's, so that nets of all depths can be laid over each other.
    """
    lines = []
    for moment in ("start", "end"):
        rows = [row for run in probes for row in run if row["moment"] == moment and row["kind"] != "head"]
        last = max((row["layer"] for row in rows), default=0)
        line = []
        for layer in sorted({row["layer"] for row in rows}):
            here = [row for row in rows if row["layer"] == layer]
            line.append(
                {
                    "gate": gate,
                    "depth": depth,
                    "moment": moment,
                    "layer": layer,
                    "position": 100 * layer / last if last else 0.0,
                    "activation_std": _positive(_mean(row["activation_std"] for row in here)),
                    "gradient_norm": _mean((row["gradient_norm"] for row in here), _geometric),
                    "transform_mean": _mean(row["transform_mean"] for row in here),
                }
            )
        lines.append(line)
    return lines


def thinned(lines: Sequence[Line], by: str) -> list[Json]:
    """Rows of all lines; of long lines the first point, the last, and so many between that a chart stays light."""
    room = max(20, min(POINTS_A_LINE, ROWS_A_CHART // max(1, len(lines))))
    return [row for line in lines for row in _every(sorted(line, key=lambda row: row[by]), room)]


def _every(line: Line, room: int) -> Line:
    if len(line) <= room:
        return line
    return [line[round(place * (len(line) - 1) / (room - 1))] for place in range(room)]


def _by_step(rows: Iterable[Json], name: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for row in rows:
        if row.get(name) is not None:
            values.setdefault(row["step"], []).append(row[name])
    return values


def _mean(
    values: Iterable[float | None], kind: Callable[[list[float]], float | None] = statistics.fmean
) -> float | None:
    present = [value for value in values if value is not None]
    return kind(present) if present else None


def _geometric(values: list[float]) -> float | None:
    """None where a value underflowed to zero: a logarithmic axis has no place for it."""
    return math.exp(statistics.fmean(map(math.log, values))) if min(values) > 0 else None


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None
