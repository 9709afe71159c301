"""Data that are made: what they hold, what a net of a depth can know of them, and whether a study finds that depth."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import skipway as sw
from skipway.batch.specification import Specification, TensorSpec
from skipway.cli.main import main
from skipway.data.made.ring_transfer import STRENGTHS, RingTransfer
from skipway.data.source import SOURCES
from skipway.runs.config import RunConfig
from skipway.runs.plan import plan_run
from skipway.studies.config import StudyConfig
from skipway.studies.grid import checked

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FINGERPRINT = "d63c35cc17f5b8a5c2d12666469d3002f3bcff223a8994f5c05f2f8407f05b8e"
"""Of the defaults: other numbers are other data, and a study that was made before is not found again."""
TASKS = [RingTransfer(n=1), RingTransfer(n=2, classes=3), RingTransfer(n=5, seed=7)]
tasks = pytest.mark.parametrize("task", TASKS, ids=str)


@pytest.fixture
def local(monkeypatch):
    """The maker of nets of examples/local.py."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import local

    return local.local


def within(inputs: Tensor, steps: int) -> Tensor:
    """What node 0 can know after so many layers of kernel 3: the nodes around it, (N, classes, 2 steps + 1)."""
    return inputs.roll(steps, -1)[..., : 2 * steps + 1]


# -- what they hold ----------------------------------------------------------------------------------------------------


@tasks
def test_every_place_has_every_class_equally_often_in_every_split(task):
    splits = task.load()
    assert [*splits] == ["train", "validation", "test"]
    for inputs, classes in splits.values():
        assert inputs.shape == (len(classes), task.classes, 2 * task.n + 1)
        assert (inputs.dtype, classes.dtype) == (torch.float32, torch.int64)
        marks = inputs.nonzero()
        assert torch.equal(marks[:, 0], torch.arange(len(inputs)))  # one a sample
        assert torch.equal(marks[:, 1], classes)  # in the channel of its class
        places = Counter(zip(marks[:, 2].tolist(), classes.tolist(), strict=True))
        assert places.keys() == {(place, c) for place in range(1, 2 * task.n + 1) for c in range(task.classes)}
        assert set(places.values()) == {STRENGTHS}
        assert 0.5 <= inputs.amax((1, 2)).min() < inputs.max() <= 1


def test_splits_share_no_signal():
    strengths = [set(inputs[inputs > 0].tolist()) for inputs, _ in RingTransfer().load().values()]
    assert sum(map(len, strengths)) == len(set().union(*strengths))


def test_they_are_the_same_in_every_process(tmp_path):
    code = "import skipway as sw, torch; torch.rand(3); print(sw.load('ring-transfer').fingerprint)"
    environment = {**os.environ, "SKIPWAY_CACHE": str(tmp_path), "PYTHONHASHSEED": "3"}
    environment["PYTHONPATH"] = str(Path(sw.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [FINGERPRINT]
    before = torch.random.get_rng_state()
    assert sw.load("ring-transfer").fingerprint == FINGERPRINT
    assert torch.equal(torch.random.get_rng_state(), before)


def test_equal_data_have_one_name_and_others_another():
    one = sw.load("ring-transfer")
    for spec in ("ring-transfer:n=8", "ring-transfer:seed=0,n=8", "ring-transfer: classes = 2"):
        data = sw.load(spec)
        assert (data.name, data.request.data, data.fingerprint) == ("ring-transfer", "ring-transfer", one.fingerprint)
        assert checked(StudyConfig(data=spec)) == checked(StudyConfig(data="ring-transfer"))
    plans = [
        plan_run(RunConfig(data=spec, net="plain-dense-3"))
        for spec in ("ring-transfer:n=4", "ring-transfer:seed=0,n=4", "ring-transfer:n=4,seed=1")
    ]
    assert plans[0].config == plans[1].config
    assert plans[0].config.data == "ring-transfer:n=4"
    assert len({plan.id for plan in plans}) == 2
    others = ("ring-transfer:n=7", "ring-transfer:classes=3", "ring-transfer:seed=1")
    assert len({one.fingerprint, *(sw.load(spec).fingerprint for spec in others)}) == 4
    assert sw.load("ring-transfer:seed=1,n=3").name == "ring-transfer:n=3,seed=1"


def test_splits_are_the_sources_own():
    data = sw.load("ring-transfer:n=3")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12 * 8] * 3
    assert data.validation_rule == "given by the source"
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("n=0", "n is a number of steps, 1 or more; it is 0"),
        ("n=-3", "n is a number of steps, 1 or more; it is -3"),
        ("classes=1", "2 classes or more to tell; there are 1"),
        ("seed=-1", "seed must be 0 or more; it is -1"),
        ("n=100000", "n=100000 with 2 classes has .* at most 1e.08 are made. n=256 with 2 classes is valid"),
        ("n=8,classes=1000", "n=8 with 1000 classes has"),
        ("length=9", "has no setting 'length'. Its settings and their defaults: n=8, classes=2, seed=0"),
        ("n=many", "setting 'n'"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_rule(settings, words, tmp_path, capsys):
    with pytest.raises(ValueError, match=words):
        sw.load(f"ring-transfer:{settings}")
    command = ["study", "--data", f"ring-transfer:{settings}", "--depths", "3", "--out", str(tmp_path / "study")]
    assert main(command) == 2
    assert not (tmp_path / "study").exists()
    assert "ring-transfer" in capsys.readouterr().err


def test_what_a_message_calls_valid_is():
    RingTransfer(n=256)


def test_a_source_of_ones_own_may_not_take_the_name():
    with pytest.raises(ValueError, match="a data source named 'ring-transfer' exists already"):

        class Mine(sw.Source, name="ring-transfer"):
            def load(self):
                return None

    assert SOURCES["ring-transfer"] is RingTransfer


def test_a_slip_of_the_hand_is_told_the_name():
    with pytest.raises(ValueError, match=r"Did you mean 'ring-transfer'\? .*'ring-transfer:n=16'"):
        sw.load("ring-transfr:n=8")


# -- what a net can know of them ---------------------------------------------------------------------------------------


@tasks
def test_no_function_of_what_a_depth_sees_has_less_error_than_is_told(task):
    """Exactly: of samples that look alike, all but those of the commonest class are wrong, whatever is answered."""
    for inputs, classes in task.load().values():
        for depth in range(task.n + 2):
            seen: dict[bytes, Counter[int]] = {}
            for view, label in zip(within(inputs, min(depth, task.n)), classes.tolist(), strict=True):
                seen.setdefault(view.numpy().tobytes(), Counter())[label] += 1
            right = sum(max(counts.values()) for counts in seen.values())
            assert 1 - Fraction(right, len(classes)) == task.least_error(depth)
    assert task.least_error(0) == 1 - Fraction(1, task.classes)
    assert task.least_error(task.n) == 0 < task.least_error(task.n - 1)


@tasks
def test_a_net_whose_weights_are_ones_has_that_error(task):
    inputs, classes = task.load()["train"]
    ones = torch.ones(task.classes, 1, 3)
    for depth in range(task.n + 3):
        x = inputs
        for _ in range(depth):
            x = F.conv1d(F.pad(x, (1, 1), mode="circular"), ones, groups=task.classes).relu()
        wrong = (x[..., 0].argmax(1) != classes).sum()
        assert Fraction(int(wrong), len(classes)) == task.least_error(depth)


@pytest.mark.parametrize("gate", ["plain", "residual", "highway", "rezero"])
def test_the_examples_net_sees_as_many_steps_as_it_is_deep(gate, local):
    depth, nodes = 3, 11
    net = local(depth, gate, Specification(TensorSpec((2, nodes)), 2))
    assert len(net[1]) == depth
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(0.1, 0.3)  # so that no ReLU cuts off a path
    x = torch.rand(1, 2, nodes)
    reach = []
    for node in range(nodes):
        other = x.clone()
        other[..., node] += 1
        if not torch.equal(net(other), net(x)):
            reach.append(min(node, nodes - node))
    assert sorted(reach) == [0, 1, 1, 2, 2, 3, 3]


# -- what a study finds ------------------------------------------------------------------------------------------------


def test_a_study_at_the_prompt_finds_the_depth_that_is_needed(tmp_path, capsys):
    command = (
        f"study --data ring-transfer:n=4 --net {EXAMPLES / 'local.py'}:local --gates residual --depths 2 4 "
        f"--seeds 0 1 --learning-rates 0.01 --optimizer adamw --batch-size 64 --steps 150 --workers 1 --out {tmp_path}"
    )
    assert main(command.split()) == 0
    assert "ring-transfer:n=4" in capsys.readouterr().err
    found = {}
    for run in sw.Study(tmp_path).runs():
        info = run.info()
        errors = tuple(info["metrics"][f"{split}_error"] for split in ("train", "validation", "test"))
        found.setdefault(info["cell"]["depth"], set()).add(errors)
    task = RingTransfer(n=4)
    assert found == {depth: {(task.least_error(depth),) * 3} for depth in (2, 4)}
