"""The front door: light, whole, and telling what it has."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import skipway
from skipway.settings.registry import Registry

ROOT = Path(__file__).parents[1]
# What users extend, and one of ours of its kind.
BASES = {
    "Augmentation": "crop",
    "Family": "dense",
    "Gate": "highway",
    "Optimizer": "sgd",
    "Schedule": "cosine",
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


# What the default install brings for other rooms than those of layers.
OTHERS = (
    *("accelerate", "altair", "cloudpickle", "datasets", "duckdb", "filelock", "huggingface_hub", "loky", "pandas"),
    *("PIL", "pyarrow", "rich", "safetensors", "scipy", "sklearn", "tyro", "vl_convert", "xxhash"),
)
ROOMS_OF_LAYERS = {"anatomy", "batch", "probe", "settings", "skip"}


LAYERS = (
    "import skipway.skip",
    "from skipway import Highway, Residual, Skip, skip_row, read_flows",
    "from skipway import Flow, Gate, Placement, Shortcut, lesion, override_flows",
)


def test_layers_alone_load_torch_and_nothing_that_they_do_not_need():
    """One fresh process: what torch loads by itself, our own rooms of layers, and nothing else that is installed."""
    code = f"""
import json, sys
import torch
found = {{"import torch": [*sys.modules]}}
for statement in {LAYERS!r}:
    before = set(sys.modules)
    exec(statement)
    found[statement] = sorted(set(sys.modules) - before)
print(json.dumps(found))
"""
    loaded = json.loads(run(code))
    for statement in LAYERS:
        ours = {name.split(".")[1] for name in loaded[statement] if name.startswith("skipway.")}
        assert ours <= ROOMS_OF_LAYERS, statement
        foreign = {name.partition(".")[0] for name in loaded[statement]} - set(sys.stdlib_module_names)
        assert foreign <= {"skipway", "torch"}, statement
    assert "skipway.skip.block" in {name for statement in LAYERS for name in loaded[statement]}
    # What torch loads is no matter of ours, but it should hide nothing here.
    assert not {*OTHERS} & {*loaded["import torch"]}


def test_the_list_of_what_layers_do_not_need_is_that_of_the_install():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {re.split("[>=<]", line)[0] for line in about["project"]["dependencies"]} - {"torch", "numpy"}
    imported = {"pillow": "PIL", "scikit-learn": "sklearn", "vl-convert-python": "vl_convert"}
    assert {imported.get(name, name.replace("-", "_")) for name in names} <= {*OTHERS}


def test_the_package_says_that_it_is_typed():
    assert (Path(skipway.__file__).parent / "py.typed").is_file()


def test_the_wheel_holds_every_file_of_the_package_and_says_that_it_is_typed(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is what builds the wheel; the extra test brings it")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("skipway-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("skipway/")}
    files = {path for path in (ROOT / "src/skipway").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert inside == {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert "skipway/py.typed" in inside
