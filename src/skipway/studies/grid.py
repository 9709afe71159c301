"""The grid of a study: cells and their identities, gates at depths, and the stacks in which cells are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise, product
from typing import Any

import torch
from torch import nn

from skipway.anatomy.skips import find_skips
from skipway.data.dataset import Data
from skipway.nets.factory import OWN, NetFactory, factory, is_function_name
from skipway.rundir.layout import Json, run_id
from skipway.runs.definitions import Definition, versions
from skipway.runs.identity import identity
from skipway.runs.plan import (
    build_net,
    checked_fields,
    checked_net,
    definitions_of,
    specification,
    with_data,
)
from skipway.settings.limits import TRAININGS
from skipway.skip.gate import canonical as canonical_gate
from skipway.skip.placement import Placement
from skipway.studies.config import StudyConfig
from skipway.studies.varied import Shapes, check_depth_counts, check_gate_counts, check_seed_counts
from skipway.tasks.task import Task
from skipway.training.optim import moves_stacks
from skipway.training.replicas import stack_size, why_not_stackable


@dataclass(frozen=True)
class Cell:
    """One training: a gate, a depth, a learning rate and a seed."""

    gate: str
    depth: int
    learning_rate: float
    seed: int

    def to_dict(self) -> Json:
        """As the run directory holds it."""
        return asdict(self)


@dataclass(frozen=True)
class CellStack:
    """Cells of one gate and depth that are trained together, and are found on disk together or not at all."""

    cells: tuple[Cell, ...]
    ids: tuple[str, ...]
    cost: float  # relative: steps x parameters x cells
    mapped: bool = False  # whether nets of somebody's own are trained as one computation
    why: str | None = None  # and why, or why not

    @property
    def name(self) -> str:
        """The stack's own name, from its members'."""
        return run_id({"members": list(self.ids)})

    def only(self, ids: Container[str]) -> CellStack:
        """A stack of those of its cells whose ids are among these."""
        cells, own = zip(*((cell, i) for cell, i in zip(self.cells, self.ids, strict=True) if i in ids), strict=True)
        return replace(self, cells=cells, ids=own, cost=self.cost * len(own) / len(self.ids))


def checked(config: StudyConfig) -> StudyConfig:
    """The config in canonical form, so that two ways to write one study find each other's runs.

    Raises:
        ValueError: with all problems, a line each.
    """
    config = StudyConfig.from_dict(config.to_dict())  # fields of the right type: 1 and 1.0 are one learning rate
    problems = config.problems()
    if config.trainings > TRAININGS.most:  # too many to look at each
        raise ValueError("\n".join(problems))
    changes: dict[str, Any] = {}
    try:
        nets = factory(config.net)
        changes["net"] = nets.spec
        gates = _gates(config.gates, problems) if nets.takes_gate else (OWN,)
        changes["gates"] = gates
        for depth in config.named_depths:
            try:
                nets.check_depth(depth)
            except ValueError as error:
                problems.append(str(error))
    except ValueError as error:
        problems.append(str(error))
        _gates(config.gates, problems)
    changes |= checked_fields(config, problems)
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return replace(config, **changes)


def _gates(specs: Sequence[str], problems: list[str]) -> tuple[str, ...]:
    """Gates in canonical form; what is wrong with them is added to the problems."""
    gates: list[str] = []
    for gate in specs:
        try:
            gates.append(canonical_gate(gate))
        except ValueError as error:
            problems.append(str(error))
    if len(set(gates)) != len(gates):
        problems.append(f"gates must differ from each other; they are {' '.join(gates)}.")
    return tuple(gates)


def cells_of(config: StudyConfig) -> list[Cell]:
    """Every cell that a config names, in the order gate, depth, seed, learning rate."""
    return [
        Cell(gate, depth, rate, seed)
        for gate, depth, seed, rate in product(
            config.gates, config.named_depths, config.seeds, config.recipe.learning_rates
        )
    ]


@dataclass(frozen=True)
class Plan:
    """What a study is about: its config in canonical form, its data, its task, and what makes its nets."""

    config: StudyConfig
    data: Data
    task: Task
    nets: NetFactory
    _versions: dict[str, Json] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, config: StudyConfig, data: Data) -> Plan:
        """That of a checked config.

        Raises:
            ValueError: if config and data do not go together.
        """
        config, task = with_data(config, data)
        return cls(config, data, task, factory(config.net))

    def definitions(self, gate: str) -> list[Definition]:
        """All that the trainings of one of its gates name: what may be a user's own."""
        return definitions_of(self.nets, self.config, gate)

    def identity(self, cell: Cell) -> Json:
        """All that decides a cell's numbers; device and number of workers are not in it."""
        return identity(self.config.run(**cell.to_dict()), self.data, self.versions(cell.gate))

    def versions(self, gate: str) -> Json:
        """Those of all that the trainings of one of its gates name; a user's code is read once, before it runs."""
        if gate not in self._versions:
            self._versions[gate] = versions(self.definitions(gate))
        return self._versions[gate]

    def build(self, cell: Cell) -> nn.Module:
        """A cell's net with its initial weights, which its seed decides.

        Raises:
            ValueError: if the gate cannot stand in such a net.
        """
        return build_net(self.config.run(**cell.to_dict()), self.nets, specification(self.data, self.task))


@dataclass(frozen=True)
class Way:
    """How the cells of one gate and depth are trained: so many together, at most."""

    replicas: int = 1
    mapped: bool = False
    why: str | None = None


Ways = Callable[[Plan, Sequence[Cell], nn.Module, int], Way]
"""Chooses it for cells of one gate and depth, a net of theirs, and the number of replicas that the caches allow."""


@dataclass(frozen=True)
class Pair:
    """A gate at a depth, and how its cells are trained."""

    gate: str
    depth: int
    way: Way
    parameters: int
    steps: int

    @property
    def cost(self) -> float:
        """Of one training, relative: steps x parameters."""
        return float(self.steps * self.parameters)

    def stacks(self, plan: Plan, cells: Sequence[Cell]) -> list[CellStack]:
        """Some of its cells in stacks. A study started again finds the same division: the cells alone decide it."""
        return [
            CellStack(
                tuple(part),
                tuple(run_id(plan.identity(cell)) for cell in part),
                self.cost * len(part),
                mapped=self.way.mapped,
                why=self.way.why,
            )
            for part in _parts(cells, self.way.replicas)
        ]


class PairMaker:
    """Makes pairs of a study, checked.

    Args:
        plan: of the study.
        device: where they train.
        ways: decides for nets that cannot be stacked; without it they are trained one by one.
    """

    def __init__(self, plan: Plan, device: torch.device, ways: Ways | None = None) -> None:
        self._plan, self._device, self._ways = plan, device, ways
        self._shapes: dict[str, dict[Shapes, int]] = {gate: {} for gate in plan.config.gates}
        self._seeds_checked: set[str] = set()
        self._deep: dict[int, dict[str, nn.Module]] = {}
        for gate in plan.config.gates:
            plan.versions(gate)  # before any code of a user's runs

    def make(self, gate: str, depth: int) -> Pair:
        """A gate at a depth.

        Raises:
            ValueError: if the net is not valid, or if depth, seeds or gates make no difference to nets of one's own.
        """
        plan, config = self._plan, self._plan.config
        cells = cells_of(replace(config, gates=(gate,), depths=(depth,)))
        net = checked_net(config.run(**cells[0].to_dict()), plan.nets, plan.data, plan.task)
        check_depth_counts(plan.nets.spec, depth, net, self._shapes[gate])
        if is_function_name(plan.nets.spec):
            self._check_function(cells, net)
        way = Way(stack_size(_block_output_bytes(net, config.recipe.batch_size), self._device))
        if not moves_stacks(config.recipe):
            way = Way()
        elif why_not_stackable(net):
            way = Way() if self._ways is None else self._ways(plan, cells, net, way.replicas)
        steps = config.recipe.total_steps(len(plan.data.train))
        return Pair(gate, depth, way, sum(p.numel() for p in net.parameters()), steps)

    def _check_function(self, cells: Sequence[Cell], net: nn.Module) -> None:
        """Hold nets of somebody's own of two seeds against each other where they are small, of two gates where deep.

        Args:
            cells: of one gate and depth.
            net: of the first of them.

        Raises:
            ValueError: if seeds or gates make no difference.
        """
        plan, (gate, depth) = self._plan, (cells[0].gate, cells[0].depth)
        named = plan.config.named_depths
        seeds = {cell.seed: cell for cell in cells}
        if gate not in self._seeds_checked and depth == min(named, default=depth) and len(seeds) > 1:
            self._seeds_checked.add(gate)
            check_seed_counts(plan.nets.spec, depth, ((seed, plan.build(cell)) for seed, cell in seeds.items()))
        # Of depths that are not named, the first is all that is known of every gate.
        deep = max(named) if named else next(iter(self._deep), depth)
        if depth == deep and depth > 0 and len(plan.config.gates) > 1:
            alike = self._deep.setdefault(depth, {})
            alike[gate] = net
            check_gate_counts(plan.nets.spec, gate, depth, alike, plan.data, plan.task)


def _parts(cells: Sequence[Cell], size: int) -> Iterator[Sequence[Cell]]:
    """As few parts as the size allows, of sizes as equal as can be."""
    count = math.ceil(len(cells) / size)
    bounds = [round(place * len(cells) / count) for place in range(count + 1)]
    return (cells[start:end] for start, end in pairwise(bounds))


def _block_output_bytes(net: nn.Module, batch_size: int) -> int:
    bodies = (handle.body for handle in find_skips(net))
    return 4 * batch_size * sum(Placement.of(body).out_features or 0 for body in bodies if body is not None)
