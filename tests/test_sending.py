"""A user's code in worker processes: it is what the run's name stands for, or the worker refuses."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import loky
import pytest

import skipway as sw
from helpers import digits
from skipway.nets.factory import FUNCTIONS, use
from skipway.rundir.study import Study
from skipway.runs.config import RunConfig
from skipway.runs.definitions import definitions
from skipway.runs.plan import plan_run
from skipway.runs.sending import ChangedError, learn, packed
from skipway.skip.gate import GATES, Flow, Gate, make_gate
from skipway.skip.gates import HighwayGate
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Plan, checked
from skipway.studies.runner import run_study
from skipway.training.recipe import Recipe

NUMBERS = itertools.count()  # of modules whose names are given once: no worker has imported them before
RECIPE = Recipe(learning_rates=(0.1,), steps=3, batch_size=32)
LAYERS = "SLOPE = 0.5\n\ndef activation(x):\n    return x.relu() * SLOPE\n"
NETS = """
from torch import nn
import skipway as sw
import layers_of_mine


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return layers_of_mine.activation(self.linear(x))


def mlp(depth, gate, specification, width=8):
    blocks = sw.skip_row(gate, [Block(width) for _ in range(depth)])
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *blocks, nn.Linear(width, specification.outputs))
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """Where users' files lie: known to this process and to workers that are started after."""
    folder = tmp_path_factory.mktemp("code")
    sys.path.insert(0, str(folder))
    loky.get_reusable_executor().shutdown(wait=True)  # an earlier pool does not know the folder
    yield folder
    sys.path.remove(str(folder))


class Mine(NamedTuple):
    """A module of nets and one of layers."""

    nets: ModuleType
    layers: str


@pytest.fixture
def mine(code):
    """Both in files, both imported by this process and by no worker: their names are given once."""
    number = next(NUMBERS)
    nets, layers = f"nets_of_mine_{number}", f"layers_of_mine_{number}"
    (code / f"{nets}.py").write_text(NETS.replace("layers_of_mine", layers))
    (code / f"{layers}.py").write_text(LAYERS)
    importlib.invalidate_caches()
    yield Mine(importlib.import_module(nets), layers)
    for name in (nets, layers):
        sys.modules.pop(name, None)
    FUNCTIONS.pop(f"{nets}:mlp", None)


def study(make) -> StudyConfig:
    return StudyConfig(net=use(make), gates=("plain",), depths=(2, 3), seeds=(0,), recipe=RECIPE)


def edit(module: str, old: str, new: str) -> Path:
    path = Path(str(sys.modules[module].__file__))
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new) + "# longer than before\n")
    return path


@pytest.mark.parametrize(
    ("module", "old", "new", "place"),
    [
        ("nets", "self.linear(x))", "self.linear(x)) + 1", "Block.forward"),
        ("layers", "x.relu()", "x.tanh()", "{layers}.activation"),
        ("layers", "SLOPE = 0.5", "SLOPE = 0.75", "{layers}.activation.SLOPE"),
    ],
    ids=["the module", "a helper", "a constant"],
)
def test_a_file_edited_after_it_was_imported_is_refused_by_the_workers(mine, module, old, new, place, tmp_path):
    path = edit(mine.layers if module == "layers" else mine.nets.__name__, old, new)
    found = run_study(study(mine.nets.mlp), tmp_path / "study", workers=1)
    failures = found.info()["failures"]
    assert len(failures) == len(found.info()["cells"]) == 2
    for reason in failures.values():
        assert f"net '{mine.nets.__name__}:mlp' is not the same code in this worker process" in reason
        assert f"they differ at {path}: {place.format(layers=mine.layers)}. A run's name stands for" in reason
        assert "start again in a new process" in reason
    assert not list(found.runs())


def test_a_file_that_stays_is_trained_by_workers_that_import_it(mine, tmp_path):
    edit(mine.layers, "SLOPE = 0.5", "SLOPE = 0.50  # the same")
    assert run_study(study(mine.nets.mlp), tmp_path, workers=1).info()["status"] == "done"


def test_workers_that_imported_an_older_file_refuse(mine, tmp_path):
    assert run_study(study(mine.nets.mlp), tmp_path / "first", workers=1).info()["status"] == "done"
    edit(mine.layers, "x.relu()", "x.tanh()")
    importlib.reload(sys.modules[mine.layers])
    second = run_study(study(mine.nets.mlp), tmp_path / "second", workers=1)
    assert all("differ at" in reason for reason in second.info()["failures"].values())
    assert len(second.info()["failures"]) == 2


# -- by value: a script's, a prompt's, a plugin's ----------------------------------------------------------------------

PROMPT = '''
import dataclasses, enum, functools, math
import numpy
import torch
import typing
from torch import nn
import skipway as sw

TABLE = {"a": [1, (2, {3})], "b": torch.arange(3.0), "c": numpy.arange(4), "d": nn.Linear(2, 2)}
HIDDEN = 3

class Kind(enum.Enum):
    """Kinds."""
    A = 1
    B = "two"

class Pair(typing.NamedTuple):
    a: int = 1

@dataclasses.dataclass(frozen=True)
class Setting:
    k: int = 1
    rest: list = dataclasses.field(default_factory=list)
    other: dataclasses.InitVar[int] = 3

def twice(f):
    @functools.wraps(f)
    def inner(*given):
        return 2 * f(*given)
    return inner

@twice
def helper(z, k=Setting()):
    return z * k.k

def again(n: int) -> float:
    return math.sqrt(n) if n else again(n + 1)

class Slots:
    __slots__ = ("k",)

    def __init__(self):
        self.k = Kind.A

OBJECT = Slots()

class Base(sw.Gate):
    """A base."""
    kinds = {Kind.A, Kind.B}

    @functools.cached_property
    def factor(self):
        """What it is."""
        return 0.5

    @property
    def two(self):
        return Pair()

    @staticmethod
    def three():
        return functools.partial(helper, k=Setting(2))

    @classmethod
    def four(cls):
        class Inner:
            hidden = HIDDEN
        return Inner

class Mine(Base):
    def __init__(self, placement, *, weight: float = 0.5):
        super().__init__(placement)
        self.weight = weight

    def forward(self, z):
        assert self.four().hidden == 3 and OBJECT.k is Kind.A and again(0) == 1.0 and TABLE["a"]
        return sw.Flow(self.weight * self.factor, 1.0)

def mlp(depth, gate, specification, width=8):
    bodies = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    blocks = sw.skip_row(gate, bodies)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *blocks, nn.Linear(width, specification.outputs))
'''


def test_code_of_a_prompt_arrives_as_it_was_sent(tmp_path):
    space = {"__name__": "__main__"}
    exec(compile(PROMPT, "<prompt>", "exec", dont_inherit=True), space)
    GATES.replace("of-a-prompt", space["Mine"])
    config = StudyConfig(
        net=use(space["mlp"], "prompt:mlp"), gates=("of-a-prompt",), depths=(2, 3), seeds=(0,), recipe=RECIPE
    )
    try:
        found = run_study(config, tmp_path, workers=1)
        assert found.info()["failures"] == {}
        assert found.info()["status"] == "done"
    finally:
        GATES.remove("of-a-prompt")
        FUNCTIONS.pop("prompt:mlp")


def test_what_was_changed_on_its_way_is_refused(monkeypatch):
    class Mine(Gate):
        weight = 0.5

        def forward(self, z):
            return Flow(self.weight, 1.0)

    GATES.replace("mine", Mine)
    try:
        sent = packed(
            definitions(Plan.of(checked(StudyConfig(gates=("mine",), depths=(3,))), digits()[0]).nets, "mine", ())
        )
        other = sent.replace(b"weight", b"height")
        assert other != sent
        learn(sent)
        with pytest.raises(ChangedError, match="gate 'mine' is not the same code"):
            learn(other)
    finally:
        GATES.remove("mine")


# -- rules that are built by name --------------------------------------------------------------------------------------


def inner(number: float) -> type[Gate]:
    class Inner(Gate):
        def forward(self, z):
            return Flow(number, 1.0)

    return Inner


def direct(placement):
    return make_gate("inner-of-mine", placement)


class Outer(Gate):
    def __init__(self, placement, *, inner: str = "plain"):
        super().__init__(placement)
        self.inner = make_gate(inner, placement)

    def forward(self, z):
        return self.inner(z)


class Fixed(Outer):
    def __init__(self, placement):
        Gate.__init__(self, placement)
        self.inner = direct(placement)


class WithSettings(Fixed):
    def __init__(self, placement, *, number: float = 0.5):
        Gate.__init__(self, placement)
        self.inner = make_gate(f"outer-of-mine:inner={'inner-of-mine'}", placement)


class Twice(Fixed):
    def __init__(self, placement):
        Gate.__init__(self, placement)
        self.inner = make_gate("fixed-of-mine", placement)


@pytest.fixture
def rules():
    own = {"outer": Outer, "fixed": Fixed, "settings": WithSettings, "twice": Twice, "inner": inner(1.0)}
    for name, rule in own.items():
        GATES.replace(f"{name}-of-mine", rule)
    yield
    for name in own:
        GATES.remove(f"{name}-of-mine")


@pytest.mark.parametrize(
    ("gate", "counts"),
    [
        ("fixed-of-mine", True),
        ("settings-of-mine", True),
        ("twice-of-mine", True),
        ("outer-of-mine:inner=inner-of-mine", True),
        ("outer-of-mine", False),
        ("plain", False),
    ],
)
def test_a_rule_that_is_built_by_name_counts_where_it_is_named(rules, gate, counts):
    config = RunConfig(net="dense", gate=gate, depth=3, recipe=RECIPE)
    before = plan_run(config).id
    assert plan_run(config).id == before
    GATES.replace("inner-of-mine", inner(2.0))
    assert (plan_run(config).id != before) is counts


def test_a_factorys_own_rule_counts():
    def make(depth):
        from torch import nn

        bodies = [nn.Linear(8, 8) for _ in range(depth)]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *sw.skip_row("inner-of-mine", bodies), nn.Linear(8, 10))

    ids = []
    try:
        for number in (1.0, 1.0, 2.0):
            GATES.replace("inner-of-mine", inner(number))
            ids.append(plan_run(RunConfig(net=use(make, "mine:make"), depth=2, recipe=RECIPE)).id)
    finally:
        GATES.remove("inner-of-mine")
        FUNCTIONS.pop("mine:make")
    assert ids[0] == ids[1] != ids[2]


def test_a_rule_of_ours_that_is_named_counts_by_its_version(rules, monkeypatch):
    config = RunConfig(net="dense", gate="outer-of-mine:inner=highway", depth=3, recipe=RECIPE)
    before = plan_run(config).id
    monkeypatch.setattr(HighwayGate, "version", 2)
    assert plan_run(config).id != before


def test_a_rule_that_is_named_inside_travels_too(rules, tmp_path):
    config = StudyConfig(gates=("twice-of-mine",), depths=(3,), seeds=(0,), recipe=RECIPE)
    assert run_study(config, tmp_path, workers=1).info()["failures"] == {}
    assert len(list(Study(tmp_path).runs())) == 1


def test_what_cannot_be_read_is_refused_by_the_name_of_the_rule():
    generator = (number for number in (1, 2))

    class Mine(Gate):
        def forward(self, z):
            return Flow(next(generator), 1.0)

    GATES.replace("mine", Mine)
    try:
        with pytest.raises(ValueError, match=r"gate 'mine': forward.generator \(generator\) cannot be read"):
            plan_run(RunConfig(net="dense", gate="mine", depth=3, recipe=RECIPE))
    finally:
        GATES.remove("mine")
