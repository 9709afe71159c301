"""The front door: light, whole, and telling what it has."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import skipway
from skipway.settings.registry import Registry

# What users extend, and one of ours of its kind.
BASES = {
    "Augmentation": "crop",
    "Family": "dense",
    "Gate": "highway",
    "Shortcut": "A",
    "Task": "regression",
    "Tracker": "tensorboard",
}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_skipway_loads_no_torch_and_no_room():
    loaded = run("import sys, skipway; print(*(m for m in sys.modules if m == 'torch' or m.startswith('skipway.')))")
    assert loaded == ""


def test_every_public_name_is_there():
    assert {"Skip", "Residual", "Highway", "Gate", "Flow", "Placement", "build", "load", "study"} <= set(
        skipway.__all__
    )
    for name in skipway.__all__:
        thing = getattr(skipway, name)
        assert getattr(skipway, name) is thing
        assert thing.__doc__


def test_every_kind_of_part_has_its_base_class_at_the_front_door():
    """Whoever adds one finds the class to extend there, with ours registered beside it."""
    for name, ours in BASES.items():
        base = getattr(skipway, name)
        module = sys.modules[base.__module__]
        registry = next(r for r in vars(module).values() if isinstance(r, Registry) and r.kind == name.lower())
        assert ours in registry, name
        assert "name=" in base.__doc__, f"{name} does not say how a subclass gets its name"


def test_public_names_are_listed_in_order_and_once():
    assert list(skipway.__all__) == sorted(set(skipway.__all__))
    assert set(skipway.__all__) <= set(dir(skipway))
    assert skipway.__version__


def test_type_checkers_see_the_names_that_readers_do():
    """`if TYPE_CHECKING` in the front door imports exactly the public names."""
    tree = ast.parse(Path(skipway.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            found[alias.asname] = getattr(__import__(str(node.module), fromlist=[alias.name]), alias.name)
    assert set(found) == set(skipway.__all__)
    assert all(getattr(skipway, name) is thing for name, thing in found.items())


def test_all_names_come_with_a_star():
    assert run("from skipway import *; print(Residual.__name__, callable(build))") == "Residual True"


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(AttributeError, match=r"has no attribute 'Highwya'; it has .*Highway"):
        skipway.Highwya  # noqa: B018


def test_the_package_says_that_it_is_typed():
    assert (Path(skipway.__file__).parent / "py.typed").is_file()
