"""What a training names that may be a user's own: its nets, gate, task, data, augmentations, optimizer and the like.

And what those name in turn: a rule that the code of another asks for (``make_gate("mine", ...)``), or that stands in a
setting (``outer:inner=mine``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from skipway.data.images.augment import AUGMENTATIONS
from skipway.data.source import SOURCES
from skipway.nets.factory import FUNCTIONS, OWN, NetFactory
from skipway.nets.family import Family
from skipway.nets.registry import FAMILIES
from skipway.rundir.layout import Json
from skipway.runs.code.origin import is_ours
from skipway.runs.code.reading import Reading, UnreadableError
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
    """All that a training names, and what a user's own among them name in turn.

    Args:
        nets: what makes its net.
        gate: a specification; of nets that take none, `OWN`.
        augment: specifications.
        task: a specification; None is the data's usual one.
        others: pairs of a registry's kind and a specification.

    Raises:
        UnreadableError: if a user's code reaches what cannot be read.
    """
    named = [*nets.named(), *(("augmentation", spec) for spec in augment), *others]
    if gate != OWN:
        named.append(("gate", gate))
    if task is not None:
        named.append(("loss" if task in LOSSES else "task", task))
    words = {word for spec in (nets.spec, *(spec for _, spec in named)) for word in _settings(spec)}
    return _with_inner([_definition(kind, spec) for kind, spec in named], words)


def _definition(kind: str, spec: str) -> Definition:
    name = spec if spec in _PLACES[kind] else Spec.parse(spec).name
    return Definition(kind, name, _PLACES[kind][name])


def _settings(spec: str) -> Iterator[str]:
    """The words among the settings of a specification."""
    if not any(spec in functions for functions in _FUNCTIONS.values()):
        yield from (value for _, value in Spec.parse(spec).settings if isinstance(value, str))


def _with_inner(named: list[Definition], words: set[str]) -> list[Definition]:
    """These, and all that is registered under a word or under a text in a user's code."""
    found = {(each.kind, each.name): each for each in named}
    waiting = list(found.values())
    while waiting or words:
        for key, each in sorted(_under(words).items()):
            if found.setdefault(key, each) is each:
                waiting.append(each)
        words = set()
        if waiting and not (last := waiting.pop()).is_ours:
            words = read(last).texts
    return list(found.values())


def _under(words: set[str]) -> dict[tuple[str, str], Definition]:
    names = words | {word.partition(":")[0].strip() for word in words}
    places = [(kind, name) for kind, place in _PLACES.items() for name in names & place.keys()]
    return {(kind, name): Definition(kind, name, _PLACES[kind][name]) for kind, name in places}


def read(definition: Definition) -> Reading:
    """The code of a user's definition, read from end to end.

    Raises:
        UnreadableError: if it reaches what cannot be read; the message names the definition.
    """
    try:
        return Reading(definition.code)
    except UnreadableError as error:
        raise UnreadableError(f"{definition.kind} {definition.name!r}: {error}") from error


def versions(named: Iterable[Definition]) -> Json:
    """What the numbers of these depend on beside their names: versions of ours above the first, digests of a user's."""
    found = {
        f"{each.kind} {called(each.name)}": each.entry.version if each.is_ours else read(each).digest for each in named
    }
    return {name: version for name, version in found.items() if version != 1}


def called(spec: str) -> str:
    """How an identity calls a net or a task: a function of somebody's own by its name alone.

    Its code decides, and its digest is in the identity too. Where it was found, as a module here and as a file at the
    prompt, decides nothing.
    """
    return spec.rpartition(":")[2] if any(spec in known for known in _FUNCTIONS.values()) else spec


def register(definition: Definition) -> None:
    """Let configs name it, in place of any of the same name."""
    kind, name, entry = definition
    if kind in _REGISTRIES:
        _REGISTRIES[kind].replace(name, entry)
    else:
        _FUNCTIONS[kind][name] = entry
