"""What a user brings along: modules that register gates, nets, tasks and the like, and functions that make nets.

Only what stands in a command is imported, and never what a file names. Modules are looked for in the present directory,
too, as `python -m` does. Their code travels to worker processes as it is, so that these need not find it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

PLUGIN = "--plugin"
"""The flag that names a module to import, before the command or after it."""


def load_plugins(arguments: Sequence[str]) -> list[str]:
    """Import the modules that `--plugin NAME` names. Those of installed packages come when they are needed.

    Returns:
        The arguments without the flag.

    Raises:
        ValueError: if there is no such module, or it cannot be imported.
    """
    rest, found = [], []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name != PLUGIN:
            rest.append(argument)
            continue
        value = value if equals else next(waiting, "")
        if not value:
            raise ValueError(
                f"{PLUGIN} needs the name of a module, or its file: {PLUGIN} my_gates, {PLUGIN} my_gates.py."
            )
        found.append(value)
    for name in found:
        _imported(name, PLUGIN)
    return rest


def use_net(spec: str | None) -> None:
    """Let a config name a function that makes nets, where the flag `--net` names one: ``package.module:function``.

    Raises:
        ValueError: if there is no such module or function.
    """
    if spec and spec.endswith(".py"):
        raise ValueError(f"--net {spec}: say which function of the file makes the nets: --net {spec}:my_net.")
    module, colon, name = (spec or "").rpartition(":")
    if not spec or not colon or "=" in name:
        return
    from skipway.nets.factory import is_function_name, use

    if not is_function_name(spec):
        return
    function = getattr(_imported(module, "--net"), name, None)
    if not callable(function):
        raise ValueError(f"--net {spec}: {module} has no function {name!r}.")
    use(function, spec)


def _imported(name: str, flag: str) -> ModuleType:
    """A module by its name, or by its file.

    Raises:
        ValueError: if there is none, or it cannot be imported; with what went wrong in it.
    """
    import cloudpickle

    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except SystemExit as error:
        raise ValueError(
            f"{flag} {name}: it ends the program when it is imported, by sys.exit({error.code!r}) or the like: put "
            'that under if __name__ == "__main__".'
        ) from error
    except Exception as error:  # whatever the user's code makes of it
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise ValueError(
                f"{flag} {name}: there is no module of that name here or installed. Give its dotted name, or its file, "
                "such as my_nets.py."
            ) from error
        raise ValueError(f"{flag} {name}: it cannot be imported: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
