"""What compiled code names: globals, attributes, modules that it imports, texts."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import NamedTuple

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


class Import(NamedTuple):
    """An import statement inside a function, as `__import__` takes it."""

    name: str
    parts: tuple[str, ...]  # of `from name import parts`
    level: int


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
        steps = [step for step in dis.get_instructions(each) if step.opname != "EXTENDED_ARG"]
        for place, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":
                level, parts = (before.argval for before in steps[place - 2 : place])
                yield Import(step.argval, parts or (), level)


def texts(definition: object) -> set[str]:
    """The texts in the code of a function, or of a class's methods."""
    functions = vars(definition).values() if isinstance(definition, type) else (definition,)
    found = (codes(each.__code__) for each in functions if isinstance(each, FunctionType))
    return {text for inner in found for each in inner for text in each.co_consts if isinstance(text, str)}
