"""What a run is named by: a user's code, the versions of what is ours, the weights that it starts from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch

from helpers import digits
from skipway.data.images.augment import AUGMENTATIONS, Augmentation
from skipway.nets.dense import FAMILY
from skipway.nets.registry import FAMILIES, build
from skipway.nets.weights import weights_bytes
from skipway.rundir.layout import run_id
from skipway.runs.code.reading import digest
from skipway.runs.config import RunConfig
from skipway.runs.plan import plan_run
from skipway.runs.sending import learn, packed
from skipway.skip.gate import GATES, Flow, Gate
from skipway.skip.gates import HighwayGate, PlainGate
from skipway.skip.shortcuts import SHORTCUTS, OptionA, OptionB
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Cell, Plan, cells_of, checked
from skipway.training.recipe import Recipe

# As at a prompt: there is no file to read.
SOURCE = '''
import math
import torch

FACTOR, WORDS = 0.5, torch.tensor([1.0, 2.0])

def half(z):
    return z * FACTOR

class Base:
    offset = 0.0

    def shift(self, z):
        return half(z) + self.offset

class Mine(Base):
    """A rule."""

    def __init__(self, placement, *, weight: float = 0.25):
        self.weight = weight
        self.rule = lambda z: z + 1

    def forward(self, z):
        # a comment
        if z in {"a", "b", "c"}:
            return 3
        import helping
        return self.weight, math.sqrt(1.0) * WORDS, helping.double(z)
'''


def defined(source: str) -> type:
    space = {"__name__": "mine"}
    exec(compile(source, "<prompt>", "exec"), space)
    return space["Mine"]


@pytest.fixture
def helping(monkeypatch) -> ModuleType:
    """A module of the user's own, beside the class."""
    module = ModuleType("helping")
    exec("def double(z):\n    return z * 2\n\ndef other(z):\n    return z", vars(module))
    monkeypatch.setitem(sys.modules, "helping", module)
    return module


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return self.weight,", "return -self.weight,"),
        ("weight: float = 0.25", "weight: float = 0.5"),
        ("offset = 0.0", "offset = 1.0"),
        ("z * FACTOR", "z / FACTOR"),
        ("FACTOR, WORDS = 0.5", "FACTOR, WORDS = 0.75"),
        ("[1.0, 2.0]", "[1.0, 3.0]"),
        ("math.sqrt", "math.exp"),
        ("z + 1", "z + 2"),
        ('"b", "c"', '"b", "d"'),
        ("helping.double", "helping.other"),
        ("class Mine(Base)", "class Mine(Base, Exception)"),
        ("+ self.offset", "+ self.offset\n\n    def extra(self):\n        pass"),
    ],
)
def test_an_edited_class_is_another_one(old, new, helping):
    assert SOURCE.count(old) == 1
    assert digest(defined(SOURCE.replace(old, new))) != digest(defined(SOURCE))


def test_a_helper_in_another_module_counts_where_it_is_named(helping):
    before = digest(defined(SOURCE))
    exec("def other(z):\n    return -z", vars(helping))
    assert digest(defined(SOURCE)) == before
    exec("def double(z):\n    return z * 3", vars(helping))
    assert digest(defined(SOURCE)) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ("import math\n", "import math\n\n\n"),
        ("weight: float", "weight: 'float'"),
        ("A rule.", "Another sentence."),
        ("class Base", "def unused():\n    pass\n\nclass Base"),
        ("import math\n", "from __future__ import annotations\nimport math\n"),
    ],
)
def test_what_does_not_run_does_not_count(old, new, helping):
    assert digest(defined(SOURCE.replace(old, new, 1))) == digest(defined(SOURCE))


def test_a_method_that_is_put_in_later_counts(helping):
    mine = defined(SOURCE)
    before = digest(mine)
    mine.forward = lambda self, z: z
    assert digest(mine) != before


def test_every_process_finds_the_same_digest():
    source = SOURCE.replace("import torch", "class torch: tensor = list").replace("import helping", "helping = self")
    code = (
        "from skipway.runs.code.reading import digest\n"
        f"space = {{'__name__': '__main__'}}\nexec({source!r}, space)\nprint(digest(space['Mine']))"
    )
    assert os.environ.get("PYTHONHASHSEED", "random") != "1", "this process has another one"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, check=True, text=True
    )
    space = {"__name__": "__main__"}
    exec(source, space)
    assert done.stdout.strip() == digest(space["Mine"])


# -- in ids ------------------------------------------------------------------------------------------------------------


def ids(config: StudyConfig) -> list[str]:
    data, _ = digits()
    config = checked(config)
    return [run_id(Plan.of(config, data).identity(cell)) for cell in cells_of(config)]


def study(gate: str = "plain", **changes: object) -> StudyConfig:
    recipe = Recipe(learning_rates=(0.1,), augment=changes.pop("augment", ()))
    return replace(StudyConfig(gates=(gate,), depths=(5,), seeds=(0,), recipe=recipe), **changes)


def gate(number: float) -> type[Gate]:
    class Mine(Gate):
        def forward(self, z):
            return Flow(number, 1.0)

    return Mine


def augmentation(number: float) -> type[Augmentation]:
    @dataclass(frozen=True, kw_only=True)
    class Mine(Augmentation):
        def draw(self, count, shape, generator):
            return torch.rand(count, generator=generator)

        def apply(self, images, drawn):
            return images * number

    return Mine


def shortcut(number: float) -> type[OptionA]:
    class Mine(OptionA):
        def forward(self, z):
            return number * super().forward(z)

    return Mine


def family(number: float) -> object:
    def make(*, gate: str, depth: int, num_classes: int, in_features: int, width: int | None = None):
        return FAMILY.make(gate=gate, depth=depth, num_classes=num_classes, in_features=in_features, width=int(number))

    return replace(FAMILY, name="mine", make=make)


@pytest.mark.parametrize(
    ("registry", "make", "config"),
    [
        (GATES, gate, study("mine")),
        (AUGMENTATIONS, augmentation, study(augment=("mine",))),
        (SHORTCUTS, shortcut, study(net="cifar:shortcut=mine", depths=(8,))),
        (FAMILIES, family, study(net="mine")),
    ],
    ids=["gate", "augmentation", "shortcut", "family"],
)
def test_an_edited_definition_of_a_users_is_another_run(registry, make, config):
    try:
        found = []
        for number in (4.0, 4.0, 5.0):
            registry.replace("mine", make(number))
            found += ids(config)
    finally:
        registry.remove("mine")
    assert found[0] == found[1] != found[2]


def test_a_definition_of_ours_is_known_by_its_version_and_nothing_else_changes(monkeypatch):
    configs = {gate: study(gate) for gate in ("plain", "highway", "exclusive")}
    before = {gate: ids(config) for gate, config in configs.items()}
    monkeypatch.setattr(HighwayGate, "version", 2)
    changed = {gate for gate, config in configs.items() if ids(config) != before[gate]}
    assert changed == {"highway", "exclusive"}  # which is a highway, too


@pytest.mark.parametrize(
    ("ours", "config"),
    [
        (OptionB, study(net="cifar:shortcut=B", depths=(8,))),
        (AUGMENTATIONS["flip"], study(augment=("flip",))),
        (Recipe, study()),
        (PlainGate, study()),
    ],
    ids=["shortcut", "augmentation", "recipe", "gate"],
)
def test_a_raised_version_is_another_run(ours, config, monkeypatch):
    before = ids(config)
    monkeypatch.setattr(ours, "version", 2)
    assert ids(config) != before


def test_a_family_of_ours_has_a_version():
    before = ids(study())
    old = FAMILIES["dense"]
    try:
        FAMILIES.replace("dense", replace(old, version=2))
        assert ids(study()) != before
    finally:
        FAMILIES.replace("dense", old)


def test_a_users_rule_on_one_of_ours_changes_with_its_version(monkeypatch):
    class Mine(HighwayGate):
        pass

    before = digest(Mine)
    monkeypatch.setattr(HighwayGate, "version", 2)
    assert digest(Mine) != before


def test_an_identity_says_nothing_of_defaults():
    data, _ = digits()
    about = Plan.of(study(), data).identity(Cell("plain", 5, 0.1, 0))
    assert about["net"] == {"net": "dense", "gate": "plain", "depth": 5}
    assert about["recipe"] == {}
    assert about.keys() == {"data", "net", "recipe", "learning_rate", "seed"}


# -- weights to start from ---------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path) -> dict[str, str]:
    """Two nets, one of them under two names: as a file, and as a run directory."""
    data, preprocess = digits()
    found = {}
    for name, seed in (("one.safetensors", 0), ("run/model.safetensors", 0), ("other.safetensors", 1)):
        torch.manual_seed(seed)
        net = build("plain-dense-3", in_features=64, num_classes=10)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(weights_bytes(net, preprocess.to_dict(), data.classes))
        found[name.partition("/")[0].partition(".")[0]] = str(path if "/" not in name else path.parent)
    return found


def test_the_weights_that_a_training_starts_from_are_part_of_its_name_by_their_content(weights):
    def name(start: str | None) -> str:
        return plan_run(RunConfig(net="plain-dense-3", weights=start)).id

    one, same, other = (name(weights[key]) for key in ("one", "run", "other"))
    assert one == same
    assert len({one, other, name(None)}) == 3


def test_products_of_three_digits_are_another_training():
    config = RunConfig(net="plain-dense-3")
    assert plan_run(config, bfloat16=True).id != plan_run(config).id


# -- to worker processes -----------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_to_a_worker_is_refused_by_name():
    lock = threading.Lock()

    class Mine(Gate):
        def forward(self, z):
            with lock:
                return Flow(1.0, 1.0)

    GATES.replace("mine", Mine)
    try:
        with pytest.raises(ValueError, match="gate 'mine' cannot be sent to worker processes: TypeError: .*lock"):
            packed(Plan.of(checked(study("mine")), digits()[0]).definitions("mine"))
    finally:
        GATES.remove("mine")


def test_a_worker_learns_what_a_user_defined_and_nothing_else():
    GATES.replace("mine", gate(4.0))
    try:
        sent = packed(Plan.of(checked(study("mine", augment=("flip",))), digits()[0]).definitions("mine"))
        GATES.remove("mine")
        flip = AUGMENTATIONS["flip"]
        learn(sent)
        assert GATES["mine"].__name__ == "Mine"
        assert AUGMENTATIONS["flip"] is flip
    finally:
        GATES.remove("mine")
