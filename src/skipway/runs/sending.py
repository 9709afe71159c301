"""A user's definitions on their way to worker processes: packed, learned there, and held against what was sent.

Code of a script, a notebook or ``--plugin`` travels as it is. All else is imported by the worker, from its file: where
that was edited since the first process imported it, the worker would train other code than the run's name says.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

import cloudpickle

from skipway.runs.code.difference import Place, first_difference, marks
from skipway.runs.code.found import Unseen
from skipway.runs.definitions import Definition, read, register

_HELD: set[str] = set()
"""Digests of what was learned here and found to be as it was sent. Once will do: code that runs may fill a table."""


class ChangedError(ValueError):
    """A worker imported other code than the run's name stands for."""


class _Sent(NamedTuple):
    """A definition as it travels, with what was read of it where it was defined."""

    definition: Definition
    digest: str
    marks: bytes
    unseen: list[Unseen]  # globals that cloudpickle does not find


def packed(named: Iterable[Definition]) -> bytes:
    """Those that did not come with Skipway, for a worker process to `learn`.

    Raises:
        ValueError: if one cannot be sent there; the message names it.
    """
    users = {(each.kind, each.name): each for each in named if not each.is_ours}
    sent = []
    for each in users.values():
        reading = read(each)
        sent.append(_Sent(each, reading.digest, marks(reading), reading.unseen))
        try:
            _dumps(sent[-1])
        except Exception as error:  # whatever a user's class makes of it
            raise ValueError(
                f"{each.kind} {each.name!r} cannot be sent to worker processes: {type(error).__name__}: {error}. "
                "A class can be sent if what its code holds can: give it no open files, locks or generators."
            ) from error
    return _dumps(sent)


def _dumps(value: Any) -> bytes:
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    def reducer_override(self, value: Any) -> Any:
        if type(value) is functools.cached_property:  # it holds a lock until Python 3.12
            return functools.cached_property, (value.func,), {"attrname": value.attrname}
        return super().reducer_override(value)


def learn(content: bytes) -> None:
    """Register what another process `packed`, in place of any of the same names.

    Raises:
        ChangedError: if the code is not what that process read.
    """
    sent: list[_Sent] = pickle.loads(content)
    for each in sent:
        register(each.definition)
        for function, values in each.unseen:
            for name, value in values.items():
                function.__globals__.setdefault(name, value)
    key = hashlib.sha256(content).hexdigest()
    if key not in _HELD:
        for each in sent:
            _check(each)
        _HELD.add(key)


def _check(sent: _Sent) -> None:
    reading = read(sent.definition)
    if reading.digest != sent.digest:
        place = first_difference(sent.definition.code, reading, sent.marks)
        raise ChangedError(_changed(sent.definition, place))


def _changed(definition: Definition, place: Place) -> str:
    where = f"{place.file}: {place.name}" if place.file else place.name
    return (
        f"{definition.kind} {definition.name!r} is not the same code in this worker process as where the run got its "
        f"name; they differ at {where}. A run's name stands for the code that was read then, and a worker imports a "
        "module from its file. If the file was edited since, start again in a new process, so that both read the same "
        "file. If nothing was edited, a value there is changed while the program runs, or differs between processes: "
        "make it part of no module and no class."
    )
