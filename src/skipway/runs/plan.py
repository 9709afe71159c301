"""One training, checked and named before anything is made: its config in canonical form, its net, its identity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from skipway.data.images.augment import canonical as canonical_augmentation
from skipway.data.images.augment import make_augmentations
from skipway.data.images.preprocess import check_kind
from skipway.data.sources import load
from skipway.data.splits import Data
from skipway.nets.foreign import load_weights
from skipway.nets.registry import build, parse_name
from skipway.nets.stack import SkipNet
from skipway.rundir.layout import Json, run_id
from skipway.runs.advice import check_width
from skipway.runs.config import TrainConfig
from skipway.runs.definitions import definitions
from skipway.runs.identity import identity
from skipway.settings.registry import Spec, check_settings
from skipway.skip.gate import canonical as canonical_gate


@dataclass(frozen=True)
class PlannedRun:
    """All that is known before a training begins."""

    config: TrainConfig  # in canonical form
    data: Data
    net: SkipNet  # with its initial weights
    identity: Json
    notes: tuple[str, ...]  # of the weights that it starts from: what was left out, what starts anew

    @property
    def id(self) -> str:
        """The run's name."""
        return run_id(self.identity)

    @property
    def cell(self) -> Json:
        """Where a study's runs have their cell."""
        _, said = parse_name(Spec.parse(self.config.net).name)
        gate = self.config.gate or said.gate
        return {"gate": gate, "depth": said.depth, "learning_rate": self.config.learning_rate, "seed": self.config.seed}


def plan_run(config: TrainConfig, *, bfloat16: bool = False) -> PlannedRun:
    """Check a config, load its data, build its net.

    Args:
        config: what to train.
        bfloat16: whether its products run in bfloat16, which its name tells.

    Raises:
        ValueError: with all problems, a line each.
        OSError: if data cannot be reached.
    """
    config = checked(config)
    data = load(config.data, validation=config.validation, split_seed=config.split_seed, image_size=config.image_size)
    recipe = config.recipe
    if recipe.batch_size > len(data.train):
        raise ValueError(
            f"batch_size {recipe.batch_size} is more than the {len(data.train)} training images of {data.name}: "
            "give at most that."
        )
    recipe.total_steps(len(data.train))  # says so if they are too many
    for augmentation in make_augmentations(recipe.augment):
        augmentation.draw(1, data.shape, torch.Generator())  # says so if the images are too small for it
    check_width(lambda width: _build(replace(config, width=width), data), width=config.width, depth=_depth(config))
    net = _build(config, data)
    notes = (str(load_weights(net, config.weights)),) if config.weights else ()
    return PlannedRun(config, data, net, _identity(config, data, bfloat16), notes)


def checked(config: TrainConfig) -> TrainConfig:
    """The config in canonical form, so that two ways to write one training find each other's run.

    Raises:
        ValueError: with all problems, a line each.
    """
    config = TrainConfig.from_dict(config.to_dict())  # fields of the right type: 1 and 1.0 are one learning rate
    problems = config.problems()
    recipe, net, gate = config.recipe, config.net, config.gate
    try:
        spec = Spec.parse(net)
        family, said = parse_name(spec.name)
        net = str(check_settings(spec, family.make, "net"))
        gate = canonical_gate(gate or said.gate)
    except ValueError as error:
        problems.append(str(error))
    try:
        check_kind(recipe.preprocess)
        recipe = replace(recipe, augment=tuple(canonical_augmentation(spec) for spec in recipe.augment))
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return replace(config, net=net, gate=gate, recipe=recipe)


def _depth(config: TrainConfig) -> int:
    return parse_name(Spec.parse(config.net).name)[1].depth


def _build(config: TrainConfig, data: Data) -> SkipNet:
    """The net with its initial weights, which the seed decides; the global generator is left as it was."""
    spec = Spec.parse(config.net)
    family, _ = parse_name(spec.name)
    settings: dict[str, Any] = {**family.data_settings(data.shape, data.num_classes), **dict(spec.settings)}
    if config.width is not None:
        settings["width"] = config.width
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return build(spec.name, gate=config.gate, **settings)


def _identity(config: TrainConfig, data: Data, bfloat16: bool) -> Json:
    spec = Spec.parse(config.net)
    family, said = parse_name(spec.name)
    gate = config.gate or said.gate
    settings = {**said.settings, **dict(spec.settings)}
    return identity(
        data,
        {"name": config.net, "gate": gate, "width": config.width},
        config.recipe,
        learning_rate=config.learning_rate,
        seed=config.seed,
        named=definitions(family.body, settings, gate, config.recipe.augment),
        image_size=config.image_size,
        weights=config.weights,
        bfloat16=bfloat16,
    )
