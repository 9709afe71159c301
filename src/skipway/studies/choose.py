"""The learning rate of each gate and depth, chosen on the validation split; then one look at the test split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from skipway.data.preprocess import Preprocess
from skipway.data.splits import Data
from skipway.nets.weights import load_net
from skipway.rundir import WEIGHTS, Json, Run, Study
from skipway.studies.grid import Cell
from skipway.training.evaluate import evaluate
from skipway.training.execution import choose_execution, prepare
from skipway.training.replicas import Single


def choose(study: Study, ids: Mapping[Cell, str]) -> list[Json]:
    """For every gate and depth whose cells are all finished: the learning rate of the lowest mean validation loss.

    A learning rate with a diverged seed is out; where all are, none is chosen. Of equals the lower one wins.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in ids:
        groups.setdefault((cell.gate, cell.depth), []).append(cell)
    chosen = []
    for (gate, depth), cells in groups.items():
        if not all(study.has(ids[cell]) for cell in cells):
            continue
        infos = {cell: study.run(ids[cell]).info() for cell in cells}
        means = {rate: _mean_loss([infos[c] for c in cells if c.learning_rate == rate]) for rate in _rates(cells)}
        best = min(means, key=lambda rate: means[rate])
        if math.isfinite(means[best]):
            chosen.append({"gate": gate, "depth": depth, "learning_rate": best})
    return chosen


def score_on_test(
    study: Study,
    ids: Mapping[Cell, str],
    chosen: Sequence[Json],
    data: Data,
    progress: Callable[[int, int], None] = lambda done, wanted: None,
) -> None:
    """Read the test split once for each run of a chosen learning rate, on its final weights; add the scores to it.

    `progress` is told how many of how many runs are scored.
    """
    rates = {(row["gate"], row["depth"], row["learning_rate"]) for row in chosen}
    wanted = [study.run(own) for cell, own in ids.items() if (cell.gate, cell.depth, cell.learning_rate) in rates]
    fresh = [run for run in wanted if "test_loss" not in run.info()["metrics"]]
    for done, run in enumerate(fresh):
        progress(done, len(fresh))
        run.update_metrics(_test_scores(run, data))


def _test_scores(run: Run, data: Data) -> Json:
    saved = load_net(run.checked(WEIGHTS))
    prepare(saved.net, choose_execution(saved.net, data.shape, images=len(data.test)))
    scores = evaluate(Single(saved.net), data.test, Preprocess.from_dict(saved.preprocess))
    return {"test_loss": float(scores.loss[0]), "test_error": float(scores.error[0])}


def _rates(cells: Iterable[Cell]) -> list[float]:
    return sorted({cell.learning_rate for cell in cells})


def _mean_loss(infos: Sequence[Json]) -> float:
    if any(info["status"] != "done" for info in infos):
        return math.inf
    return fmean(info["metrics"]["validation_loss"] for info in infos)
