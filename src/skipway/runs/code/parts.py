"""What a value is made of, a reader a kind; whatever has none is taken to pieces as pickle takes it."""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import gc
import hashlib
import importlib
import threading
from collections.abc import Iterator
from types import (
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skipway.runs.code import bytecode
from skipway.runs.code.bytecode import Import
from skipway.runs.code.origin import called, release

_SIGNATURE = 0x3FF  # of a code object's flags: what kind of function it is, without its file's __future__ imports
# What Python keeps in a class and a module for itself, or derives from the rest.
_OF_CLASSES = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__orig_bases__"),
    *("__parameters__", "__type_params__", "__abstractmethods__", "_abc_impl"),
    "__slotnames__",  # kept there by the first object that is taken to pieces
}
OF_MODULES = {
    *("__name__", "__doc__", "__file__", "__spec__", "__loader__", "__cached__", "__package__", "__path__"),
    *("__builtins__", "__dict__", "__annotations__", "__annotate__"),
}
_ANY_GLOBAL = {"globals", "eval", "exec"}
_ANY_ATTRIBUTE = {"getattr", "vars", "__dict__", "attrgetter", "__getattribute__"}
_ANY_MODULE = {"import_module", "__import__"}
_LOCKS = tuple({type(make()) for make in (threading.Lock, threading.RLock)})
_NAMED = (torch.layout, torch.finfo, torch.iinfo, torch._ops.OpOverload, torch._ops.OpOverloadPacket)
EMPTY = type(dataclasses.MISSING)  # there is one in a process, and another one in what was sent there
_DISPATCHES = functools.singledispatch(len).__code__


class Fact(str):
    """A text about a value, as against a text of the user's."""


class Named(NamedTuple):
    """A part that has a name."""

    name: str
    value: Any


class Words(frozenset[str]):
    """Names that code uses: they say what of a user's modules counts."""


class Whole(NamedTuple):
    """A module all of whose names count."""

    module: ModuleType


class Unseen(NamedTuple):
    """Globals that a function may reach in other ways than by the operation for it, as class bodies in it do."""

    function: FunctionType
    values: dict[str, Any]


@functools.singledispatch
def parts(value: Any) -> Iterator[Any]:
    """Those of any object, as pickle takes it to pieces."""
    reduce = copyreg.dispatch_table.get(type(value))
    made = reduce(value) if reduce else value.__reduce_ex__(4)
    if isinstance(made, str):  # a name, under which its module holds it
        yield from (type(value), getattr(value, "__module__", None), made, getattr(value, "__dict__", None))
        return
    for place, part in enumerate(made):
        yield list(part) if isinstance(part, Iterator) else _state(part) if place == 2 else part


def _state(value: Any) -> Any:
    """An object's attributes, whether in slots or not: a class that was sent to another process has no slots there."""
    match value:
        case (dict() | None as free, dict() as slots):
            return {**(free or {}), **slots}
    return value


@parts.register
def _(value: tuple) -> Iterator[Any]:  # type: ignore[type-arg]  # singledispatch takes plain classes
    return iter(value) if type(value) is tuple else _object(value)


@parts.register
def _(value: list) -> Iterator[Any]:  # type: ignore[type-arg]
    return iter(value) if type(value) is list else _object(value)


@parts.register
def _(value: dict) -> Iterator[Any]:  # type: ignore[type-arg]
    if type(value) is not dict:
        yield from _object(value)
    else:
        for key, part in value.items():
            yield from (key, Named(str(key), part) if type(key) is str else part)


@parts.register
def _(value: MappingProxyType) -> Iterator[Any]:  # type: ignore[type-arg]
    yield dict(value)


@parts.register
def _(value: FunctionType) -> Iterator[Any]:
    if original := vars(value).get("_torchdynamo_orig_callable"):  # compiled by torch: the same numbers
        yield original
    elif value.__code__ is _DISPATCHES:  # it keeps a cache besides
        yield dict(value.registry)  # type: ignore[attr-defined]
    else:
        yield from _of_code(value)
        yield from (Named("default", part) for part in (value.__defaults__, value.__kwdefaults__))
        yield from map(Named, value.__code__.co_freevars, map(_content, value.__closure__ or ()))
        yield {name: part for name, part in vars(value).items() if not name.startswith("_torchdynamo")}


def _of_code(function: FunctionType) -> Iterator[Any]:
    module = str(function.__globals__.get("__name__"))
    known = release(module)
    if known is not None:  # a library's, with what it was given
        yield Fact(f"{module}.{function.__code__.co_qualname} {known}")
        return
    yield function.__code__
    yield from _globals_of(function)
    yield from (_imported(function, each) for each in bytecode.imports(function.__code__))


@parts.register
def _(value: CodeType) -> Iterator[Any]:
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


@parts.register
def _(value: type) -> Iterator[Any]:
    yield from (type(value), value.__bases__)
    own = ((name, part) for name, part in vars(value).items() if not isinstance(part, MemberDescriptorType))  # slots
    yield from (Named(*each) for each in sorted(own) if each[0] not in _OF_CLASSES)


@parts.register
def _(value: property) -> Iterator[Any]:
    yield from (type(value), value.fget, value.fset, value.fdel, getattr(value, "__dict__", None))


@parts.register(classmethod)
@parts.register(staticmethod)
def _(value: classmethod[Any, Any, Any] | staticmethod[Any, Any]) -> Iterator[Any]:
    yield value.__func__


@parts.register
def _(value: MethodType) -> Iterator[Any]:
    yield from (value.__func__, value.__self__)


@parts.register
def _(value: functools.cached_property) -> Iterator[Any]:  # type: ignore[type-arg]  # it has a lock until Python 3.12
    yield from (type(value), value.func, value.attrname)


@parts.register
def _(value: functools._lru_cache_wrapper) -> Iterator[Any]:  # type: ignore[type-arg]
    yield from (value.__wrapped__, value.cache_parameters())


@parts.register(type(functools.cmp_to_key(max)))
def _(value: Any) -> Iterator[Any]:
    yield from gc.get_referents(value)  # nothing else tells its function


@parts.register
def _(value: dataclasses.Field) -> Iterator[Any]:  # type: ignore[type-arg]
    names = ("name", "default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only")
    yield from (getattr(value, name) for name in names)


@parts.register
def _(value: Tensor) -> Iterator[Any]:
    yield from (type(value), value.dtype, value.layout, tuple(value.shape), value.requires_grad)
    plain = value.detach().cpu().resolve_conj().resolve_neg().to_dense().contiguous()
    yield Fact(hashlib.sha256(plain.reshape(-1).view(torch.uint8).numpy().data).hexdigest())


def _by_name(value: Any) -> Iterator[Any]:
    yield Fact(value)


def _nothing(value: Any) -> Iterator[Any]:
    return iter(())


for _kind in _NAMED:
    parts.register(_kind, _by_name)
for _kind in (*_LOCKS, EMPTY):
    parts.register(_kind, _nothing)
_object = parts.dispatch(object)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was put into it yet
        return None


def _globals_of(function: FunctionType) -> Iterator[Any]:
    """The globals that a function reads; all of its module where it puts their names together."""
    space, names = function.__globals__, bytecode.names(function.__code__)
    reached = set(space) if names & _ANY_GLOBAL else bytecode.loaded(function.__code__)
    found = {name: space[name] for name in sorted((reached & space.keys()) - OF_MODULES)}
    yield from map(Named, found, found.values())
    if others := found.keys() - bytecode.loaded(function.__code__, "LOAD_GLOBAL"):
        yield Unseen(function, {name: found[name] for name in sorted(others)})
    if names & _ANY_ATTRIBUTE:
        yield from (Whole(part) for part in found.values() if isinstance(part, ModuleType) and called(part) is None)


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
