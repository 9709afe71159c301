"""A study from its config to a finished directory: plan, train what is missing, choose, score."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from skipway.data.images.augment import make_augmentations
from skipway.data.splits import Data
from skipway.rundir.files import DamagedError, read_json, refuse_links
from skipway.rundir.integrity import read_run, read_study
from skipway.rundir.layout import FORMAT, STUDY, Json
from skipway.rundir.locks import locked, wait_until_free
from skipway.rundir.study import Study
from skipway.runs.definitions import packed
from skipway.settings.limits import workers as most_workers
from skipway.settings.registry import UnknownNameError
from skipway.studies.choose import choose, score_on_test
from skipway.studies.cluster import Cluster, cluster
from skipway.studies.config import StudyConfig
from skipway.studies.executor import Executor, LocalExecutor, Reports
from skipway.studies.grid import Cell, CellStack, checked, definitions_of, identity, stacks_of
from skipway.studies.worker import Task, study_data
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.machine import cores, environment, usable_device

_MEMORY = ("store", "recompute")
_SECONDS_FOR_ORPHANS = 10.0  # they take one or two


class StudyObserver:
    """What wants to know how a study goes on; every method does nothing unless a subclass says otherwise."""

    def on_plan(self, study: Study, config: StudyConfig, data: Data, stacks: Sequence[CellStack], workers: int) -> None:
        """Everything is checked and planned; nothing is trained yet."""

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
class _Plan:
    study: Study
    config: StudyConfig
    data: Data
    stacks: tuple[CellStack, ...]
    workers: int
    threads: int
    device: str
    recompute: bool
    definitions: bytes
    executor: Executor

    @property
    def ids(self) -> dict[Cell, str]:
        pairs = ((cell, i) for stack in self.stacks for cell, i in zip(stack.cells, stack.ids, strict=True))
        order = {gate: place for place, gate in enumerate(self.config.gates)}
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
) -> Study:
    """Run a study, or go on with it: cells that are finished in its directory are not computed again.

    Ctrl-C ends it tidily: what is finished counts, study.json says "interrupted", and KeyboardInterrupt goes on.

    Args:
        config: what the study asks for.
        out: its directory; None is ``studies/<data>-<body>``.
        workers: processes that train at the same time; None is one a processor core, or one on a GPU.
        device: "auto", "cpu", "cuda" or another of torch's.
        memory: "store" keeps what the blocks put out for the backward pass, "recompute" computes it again from a few.
        ray: train on a Ray cluster: its address, "auto" for the one that is running, "local" for one of this machine.
        command: the shell command that asked for it, for the report.
        observer: is told how it goes on.

    Raises:
        ValueError: if the config or the data is not valid.
        BusyError: if another process is running this study.
    """
    config = checked(config)
    observer = observer or StudyObserver()
    study = Study(Path(out) if out is not None else default_out(config))
    refuse_links(study.path)
    with cluster(ray) if ray else nullcontext() as joined:
        # Whatever is wrong with what was asked is told before anything is made.
        plan = _plan(study, config, workers, device, memory, joined)
        _run(plan, command, observer)
    return study


def _run(plan: _Plan, command: str | None, observer: StudyObserver) -> None:
    study = plan.study
    with _locked(study):
        study.recover()
        for own in plan.ids.values():
            if study.has(own):
                read_run(study.run(own))
        stacks = [part for stack in plan.stacks for part in _parts(study, stack)]
        missing = [stack for stack in stacks if not all(study.has(i) for i in stack.ids)]
        observer.on_plan(study, plan.config, plan.data, stacks, plan.workers)
        for stack in stacks:
            if stack not in missing:
                Checkpoints(study.checkpoint_path(stack.name), stack.ids).clear()
                observer.on_stack(stack)
        record = _Record(plan, command)
        record.write("running", {})
        failures: dict[str, str] = {}
        try:
            _execute(plan, missing, failures, observer)
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
    """Where a study goes that is not told: ``studies/<data>-<body>``."""
    name = f"{Path(config.data).name}-{config.body}"
    return Path("studies") / re.sub(r"[^A-Za-z0-9._-]+", "-", name)


class _Record:
    """study.json through the study's life."""

    def __init__(self, plan: _Plan, command: str | None) -> None:
        self._plan, self._began = plan, time.perf_counter()
        before = read_study(plan.study) if os.path.lexists(plan.study.path / STUDY) else {}
        same = before.get("config") == _as_json(plan.config)
        self._seconds_before = float(before.get("seconds", 0.0)) if same else 0.0
        self._status = "running"
        config, data = plan.config, plan.data
        self._fixed: Json = {
            "format": FORMAT,
            "name": plan.study.path.name,
            "command": command,
            "config": config.to_dict(),
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "classes": list(data.classes),
                "shape": list(data.shape),
                "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
                "validation_rule": data.validation_rule,
                "guessing": data.guess._asdict(),
            },
            "cells": [{"id": i, **cell.to_dict()} for cell, i in plan.ids.items()],
            "environment": environment(plan.device),
            "choices": {"workers": plan.workers, "threads": plan.threads},
            "started": before.get("started") if same else _now(),
        }

    def write(self, status: str, failures: Mapping[str, str], chosen: Sequence[Json] = ()) -> None:
        self._status = status
        seconds = self._seconds_before + time.perf_counter() - self._began
        ended = None if status == "running" else _now()
        content = {"status": status, "chosen": list(chosen), "failures": dict(failures)}
        self._plan.study.write({**self._fixed, **content, "seconds": seconds, "ended": ended})

    def settle(self, failures: Mapping[str, str], observer: StudyObserver) -> None:
        """Choose learning rates and read the test split for whatever is complete, and write the final status."""
        plan = self._plan
        chosen = choose(plan.study, plan.ids)
        try:
            score_on_test(plan.study, plan.ids, chosen, plan.data, observer.on_scoring, device=plan.device)
        except DamagedError:
            self.write("failed", failures, chosen)
            raise
        complete = all(plan.study.has(i) for i in plan.ids.values())
        status = "done" if complete else "failed" if self._status == "running" else self._status
        self.write(status, failures, chosen)


def _plan(
    study: Study, config: StudyConfig, workers: int | None, device: str, memory: str, joined: Cluster | None
) -> _Plan:
    if memory not in _MEMORY:
        raise UnknownNameError("memory", memory, _MEMORY)
    data = study_data(config)
    if config.recipe.batch_size > len(data.train):
        raise ValueError(
            f"batch_size {config.recipe.batch_size} is more than the {len(data.train)} training images of {data.name}: "
            "give at most that."
        )
    for augmentation in make_augmentations(config.recipe.augment):
        augmentation.draw(1, data.shape, torch.Generator())  # says so if the images are too small for it
    device = joined.device(device) if joined else usable_device(device)
    stacks = tuple(stacks_of(config, data, torch.device(device)))
    for sentence in most_workers(cores()).problems("workers", workers):
        raise ValueError(sentence)
    executor: Executor
    if joined:
        workers, threads, executor = min(joined.places(device), workers or len(stacks), len(stacks)), 1, joined
    else:
        workers = workers or (min(cores(), len(stacks)) if device == "cpu" else 1)
        threads, executor = max(1, cores() // workers), LocalExecutor(workers)
    own = packed(found for gate in config.gates for found in definitions_of(config, gate))
    return _Plan(study, config, data, stacks, workers, threads, device, memory == "recompute", own, executor)


def _execute(plan: _Plan, missing: Sequence[CellStack], failures: dict[str, str], observer: StudyObserver) -> None:
    """Train the missing stacks, the longest first, so that the last ones end together."""
    if not missing:
        return
    tasks = [
        Task(
            stack=stack,
            config=plan.config,
            device=plan.device,
            threads=plan.threads,
            asked=Execution(recompute=plan.recompute),
            identities=tuple(identity(cell, plan.config, plan.data) for cell in stack.cells),
            definitions=plan.definitions,
        )
        for stack in sorted(missing, key=lambda stack: -stack.cost)
    ]
    plan.executor.run(tasks, plan.study, _Reports(plan.study, failures, observer))


@dataclass(frozen=True)
class _Reports(Reports):
    """What an executor tells, handed on to the record and to whoever watches."""

    study: Study
    failures: dict[str, str]
    observer: StudyObserver

    def done(self, task: Task) -> None:
        self.observer.on_stack(task.stack)

    def failed(self, task: Task, reason: str) -> None:
        self.failures.update(dict.fromkeys(task.stack.ids, reason))
        self.observer.on_failure(task.stack, reason)

    def waiting(self, tasks: Sequence[Task]) -> None:
        self.observer.on_progress(_fractions(self.study, [task.stack for task in tasks]))


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
