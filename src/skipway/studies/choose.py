"""The learning rates of each gate and depth, one for either question; then one look at the test split.

By what they are compared: `skipway.studies.search.measures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from skipway.nets.weights import load_net
from skipway.rundir.layout import WEIGHTS, Json
from skipway.rundir.run import Run
from skipway.rundir.study import Study
from skipway.runs.fit import draws_of, named_scores
from skipway.studies.grid import Cell, Plan
from skipway.studies.search.measures import QUESTIONS, best, mean, scores
from skipway.tasks.task import Metric
from skipway.training.evaluate import evaluate
from skipway.training.execution import choose_execution, prepare
from skipway.training.replicas import Single


def choose(study: Study, ids: Mapping[Cell, str], seeds: Sequence[int], metric: Metric | None) -> list[Json]:
    """For every gate and depth whose cells are all finished: the rates that train and that generalise best.

    A learning rate that lacks one of the seeds, or diverged with one, is out; where all are, none is chosen.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in ids:
        groups.setdefault((cell.gate, cell.depth), []).append(cell)
    chosen = []
    for (gate, depth), cells in groups.items():
        if not all(study.has(ids[cell]) for cell in cells):
            continue
        infos = {cell: study.run(ids[cell]).info() for cell in cells}
        whole = {
            rate: mean([scores(infos[cell]["metrics"], metric) for cell in own])
            for rate, own in _by_rate(cells).items()
            if {cell.seed for cell in own} == {*seeds} and all(infos[cell]["status"] == "done" for cell in own)
        }
        if whole:
            rates = {question: best(whole, question) for question in QUESTIONS}
            chosen.append({"gate": gate, "depth": depth, "learning_rate": rates})
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


def _by_rate(cells: Iterable[Cell]) -> dict[float, list[Cell]]:
    found: dict[float, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.learning_rate):
        found.setdefault(cell.learning_rate, []).append(cell)
    return found
