"""One stack of a study, from its cells to committed run directories: what a worker process does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from skipway.data.dataset import Data
from skipway.data.load import load
from skipway.data.source import is_source, make_source
from skipway.nets.weights import weights_bytes
from skipway.rundir.layout import Json
from skipway.rundir.locks import locked
from skipway.rundir.run import RunContent
from skipway.rundir.study import Study
from skipway.runs.code.reading import Reading
from skipway.runs.computed import computed
from skipway.runs.failure import told
from skipway.runs.fit import Resources, describe, status, train_nets
from skipway.runs.identity import of_data
from skipway.runs.plan import specification
from skipway.runs.sending import learn
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack, Plan
from skipway.studies.process import end_if_orphaned, ended_by_the_kernel
from skipway.tasks.make import saved_task
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.loop import Hook, Row
from skipway.training.machine import environment, machine

_SECONDS_FOR_ANOTHER = 10.0  # one whose pool has been given up is about to end


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know; it travels between processes, and between machines."""

    stack: CellStack
    config: StudyConfig
    device: str
    threads: int
    asked: Execution
    identities: tuple[Json, ...]  # of the cells; told, since a user's code is known best where it was defined
    definitions: bytes  # the user's own: packed, so that what cannot be read is this job's failure, not its process's


def run_stack(job: Job, folder: Path) -> str | None:
    """Train a stack of the study in `folder` and commit its runs; where it was stopped before, it goes on.

    Returns:
        Why it failed, or None. An exception stays here: it may not survive the way to another process.
    """
    try:
        _run_stack(job, folder)
    except (Exception, SystemExit) as error:
        return told(error)
    return None


def _run_stack(job: Job, folder: Path) -> None:
    """The same; another worker that trains this stack, and goes on to, is a `BusyError`."""
    study, name = Study(folder), job.stack.name
    busy = f"{{holder}} is training the same cells in {folder}: wait for it, or end it."
    with ended_by_the_kernel(), locked(study.stack_lock(name), busy, seconds=_SECONDS_FOR_ANOTHER):
        end_if_orphaned()  # whoever started the study again waits for the lock, and trusts what it finds after
        checkpoints = Checkpoints(study.checkpoint_path(name), job.stack.ids)
        contents = compute(job, checkpoints, [_Progress(study.progress_path(name))])
        end_if_orphaned()
        commit(study, name, contents)
        checkpoints.clear()


def compute(job: Job, checkpoints: Checkpoints | None = None, hooks: Sequence[Hook] = ()) -> list[RunContent]:
    """Train a stack; its runs, in the order of its cells."""
    learn(job.definitions)
    with machine(job.threads):
        return _train(job, checkpoints, hooks)


def commit(study: Study, name: str, contents: Sequence[RunContent]) -> None:
    """Make a stack's runs count, all of them at once."""
    batch = study.batch(name)
    for content in contents:
        batch.add(content)
    batch.commit()


def _train(job: Job, checkpoints: Checkpoints | None, hooks: Sequence[Hook]) -> list[RunContent]:
    config, cells = job.config, job.stack.cells
    data = _data(job)
    if job.identities[0]["data"] != of_data(data, config.image_size):
        raise ValueError(f"{config.data} holds other data on this machine than where the study was planned.")
    plan = Plan.of(config, data)
    nets = [plan.build(cell) for cell in cells]
    first = cells[0]
    about = specification(data, plan.task)
    architecture = plan.nets.architecture(nets[0], about, gate=first.gate, depth=first.depth, width=config.width)
    net = describe(nets[0], architecture, data.spec.example())
    asked = replace(job.asked, mapped=job.stack.mapped and len(nets) > 1)
    fit = train_nets(
        nets,
        data,
        plan.task,
        config.recipe,
        seeds=[cell.seed for cell in cells],
        rates=[cell.learning_rate for cell in cells],
        resources=Resources(device=job.device, asked=asked, checkpoints=checkpoints),
        hooks=hooks,
    )
    choices = {"stack": list(job.stack.ids), "device": job.device, "threads": job.threads, **fit.execution.to_dict()}
    if job.stack.why:
        choices["why"] = job.stack.why
    way = computed(
        job.device,
        job.threads,
        fit.execution,
        stack=job.stack.ids,
        grid={"learning_rates": list(config.recipe.learning_rates), "seeds": list(config.seeds)},
    )
    contents, fitted = [], saved_task(plan.config.task or data.task, fit.task)
    for index, (cell, identifier) in enumerate(zip(cells, job.stack.ids, strict=True)):
        outcome, reason = status(fit, index)
        info = {
            "status": outcome,
            "reason": reason,
            "cell": cell.to_dict(),
            "net": net,
            "task": fit.task.describe(),
            "data": {"samples": data.samples},
            "metrics": dict(fit.metrics[index]),
            "identity": job.identities[index],
            "config": config.run(**cell.to_dict()).to_dict(),
            "environment": environment(job.device),
            "choices": choices,
            "computed": way,
        }
        weights = weights_bytes(fit.nets[index], fit.pipeline.to_dict(), data.spec.classes, architecture, fitted=fitted)
        contents.append(RunContent(identifier, info, fit.curves.rows[index], fit.probes[index], weights))
    return contents


class _Progress(Hook):
    """Tells whoever watches how far the stack is: a small file, replaced at every interval."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        side = self._path.with_suffix(".part")
        side.write_text(json.dumps({"step": step, "steps": steps}))
        side.replace(self._path)


def _data(job: Job) -> Data:
    """What a stack trains on: a process reads it once, as long as jobs ask for the same.

    Files and the code of a user's own source may have been edited since: the content that was planned counts, too.
    """
    config = job.config
    return _load(
        *(config.data, config.task, config.validation, config.split_seed, config.image_size),
        Reading(make_source(config.data)).digest if is_source(config.data) else None,
        json.dumps(job.identities[0]["data"]),
    )


@lru_cache(maxsize=1)
def _load(
    source: str,
    task: str | None,
    validation: float,
    split_seed: int,
    image_size: int | None,
    code: str | None,
    content: str,
) -> Data:
    return load(source, task=task, validation=validation, split_seed=split_seed, image_size=image_size)
