"""A study from its config to a finished directory: plan, train what is missing, choose, score."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from skipway.data.dataset import Data
from skipway.rundir.files import DamagedError
from skipway.rundir.integrity import read_run, read_study
from skipway.rundir.layout import STUDY, Json
from skipway.rundir.locks import locked, wait_until_free
from skipway.rundir.study import Study
from skipway.studies.choose import choose, score_on_test
from skipway.studies.cluster import cluster
from skipway.studies.config import StudyConfig
from skipway.studies.observer import StudyObserver
from skipway.studies.planned import PlannedStudy, plan_study
from skipway.studies.record import StudyRecord
from skipway.studies.rounds import Rounds
from skipway.studies.work import StudyWork

_SECONDS_FOR_ORPHANS = 10.0  # they take one or two


def run_study(
    config: StudyConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    device: str = "auto",
    memory: str = "store",
    ray: str | None = None,
    budget: float | str | None = None,
    command: str | None = None,
    observer: StudyObserver | None = None,
    data: Data | None = None,
) -> Study:
    """Run a study, or go on with it: cells that are finished in its directory are not computed again.

    Ctrl-C ends it tidily: what is finished counts, study.json says "interrupted", and KeyboardInterrupt goes on.

    Args:
        config: what the study asks for.
        out: its directory; None is ``studies/<data>-<net>``, of a function with a digest.
        workers: processes that train at the same time; None is one a processor core, or one on a GPU.
        device: "auto", "cpu", "cuda" or another of torch's.
        memory: "store" keeps what the blocks put out for the backward pass, "recompute" computes it again from a few.
        ray: train on a Ray cluster: its address, "auto" for the one that is running, "local" for one of this machine.
        budget: where depths are searched: no net is begun that is expected to end later, "10m" or in seconds. None is
            ten minutes.
        command: the shell command that asked for it, for the report.
        observer: is told how it goes on.
        data: the config's, where they are read already.

    Raises:
        ValueError: if the config or the data is not valid.
        BusyError: if another process is running this study.
    """
    with cluster(ray) if ray else nullcontext() as joined:
        # Whatever is wrong with what was asked is told before anything is made.
        planned = plan_study(
            config, out, workers=workers, device=device, memory=memory, budget=budget, joined=joined, data=data
        )
        _run(planned, command, observer or StudyObserver())
    return planned.study


def _run(planned: PlannedStudy, command: str | None, observer: StudyObserver) -> None:
    study, plan = planned.study, planned.plan
    with _locked(study):
        study.recover()
        for own in _asked_before(study):
            if study.has(own):
                read_run(study.run(own))
        record = StudyRecord(study, plan, planned.pairs, planned.choices, command=command, device=planned.device)
        observer.on_plan(study, plan.config, plan.data, planned.pairs, planned.workers)
        failures: dict[str, str] = {}

        def changed() -> None:
            record.write("running", failures, _chosen(planned))

        def deeper(ended: Rounds) -> Iterator[Rounds]:
            return (Rounds(pair, plan) for pair in planned.depths.after(ended, planned.pairs))

        changed()
        try:
            work = StudyWork(study, planned.pairs, deeper, planned.job, observer, changed, failures)
            planned.executor.run(work, study)
        except SystemExit:  # a machine that is taken away gives no time to choose and score
            record.write("interrupted", failures)
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                record.write("interrupted", failures)
            _settle(planned, record, failures, observer)
            raise
        _settle(planned, record, failures, observer)
        observer.on_end(study)


def _asked_before(study: Study) -> list[str]:
    """The ids of the trainings that its study.json names."""
    if not os.path.lexists(study.path / STUDY):
        return []
    return [cell["id"] for cell in read_study(study)["cells"]]


def _chosen(planned: PlannedStudy) -> list[Json]:
    """The rates of all pairs whose search is at its end; of each they are chosen once."""
    for pair in planned.pairs:
        if pair.ended and pair.chosen is None:
            pair.chosen = choose(planned.study, pair.ids, planned.plan.config.seeds, planned.plan.task.metric)
    return [row for pair in planned.pairs for row in pair.chosen or ()]


def _settle(planned: PlannedStudy, record: StudyRecord, failures: dict[str, str], observer: StudyObserver) -> None:
    """Choose learning rates and read the test split for whatever is complete, and write the final status."""
    study, plan = planned.study, planned.plan
    chosen = _chosen(planned)
    try:
        score_on_test(study, planned.ids, chosen, plan, observer.on_scoring, device=planned.device)
    except DamagedError:
        record.write("failed", failures, chosen)
        raise
    complete = all(pair.ended for pair in planned.pairs) and all(study.has(own) for own in planned.ids.values())
    record.write("done" if complete else "failed" if record.status == "running" else record.status, failures, chosen)


@contextmanager
def _locked(study: Study) -> Iterator[None]:
    """Nobody else runs this study, and workers of a parent that was killed are gone: they end a moment after it."""
    remedy = "wait for it, or give this one another --out."
    with locked(study.lock, f"{{holder}} is running the study in {study.path}: {remedy}"):
        wait_until_free(
            study.locks,
            f"{{holder}}, a worker of an earlier start, is still writing in {study.path}: wait for it, or end it.",
            seconds=_SECONDS_FOR_ORPHANS,
        )
        try:
            yield
        finally:
            study.leave()
