"""The grid of a study: its cells, their identities, and the stacks in which they are trained."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise, product

import torch

from skipway.anatomy.skips import find_skips
from skipway.data.images.augment import canonical as canonical_augmentation
from skipway.data.images.preprocess import check_kind
from skipway.data.splits import Data
from skipway.nets.registry import build_body, check_body, check_depth
from skipway.nets.stack import SkipNet
from skipway.rundir.layout import Json, run_id
from skipway.runs.advice import check_width
from skipway.runs.definitions import Definition, definitions
from skipway.runs.identity import identity as identity_of_training
from skipway.settings.limits import TRAININGS
from skipway.settings.registry import Spec
from skipway.skip.gate import canonical as canonical_gate
from skipway.skip.placement import Placement
from skipway.studies.config import StudyConfig
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
    cost: float  # relative: steps x blocks x cells

    @property
    def name(self) -> str:
        """The stack's own name, from its members'."""
        return run_id({"members": list(self.ids)})

    def only(self, ids: Container[str]) -> CellStack:
        """A stack of those of its cells whose ids are among these."""
        cells, own = zip(*((cell, i) for cell, i in zip(self.cells, self.ids, strict=True) if i in ids), strict=True)
        return CellStack(cells, own, self.cost * len(own) / len(self.ids))


def checked(config: StudyConfig) -> StudyConfig:
    """The config in canonical form, so that two ways to write one study find each other's runs.

    Raises:
        ValueError: with all problems, a line each.
    """
    config = StudyConfig.from_dict(config.to_dict())  # fields of the right type: 1 and 1.0 are one learning rate
    problems = config.problems()
    if config.trainings > TRAININGS.most:  # too many to look at each
        raise ValueError("\n".join(problems))
    gates: list[str] = []
    for gate in config.gates:
        try:
            gates.append(canonical_gate(gate))
        except ValueError as error:
            problems.append(str(error))
    body = config.body
    try:
        body = str(check_body(config.body))
        for depth in config.depths:
            try:
                check_depth(body, depth)
            except ValueError as error:
                problems.append(str(error))
    except ValueError as error:
        problems.append(str(error))
    if len(set(gates)) != len(gates):
        problems.append(f"gates must differ from each other; they are {' '.join(gates)}.")
    recipe = config.recipe
    try:
        check_kind(recipe.preprocess)
        recipe = replace(recipe, augment=tuple(canonical_augmentation(spec) for spec in recipe.augment))
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return replace(config, gates=tuple(gates), body=body, recipe=recipe)


def cells_of(config: StudyConfig) -> list[Cell]:
    """Every cell, in the order gate, depth, seed, learning rate."""
    return [
        Cell(gate, depth, rate, seed)
        for gate, depth, seed, rate in product(config.gates, config.depths, config.seeds, config.recipe.learning_rates)
    ]


def identity(cell: Cell, config: StudyConfig, data: Data) -> Json:
    """All that decides a cell's numbers; device and number of workers are not in it."""
    return identity_of_training(
        data,
        {"body": config.body, "gate": cell.gate, "depth": cell.depth, "width": config.width},
        config.recipe,
        learning_rate=cell.learning_rate,
        seed=cell.seed,
        named=definitions_of(config, cell.gate),
        image_size=config.image_size,
    )


def definitions_of(config: StudyConfig, gate: str) -> list[Definition]:
    """All that the trainings of one of its gates name: what may be a user's own."""
    body = Spec.parse(config.body)
    return definitions(body.name, dict(body.settings), gate, config.recipe.augment)


def build_cell(cell: Cell, config: StudyConfig, data: Data) -> SkipNet:
    """A cell's net with its initial weights, which its seed decides; torch's global generator is left as it was.

    Raises:
        ValueError: if the gate cannot stand in this body.
    """
    with torch.random.fork_rng():
        torch.manual_seed(cell.seed)
        return build_body(
            config.body,
            gate=cell.gate,
            depth=cell.depth,
            shape=data.shape,
            classes=data.num_classes,
            width=config.width,
        )


def _of_width(cell: Cell, config: StudyConfig, data: Data, width: int) -> SkipNet:
    return build_cell(cell, replace(config, width=width), data)


def stacks_of(config: StudyConfig, data: Data, device: torch.device) -> Iterator[CellStack]:
    """The study's cells in stacks. The config alone decides the division: a study started again finds the same."""
    steps = config.recipe.total_steps(len(data.train))
    cells = cells_of(config)
    for gate, depth in product(config.gates, config.depths):
        group = [cell for cell in cells if (cell.gate, cell.depth) == (gate, depth)]
        check_width(partial(_of_width, group[0], config, data), width=config.width, depth=depth)
        net = build_cell(group[0], config, data)
        size = 1 if why_not_stackable(net) else stack_size(_block_output_bytes(net, config.recipe.batch_size), device)
        parameters = sum(p.numel() for p in net.parameters())
        for part in _parts(group, size):
            ids = tuple(run_id(identity(cell, config, data)) for cell in part)
            yield CellStack(tuple(part), ids, cost=float(steps * parameters * len(part)))


def _parts(cells: Sequence[Cell], size: int) -> Iterator[Sequence[Cell]]:
    """As few parts as the size allows, of sizes as equal as can be."""
    count = math.ceil(len(cells) / size)
    bounds = [round(place * len(cells) / count) for place in range(count + 1)]
    return (cells[start:end] for start, end in pairwise(bounds))


def _block_output_bytes(net: SkipNet, batch_size: int) -> int:
    bodies = (handle.body for handle in find_skips(net))
    return 4 * batch_size * sum(Placement.of(body).out_features or 0 for body in bodies if body is not None)
