"""Nets and data in, trained nets with curves, signals and final scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from skipway.anatomy.cost import block_costs, cost
from skipway.data.batches import BatchStream
from skipway.data.images.augment import make_augmentations
from skipway.data.images.preprocess import Kind, Preprocess
from skipway.data.part import Part
from skipway.data.splits import Data, Split
from skipway.nets.stack import SkipNet
from skipway.runs.divergence import divergence
from skipway.runs.hooks import Clock, SignalProbe, evenly
from skipway.skip.draws import drawn_alike
from skipway.training.checkpoint import Checkpoints
from skipway.training.evaluate import evaluate
from skipway.training.execution import Execution, choose_execution, compiling, precision, prepare
from skipway.training.loop import Curves, Hook, Row, affordable_samples, curve_plan, train
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

    nets: Sequence[SkipNet]  # trained, on the CPU
    curves: Curves
    probes: list[list[Row]]  # the content of probes.parquet
    metrics: list[Row]  # the final ones, of run.json
    preprocess: Preprocess
    execution: Execution
    classes: int


def train_nets(
    nets: Sequence[SkipNet],
    data: Data,
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
        recipe: all of it but its learning rates.
        seeds: of each net: the order of its data, and what else is random in its training.
        rates: of each net: its learning rate at the schedule's height.
        resources: what it runs with.
        hooks: beside those that every training has; their states are saved, too.
    """
    device, world = torch.device(resources.device), resources.world
    clock = Clock()
    preprocess = Preprocess.fit(data, cast(Kind, recipe.preprocess))
    net = stack(nets).to(device)  # a copy of the nets, unless it is one alone
    steps = recipe.total_steps(len(data.train))
    execution = choose_execution(nets[0], data.shape, images=steps * recipe.batch_size, asked=resources.asked)
    prepare(net.net, execution, block_costs(nets[0], data.shape) if execution.recompute else ())
    probe = SignalProbe(data.train, preprocess, net, device)
    stream = BatchStream(
        data.train,
        preprocess,
        batch_size=recipe.batch_size,
        seeds=seeds,
        augment=make_augmentations(recipe.augment),
        device=device,
        part=Part(world.rank, world.size),
        scale=data.scale,
        num_classes=data.num_classes,
    )
    points, samples = curve_plan(steps, recipe.batch_size, len(data.validation))
    watched = evenly(data.validation, samples)
    savers = [Saver(resources.checkpoints, resources.seconds_between_checkpoints)] if resources.checkpoints else []
    with torch.random.fork_rng(), drawn_alike(seeds[0]), compiling(execution):
        torch.manual_seed(_seed_of_draws(seeds[0], world.rank))  # nets that draw are trained singly
        curves = train(
            net,
            stream,
            recipe,
            rates=rates,
            steps=steps,
            epoch_steps=len(data.train) / recipe.batch_size,
            validate=lambda replicas: evaluate(replicas, watched, preprocess, device=device, world=world),
            intervals=points,
            hooks=[clock, probe, *hooks, *savers],
            accumulate=resources.accumulate,
            world=world,
            precision=lambda: precision(execution, device),
            saved=resources.checkpoints.load() if resources.checkpoints else None,
        )
    stream.close()
    finals = _final_metrics(net, data, preprocess, resources, affordable_samples(steps, recipe.batch_size))
    share = {"steps": curves.steps, "seconds": clock.seconds / len(nets)}
    for index, member in enumerate(nets):
        net.fill(index, member)
        member.cpu()
    metrics = [{**row, **share} for row in finals]
    return Fit(nets, curves, probe.rows, metrics, preprocess, execution, data.num_classes)


def scores_on(net: Replicas, split: Split, preprocess: Preprocess, resources: Resources, name: str) -> list[Row]:
    """Each net's loss and error on a split, as run.json names them."""
    scores = evaluate(net, split, preprocess, device=resources.device, world=resources.world)
    pairs = zip(scores.loss.tolist(), scores.error.tolist(), strict=True)
    return [{f"{name}_loss": loss, f"{name}_error": error} for loss, error in pairs]


def status(fit: Fit, index: int) -> tuple[str, str | None]:
    """A trained net's status, and the reason where that is not "done"."""
    diverged_at = fit.curves.diverged_at[index]
    if diverged_at is not None:
        return "diverged", f"the training loss was not finite at step {diverged_at}"
    for name, words in (("train_loss", "training"), ("validation_loss", "validation")):
        wrong = divergence(fit.metrics[index][name], fit.classes)
        if wrong is not None:
            return "diverged", f"the {words} loss of the final weights {wrong}"
    return "done", None


def describe(net: SkipNet, shape: tuple[int, int, int]) -> dict[str, Any]:
    """A net, as run.json holds it, with its cost for one image of a shape (channels, height, width)."""
    own = cost(net, shape)
    counts = {"parameters": own.parameters, "multiply_adds": own.multiply_adds, "blocks": len(net.blocks)}
    return {**net.architecture, **counts}


def _final_metrics(
    net: Replicas, data: Data, preprocess: Preprocess, resources: Resources, affordable: int
) -> list[Row]:
    """Of the final weights: on the training split (a fixed part of a large one) and on the validation split."""
    part = evenly(data.train, min(_MOST_TRAIN_SAMPLES, max(_FEWEST_TRAIN_SAMPLES, affordable)))
    trained = scores_on(net, part, preprocess, resources, "train")
    validated = scores_on(net, data.validation, preprocess, resources, "validation")
    return [{**a, **b, "train_samples": len(part)} for a, b in zip(trained, validated, strict=True)]


def _seed_of_draws(seed: int, member: int) -> int:
    """The seed of dropout: every process draws for other samples."""
    if member == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"draws of {seed} in process {member}".encode()).digest()[:4], "big")
