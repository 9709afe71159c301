"""One training, checked and named before anything is made: its config in canonical form, its net, its identity."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import nn

from skipway.batch.specification import Specification
from skipway.data.dataset import AUTO, Data
from skipway.data.images.augment import canonical as canonical_augmentation
from skipway.data.load import load
from skipway.data.source import canonical as canonical_data
from skipway.data.source import is_source
from skipway.nets.factory import OWN, FamilyFactory, MakerError, NetFactory, factory, is_function_name
from skipway.nets.foreign import load_weights
from skipway.nets.registry import is_family, parse_name
from skipway.rundir.layout import Json, run_id
from skipway.runs.advice import check_width
from skipway.runs.code.origin import is_ours
from skipway.runs.config import RunConfig
from skipway.runs.definitions import Definition, definitions, versions
from skipway.runs.failure import told
from skipway.runs.identity import identity
from skipway.runs.trial import check_net, check_outputs
from skipway.settings.registry import Spec
from skipway.settings.registry import checked as checked_spec
from skipway.skip.gate import GATES
from skipway.skip.gate import canonical as canonical_gate
from skipway.tasks.make import canonical as canonical_task
from skipway.tasks.make import make_task
from skipway.tasks.own import OwnLoss
from skipway.tasks.task import Task
from skipway.training.optimizers import OPTIMIZERS
from skipway.training.schedules import SCHEDULES

_log = logging.getLogger("skipway")

C = TypeVar("C", bound=Any)  # a run's config or a study's: whatever has data, a task and a recipe


@dataclass(frozen=True)
class PlannedRun:
    """All that is known before a training begins."""

    config: RunConfig  # in canonical form
    data: Data
    task: Task
    nets: NetFactory
    net: nn.Module  # with its initial weights
    identity: Json
    notes: tuple[str, ...]  # of the weights that it starts from: what was left out, what starts anew

    @property
    def id(self) -> str:
        """The run's name."""
        return run_id(self.identity)

    @property
    def cell(self) -> Json:
        """Its place among other gates, depths, rates and seeds."""
        config = self.config
        return {"gate": config.gate, "depth": config.depth, "learning_rate": config.learning_rate, "seed": config.seed}


def plan_run(config: RunConfig, *, bfloat16: bool = False, data: Data | None = None) -> PlannedRun:
    """Check a config, load its data, build its net.

    Args:
        config: what to train.
        bfloat16: whether its products run in bfloat16, which its name tells.
        data: those that the config names, where they are at hand.

    Raises:
        ValueError: with all problems, a line each.
        OSError: if data cannot be reached.
    """
    config = checked(config)
    data = data or load_data(config)
    config, task = with_data(config, data)
    nets = factory(config.net)
    code = versions(definitions_of(nets, config, config.gate or OWN))  # before it runs, and may change what it holds
    net = checked_net(config, nets, data, task)
    notes = (str(load_weights(net, config.weights)),) if config.weights else ()
    return PlannedRun(config, data, task, nets, net, identity(config, data, code, bfloat16=bfloat16), notes)


def checked(config: RunConfig) -> RunConfig:
    """The config in canonical form, so that two ways to write one training find each other's run.

    A net's name becomes its family, gate and depth.

    Raises:
        ValueError: with all problems, a line each.
    """
    config = RunConfig.from_dict(config.to_dict())  # fields of the right type: 1 and 1.0 are one learning rate
    problems = config.problems()
    changes: dict[str, Any] = {}
    try:
        nets, gate, depth = _net_of(config.net, config.gate, config.depth)
        changes = {"net": nets.spec, "gate": gate, "depth": depth}
    except ValueError as error:
        problems.append(str(error))
    changes |= checked_fields(config, problems)
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return replace(config, **changes)


def checked_fields(config: Any, problems: list[str]) -> dict[str, Any]:
    """Data, task and recipe of a run's or a study's config in canonical form; the problems get what is wrong."""
    data, task, recipe = config.data, config.task, config.recipe
    try:
        data = canonical_data(data)
    except ValueError as error:
        problems.append(str(error))
    try:
        recipe = replace(recipe, augment=tuple(canonical_augmentation(spec) for spec in recipe.augment))
        task = None if task is None else canonical_task(task)
    except ValueError as error:
        problems.append(str(error))
    with suppress(ValueError):  # the recipe's own problems tell
        recipe = replace(
            recipe,
            optimizer=str(checked_spec(recipe.optimizer, OPTIMIZERS)),
            schedule=str(checked_spec(recipe.schedule, SCHEDULES)),
        )
    return {"data": data, "task": task, "recipe": recipe}


def _net_of(net: str, gate: str | None, depth: int | None) -> tuple[NetFactory, str, int]:
    """What makes a net, with its gate and depth, from its name or from a family's or a function's.

    Raises:
        ValueError: if something is missing, unknown, or said twice and differently.
    """
    spec = None if is_function_name(net) else Spec.parse(net)
    if spec is not None and not is_family(spec.name):
        family, said = parse_name(spec.name)
        given = {
            **({} if gate is None else {"gate": Spec.parse(gate).name}),
            **({} if depth is None else {"depth": depth}),
        }
        for key, told in (("gate", said.gate), ("depth", said.depth)):
            if given.get(key, told) != told:
                raise ValueError(
                    f"net {net!r} has the {key} {told!r}, but {key}={given[key]!r} was given: let them agree."
                )
        settings = {**said.settings, **dict(spec.settings)}
        nets = FamilyFactory(str(Spec(family.name, tuple(sorted(settings.items())))))
        return nets, canonical_gate(gate or said.gate), said.depth
    found = factory(net)
    needs = {"depth": (depth, found.takes_depth), "gate": (gate, found.takes_gate)}
    missing = [f"a {name}" for name, (given, takes) in needs.items() if takes and given is None]
    if missing:
        raise ValueError(f"net {net!r} is not one net but makes them: give {' and '.join(missing)} as well.")
    surplus = [f"no {name}" for name, (given, takes) in needs.items() if not takes and given not in (None, 0, OWN)]
    if surplus:
        raise ValueError(f"net {net!r} takes {' and '.join(surplus)}: leave that away.")
    found.check_depth(depth or 0)
    return found, canonical_gate(gate or OWN) if found.takes_gate else OWN, depth or 0


def load_data(config: Any) -> Data:
    """The data that a config names."""
    return load(
        config.data,
        task=config.task,
        validation=config.validation,
        split_seed=config.split_seed,
        image_size=config.image_size,
    )


def with_batch_that_fits(config: C, data: Data) -> C:
    """A config whose batch size nobody asked for: of few samples, the largest power of two that there are."""
    usual, most = config.recipe.batch_size, len(data.train)
    if usual <= most or not most:
        return config
    batch_size = 2 ** (most.bit_length() - 1)
    _log.warning(
        "batch_size %d: the usual %d is more than the %d training %s of %s.",
        *(batch_size, usual, most, data.samples, data.name),
    )
    return replace(config, recipe=replace(config.recipe, batch_size=batch_size))


def fitted_batch(config: RunConfig) -> tuple[RunConfig, Data]:
    """The same of a config as it was given, and its data.

    Raises:
        ValueError: as `plan_run`, if the config is not valid.
        OSError: if data cannot be reached.
    """
    data = load_data(checked(config))
    return with_batch_that_fits(config, data), data


def with_data(config: C, data: Data) -> tuple[C, Task]:
    """The config of a run or of a study in canonical form for its data, and the task, fitted to them.

    What is usual for such data is not said: a setting that changes nothing changes no name.

    Raises:
        ValueError: if they do not go together.
    """
    recipe, task = config.recipe, config.task
    if recipe.batch_size > len(data.train):
        raise ValueError(
            f"batch_size {recipe.batch_size} is more than the {len(data.train)} training {data.samples} of "
            f"{data.name}: give at most that."
        )
    recipe.total_steps(len(data.train))  # says so if they are too many
    data.check(preprocess=recipe.preprocess, augment=recipe.augment)
    made = make_task(task or data.task).fit(data.targets(data.train))
    preprocess = AUTO if recipe.preprocess == data.preprocess else recipe.preprocess
    return replace(
        config, recipe=replace(recipe, preprocess=preprocess), task=None if task == data.task else task
    ), made


def specification(data: Data, task: Task) -> Specification:
    """What nets are built for: inputs as the data have them, outputs as the task asks."""
    about = data.spec
    return about if about.outputs is not None else replace(about, outputs=task.outputs(data.targets(data.train)))


def build_net(config: RunConfig, nets: NetFactory, about: Specification) -> nn.Module:
    """The net of a config in canonical form, with its initial weights.

    Raises:
        ValueError: if there cannot be such a net.
    """
    assert config.gate is not None
    assert config.depth is not None
    try:
        return nets.build(about, gate=config.gate, depth=config.depth, width=config.width, seed=config.seed)
    except MakerError as error:
        raise ValueError(f"net {nets.spec}: {told(error.__cause__ or error)}") from error


def checked_net(config: RunConfig, nets: NetFactory, data: Data, task: Task) -> nn.Module:
    """The same, before anything is trained: a net that fits the machine's memory, the data and the task.

    Raises:
        ValueError: as `build_net`; and if it does not.
    """
    about = specification(data, task)

    def build(width: int | None) -> nn.Module:
        return build_net(replace(config, width=width), nets, about)

    check_width(build, width=config.width, depth=config.depth or 0)
    net = build(config.width)
    if is_function_name(nets.spec) or not _is_ours(config.gate or OWN):
        check_net(nets.spec, net, lambda: build(config.width), data, task, about)
    elif isinstance(task, OwnLoss):
        check_outputs(nets.spec, build(config.width), data, task, about)
    return net


def _is_ours(gate: str) -> bool:
    return gate == OWN or is_ours(GATES[Spec.parse(gate).name])


def definitions_of(nets: NetFactory, config: Any, gate: str) -> list[Definition]:
    """All that the trainings of a config, a run's or a study's, name: what may be a user's own."""
    recipe = config.recipe
    others = [("optimizer", recipe.optimizer), ("schedule", recipe.schedule)]
    if is_source(config.data):
        others.append(("data source", config.data))
    return definitions(nets, gate, recipe.augment, config.task, others)
