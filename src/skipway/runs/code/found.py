"""What readers of values find, beside plain parts."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any, NamedTuple


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
