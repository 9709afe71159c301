"""Parts of one's own: every example of docs/extending.md, from a file outside the package, by its own command."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import skipway as sw
from helpers import StopsAt, stacks_of
from skipway.cli.main import main
from skipway.cli.own import load_plugins
from skipway.cli.study import parse
from skipway.data.load import load
from skipway.runs.definitions import _REGISTRIES
from skipway.runs.trackers import TRACKERS
from skipway.settings.registry import Registry
from skipway.studies.grid import Plan, checked
from skipway.training.optimizers import OPTIMIZERS
from skipway.training.saving import Stopped

DOCUMENT = (Path(__file__).parents[1] / "docs/extending.md").read_text()
HEAD = "import torch\nfrom torch import nn\nimport skipway as sw\n\n"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE))
# What each part is called in run.json, where it decides numbers.
VERSIONS = {
    "A gate": "gate scalar",
    "A shortcut": "shortcut scaled",
    "A family of nets": "family tower",
    "A task": "task margin",
    "An augmentation": "augmentation noise",
    "An optimizer": "optimizer adamax",
    "A schedule": "schedule linear",
    "A data source": "data source waves",
}


@pytest.fixture(autouse=True)
def _only_ours_stays():
    """What a test registers or imports is gone after it."""
    registries: list[Registry] = [*_REGISTRIES.values(), TRACKERS]
    before = [dict(registry) for registry in registries]
    path, modules = [*sys.path], {*sys.modules}
    yield
    for registry, kept in zip(registries, before, strict=True):
        registry._entries = kept
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if name.partition(".")[0] not in {"skipway", "torch"} and name.startswith(("my_", "their_")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """Where the sections' files lie beside one another: workers stay as long as the folder does."""
    return tmp_path_factory.mktemp("workshop")


def written(title: str, folder: Path) -> list[str]:
    """Write a section's file; return its command without `skipway`."""
    section = SECTIONS[title]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (name,) = re.findall(r"In\s`(my_\w+\.py)`:", section)
    (command,) = re.findall(r"```sh\nskipway (.*?)```", section, re.DOTALL)
    (folder / name).write_text(HEAD + code)
    return shlex.split(command)


def test_every_kind_of_part_has_its_section():
    assert {*VERSIONS, "A tracker", "In a package"} == {*SECTIONS}
    for title, section in SECTIONS.items():
        code = [line for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) for line in block.split("\n")]
        assert len([line for line in code if line.strip()]) <= 12, f"{title}: the example is long"


@pytest.mark.parametrize("title", VERSIONS)
def test_a_part_in_a_file_is_studied_by_its_command(title, workshop, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    command = written(title, workshop)
    assert main([*command, "--workers", "1", "--out", title]) == 0, capsys.readouterr().err
    runs = list(sw.Study(Path(title)).runs())
    assert runs
    for run in runs:
        info = run.info()
        assert info["status"] == "done"
        if title != "A gate" or info["cell"]["gate"] != "plain":
            assert re.fullmatch("[0-9a-f]{16}", info["identity"]["versions"][VERSIONS[title]])
        assert sw.load_net(run.path).net.training, "what made it is known here"


def test_settings_of_a_part_reach_it_and_are_part_of_a_runs_name(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    command = written("A schedule", workshop)
    ids, rates = set(), []
    for end in ("0.1", "0.5"):
        told = [word.replace("end=0.1", f"end={end}") for word in command]
        assert main([*told, "--workers", "1", "--out", f"out{end}"]) == 0
        (run,) = sw.Study(Path(f"out{end}")).runs()
        ids.add(run.id)
        rates.append(run.metrics()[-1]["learning_rate"])
    assert len(ids) == 2
    # The last of 20 steps: 19 of them are done.
    assert rates == pytest.approx([0.1 * (1 - 0.9 * 19 / 20), 0.1 * (1 - 0.5 * 19 / 20)])


def test_an_edit_of_an_optimizer_is_another_run(tmp_path, monkeypatch):
    ids = []
    for optimizer in ("Adamax", "NAdam"):
        folder = tmp_path / optimizer
        folder.mkdir()
        monkeypatch.chdir(folder)
        command = written("An optimizer", folder)
        file = folder / "my_optimizer.py"
        file.write_text(file.read_text().replace("torch.optim.Adamax", f"torch.optim.{optimizer}"))
        sys.modules.pop("my_optimizer", None)
        OPTIMIZERS._entries.pop("adamax", None)
        settings = parse(load_plugins(command[1:])).settings
        # What the command would train: in its name stands the code, whoever trains it.
        ids += [own for stack in stacks_of(Plan.of(checked(settings), load("digits"))) for own in stack.ids]
    assert len(ids) == len(set(ids)) == 4


def test_a_tracker_is_told_the_curves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*written("A tracker", tmp_path), "--out", "out"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    told = [line.split() for line in (tmp_path / "told.txt").read_text().splitlines()]
    assert told == [[str(row["step"]), str(row["train_loss"])] for row in rows]
    assert len(told) > 1
    # From Python, too; and a tracker decides no number: the training is the same one.
    run = sw.fit("plain-dense-3", "digits", sw.Recipe(learning_rates=(0.1,), steps=20), track="lines", out="python")
    assert run.info()["id"] == json.loads((tmp_path / "out/run.json").read_text())["id"]
    assert (tmp_path / "lines.txt").read_text() == (tmp_path / "told.txt").read_text()


def test_a_hook_is_told_from_python(tmp_path):
    class Steps(sw.Hook):
        def __init__(self):
            self.steps = 0

        def on_step(self, training):
            self.steps += 1

    hook = Steps()
    sw.fit("plain-dense-3", "digits", sw.Recipe(steps=5), hooks=[hook], out=tmp_path)
    assert hook.steps == 5


def package(folder: Path, name: str, code: str) -> None:
    """An installed package with a plugin, as pip leaves it."""
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[skipway.plugins]\n{name}-parts = {name}\n")


THEIRS = """
import skipway as sw


class Theirs(sw.Gate, name="{gate}"):
    '''Half of each.'''

    def forward(self, z):
        return sw.Flow(0.5, 0.5)
"""
TRAIN = ["--data", "digits", "--steps", "3", "--batch-size", "32", "--out", "out"]


def test_an_installed_package_is_loaded_when_its_name_is_asked_for(tmp_path, monkeypatch):
    package(tmp_path, "their_gates", THEIRS.format(gate="theirs"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "--net", "plain-dense-3", *TRAIN]) == 0
    assert "their_gates" not in sys.modules, "nothing of it was asked for"
    flags = ["--gates", "theirs", "--depths", "3", "--seeds", "0", "--learning-rates", "0.1"]
    # In a process of its own, for its workers must find the package where it is installed.
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "skipway", "study", *flags, *TRAIN[:-1], "study", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    (run,) = sw.Study(tmp_path / "study").runs()
    assert "gate theirs" in run.info()["identity"]["versions"]


def test_an_installed_family_is_found_by_its_nets_names(tmp_path, monkeypatch):
    """One of ours has nets of such names, too: there is no gate of that name."""
    code = """
import skipway as sw
from torch import nn


class Thin(sw.Family, name="thin-dense"):
    @staticmethod
    def make(*, gate, depth, in_features, num_classes):
        bodies = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(depth)]
        return sw.SkipNet(nn.Linear(in_features, 4), sw.skip_row(gate, bodies), nn.Linear(4, num_classes))
"""
    package(tmp_path, "their_family", code)
    monkeypatch.syspath_prepend(tmp_path)
    net = sw.build("residual-thin-dense-3", in_features=5, num_classes=2)
    assert len(net.blocks) == 3
    assert net.architecture["name"] == "residual-thin-dense-3"


def test_an_installed_package_is_listed(tmp_path, monkeypatch, capsys):
    package(tmp_path, "their_listed", THEIRS.format(gate="theirs-listed"))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["gates"]) == 0
    assert "theirs-listed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module_of_theirs", "ModuleNotFoundError: No module"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_broken_package_is_named_and_stops_nothing(code, told, tmp_path, monkeypatch, capsys):
    name = f"their_broken_{len(code)}"
    package(tmp_path, name, code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "--net", "plain-dense-3", *TRAIN]) == 0
    assert name not in capsys.readouterr().err, "a command that needs nothing of it says nothing"
    assert main(["gates"]) == 0
    shown = capsys.readouterr()
    assert "highway" in shown.out
    assert f"the package {name} has a plugin, {name}, that cannot be loaded" in shown.err
    assert told in shown.err
    assert main(["train", "--net", "nobodys-dense-3", *TRAIN]) == 2
    assert "unknown gate 'nobodys'" in capsys.readouterr().err


# -- what people get wrong ---------------------------------------------------------------------------------------------


def test_a_source_may_not_take_a_name_of_ours():
    with pytest.raises(ValueError, match="may not hold '.' or '/', nor be one of digits, mnist"):

        class Digits(sw.Source, name="digits"):
            def load(self):
                return None


def test_every_name_that_load_knows_is_taken():
    from skipway.data.images.sources import ALIASES, DIGITS
    from skipway.data.source import TAKEN

    assert {DIGITS, *ALIASES} <= set(TAKEN)


def test_a_family_is_told_what_it_lacks():
    with pytest.raises(TypeError, match="needs make"):

        class Empty(sw.Family, name="empty"):
            pass

    with pytest.raises(TypeError, match="write @staticmethod above it"):

        class Bound(sw.Family, name="bound"):
            def make(self, **settings):
                return None

    with pytest.raises(ValueError, match="small letters, digits and hyphens"):

        class Odd(sw.Family, name="Odd one"):
            make = staticmethod(lambda **settings: None)


def test_a_family_that_makes_no_net_or_takes_no_width_is_told(capsys):
    class Nothing(sw.Family, name="nothing"):
        @staticmethod
        def make(*, gate, depth, in_features, num_classes):
            return None

    command = ["train", "--net", "residual-nothing-3", "--steps", "1"]
    assert main(command) == 2
    assert "family 'nothing': make must return a skipway.SkipNet; it returned None" in capsys.readouterr().err
    assert main([*command, "--width", "5"]) == 2
    assert "the family 'nothing' take no width, and 5 was asked for" in capsys.readouterr().err


def test_a_schedule_that_gives_no_rate_is_told(tmp_path):
    class Falling(sw.Schedule, name="falling-below"):
        def factor(self, at):
            return -1.0

    with pytest.raises(ValueError, match="at step 0 of 5 the learning rate's factor is -1.0; it must be"):
        sw.fit("plain-dense-3", "digits", sw.Recipe(steps=5, schedule="falling-below"), out=tmp_path)


@pytest.mark.parametrize(
    ("made", "words"), [(None, "must return a torch.optim.Optimizer; it returned None"), ("merged", "2 groups")]
)
def test_an_optimizer_that_is_none_is_told(made, words, tmp_path):
    class Odd(sw.Optimizer, name="odd"):
        def make(self, groups, recipe):
            if made is None:
                return None
            return torch.optim.SGD([p for group in groups for p in group["params"]])

    recipe = sw.Recipe(steps=5, optimizer="odd", weight_decay=0.1, decay_on="weights")
    with pytest.raises(ValueError, match=words):
        sw.fit("plain-dense-3", "digits", recipe, out=tmp_path)


def test_an_optimizer_goes_on_after_a_stop_to_the_same_bits_with_what_it_keeps_in_its_groups(tmp_path):
    """As some do that estimate a step's size for all parameters together."""

    class Counts(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
                group["lr"] /= group["count"]
            super().step()

    class Counting(sw.Optimizer, name="counting"):
        def make(self, groups, recipe):
            return Counts(groups, lr=0.0, momentum=recipe.momentum)

    recipe = sw.Recipe(steps=6, optimizer="counting", weight_decay=0.1, decay_on="weights")
    whole = sw.fit("plain-dense-3", "digits", recipe, out=tmp_path / "whole")
    with pytest.raises(Stopped):
        sw.fit("plain-dense-3", "digits", recipe, out=tmp_path / "stopped", hooks=[StopsAt(3)])
    stopped = sw.fit("plain-dense-3", "digits", recipe, out=tmp_path / "stopped")
    assert stopped.weights.read_bytes() == whole.weights.read_bytes()
    assert stopped.metrics() == whole.metrics()


def test_settings_beside_a_source_are_refused():
    class Pair(sw.Source, name="pair"):
        def load(self):
            raise AssertionError("it is not loaded")

    with pytest.raises(ValueError, match="settings stand behind its name"):
        sw.load("pair", target="y")
    with pytest.raises(ValueError, match="has no setting 'count'"):
        sw.load("pair:count=3")
