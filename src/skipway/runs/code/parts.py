"""What a value is made of, a reader a kind; whatever has none is taken to pieces as pickle takes it."""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import gc
import hashlib
import threading
from collections.abc import Iterator
from types import CodeType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType
from typing import Any

import torch
from torch import Tensor

from skipway.runs.code.found import Fact, Named
from skipway.runs.code.functions import of_code, of_function

# What Python keeps in a class for itself, or derives from the rest.
_OF_CLASSES = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__orig_bases__"),
    *("__parameters__", "__type_params__", "__abstractmethods__", "_abc_impl"),
    "__slotnames__",  # kept there by the first object that is taken to pieces
}
_LOCKS = tuple({type(make()) for make in (threading.Lock, threading.RLock)})
_NAMED = (torch.layout, torch.finfo, torch.iinfo, torch._ops.OpOverload, torch._ops.OpOverloadPacket)
EMPTY = type(dataclasses.MISSING)  # there is one in a process, and another one in what was sent there


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


parts.register(FunctionType, of_function)
parts.register(CodeType, of_code)
for _kind in _NAMED:
    parts.register(_kind, _by_name)
for _silent in (*_LOCKS, EMPTY):
    parts.register(_silent, _nothing)
_object = parts.dispatch(object)
