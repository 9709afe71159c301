"""A definition read from end to end: the facts that its digest is of, and what belongs to it."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, MethodType, ModuleType
from typing import Any

from skipway.runs.code import bytecode
from skipway.runs.code.found import Fact, Named, Unseen, Whole, Words
from skipway.runs.code.functions import OF_MODULES
from skipway.runs.code.origin import called, is_ours
from skipway.runs.code.parts import EMPTY, parts

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
# Where two names hold an equal one of these, it does not matter whether it is the same one.
_VALUES = (tuple, frozenset, CodeType, MethodType, BuiltinFunctionType, EMPTY)
_UNKNOWN = (eval, exec, globals, __import__)
_LONG = 1000  # of texts and bytes: beyond that, a digest stands for them
_END = object()


class UnreadableError(ValueError):
    """A definition reaches something that has no pieces to read; the message says where, and what."""


class ReachedError(Exception):
    """The fact that was looked for is reached; its argument is the way there: names and values, the outermost first."""


def digest(definition: object) -> str:
    """16 hexadecimal digits of a class, a function, or an object that holds some: equal in every process.

    Raises:
        UnreadableError: if something in it cannot be read.
    """
    return Reading(definition).digest


@dataclass
class _Level:
    """A value that is being read."""

    name: str
    value: object
    rest: Iterator[Any] = field(default_factory=lambda: iter(()))


class Reading:
    """What a definition is made of, each part of it once.

    Args:
        definition: a class, a function, or an object that holds some.
        until: stop at the fact of this number.

    Attributes:
        facts: the lines that the digest is of.
        texts: all that are met: a rule that code asks for by its name is named by one of them.
        modules: the user's own that it reads from or imports, by name.
        unseen: globals of its functions that are not found by their operations alone.

    Raises:
        UnreadableError: if something in it cannot be read.
        ReachedError: at the fact of the number `until`.
    """

    def __init__(self, definition: object, *, until: int | None = None) -> None:
        self.facts = ["python {}.{}".format(*sys.version_info)]
        self.texts: set[str] = set()
        self.modules: dict[str, ModuleType] = {}
        self.unseen: list[Unseen] = []
        self._words: set[str] = set()
        self._whole: set[str] = set()
        self._until = until
        # With the objects themselves: one that is let go could lend its id to another.
        self._met: dict[int, tuple[int, object]] = {}
        self._read("", definition)
        self._read_modules()

    @property
    def digest(self) -> str:
        """16 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.facts).encode()).hexdigest()[:16]

    def names(self, module: ModuleType) -> list[str]:
        """What of a user's module counts: what the code names, and all of it where it puts names together."""
        own = vars(module).keys() - OF_MODULES
        return sorted(own if module.__name__ in self._whole else own & (self._words | self.texts | {"__getattr__"}))

    def _read_modules(self) -> None:
        done: set[tuple[str, str]] = set()
        while new := sorted({(m.__name__, name) for m in self.modules.values() for name in self.names(m)} - done):
            for module, name in new:
                self._read(f"{module}.{name}", vars(self.modules[module])[name])
            done.update(new)

    def _read(self, name: str, value: object) -> None:
        """Write down a value and its parts, depth first: a line each, and one where the parts of a value end."""
        levels = [_Level("", None, iter([Named(name, value)]))]
        while levels:
            try:
                self._step(levels)
            except UnreadableError:
                raise
            except Exception as error:  # whatever an object of the user's makes of it
                where = ".".join(level.name for level in levels if level.name)
                raise UnreadableError(_unreadable(where, levels[-1].value, error)) from error
            if self._until is not None and len(self.facts) > self._until:
                raise ReachedError([(level.name, level.value) for level in levels])

    def _step(self, levels: list[_Level]) -> None:
        part = next(levels[-1].rest, _END)
        if part is _END:
            levels.pop()
            self.facts.append(".")
            return
        level = _Level(*part) if type(part) is Named else _Level("", part)
        levels.append(level)
        self.facts += [repr(level.name)] if level.name else []
        level.rest = self._parts(level.value)

    def _parts(self, value: Any) -> Iterator[Any]:
        """Write a value's first line. Returns its parts, if they count."""
        if isinstance(value, Words | Whole | Unseen):
            self._note(value)
        elif type(value) is Fact:
            self.facts.append(value)
        elif type(value) in _PLAIN:
            self.facts.append(_plain(value))
            if type(value) is str:
                self.texts.add(value)
        elif (name := called(value)) is not None:
            if isinstance(value, BuiltinFunctionType) and value in _UNKNOWN:
                raise ValueError("what it reads is known only when it runs")
            self.facts.append(name)
            self.texts |= bytecode.texts(value) if is_ours(value) else set()
        elif isinstance(value, ModuleType):
            self.facts.append(f"module {value.__name__}")
            self.modules[value.__name__] = value
        elif id(value) in self._met:
            self.facts.append(f"as {self._met[id(value)][0]}")
        else:
            return self._opened(value)
        return iter(())

    def _opened(self, value: Any) -> Iterator[Any]:
        if not isinstance(value, _VALUES):
            self._met[id(value)] = len(self._met), value
        self.facts.append(type(value).__name__)
        return self._of_set(value) if isinstance(value, set | frozenset) else parts(value)

    def _note(self, found: Words | Whole | Unseen) -> None:
        if isinstance(found, Words):
            self._words |= found
        elif isinstance(found, Whole):
            self._whole.add(found.module.__name__)
        else:
            self.unseen.append(found)

    def _of_set(self, values: Any) -> Iterator[Any]:
        """Each of a set's values apart from the others: they come in another order in each process."""
        found = []
        for value in values:
            if type(value) in _PLAIN:
                found.append(_plain(value))
                self.texts |= {value} if type(value) is str else set()
                continue
            apart = copy.copy(self)
            apart.facts, apart._met, apart._until = [], dict(self._met), None
            apart._read("", value)
            found.append(hashlib.sha256("\n".join(apart.facts).encode()).hexdigest())
        yield from (type(values), *map(Fact, sorted(found)), getattr(values, "__dict__", None))


def _plain(value: Any) -> str:
    if type(value) in (str, bytes) and len(value) > _LONG:
        content = value if type(value) is bytes else value.encode("utf-8", "surrogatepass")
        return f"{type(value).__name__} {hashlib.sha256(content).hexdigest()}"
    return hex(value) if type(value) is int else repr(value)


def _unreadable(where: str, value: object, error: Exception) -> str:
    return (
        f"{where or 'it'} ({type(value).__name__}) cannot be read into the name of a run: {error}. What a definition "
        "reaches must be code, plain values, containers, modules, tensors, or objects that pickle takes."
    )
