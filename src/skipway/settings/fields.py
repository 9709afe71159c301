"""Frozen dataclasses of settings, read from JSON. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def read_fields(cls: type, content: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a dataclass as JSON holds them; those left out keep their defaults.

    Raises:
        ValueError: if a field is unknown or of the wrong type; the message names it.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    read: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            raise ValueError(f"{cls.__name__} has no field {key!r}; its fields: {', '.join(sorted(known))}.")
        try:
            read[key] = _as(hints[key], value)
        except (TypeError, OverflowError):
            kind = hints[key].__name__ if isinstance(hints[key], type) else str(hints[key]).replace("typing.", "")
            raise ValueError(f"{cls.__name__} field {key!r} is of type {kind}; it was given {value!r}.") from None
    return read


def _as(kind: Any, value: object) -> object:
    """A value from JSON as a field of this type holds it: lists as tuples, and 1 as 1.0 where the field is a float.

    Raises:
        TypeError: if it is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal and value in inner:
        return value
    if origin in (UnionType, Union):
        return _as_one_of(inner, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_as(inner[0], item) for item in value)
    if kind is float and type(value) is int:  # equal configs must have equal text: it decides a run's name
        return float(value)
    if type(value) is kind:
        return value
    raise TypeError


def _as_one_of(kinds: Sequence[Any], value: object) -> object:
    for kind in kinds:
        try:
            return _as(kind, value)
        except TypeError:
            continue
    raise TypeError
