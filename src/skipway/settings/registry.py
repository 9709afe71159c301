"""Names: registries of what exists, and specifications such as ``highway:bias=-4``: an entry with its settings."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from skipway.settings.plugins import load_installed

Value = bool | int | float | str
T = TypeVar("T")
_SIGNS = frozenset(":=, ")  # that specifications use


class UnknownNameError(ValueError):
    """A name that is in no registry; the message lists the valid names, the nearest first."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        names = sorted(valid)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {_either(near)}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names) or 'none'}.")
        self._about = kind, name, names

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        return type(self), self._about  # else a process that is sent one would build it from its message


class Registry(Mapping[str, T]):
    """A mapping from names to entries of one kind, in the order in which they were added.

    Where a name is asked for that is not there, what installed packages register is loaded first (`plugins`); whoever
    lists names calls `listed`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises:
            ValueError: if the name holds a sign that specifications use, or is another entry's.
        """
        if not name or set(name) & _SIGNS:
            raise ValueError(f"{self.kind} name {name!r} must be non-empty and hold none of ':', '=', ',' or a space.")
        old = self._entries.get(name)
        if old is not None and not _same_definition(old, entry):
            raise ValueError(f"a {self.kind} named {name!r} exists already: {old!r}. Choose another name.")
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Take an entry out again."""
        del self._entries[name]

    def replace(self, name: str, entry: T) -> None:
        """Add an entry, in place of one of the same name: a worker process learns of the caller's latest definition."""
        self._entries.pop(name, None)
        self.add(name, entry)

    def has(self, name: str) -> bool:
        """Whether it is there by now; nothing is loaded for it."""
        return name in self._entries

    def listed(self) -> Mapping[str, T]:
        """The registry with all that there is: that of installed packages, too."""
        load_installed()
        return self

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries and isinstance(name, str) and not set(name) & _SIGNS:
            load_installed()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Named:
    """The base of a registry's classes: a subclass that names itself, ``class Mine(Base, name="mine")``, is added."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    """Of one of ours; part of a run's identity: one more when its numbers change."""
    registry: ClassVar[Registry[Any]]

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.name = name
            cls.registry.add(name, cls)


@dataclass(frozen=True)
class Spec:
    """A name with settings, as written ``name:key=value,key=value``; equal specifications have equal strings."""

    name: str
    settings: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``highway``, ``highway:bias=-4`` or ``highway:kernel=1,bias=-6``.

        Raises:
            ValueError: if the text has another form.
        """
        name, colon, rest = text.strip().partition(":")
        settings: dict[str, Value] = {}
        for item in rest.split(",") if colon else []:
            key, equals, value = item.partition("=")
            if not (key.strip() and equals and value.strip()):
                raise ValueError(f"{text!r} is not a specification: write name or name:key=value,key=value.")
            if key.strip() in settings:
                raise ValueError(f"{text!r} gives {key.strip()!r} twice.")
            settings[key.strip()] = _value(value.strip())
        name = name.strip()
        if not name:
            raise ValueError(f"{text!r} is not a specification: the name before ':' is missing.")
        return cls(name, tuple(sorted(settings.items())))

    def __str__(self) -> str:
        return self.name + "".join(
            f"{',' if place else ':'}{key}={_text(value)}" for place, (key, value) in enumerate(self.settings)
        )


def settings_of(maker: Callable[..., Any]) -> dict[str, Value]:
    """The settings that a specification may give: the keyword-only arguments that have a plain value as default."""
    parameters = inspect.signature(maker).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and isinstance(p.default, bool | int | float | str)
    }


def check_settings(spec: Spec, maker: Callable[..., Any], kind: str) -> Spec:
    """Return the specification in canonical form: no setting at its default, numbers of the default's type.

    Raises:
        ValueError: if a setting does not exist or has a value of the wrong type.
    """
    defaults = settings_of(maker)
    kept: list[tuple[str, Value]] = []
    for key, value in spec.settings:
        if key not in defaults:
            listed = ", ".join(f"{k}={_text(v)}" for k, v in defaults.items()) or "none"
            raise ValueError(f"{kind} {spec.name!r} has no setting {key!r}. Its settings and their defaults: {listed}.")
        value = _like_default(value, defaults[key], f"{kind} {spec.name!r}, setting {key!r}")
        if value != defaults[key]:
            kept.append((key, value))
    return Spec(spec.name, tuple(kept))


def checked(text: str, registry: Registry[Any]) -> Spec:
    """A specification of an entry of a registry, in canonical form.

    Raises:
        ValueError: if there is no such entry or setting.
    """
    spec = Spec.parse(text)
    return check_settings(spec, registry[spec.name], registry.kind)


def _like_default(value: Value, default: Value, where: str) -> Value:
    if isinstance(default, bool) or isinstance(value, bool):
        if isinstance(value, bool) and isinstance(default, bool):
            return value
    elif isinstance(default, float) and isinstance(value, int | float):
        return float(value)
    elif isinstance(default, int) and isinstance(value, int):
        return value
    elif isinstance(default, str):
        # A word as default (bias=auto) stands for a number that is worked out; a number may be given instead.
        return float(value) if isinstance(value, int | float) else value
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word or a number"}
    raise ValueError(f"{where}: {_text(value)!r} is not {kinds[type(default)]}; the default is {_text(default)}.")


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if not math.isfinite(number):
            break
        return number
    return text


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def _same_definition(old: object, new: object) -> bool:
    """Whether both are one definition, met twice: a module loaded again, or a class that came to a worker process."""
    return old is new or (
        getattr(old, "__module__", 0) == getattr(new, "__module__", 1)
        and getattr(old, "__qualname__", 0) == getattr(new, "__qualname__", 1)
    )
