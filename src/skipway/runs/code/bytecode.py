"""What compiled code does and names: its steps, globals, attributes, the modules that it imports, texts."""

from __future__ import annotations

import dis
from bisect import bisect_left
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_IDLE = ("EXTENDED_ARG", "CACHE", "NOP")
_CONSTANTS, _JUMPS = frozenset(dis.hasconst), frozenset((*dis.hasjrel, *dis.hasjabs))


class Import(NamedTuple):
    """An import statement inside a function, as `__import__` takes it."""

    name: str
    parts: tuple[str, ...]  # of `from name import parts`
    level: int


def steps(code: CodeType) -> tuple[str, list[Any]]:
    """The instructions of a code object as a text, and the constants that they load, in order.

    The bytes themselves will not do: they number constants and names, and a docstring shifts the numbers.
    """
    found = dis.Bytecode(code)
    kept = [step for step in found if step.opname not in _IDLE]
    offsets = [step.offset for step in kept]
    words, constants = [], []
    for step in kept:
        if step.opcode in _CONSTANTS:
            constants.append(step.argval)
            words.append(step.opname)
        else:
            about = bisect_left(offsets, step.argval) if step.opcode in _JUMPS else step.argval
            words.append(f"{step.opname} {about}")
    for entry in found.exception_entries:  # type: ignore[attr-defined]  # typeshed does not know it
        places = (bisect_left(offsets, offset) for offset in (entry.start, entry.end, entry.target))
        words.append(f"{[*places]} {entry.depth} {entry.lasti}")
    return ";".join(words), constants


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions and classes inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def loaded(code: CodeType, *operations: str) -> set[str]:
    """The globals that it reads, by all operations or by these."""
    wanted = operations or _LOADS
    return {step.argval for each in codes(code) for step in dis.get_instructions(each) if step.opname in wanted}


def names(code: CodeType) -> set[str]:
    """All names that it uses for globals and attributes."""
    return {name for each in codes(code) for name in each.co_names}


def imports(code: CodeType) -> Iterator[Import]:
    """The import statements in it."""
    for each in codes(code):
        found = [step for step in dis.get_instructions(each) if step.opname not in _IDLE]
        for place, step in enumerate(found):
            if step.opname == "IMPORT_NAME":
                level, parts = (before.argval for before in found[place - 2 : place])
                yield Import(step.argval, parts or (), level)


def texts(definition: object) -> set[str]:
    """The texts in the code of a function, or of the methods of a class and its bases."""
    spaces = [vars(each).values() for each in definition.__mro__] if isinstance(definition, type) else [(definition,)]
    functions = (each for space in spaces for each in space if isinstance(each, FunctionType))
    found = (each for function in functions for each in codes(function.__code__))
    return {text for each in found for text in each.co_consts if isinstance(text, str)}
