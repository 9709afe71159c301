"""What a function is made of: code, the globals that it reads, what it imports."""

from __future__ import annotations

import builtins
import functools
import importlib.util
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from skipway.runs.code import bytecode
from skipway.runs.code.bytecode import Import
from skipway.runs.code.found import Fact, Named, Unseen, Whole, Words
from skipway.runs.code.origin import called, release

# What Python keeps in a module for itself.
OF_MODULES = {
    *("__name__", "__doc__", "__file__", "__spec__", "__loader__", "__cached__", "__package__", "__path__"),
    *("__builtins__", "__dict__", "__annotations__", "__annotate__"),
}
_SIGNATURE = 0x3FF  # of a code object's flags: what kind of function it is, without its file's __future__ imports
_ANY_GLOBAL = {"globals", "eval", "exec"}
_ANY_ATTRIBUTE = {"getattr", "vars", "__dict__", "attrgetter", "__getattribute__"}
_FUNCTIONS = {"globals", "eval", "exec", "getattr", "vars"}  # of Python, called by their names alone
_ANY_MODULE = {"import_module", "__import__"}
_DISPATCHES = functools.singledispatch(len).__code__  # type: ignore[attr-defined]


def of_function(value: FunctionType) -> Iterator[Any]:
    """Its code, what that reads, and what the function holds: defaults, closure, attributes."""
    if original := vars(value).get("_torchdynamo_orig_callable"):  # compiled by torch: the same numbers
        yield original
    elif value.__code__ is _DISPATCHES:  # it keeps a cache besides
        yield dict(value.registry)  # type: ignore[attr-defined]
    else:
        yield from _own(value)
        yield from (Named("default", part) for part in (value.__defaults__, value.__kwdefaults__))
        yield from map(Named, value.__code__.co_freevars, map(_content, value.__closure__ or ()))
        yield {name: part for name, part in vars(value).items() if not name.startswith("_torchdynamo")}


def _own(function: FunctionType) -> Iterator[Any]:
    module = str(function.__globals__.get("__name__"))
    known = release(module)
    if known is not None:  # a library's, with what it was given
        yield Fact(f"{module}.{function.__code__.co_qualname} {known}")
        return
    yield function.__code__
    yield from _globals_of(function)
    yield from (_imported(function, each) for each in bytecode.imports(function.__code__))


def of_code(value: CodeType) -> Iterator[Any]:
    """What it does with which names and constants; not its lines, docstring and file."""
    if dynamic := _ANY_MODULE & {*value.co_names}:
        raise ValueError(
            f"it calls {min(dynamic)}, and what that imports is not known before: write an import statement"
        )
    does, constants = bytecode.steps(value)
    given = value.co_argcount + value.co_kwonlyargcount
    yield Fact((value.co_flags & _SIGNATURE, value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount))
    yield Fact((value.co_varnames[:given], value.co_freevars))
    yield Fact(does)
    yield Words(value.co_names)
    yield from constants


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was put into it yet
        return None


def _globals_of(function: FunctionType) -> Iterator[Any]:
    """The globals that a function reads; all of its module where it puts their names together."""
    space, loaded = function.__globals__, bytecode.loaded(function.__code__)
    names = _asked_of_python(function, loaded)
    reached = set(space) if names & _ANY_GLOBAL else loaded
    found = {name: space[name] for name in sorted((reached & space.keys()) - OF_MODULES)}
    yield from map(Named, found, found.values())
    if others := found.keys() - bytecode.loaded(function.__code__, "LOAD_GLOBAL"):
        yield Unseen(function, {name: found[name] for name in sorted(others)})
    if names & _ANY_ATTRIBUTE:
        yield from (Whole(part) for part in found.values() if isinstance(part, ModuleType) and called(part) is None)


def _asked_of_python(function: FunctionType, loaded: set[str]) -> set[str]:
    """The names in it that may be Python's own: of a net, `eval` is a method, as an attribute of anything may be."""
    names = bytecode.names(function.__code__)
    if "builtins" in names or any(function.__globals__.get(name) is builtins for name in loaded):
        return names
    return names - (_FUNCTIONS - loaded)


def _imported(function: FunctionType, statement: Import) -> Any:
    """The module of an import statement, imported as a call of the function would."""
    name, parts, level = statement
    full = importlib.util.resolve_name("." * level + name, function.__globals__.get("__package__") or "")
    if (known := release(full)) is not None:
        return Fact(f"{full} {known}")
    try:
        return __import__(name, function.__globals__, None, parts, level)
    except Exception as error:  # it is not there, or whatever a user's module raises: so would it for the call
        return Fact(f"{full} {type(error).__name__}")
