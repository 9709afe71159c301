"""A study from its config to a finished directory: plan, train what is missing, choose, score."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from skipway.data.dataset import Data
from skipway.nets.factory import FUNCTIONS, OWN
from skipway.rundir.elsewhere import finished_elsewhere
from skipway.rundir.files import DamagedError, read_json, refuse_links
from skipway.rundir.integrity import read_run, read_study
from skipway.rundir.layout import FORMAT, STUDY, Json
from skipway.rundir.locks import locked, wait_until_free
from skipway.rundir.study import Study
from skipway.runs.definitions import Definition, read
from skipway.runs.plan import load_data
from skipway.runs.sending import packed
from skipway.settings.limits import workers as most_workers
from skipway.settings.registry import UnknownNameError
from skipway.studies.choose import choose, score_on_test
from skipway.studies.cluster import Cluster, cluster
from skipway.studies.config import StudyConfig
from skipway.studies.executor import Executor, LocalExecutor, Reports
from skipway.studies.grid import Cell, CellStack, Plan, checked, stacks_of
from skipway.studies.trials import Trials
from skipway.studies.worker import Job
from skipway.tasks.task import Task
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.machine import cores, environment, usable_device

_LOG = logging.getLogger("skipway")
_MEMORY = ("store", "recompute")
_DIGITS = 8  # of a digest
_SECONDS_FOR_ORPHANS = 10.0  # they take one or two


class StudyObserver:
    """What wants to know how a study goes on; every method does nothing unless a subclass says otherwise."""

    def on_plan(self, study: Study, config: StudyConfig, data: Data, stacks: Sequence[CellStack], workers: int) -> None:
        """Everything is checked and planned; nothing is trained yet."""

    def on_found(self, runs: int) -> None:
        """So many of its trainings were finished beside it, and are copied."""

    def on_progress(self, fractions: Mapping[str, float]) -> None:
        """How much of each stack in training is done, by the stack's name. Called several times a second."""

    def on_stack(self, stack: CellStack) -> None:
        """A stack's runs are on disk: now, or before the study was started again."""

    def on_failure(self, stack: CellStack, reason: str) -> None:
        """A stack ended by an exception."""

    def on_scoring(self, done: int, wanted: int) -> None:
        """So many of the chosen nets are scored on the test split."""

    def on_end(self, study: Study) -> None:
        """The study's status is written."""


@dataclass(frozen=True)
class _PlannedStudy:
    study: Study
    plan: Plan
    stacks: tuple[CellStack, ...]
    workers: int
    threads: int
    device: str
    recompute: bool
    definitions: bytes
    executor: Executor
    replicas: Json  # what trials of replicas showed, by the id of a gate's and depth's first cell

    @property
    def ids(self) -> dict[Cell, str]:
        pairs = ((cell, i) for stack in self.stacks for cell, i in zip(stack.cells, stack.ids, strict=True))
        order = {gate: place for place, gate in enumerate(self.plan.config.gates)}
        return dict(sorted(pairs, key=lambda pair: (order[pair[0].gate], pair[0].depth)))


def run_study(
    config: StudyConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    device: str = "auto",
    memory: str = "store",
    ray: str | None = None,
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
        command: the shell command that asked for it, for the report.
        observer: is told how it goes on.
        data: the config's, where they are read already.

    Raises:
        ValueError: if the config or the data is not valid.
        BusyError: if another process is running this study.
    """
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
        planned = _planned(study, Plan.of(config, data or load_data(config)), workers, device, memory, joined)
        _run(planned, command, observer)
    return study


def _run(planned: _PlannedStudy, command: str | None, observer: StudyObserver) -> None:
    study = planned.study
    with _locked(study):
        study.recover()
        for own in planned.ids.values():
            if study.has(own):
                read_run(study.run(own))
        if found := _take_over(study, planned.ids.values()):
            observer.on_found(found)
        stacks = [part for stack in planned.stacks for part in _parts(study, stack)]
        missing = [stack for stack in stacks if not all(study.has(i) for i in stack.ids)]
        observer.on_plan(study, planned.plan.config, planned.plan.data, stacks, planned.workers)
        for stack in stacks:
            if stack not in missing:
                Checkpoints(study.checkpoint_path(stack.name), stack.ids).clear()
                observer.on_stack(stack)
        record = _Record(planned, command)
        record.write("running", {})
        failures: dict[str, str] = {}
        try:
            _execute(planned, missing, failures, observer)
        except SystemExit:  # a machine that is taken away gives no time to choose and score
            record.write("interrupted", failures)
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                record.write("interrupted", failures)
            record.settle(failures, observer)
            raise
        record.settle(failures, observer)
        observer.on_end(study)


def _take_over(study: Study, ids: Iterable[str]) -> int:
    """Copy what was trained already, by `skipway train` or in another study beside this one. Returns how many runs."""
    missing = (identifier for identifier in ids if not study.has(identifier))
    found = [run for identifier in missing if (run := finished_elsewhere(identifier, study.path))]
    if found:
        batch = study.batch("found")
        for run in found:
            batch.copy(run)
        batch.commit()
    return len(found)


def _parts(study: Study, stack: CellStack) -> Iterator[CellStack]:
    """What is finished of a planned stack, and what is to be trained: of a grid that grew, only what is new.

    Where a run of the stack was lost, all of it is trained again, since only so the lost one finds its own bits.
    """
    done = {identifier for identifier in stack.ids if study.has(identifier)}
    if any(study.run(i).info().get("computed", {}).get("stack") == stack.name for i in done) or not done:
        yield stack
        return
    yield stack.only(done)
    if new := set(stack.ids) - done:
        yield stack.only(new)


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


class _Record:
    """study.json through the study's life."""

    def __init__(self, planned: _PlannedStudy, command: str | None) -> None:
        self._planned, self._began = planned, time.perf_counter()
        before = read_study(planned.study) if os.path.lexists(planned.study.path / STUDY) else {}
        same = before.get("config") == _as_json(planned.plan.config)
        self._seconds_before = float(before.get("seconds", 0.0)) if same else 0.0
        self._status = "running"
        config, data, task = planned.plan.config, planned.plan.data, planned.plan.task
        self._fixed: Json = {
            "format": FORMAT,
            "name": planned.study.path.name,
            "command": command,
            "config": config.to_dict(),
            "task": task.describe(),
            "data": {**data.describe(), "guessing": _guess(data, task)},
            "cells": [{"id": i, **cell.to_dict()} for cell, i in planned.ids.items()],
            "environment": environment(planned.device),
            "choices": {
                "workers": planned.workers,
                "threads": planned.threads,
                **({"replicas": planned.replicas} if planned.replicas else {}),
            },
            "started": before.get("started") if same else _now(),
        }

    def write(self, status: str, failures: Mapping[str, str], chosen: Sequence[Json] = ()) -> None:
        self._status = status
        seconds = self._seconds_before + time.perf_counter() - self._began
        ended = None if status == "running" else _now()
        content = {"status": status, "chosen": list(chosen), "failures": dict(failures)}
        self._planned.study.write({**self._fixed, **content, "seconds": seconds, "ended": ended})

    def settle(self, failures: Mapping[str, str], observer: StudyObserver) -> None:
        """Choose learning rates and read the test split for whatever is complete, and write the final status."""
        planned = self._planned
        chosen = choose(planned.study, planned.ids, planned.plan.task.metric)
        try:
            score_on_test(planned.study, planned.ids, chosen, planned.plan, observer.on_scoring, device=planned.device)
        except DamagedError:
            self.write("failed", failures, chosen)
            raise
        complete = all(planned.study.has(i) for i in planned.ids.values())
        status = "done" if complete else "failed" if self._status == "running" else self._status
        self.write(status, failures, chosen)


def _guess(data: Data, task: Task) -> Json | None:
    """What the best constant answer gets, as study.json holds it."""
    guess = task.guess(data.targets(data.train))
    if guess is None:
        return None
    return {"loss": guess.loss} if task.metric is None else {"loss": guess.loss, task.metric.name: guess.metric}


def _planned(
    study: Study, plan: Plan, workers: int | None, device: str, memory: str, joined: Cluster | None
) -> _PlannedStudy:
    own = packed(found for gate in plan.config.gates for found in plan.definitions(gate))
    device = joined.device(device) if joined else usable_device(device)
    tried = Trials(torch.device(device), recompute=memory == "recompute", decided=_decided(study))
    stacks = tuple(stacks_of(plan, torch.device(device), tried))
    for sentence in most_workers(cores()).problems("workers", workers):
        raise ValueError(sentence)
    executor: Executor
    if joined:
        workers, threads, executor = min(joined.places(device), workers or len(stacks), len(stacks)), 1, joined
    else:
        workers = workers or (min(cores(), len(stacks)) if device == "cpu" else 1)
        threads, executor = max(1, cores() // workers), LocalExecutor(workers)
    return _PlannedStudy(
        study, plan, stacks, workers, threads, device, memory == "recompute", own, executor, tried.decided
    )


def _decided(study: Study) -> dict[str, Json]:
    """What trials of replicas showed when the study was started before."""
    if not os.path.lexists(study.path / STUDY):
        return {}
    return dict(read_study(study)["choices"].get("replicas", {}))


def _execute(
    planned: _PlannedStudy, missing: Sequence[CellStack], failures: dict[str, str], observer: StudyObserver
) -> None:
    """Train the missing stacks, the longest first, so that the last ones end together."""
    if not missing:
        return
    jobs = [
        Job(
            stack=stack,
            config=planned.plan.config,
            device=planned.device,
            threads=planned.threads,
            asked=Execution(recompute=planned.recompute),
            identities=tuple(planned.plan.identity(cell) for cell in stack.cells),
            definitions=planned.definitions,
        )
        for stack in sorted(missing, key=lambda stack: -stack.cost)
    ]
    planned.executor.run(jobs, planned.study, _Reports(planned.study, failures, observer))


@dataclass(frozen=True)
class _Reports(Reports):
    """What an executor tells, handed on to the record and to whoever watches."""

    study: Study
    failures: dict[str, str]
    observer: StudyObserver

    def done(self, job: Job) -> None:
        self.observer.on_stack(job.stack)

    def failed(self, job: Job, reason: str) -> None:
        self.failures.update(dict.fromkeys(job.stack.ids, reason))
        self.observer.on_failure(job.stack, reason)

    def waiting(self, jobs: Sequence[Job]) -> None:
        self.observer.on_progress(_fractions(self.study, [job.stack for job in jobs]))


def _fractions(study: Study, stacks: Sequence[CellStack]) -> dict[str, float]:
    fractions = {}
    for stack in stacks:
        path = study.progress_path(stack.name)
        if path.is_file():
            content = read_json(path)
            fractions[stack.name] = content["step"] / content["steps"]
    return fractions


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


def _as_json(config: StudyConfig) -> Json:
    import json

    content: Json = json.loads(json.dumps(config.to_dict()))
    return content


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
