"""The learning rates of each gate and depth, one for either question; then one look at the test split.

How well can it be trained? At the rate with the lowest mean training loss. How well does it generalise? At the one with
the lowest mean validation error. One rate for both would answer neither: a validation split of a few hundred images
chooses among rates at which they are equally well classified, and so at times one that trains ten times worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

import torch

from skipway.nets.weights import load_net
from skipway.rundir.layout import WEIGHTS, Json
from skipway.rundir.run import Run
from skipway.rundir.study import Study
from skipway.runs.fit import draws_of, named_scores
from skipway.studies.grid import Cell, Plan
from skipway.tasks.task import Metric
from skipway.training.evaluate import evaluate
from skipway.training.execution import choose_execution, prepare
from skipway.training.replicas import Single


def _measures(metric: Metric | None) -> dict[str, tuple[tuple[str, int], ...]]:
    """What a question's rate is chosen by, and whether low (1) or high (-1) is better.

    Of equals the next measure decides, then the lower rate.
    """
    by_loss = ("validation_loss", 1)
    if metric is None:
        return {"training": (("train_loss", 1),), "validation": (by_loss,)}
    by_metric = (f"validation_{metric.name}", 1 if metric.better == "lower" else -1)
    return {"training": (("train_loss", 1),), "validation": (by_metric, by_loss)}


def choose(study: Study, ids: Mapping[Cell, str], metric: Metric | None) -> list[Json]:
    """For every gate and depth whose cells are all finished: the rates that train and that generalise best.

    A learning rate with a diverged seed is out; where all are, none is chosen.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in ids:
        groups.setdefault((cell.gate, cell.depth), []).append(cell)
    chosen = []
    for (gate, depth), cells in groups.items():
        if not all(study.has(ids[cell]) for cell in cells):
            continue
        infos = {cell: study.run(ids[cell]).info() for cell in cells}
        rates = {rate: [infos[cell] for cell in cells if cell.learning_rate == rate] for rate in _rates(cells)}
        whole = {rate: own for rate, own in rates.items() if all(info["status"] == "done" for info in own)}
        if whole:
            best = {question: _best(whole, measures) for question, measures in _measures(metric).items()}
            chosen.append({"gate": gate, "depth": depth, "learning_rate": best})
    return chosen


def score_on_test(
    study: Study,
    ids: Mapping[Cell, str],
    chosen: Sequence[Json],
    plan: Plan,
    progress: Callable[[int, int], None] = lambda done, wanted: None,
    device: str = "cpu",
) -> None:
    """Read the test split once for each run of a rate that generalises best, on its final weights; add its scores.

    `progress` is told how many of how many runs are scored. The device is the study's, where this machine has it.
    """
    rates = {(row["gate"], row["depth"], row["learning_rate"]["validation"]) for row in chosen}
    wanted = {cell: study.run(own) for cell, own in ids.items()}
    fresh = [
        (cell, run)
        for cell, run in wanted.items()
        if (cell.gate, cell.depth, cell.learning_rate) in rates and "test_loss" not in run.info()["metrics"]
    ]
    for done, (cell, run) in enumerate(fresh):
        progress(done, len(fresh))
        run.update_metrics(_test_scores(run, cell, plan, _here(device)))


def _here(device: str) -> str:
    """The device, or the CPU of a machine that only asked a cluster's for its GPUs."""
    return "cpu" if device.startswith("cuda") and not torch.cuda.is_available() else device


def _test_scores(run: Run, cell: Cell, plan: Plan, device: str) -> Json:
    data, task = plan.data, plan.task
    saved = load_net(run.checked(WEIGHTS), lambda: plan.build(cell))
    execution = choose_execution(saved.net, data.spec.example(), images=len(data.test))
    prepare(saved.net.to(device), execution)
    pipeline, draws = data.restored(saved.preprocess), draws_of(cell.seed, "test")
    scores = evaluate(Single(saved.net), data.test, pipeline, task, device=device, draws=draws)
    return named_scores(scores, task, "test")[0]


def _rates(cells: Iterable[Cell]) -> list[float]:
    return sorted({cell.learning_rate for cell in cells})


def _best(rates: Mapping[float, Sequence[Json]], measures: Sequence[tuple[str, int]]) -> float:
    """The rate with the best means; a measure that a study lacks decides nothing."""

    def means(rate: float) -> tuple[float, ...]:
        # Ten wrong images are as many, whichever seeds had them: to 12 digits, whose last no order of a sum changes.
        values = (sign * fmean(info["metrics"].get(name, math.inf) for info in rates[rate]) for name, sign in measures)
        return tuple(float(f"{value:.12g}") for value in values)

    return min(rates, key=lambda rate: (*means(rate), rate))
