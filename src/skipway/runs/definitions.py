"""What a training names that may be a user's own: its nets, gate, task, data, augmentations, optimizer and the like."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import cloudpickle

from skipway.data.images.augment import AUGMENTATIONS
from skipway.data.source import SOURCES
from skipway.nets.factory import FUNCTIONS, OWN, NetFactory
from skipway.nets.family import Family
from skipway.nets.registry import FAMILIES
from skipway.rundir.layout import Json
from skipway.runs.code import digest, is_ours
from skipway.settings.registry import Registry, Spec
from skipway.skip.gate import GATES
from skipway.skip.shortcuts import SHORTCUTS
from skipway.tasks.own import LOSSES
from skipway.tasks.task import TASKS
from skipway.training.optimizers import OPTIMIZERS
from skipway.training.schedules import SCHEDULES

_REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (FAMILIES, GATES, SHORTCUTS, AUGMENTATIONS, TASKS, OPTIMIZERS, SCHEDULES, SOURCES)
}
_FUNCTIONS: dict[str, dict[str, Any]] = {"net": FUNCTIONS, "loss": LOSSES}
_PLACES: dict[str, Mapping[str, Any]] = {**_REGISTRIES, **_FUNCTIONS}


class Definition(NamedTuple):
    """An entry of a registry, as it travels to a worker process."""

    kind: str  # of its registry, such as "gate"; or "net", "loss": a function
    name: str
    entry: Any

    @property
    def code(self) -> Any:
        """What of it decides numbers."""
        return (self.entry.make, self.entry.inputs) if isinstance(self.entry, Family) else self.entry

    @property
    def is_ours(self) -> bool:
        """Whether it came with Skipway."""
        if self.kind in _FUNCTIONS:
            return False
        return is_ours(self.entry.make if isinstance(self.entry, Family) else self.entry)


def definitions(
    nets: NetFactory,
    gate: str,
    augment: Iterable[str],
    task: str | None = None,
    others: Iterable[tuple[str, str]] = (),
) -> list[Definition]:
    """All that a training names.

    Args:
        nets: what makes its net.
        gate: a specification; of nets that take none, `OWN`.
        augment: specifications.
        task: a specification; None is the data's usual one.
        others: pairs of a registry's kind and a specification.
    """
    named = [*nets.named(), *(("augmentation", spec) for spec in augment), *others]
    if gate != OWN:
        named.append(("gate", gate))
    if task is not None:
        named.append(("loss" if task in LOSSES else "task", task))
    return [_definition(kind, spec) for kind, spec in named]


def _definition(kind: str, spec: str) -> Definition:
    name = spec if spec in _PLACES[kind] else Spec.parse(spec).name
    return Definition(kind, name, _PLACES[kind][name])


def versions(named: Iterable[Definition]) -> Json:
    """What the numbers of these depend on beside their names: versions of ours above the first, digests of a user's."""
    found = {f"{each.kind} {each.name}": each.entry.version if each.is_ours else digest(each.code) for each in named}
    return {name: version for name, version in found.items() if version != 1}


def packed(named: Iterable[Definition]) -> bytes:
    """Those that did not come with Skipway, for a worker process to `learn`.

    Raises:
        ValueError: if one cannot be sent there; the message names it.
    """
    users = {(each.kind, each.name): each for each in named if not each.is_ours}
    for each in users.values():
        try:
            cloudpickle.dumps(each)
        except Exception as error:  # whatever a user's class makes of it
            raise ValueError(
                f"{each.kind} {each.name!r} cannot be sent to worker processes: {type(error).__name__}: {error}. "
                "A class can be sent if what its code holds can: give it no open files, locks or generators."
            ) from error
    content: bytes = cloudpickle.dumps(list(users.values()))
    return content


def learn(content: bytes) -> None:
    """Register what another process `packed`, in place of any of the same names."""
    for each in pickle.loads(content):
        if each.kind in _REGISTRIES:
            _REGISTRIES[each.kind].replace(each.name, each.entry)
        else:
            _FUNCTIONS[each.kind][each.name] = each.entry
