"""One stack of a study, from its cells to committed run directories: what a worker process does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skipway.data.augment import AUGMENTATIONS, Augmentation
from skipway.data.sources import load
from skipway.data.splits import Data
from skipway.fitting.fit import Means, describe, fit_nets, status
from skipway.gates import GATES, Gate
from skipway.locks import locked
from skipway.nets.weights import weights_bytes
from skipway.rundir import RunContent, Study, run_id
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack, build_cell, identity
from skipway.studies.process import end_if_orphaned, ended_by_the_kernel
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.loop import Hook, Row
from skipway.training.machine import environment, machine

_SECONDS_FOR_ANOTHER = 10.0  # one whose pool has been given up is about to end


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know; it travels between processes, and between machines."""

    stack: CellStack
    config: StudyConfig
    device: str
    threads: int
    asked: Execution
    # What the user may have defined: the worker's registries learn of it.
    gates: Mapping[str, type[Gate]]
    augmentations: Mapping[str, type[Augmentation]]


def run_stack(task: Task, folder: Path) -> None:
    """Train a stack of the study in `folder` and commit its runs; where it was stopped before, it goes on.

    Raises:
        BusyError: if another worker trains this stack, and goes on to.
    """
    study, name = Study(folder), task.stack.name
    busy = f"{{holder}} is training the same cells in {folder}: wait for it, or end it."
    with ended_by_the_kernel(), locked(study.stack_lock(name), busy, seconds=_SECONDS_FOR_ANOTHER):
        end_if_orphaned()  # whoever started the study again waits for the lock, and trusts what it finds after
        checkpoints = Checkpoints(study.checkpoint_path(name), task.stack.ids)
        contents = compute(task, checkpoints, [_Progress(study.progress_path(name))])
        end_if_orphaned()
        commit(study, name, contents)
        checkpoints.clear()


def compute(task: Task, checkpoints: Checkpoints | None = None, hooks: Sequence[Hook] = ()) -> list[RunContent]:
    """Train a stack; its runs, in the order of its cells."""
    for rule_name, rule in task.gates.items():
        GATES.replace(rule_name, rule)
    for augmentation_name, augmentation in task.augmentations.items():
        AUGMENTATIONS.replace(augmentation_name, augmentation)
    with machine(task.threads):
        return _train(task, checkpoints, hooks)


def commit(study: Study, name: str, contents: Sequence[RunContent]) -> None:
    """Make a stack's runs count, all of them at once."""
    batch = study.batch(name)
    for content in contents:
        batch.add(content)
    batch.commit()


def study_data(config: StudyConfig) -> Data:
    """The study's data; a process loads them once."""
    return _load(config.data, config.validation, config.split_seed, config.image_size)


def _train(task: Task, checkpoints: Checkpoints | None, hooks: Sequence[Hook]) -> list[RunContent]:
    config, cells = task.config, task.stack.cells
    data = study_data(config)
    if any(run_id(identity(cell, config, data)) != own for cell, own in zip(cells, task.stack.ids, strict=True)):
        raise ValueError(f"{config.data} holds other data on this machine than where the study was planned.")
    fit = fit_nets(
        [build_cell(cell, config, data) for cell in cells],
        data,
        config.recipe,
        seeds=[cell.seed for cell in cells],
        rates=[cell.learning_rate for cell in cells],
        means=Means(device=task.device, asked=task.asked, checkpoints=checkpoints),
        hooks=hooks,
    )
    choices = {"stack": list(task.stack.ids), "device": task.device, "threads": task.threads, **fit.execution.to_dict()}
    contents = []
    for index, (cell, identifier) in enumerate(zip(cells, task.stack.ids, strict=True)):
        outcome, reason = status(fit, index)
        info = {
            "status": outcome,
            "reason": reason,
            "cell": cell.to_dict(),
            "net": describe(fit.nets[index]),
            "metrics": dict(fit.metrics[index]),
            "identity": identity(cell, config, data),
            "config": config.narrowed(**cell.to_dict()).to_dict(),
            "environment": environment(task.device),
            "choices": choices,
        }
        weights = weights_bytes(fit.nets[index], fit.preprocess.to_dict(), data.classes)
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


@lru_cache(maxsize=1)
def _load(source: str, validation: float, split_seed: int, image_size: int | None) -> Data:
    return load(source, validation=validation, split_seed=split_seed, image_size=image_size)
