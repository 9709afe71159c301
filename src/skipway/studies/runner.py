"""A study from its config to a finished directory: plan, train what is missing, choose, score."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from skipway.data.dataset import Data
from skipway.nets.factory import FUNCTIONS, OWN
from skipway.rundir.files import DamagedError, refuse_links
from skipway.rundir.integrity import read_run, read_study
from skipway.rundir.layout import STUDY, Json
from skipway.rundir.locks import locked, wait_until_free
from skipway.rundir.study import Study
from skipway.runs.definitions import Definition, read
from skipway.runs.plan import load_data
from skipway.runs.sending import packed
from skipway.settings.duration import seconds
from skipway.settings.limits import workers as most_workers
from skipway.settings.registry import UnknownNameError
from skipway.studies.choose import choose, score_on_test
from skipway.studies.cluster import Cluster, cluster
from skipway.studies.config import AUTO, StudyConfig
from skipway.studies.depths import Depths, depths_of
from skipway.studies.executor import Executor, LocalExecutor
from skipway.studies.grid import Cell, CellStack, PairMaker, Plan, checked
from skipway.studies.observer import StudyObserver
from skipway.studies.record import StudyRecord
from skipway.studies.rounds import Rounds
from skipway.studies.trials import Trials
from skipway.studies.work import StudyWork
from skipway.studies.worker import Job
from skipway.training.execution import Execution
from skipway.training.machine import cores, usable_device

_LOG = logging.getLogger("skipway")
_MEMORY = ("store", "recompute")
_DIGITS = 8  # of a digest
_LEAST_BUDGET = 10.0  # seconds: to read data and start workers takes some
_USUAL_BUDGET = 600.0
_SECONDS_FOR_ORPHANS = 10.0  # they take one or two


@dataclass(frozen=True)
class _PlannedStudy:
    study: Study
    plan: Plan
    pairs: list[Rounds]
    depths: Depths
    workers: int
    threads: int
    device: str
    recompute: bool
    definitions: bytes
    executor: Executor
    replicas: Json  # what trials of replicas showed, by the id of a gate's and depth's first cell; filled

    @property
    def ids(self) -> dict[Cell, str]:
        """The cells that were asked for so far."""
        return {cell: own for pair in self.pairs for cell, own in pair.ids.items()}

    def choices(self) -> Json:
        """What changes no number, as study.json tells it."""
        told: Json = {"workers": self.workers, "threads": self.threads}
        if self.replicas:
            told["replicas"] = self.replicas
        if self.depths.ends:
            told["depths"] = self.depths.ends
        return told

    def job(self, stack: CellStack) -> Job:
        """All that a worker must know to train a stack."""
        return Job(
            stack=stack,
            config=self.plan.config,
            device=self.device,
            threads=self.threads,
            asked=Execution(recompute=self.recompute),
            identities=tuple(self.plan.identity(cell) for cell in stack.cells),
            definitions=self.definitions,
        )


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
    if budget is not None and config.depths != AUTO:
        raise ValueError("a budget is for a study that searches depths: give it with --depths auto.")
    budget = _USUAL_BUDGET if budget is None else seconds(budget, "budget", least=_LEAST_BUDGET)
    if memory not in _MEMORY:
        raise UnknownNameError("memory", memory, _MEMORY)
    asked, config = config.gates, checked(config)
    if config.gates == (OWN,) != tuple(asked):
        _LOG.warning(
            "the net %s takes no gate, so %s %s not varied: this study is of one net at several depths.",
            *(
                config.net,
                " and ".join(filter(None, (", ".join(asked[:-1]), asked[-1]))),
                "was" if len(asked) == 1 else "were",
            ),
        )
    observer = observer or StudyObserver()
    study = Study(Path(out) if out is not None else default_out(config))
    refuse_links(study.path)
    with cluster(ray) if ray else nullcontext() as joined:
        # Whatever is wrong with what was asked is told before anything is made.
        planned = _planned(study, Plan.of(config, data or load_data(config)), workers, device, memory, budget, joined)
        _run(planned, command, observer)
    return study


def _run(planned: _PlannedStudy, command: str | None, observer: StudyObserver) -> None:
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


def _chosen(planned: _PlannedStudy) -> list[Json]:
    """The rates of all pairs whose search is at its end."""
    ended = {cell: own for pair in planned.pairs if pair.ended for cell, own in pair.ids.items()}
    return choose(planned.study, ended, planned.plan.config.seeds, planned.plan.task.metric)


def _settle(planned: _PlannedStudy, record: StudyRecord, failures: dict[str, str], observer: StudyObserver) -> None:
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


def default_out(config: StudyConfig) -> Path:
    """Where a study goes that is not told: ``studies/<data>-<net>``; with some of the code's digest, of a function's.

    Two functions may be called alike, as all that are written with `lambda` are.

    Raises:
        UnreadableError: if a function reaches what cannot be read.
    """
    address, options = re.fullmatch(r"(.*?)((?::\w+=.*)?)", config.data, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    name = f"{Path(address).name}{options}-{config.net}"
    if config.net in FUNCTIONS:
        name = name.rstrip(">") + f"-{read(Definition('net', config.net, FUNCTIONS[config.net])).digest[:_DIGITS]}"
    return Path("studies") / re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _planned(
    study: Study,
    plan: Plan,
    workers: int | None,
    device: str,
    memory: str,
    budget: float,
    joined: Cluster | None,
) -> _PlannedStudy:
    own = packed(found for gate in plan.config.gates for found in plan.definitions(gate))
    device = joined.device(device) if joined else usable_device(device)
    tried = Trials(torch.device(device), recompute=memory == "recompute", decided=_decided(study))
    maker = PairMaker(plan, torch.device(device), tried)
    depths = depths_of(plan, maker, study, budget, workers or (cores() if device == "cpu" else 1))
    pairs = [Rounds(pair, plan) for pair in depths.first()]
    first = sum(len(Rounds(rounds.pair, plan).next()) for rounds in pairs)
    for sentence in most_workers(cores()).problems("workers", workers):
        raise ValueError(sentence)
    executor: Executor
    if joined:
        workers, threads, executor = min(joined.places(device), workers or first, first), 1, joined
    else:
        workers = workers or (min(cores(), first) if device == "cpu" else 1)
        threads, executor = max(1, cores() // workers), LocalExecutor(workers)
    return _PlannedStudy(
        study, plan, pairs, depths, workers, threads, device, memory == "recompute", own, executor, tried.decided
    )


def _decided(study: Study) -> dict[str, Json]:
    """What trials of replicas showed when the study was started before."""
    if not os.path.lexists(study.path / STUDY):
        return {}
    return dict(read_study(study)["choices"].get("replicas", {}))


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
