"""Code that a user defined, as a digest: a gate class that is edited is another gate, whatever its name.

It is taken from what runs, and no file is read: the compiled code of every method, the base classes, and all that the
code names: helper functions, constants, default values, what a closure holds. So a class is known that was typed at a
prompt or in a notebook, or that was changed after its file was imported. Comments and layout do not count. Compiled
code is that of one minor version of Python; another one gives another digest.

What is installed counts by its name and version, Skipway's own classes by name and `version`, torch and Python's
library by name. What code reads from files or the environment while it runs does not count.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_METHODS = (FunctionType, classmethod, staticmethod, property)
_CONTAINERS = (tuple, list, dict, set, frozenset, CodeType, MethodType, classmethod, staticmethod, property)
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_SIGNATURE = 0x3FF  # of a code object's flags: what kind of function it is, without its file's __future__ imports
_NONE: frozenset[str] = frozenset()


def digest(definition: object) -> str:
    """16 hexadecimal digits of a class, a function, or an object that holds some: equal in every process."""
    facts = ["python {}.{}".format(*sys.version_info), *_Reader().read(definition)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def is_ours(definition: object) -> bool:
    """Whether it came with Skipway, which raises its version where its numbers change."""
    return _module_of(definition).partition(".")[0] == "skipway"


class _Reader:
    """Writes down, a line a fact, what a definition is made of, each part of it once."""

    def __init__(self) -> None:
        # With the objects themselves: one that is let go could lend its id to another.
        self._met: dict[tuple[int, frozenset[str]], tuple[int, object]] = {}

    def read(self, value: Any, names: frozenset[str] = _NONE) -> Iterator[str]:
        """The facts of a value; `names` are those in the code that holds it, which say what of a module counts."""
        key = id(value), names if isinstance(value, ModuleType) else _NONE
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif (name := _known_by_name(value)) is not None:
            yield name
        elif key in self._met:
            yield f"as {self._met[key][0]}"
        else:
            self._met[key] = len(self._met), value
            yield type(value).__name__
            inner = frozenset(_names_in(value.__code__)) if isinstance(value, FunctionType) else names
            for part in _parts(value, inner):
                yield from self.read(part, inner)


def _parts(value: Any, names: frozenset[str]) -> Iterator[Any]:
    if isinstance(value, FunctionType):
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
        yield from map(_content, value.__closure__ or ())
        yield from _named_by(value)
    elif isinstance(value, CodeType):
        yield from (value.co_code, value.co_exceptiontable, value.co_flags & _SIGNATURE)
        yield from (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount)
        yield from (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars, value.co_consts)
    elif isinstance(value, type):
        yield value.__bases__
        yield from sorted((name, part) for name, part in vars(value).items() if _counts(name, part))
    elif isinstance(value, ModuleType):
        yield from ((name, vars(value)[name]) for name in sorted(names & vars(value).keys()))
    else:
        yield from _parts_of_object(value)


def _parts_of_object(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, set | frozenset):
        yield from sorted(map(digest, value))
    elif isinstance(value, tuple | list):
        yield from value
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, classmethod | staticmethod | MethodType):
        yield value.__func__
    elif hasattr(value, "__wrapped__"):
        yield value.__wrapped__
    elif hasattr(value, "tolist"):  # a tensor, an array
        yield value.tolist()
    else:
        yield type(value)
        yield getattr(value, "__dict__", {})


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was put into it yet
        return None


def _named_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function reads and the modules that it imports."""
    for name in sorted(_names_in(function.__code__, *_LOADS) & function.__globals__.keys()):
        yield name, function.__globals__[name]
    for name in sorted(_names_in(function.__code__, "IMPORT_NAME") & sys.modules.keys()):
        yield name, sys.modules[name]


def _names_in(code: CodeType, *operations: str) -> set[str]:
    """The names that code uses, all of them or in these operations; functions inside it included."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname in operations} if operations else set()
    inner = (_names_in(part, *operations) for part in code.co_consts if isinstance(part, CodeType))
    return own.union(() if operations else code.co_names, *inner)


def _counts(name: str, part: object) -> bool:
    """Whether an attribute of a class is the user's: what Python keeps there for itself is no method."""
    if name.startswith("__annot"):  # from Python 3.14 on, a function
        return False
    return not name.startswith("__") or isinstance(part, _METHODS)


def _known_by_name(value: Any) -> str | None:
    """What stands for a value that is not the user's own; None where its parts count."""
    if isinstance(value, _CONTAINERS):
        return None
    release = _release(_module_of(value))
    if isinstance(value, BuiltinFunctionType):
        return value.__qualname__
    if isinstance(value, type | FunctionType | ModuleType):
        name = getattr(value, "__qualname__", value.__name__)
        own = getattr(value, "version", "") if is_ours(value) else ""
        return None if release is None else f"{_module_of(value)}.{name} {release} {own}"
    if release is None or hasattr(value, "__wrapped__") or hasattr(value, "tolist"):
        return None
    # An object of a library: as it shows itself, if that is not by its address.
    return f"{type(value).__qualname__} {'' if ' at 0x' in repr(value) else value!r}"


def _module_of(value: Any) -> str:
    return str(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "")


@functools.cache
def _release(module: str) -> str | None:
    """The version of the distribution that a module was installed with; None for a module of the user's own."""
    root = module.partition(".")[0]
    if root in ("skipway", "torch") or root in sys.stdlib_module_names:
        return ""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if not {"site-packages", "dist-packages"} & set(Path(file).parts):
        return None
    return " ".join(version(name) for name in packages_distributions().get(root, ()))
