"""Nets and data in, trained nets with curves, signals and final scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from skipway.anatomy.cost import block_costs, cost_if_known
from skipway.anatomy.skips import find_skips
from skipway.data.dataset import Data, Pipeline, evenly
from skipway.data.part import Part
from skipway.nets.stack import SkipNet
from skipway.runs.divergence import divergence
from skipway.runs.hooks import Clock, SignalProbe
from skipway.skip.draws import drawn_alike
from skipway.tasks.task import Task
from skipway.training.checkpoint import Checkpoints
from skipway.training.evaluate import Scores, evaluate
from skipway.training.execution import Execution, choose_execution, compiling, precision, prepare
from skipway.training.loop import Curves, Hook, Row, affordable_samples, curve_plan, train
from skipway.training.mapped import Mapped
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, stack
from skipway.training.saving import Saver
from skipway.training.world import ALONE, World

# The final training loss is measured on so many samples of the training split: the fewest after a short training, since
# to go over more would take longer than to train.
_FEWEST_TRAIN_SAMPLES, _MOST_TRAIN_SAMPLES = 2_000, 10_000


@dataclass(frozen=True)
class Resources:
    """What a training is given to run with. None of it decides its numbers, but for the order of sums.

    Of nets with batch norm the exception: their statistics are those of one process, and of one part of a batch.
    """

    device: str = "cpu"
    asked: Execution = field(default_factory=Execution)  # recomputing and bfloat16 as asked for; the rest is chosen
    accumulate: int = 1  # parts of a batch that pass one after another
    world: World = ALONE
    checkpoints: Checkpoints | None = None  # where the state is saved, and found again
    seconds_between_checkpoints: float | None = None


@dataclass(frozen=True)
class Fit:
    """What a training leaves, in the order of the nets."""

    nets: Sequence[nn.Module]  # trained, on the CPU
    curves: Curves
    probes: list[list[Row]]  # the content of probes.parquet
    metrics: list[Row]  # the final ones, of run.json
    pipeline: Pipeline
    task: Task  # with what it found in the training targets
    execution: Execution
    guessing: float | None  # the loss of a guess


def train_nets(
    nets: Sequence[nn.Module],
    data: Data,
    task: Task,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    resources: Resources,
    hooks: Sequence[Hook] = (),
) -> Fit:
    """Train nets of one architecture together, or one alone, from where the last checkpoint stands.

    Args:
        nets: with their initial weights; trained in place.
        data: its training split is learned, its validation split watched.
        task: how the nets are judged.
        recipe: all of it but its learning rates.
        seeds: of each net: the order of its data, and what else is random in its training.
        rates: of each net: its learning rate at the schedule's height.
        resources: what it runs with.
        hooks: beside those that every training has; their states are saved, too.
    """
    device, world = torch.device(resources.device), resources.world
    clock = Clock()
    pipeline = data.pipeline(preprocess=recipe.preprocess, augment=recipe.augment)
    task = task.fit(data.targets(data.train))
    net = Mapped(nets) if resources.asked.mapped else stack(nets)  # a copy of the nets, unless it is one alone
    net = net.to(device)
    steps = recipe.total_steps(len(data.train))
    execution = choose_execution(nets[0], data.spec.example(), images=steps * recipe.batch_size, asked=resources.asked)
    prepare(net.net, execution, block_costs(nets[0], data.spec.example()) if execution.recompute else ())
    probe = SignalProbe(data, pipeline, task, net, device)
    part = Part(world.rank, world.size)
    stream = pipeline.stream(data.train, batch_size=recipe.batch_size, seeds=seeds, device=device, part=part)
    points, samples = curve_plan(steps, recipe.batch_size, len(data.validation))
    watched = evenly(data.validation, samples)
    savers = [Saver(resources.checkpoints, resources.seconds_between_checkpoints)] if resources.checkpoints else []
    with torch.random.fork_rng(), drawn_alike(seeds[0]), compiling(execution):
        torch.manual_seed(_seed_of_draws(seeds[0], world.rank))  # nets that draw are trained singly
        curves = train(
            net,
            stream,
            recipe,
            task,
            rates=rates,
            steps=steps,
            epoch_steps=len(data.train) / recipe.batch_size,
            validate=lambda replicas: evaluate(
                replicas, watched, pipeline, task, device=device, world=world, draws=draws_of(seeds[0], "validation")
            ),
            intervals=points,
            hooks=[clock, probe, *hooks, *savers],
            accumulate=resources.accumulate,
            world=world,
            precision=lambda: precision(execution, device),
            saved=resources.checkpoints.load() if resources.checkpoints else None,
        )
    stream.close()
    affordable = affordable_samples(steps, recipe.batch_size)
    finals = _final_metrics(net, data, pipeline, task, resources, affordable, seeds[0])
    share = {"steps": curves.steps, "seconds": clock.seconds / len(nets)}
    for index, member in enumerate(nets):
        net.fill(index, member)
        member.cpu()
    metrics = [{**row, **share} for row in finals]
    guessing = task.guessing_loss(data.spec.outputs)
    return Fit(nets, curves, probe.rows, metrics, pipeline, task, execution, guessing)


def scores_on(
    net: Replicas, split: Any, pipeline: Pipeline, task: Task, resources: Resources, name: str, seed: int
) -> list[Row]:
    """Each net's loss and metric on a split, as run.json names them; the seed is that of the training."""
    draws = draws_of(seed, name)
    scores = evaluate(net, split, pipeline, task, device=resources.device, world=resources.world, draws=draws)
    return named_scores(scores, task, name)


def draws_of(seed: int, split: str) -> str:
    """What decides the draws of a net that draws in evaluation mode, too: it is no other net at each look."""
    return f"seed {seed} on the {split} split"


def named_scores(scores: Scores, task: Task, split: str) -> list[Row]:
    """The loss and the metric of each replica on a split, as run.json names them."""
    columns = {f"{split}_loss": scores.loss.tolist()}
    if task.metric is not None and scores.metric is not None:
        columns[f"{split}_{task.metric.name}"] = scores.metric.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def status(fit: Fit, index: int) -> tuple[str, str | None]:
    """A trained net's status, and the reason where that is not "done"."""
    diverged_at = fit.curves.diverged_at[index]
    if diverged_at is not None:
        return "diverged", f"the training loss was not finite at step {diverged_at}"
    for name, words in (("train_loss", "training"), ("validation_loss", "validation")):
        wrong = divergence(fit.metrics[index][name], fit.guessing)
        if wrong is not None:
            return "diverged", f"the {words} loss of the final weights {wrong}"
    return "done", None


def describe(net: nn.Module, architecture: Mapping[str, Any], example: Any) -> dict[str, Any]:
    """A net, as run.json holds it, with its cost for one of such inputs: a shape, or an example batch.

    The cost is None where shapes alone do not tell it.
    """
    own = cost_if_known(net, example)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    blocks = len(net.blocks) if isinstance(net, SkipNet) else len(find_skips(net))
    counts = {"parameters": parameters, "multiply_adds": own and own.multiply_adds, "blocks": blocks}
    return {**architecture, **counts}


def _final_metrics(
    net: Replicas, data: Data, pipeline: Pipeline, task: Task, resources: Resources, affordable: int, seed: int
) -> list[Row]:
    """Of the final weights: on the training split (a fixed part of a large one) and on the validation split."""
    part = evenly(data.train, min(_MOST_TRAIN_SAMPLES, max(_FEWEST_TRAIN_SAMPLES, affordable)))
    trained = scores_on(net, part, pipeline, task, resources, "train", seed)
    validated = scores_on(net, data.validation, pipeline, task, resources, "validation", seed)
    return [{**a, **b, "train_samples": len(part)} for a, b in zip(trained, validated, strict=True)]


def _seed_of_draws(seed: int, member: int) -> int:
    """The seed of dropout: every process draws for other samples."""
    if member == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"draws of {seed} in process {member}".encode()).digest()[:4], "big")
