"""One stack of a study, from its cells to committed run directories: what a worker process does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from skipway.data.augment import AUGMENTATIONS, Augmentation, make_augmentations
from skipway.data.batches import BatchStream
from skipway.data.preprocess import Kind, Preprocess
from skipway.data.sources import load
from skipway.data.splits import Data, Split
from skipway.gates import GATES, Gate
from skipway.nets.cost import block_costs
from skipway.nets.stack import SkipNet
from skipway.nets.weights import weights_bytes
from skipway.probe.signals import layers_of_net, measure
from skipway.rundir import Json, Study
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Cell, CellStack, build_cell, identity
from skipway.studies.process import end_if_orphaned, machine
from skipway.training.evaluate import cross_entropy, evaluate
from skipway.training.execution import Execution, choose_execution, compiling, prepare
from skipway.training.loop import Curves, Hook, Row, affordable_samples, curve_plan, train
from skipway.training.replicas import Replicas, Stack, stack

# The final training loss is measured on so many samples of the training split: the fewest after a short training, since
# to go over more would take longer than to train.
_FEWEST_TRAIN_SAMPLES, _MOST_TRAIN_SAMPLES = 2_000, 10_000
_PROBE_SAMPLES = 256


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know; it travels between processes."""

    stack: CellStack
    config: StudyConfig
    study: Path
    device: str
    threads: int
    recompute: bool  # blocks are computed again in the backward pass, for less memory
    environment: Json
    # What the user may have defined: the worker's registries learn of it.
    gates: Mapping[str, type[Gate]]
    augmentations: Mapping[str, type[Augmentation]]


def run_stack(task: Task) -> None:
    """Train a stack and commit its runs."""
    for name, rule in task.gates.items():
        GATES.replace(name, rule)
    for name, augmentation in task.augmentations.items():
        AUGMENTATIONS.replace(name, augmentation)
    with machine(task.threads):
        _run(task)


def study_data(config: StudyConfig) -> Data:
    """The study's data; a process loads them once."""
    return _load(config.data, config.validation, config.split_seed)


def _run(task: Task) -> None:
    config, cells = task.config, task.stack.cells
    started = time.perf_counter()
    data = study_data(config)
    device = torch.device(task.device)
    recipe = config.recipe
    preprocess = Preprocess.fit(data, cast(Kind, recipe.preprocess))
    nets = [build_cell(cell, config, data) for cell in cells]
    net = stack(nets).to(device)  # a copy of the nets, unless it is one alone
    steps = recipe.total_steps(len(data.train))
    images = steps * recipe.batch_size
    execution = choose_execution(nets[0], data.shape, images=images, recompute=task.recompute)
    prepare(net.net, execution, block_costs(nets[0], data.shape) if task.recompute else ())
    probe = _Probe(data.train, preprocess, net, steps, device)
    progress = _Progress(Study(task.study).progress_path(task.stack.name))
    seeds = [cell.seed for cell in cells]
    stream = BatchStream(
        data.train,
        preprocess,
        batch_size=recipe.batch_size,
        seeds=seeds,
        augment=make_augmentations(recipe.augment),
        device=device,
    )
    points, samples = curve_plan(steps, recipe.batch_size, len(data.validation))
    watched = _evenly(data.validation, samples)
    with torch.random.fork_rng(), compiling(execution):
        torch.manual_seed(cells[0].seed)  # rules that draw random numbers run singly, so the seed is that one's
        curves = train(
            net,
            stream,
            recipe,
            rates=[cell.learning_rate for cell in cells],
            steps=steps,
            epoch_steps=len(data.train) / recipe.batch_size,
            validate=lambda replicas: evaluate(replicas, watched, preprocess, device=device),
            intervals=points,
            hooks=[probe, progress],
        )
    finals = _final_metrics(net, data, preprocess, device, affordable_samples(steps, recipe.batch_size))
    seconds = (time.perf_counter() - started) / len(cells)
    for index, member in enumerate(nets):
        net.fill(index, member)
        member.cpu()
    _commit(
        task,
        data,
        preprocess,
        execution,
        nets,
        curves,
        probe.rows,
        [{**row, "steps": steps, "seconds": seconds} for row in finals],
    )


def _commit(
    task: Task,
    data: Data,
    preprocess: Preprocess,
    execution: Execution,
    nets: Sequence[SkipNet],
    curves: Curves,
    probes: Sequence[Sequence[Row]],
    finals: Sequence[Row],
) -> None:
    batch = Study(task.study).batch(task.stack.name)
    choices = {"stack": list(task.stack.ids), "device": task.device, "threads": task.threads, **execution.to_dict()}
    for index, (cell, identifier) in enumerate(zip(task.stack.cells, task.stack.ids, strict=True)):
        member = nets[index]
        status, reason = _status(curves.diverged_at[index], finals[index])
        info = {
            "status": status,
            "reason": reason,
            "cell": cell.to_dict(),
            "net": _describe(member),
            "metrics": dict(finals[index]),
            "identity": identity(cell, task.config, data),
            "config": _narrowed(task.config, cell).to_dict(),
            "environment": task.environment,
            "choices": choices,
        }
        weights = weights_bytes(member, preprocess.to_dict(), data.classes)
        batch.add(identifier, info, curves.rows[index], probes[index], weights)
    end_if_orphaned()
    batch.commit()


def _narrowed(config: StudyConfig, cell: Cell) -> StudyConfig:
    return config.narrowed(gate=cell.gate, depth=cell.depth, learning_rate=cell.learning_rate, seed=cell.seed)


def _describe(net: SkipNet) -> Json:
    parameters = sum(p.numel() for p in net.parameters())
    return {**net.architecture, "parameters": parameters, "blocks": len(net.blocks)}


def _status(diverged_at: int | None, metrics: Row) -> tuple[str, str | None]:
    if diverged_at is not None:
        return "diverged", f"the training loss was not finite at step {diverged_at}"
    for name in ("train_loss", "validation_loss"):
        if not torch.isfinite(torch.tensor(metrics[name])):
            return "diverged", f"the {name.replace('_', ' ')} of the final weights was not finite"
    return "done", None


def _final_metrics(
    net: Replicas, data: Data, preprocess: Preprocess, device: torch.device, affordable: int
) -> list[Row]:
    """Of the final weights: on the training split (a fixed part of a large one) and on the validation split."""
    part = _evenly(data.train, min(_MOST_TRAIN_SAMPLES, max(_FEWEST_TRAIN_SAMPLES, affordable)))
    trained = evaluate(net, part, preprocess, device=device)
    validated = evaluate(net, data.validation, preprocess, device=device)
    columns = {
        "train_loss": trained.loss,
        "train_error": trained.error,
        "validation_loss": validated.loss,
        "validation_error": validated.error,
    }
    lists = {name: column.tolist() for name, column in columns.items()}
    rows: list[dict[str, Any]] = [{name: values[i] for name, values in lists.items()} for i in range(net.count)]
    return [{**row, "train_samples": len(part)} for row in rows]


def _evenly(split: Split, most: int) -> Split:
    if len(split) <= most:
        return split
    return split.select(torch.linspace(0, len(split) - 1, most).long())


class _Probe(Hook):
    """Signals at the start and the end, on the same batch of the training split for every net of a study."""

    def __init__(self, split: Split, preprocess: Preprocess, net: Replicas, steps: int, device: torch.device) -> None:
        part = _evenly(split, _PROBE_SAMPLES)
        stacked = isinstance(net, Stack)
        self._x, self._labels = preprocess.to(device)(part.images.to(device)), part.labels.to(device)
        self._replicas, self._steps = (net.count if stacked else None), steps
        if stacked:
            self._x = self._x.expand(net.count, *self._x.shape)
        self.rows: list[list[Row]] = [[] for _ in range(net.count)]

    def on_start(self, net: Replicas) -> None:
        self._add(net, "start", 0)

    def on_end(self, net: Replicas) -> None:
        self._add(net, "end", self._steps)

    def _add(self, net: Replicas, moment: str, step: int) -> None:
        layers = layers_of_net(net.net)
        found = measure(net.net, self._x, self._losses, layers=layers, replicas=self._replicas)
        for own, rows in zip(self.rows, found, strict=True):
            own.extend({"moment": moment, "step": step, **row} for row in rows)

    def _losses(self, scores: torch.Tensor) -> torch.Tensor:
        if self._replicas is None:
            scores = scores[None]
        return cross_entropy(scores, self._labels.expand(scores.shape[:-1]))


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
def _load(source: str, validation: float, split_seed: int) -> Data:
    return load(source, validation=validation, split_seed=split_seed)
