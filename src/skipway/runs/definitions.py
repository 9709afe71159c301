"""What a training names that may be a user's own: its family of nets, gate, shortcut and augmentations."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import cloudpickle

from skipway.data.images.augment import AUGMENTATIONS
from skipway.nets.family import Family
from skipway.nets.registry import FAMILIES
from skipway.rundir.layout import Json
from skipway.runs.code import digest, is_ours
from skipway.settings.registry import Registry, Spec, Value
from skipway.skip.gate import GATES
from skipway.skip.shortcuts import SHORTCUTS

_REGISTRIES: dict[str, Registry[Any]] = {r.kind: r for r in (FAMILIES, GATES, SHORTCUTS, AUGMENTATIONS)}


class Definition(NamedTuple):
    """An entry of a registry, as it travels to a worker process."""

    kind: str  # of its registry: "body", "gate", "shortcut", "augmentation"
    name: str
    entry: Any

    @property
    def code(self) -> Any:
        """What of it decides numbers."""
        return (self.entry.make, self.entry.inputs) if isinstance(self.entry, Family) else self.entry

    @property
    def is_ours(self) -> bool:
        """Whether it came with Skipway."""
        return is_ours(self.entry.make if isinstance(self.entry, Family) else self.entry)


def definitions(body: str, settings: Mapping[str, Value], gate: str, augment: Iterable[str]) -> list[Definition]:
    """All that a training names.

    Args:
        body: the family's name.
        settings: of the family, those that are given.
        gate: a specification.
        augment: specifications.
    """
    named = [("body", body), ("gate", gate), *(("augmentation", spec) for spec in augment)]
    if "shortcut" in settings:  # the family's own choice is the family's to answer for
        named.append(("shortcut", str(settings["shortcut"])))
    names = [(kind, Spec.parse(spec).name) for kind, spec in named]
    return [Definition(kind, name, _REGISTRIES[kind][name]) for kind, name in names]


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
        _REGISTRIES[each.kind].replace(each.name, each.entry)
