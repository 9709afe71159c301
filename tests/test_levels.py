"""The levels of the house: imports run downward or stay in their room; rooms that must not load torch do not."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import skipway
from skipway.cli.main import COMMANDS

PACKAGE = Path(skipway.__file__).parent
# Room -> level. Rooms of one level do not know each other.
LEVELS = {
    "settings": 0,
    "rundir": 0,
    "batch": 1,
    "skip": 1,
    "tasks": 2,
    "anatomy": 2,
    "nets": 2,
    "data": 2,
    "surgery": 3,
    "training": 3,
    "probe": 3,
    "runs": 4,
    "clinic": 5,
    "report": 5,
    "ship": 5,
    "studies": 6,
    "cli": 7,
}
# What the command line's help and the half that shows are made of. (What watches a training may know it: cli.live.)
WITHOUT_TORCH = (
    *("settings", "rundir", "training.recipe", "report", "studies.config", "studies.process", "runs.config"),
    *("cli.main", "cli.show", "cli.show_run", "cli.settings", *(f"cli.{command}" for command in COMMANDS)),
)
# The doorway that is more: all of our rules are registered, whatever of the room is imported.
REGISTERS = {"skipway.skip", "skipway.tasks", "skipway.data.made"}
MODULES = {
    ".".join(("skipway", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str | None:
    """The room of ``skipway.room.module``; None for the front door: ``skipway`` itself and ``python -m skipway``."""
    name = [*module.split("."), ""][1]
    if f"skipway.{name}" not in MODULES or name == "__main__":
        return None
    return name


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Every name that a module imports anywhere, with its line; `from a import b` is a.b where that is a module."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES or node.module == "skipway" else str(node.module)), node.lineno


def own_imports(module: str) -> Iterator[tuple[str, int]]:
    return ((name, line) for name, line in imports(module) if name.split(".")[0] == "skipway")


def test_there_is_something_to_check():
    assert {"skipway.skip.gates", "skipway.nets.dense", "skipway.cli.main", "skipway.report"} <= set(MODULES)
    assert "skipway.skip.gate" in {name for name, _ in own_imports("skipway.skip.block")}


def test_every_module_is_in_a_room_of_the_plan():
    assert {room(module) for module in MODULES} <= {None, *LEVELS}


def test_imports_run_downward_or_stay_in_their_room():
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        for name, line in own_imports(module)
        if room(module) and room(name) not in (None, room(module)) and LEVELS[room(name)] >= LEVELS[room(module)]
    ]
    assert not wrong


def test_nothing_comes_through_the_front_door():
    """`import skipway` for its version is as far as it goes: names come from the modules where they live."""
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        for name, line in own_imports(module)
        if module != "skipway" and name.startswith("skipway.") and name not in MODULES
    ]
    assert not wrong


def test_a_room_has_nothing_in_its_doorway():
    """Names handed on by `__init__` make import cycles: it holds a docstring."""
    doorways = [name for name, path in MODULES.items() if path.name == "__init__.py" and name != "skipway"]
    wrong = [
        name
        for name in doorways
        if name not in REGISTERS and not all(isinstance(n, ast.Expr) for n in ast.parse(MODULES[name].read_text()).body)
    ]
    assert doorways
    assert not wrong


def test_the_equation_knows_torch_alone():
    for module in MODULES:
        if room(module) in ("skip", "settings"):
            outside = {found.split(".")[0] for found, _ in imports(module)} - {"skipway"}
            assert outside - set(sys.stdlib_module_names) <= {"torch"}, module
            assert room(module) == "skip" or "torch" not in outside, module


def test_the_report_knows_the_run_directory_and_nothing_that_trains():
    for module in MODULES:
        if room(module) == "report":
            assert {room(name) for name, _ in own_imports(module)} <= {"report", "rundir"}, module


def test_training_knows_no_probe_and_the_net_rooms_know_no_data():
    for module in MODULES:
        rooms = {room(name) for name, _ in own_imports(module)}
        assert room(module) != "training" or not rooms & {"probe", "report", "studies"}
        assert room(module) != "nets" or "data" not in rooms
        assert room(module) != "data" or "nets" not in rooms


def test_modules_that_configure_and_show_load_no_torch():
    """One process imports them all: if torch came with any, it says with which."""
    names = [
        name
        for name in MODULES
        for start in WITHOUT_TORCH
        if name == f"skipway.{start}" or name.startswith(f"skipway.{start}.")
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} loads torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert len(names) > 10
