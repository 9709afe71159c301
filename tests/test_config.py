"""What a study asks for, and the grid that follows from it: cells, names of runs, stacks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers import digits, stacks_of
from skipway.rundir.layout import run_id
from skipway.runs.plan import plan_run
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Cell, Plan, cells_of, checked
from skipway.studies.planned import default_out
from skipway.training.recipe import Recipe

OTHER = StudyConfig(
    data="mnist",
    net="dense:activation=tanh",
    gates=("highway:bias=-4",),
    depths=(3,),
    seeds=(7,),
    width=9,
    validation=0.2,
    split_seed=1,
    recipe=Recipe(optimizer="adamw", epochs=1.5, steps=None, schedule="step", milestones=(0.3, 0.6), clip=None),
)


def ids(config: StudyConfig) -> list[str]:
    data, _ = digits()
    config = checked(config)
    return [run_id(Plan.of(config, data).identity(cell)) for cell in cells_of(config)]


# -- fields ------------------------------------------------------------------------------------------------------------


def test_the_default_is_the_demonstration():
    config = StudyConfig()
    assert config.problems() == []
    assert len(cells_of(config)) == 180
    assert checked(config) == config


@pytest.mark.parametrize("config", [StudyConfig(), OTHER], ids=["default", "other"])
def test_a_config_comes_back_from_json(config):
    assert StudyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_fields_left_out_take_their_defaults():
    assert StudyConfig.from_dict({}) == StudyConfig()
    assert StudyConfig.from_dict({"recipe": {"steps": 7}}) == StudyConfig(recipe=Recipe(steps=7))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"gate": ["plain"]}, ("StudyConfig has no field 'gate'", "gates")),
        ({"recipe": {"lr": 0.1}}, ("Recipe has no field 'lr'", "learning_rates")),
        ({"recipe": "dense"}, ("'recipe' must hold fields of a recipe; it is 'dense'",)),
        ({"data": 3}, ("field 'data' is of type str; it was given 3",)),
        ({"gates": "plain"}, ("field 'gates' is of type tuple[str, ...]; it was given 'plain'",)),
        ({"depths": ["5"]}, ("'depths'", "int", "['5']")),
        ({"depths": [5.0]}, ("'depths'", "int")),
        ({"seeds": [True]}, ("'seeds'", "int")),
        ({"width": "50"}, ("'width' is of type int | None; it was given '50'",)),
        ({"validation": "a tenth"}, ("'validation' is of type float",)),
        ({"recipe": {"steps": "300"}}, ("'steps' is of type int | None",)),
        ({"recipe": {"clip": "none"}}, ("'clip'", "'none'")),
        ({"recipe": {"nesterov": 1}}, ("'nesterov' is of type bool",)),
        ({"recipe": {"schedule": 3}}, ("'schedule' is of type str",)),
        ({"recipe": {"decay_on": "biases"}}, ("'decay_on'", "weights", "'biases'")),
    ],
)
def test_a_wrong_field_is_named_with_what_it_should_be(content, words):
    with pytest.raises(ValueError) as error:
        StudyConfig.from_dict(content)
    for word in words:
        assert word in str(error.value)


def test_whole_numbers_are_numbers_and_none_is_none():
    config = StudyConfig.from_dict({"width": None, "recipe": {"learning_rates": [1, 0.5], "epochs": 2, "clip": None}})
    assert config.recipe.learning_rates == (1.0, 0.5)
    assert [type(rate) for rate in config.recipe.learning_rates] == [float, float]
    assert type(config.recipe.epochs) is float
    assert config.recipe.clip is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gates": ()}, "gates must be one or more; none was given."),
        ({"depths": (5, 5)}, "depths must differ from each other; they are 5 5."),
        ({"seeds": ()}, "seeds must be one or more"),
        ({"width": 0}, "width must be 1 or more; it is 0."),
        ({"validation": 0.0}, "validation is a share between 0 and 1; it is 0.0."),
        ({"validation": 1.0}, "validation is a share between 0 and 1"),
        ({"recipe": Recipe(batch_size=0)}, "batch_size must be 1 or more"),
    ],
)
def test_what_is_out_of_range_is_a_sentence(changes, words):
    (problem,) = replace(StudyConfig(), **changes).problems()
    assert problem.startswith(words)


# -- the canonical form ------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_a_line_each():
    config = StudyConfig(
        net="dense:layers=2", gates=("higway", "highway:bas=1"), depths=(4, 0), width=0, recipe=Recipe(clip=-1.0)
    )
    with pytest.raises(ValueError) as error:
        checked(config)
    lines = str(error.value).splitlines()
    parts = ("width must", "clip must", "Did you mean 'highway'", "no setting 'bas'", "Nearest: 3 and 5", "Nearest: 1")
    assert len(lines) == len(parts)
    for line, part in zip(lines, parts, strict=True):
        assert part in line


def test_an_unknown_family_is_one_line():
    with pytest.raises(ValueError, match=r"^unknown family of nets 'dens'\. Did you mean 'dense'.*Valid: .*dense"):
        checked(StudyConfig(net="dens"))


def test_two_ways_to_write_one_gate_are_one_gate():
    config = StudyConfig(gates=("highway:kernel=auto,bias=-4.0",), net="dense:activation=relu")
    assert checked(config).gates == ("highway:bias=-4",)
    assert checked(config).net == "dense"
    with pytest.raises(ValueError, match="gates must differ from each other; they are highway highway"):
        checked(StudyConfig(gates=("highway", "highway:bias=auto")))


def test_the_canonical_form_is_its_own():
    for config in (StudyConfig(), OTHER):
        assert checked(checked(config)) == checked(config)


def test_wrong_types_from_python_are_told_too():
    with pytest.raises(ValueError, match="field 'depths'"):
        checked(StudyConfig(depths=("5",)))  # type: ignore[arg-type]


# -- cells and their names ---------------------------------------------------------------------------------------------


def test_cells_come_in_order_and_once():
    config = StudyConfig(
        gates=("plain", "highway"), depths=(5, 10), seeds=(0, 1), recipe=Recipe(learning_rates=(0.1, 0.2))
    )
    cells = cells_of(config)
    assert len(set(cells)) == len(cells) == 16
    assert cells[:3] == [Cell("plain", 5, 0.1, 0), Cell("plain", 5, 0.2, 0), Cell("plain", 5, 0.1, 1)]
    assert cells[-1] == Cell("highway", 10, 0.2, 1)
    assert cells[0].to_dict() == {"gate": "plain", "depth": 5, "learning_rate": 0.1, "seed": 0}


SMALL = StudyConfig(
    gates=("highway:bias=-4",), depths=(5,), seeds=(0,), recipe=Recipe(learning_rates=(1.0,), epochs=2.0)
)


def test_every_cell_has_a_name_of_its_own():
    names = ids(StudyConfig())
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALL, gates=("highway:kernel=auto, bias=-4.0",)),
        replace(SMALL, net="dense:layers=1,activation=relu"),
        replace(SMALL, recipe=Recipe(learning_rates=(1,), epochs=2)),
        replace(SMALL, recipe=Recipe(learning_rates=(1.0,), epochs=2.0, steps=17, decay=0.5, beta2=0.9)),
        StudyConfig.from_dict({**SMALL.to_dict(), "recipe": {"learning_rates": [1], "epochs": 2}}),
    ],
    ids=["gate", "net", "whole numbers", "unused fields", "from a file"],
)
def test_two_ways_to_write_one_study_find_each_others_runs(other):
    assert ids(other) == ids(SMALL)


@pytest.mark.parametrize(
    "changes",
    [
        {"gates": ("highway:bias=-5",)},
        {"depths": (6,)},
        {"seeds": (1,)},
        {"width": 9},
        {"net": "dense:activation=tanh"},
        {"recipe": Recipe(learning_rates=(0.5,), epochs=2.0)},
        {"recipe": Recipe(learning_rates=(1.0,), epochs=3.0)},
    ],
)
def test_what_decides_the_numbers_decides_the_name(changes):
    assert set(ids(replace(SMALL, **changes))).isdisjoint(ids(SMALL))


def test_other_data_has_other_names():
    data, _ = digits()
    cell = cells_of(SMALL)[0]
    other = replace(data, fingerprint="other"), replace(data, validation_rule="another")
    names = {run_id(Plan.of(SMALL, each).identity(cell)) for each in (data, *other)}
    assert len(names) == 3


def test_a_larger_study_has_the_smaller_ones_runs():
    assert set(ids(SMALL)) < set(ids(replace(SMALL, depths=(5, 10), seeds=(0, 1))))


def test_a_cells_run_is_the_same_training_whoever_asks_for_it():
    """By a study, by a net's name, by a family with gate and depth: one id."""
    config, (data, _) = StudyConfig(), digits()
    plan = Plan.of(config, data)
    for cell in cells_of(config)[::40]:
        asked = config.run(**cell.to_dict())
        named = replace(asked, net=f"{cell.gate}-dense-{cell.depth}", gate=None, depth=None)
        assert run_id(plan.identity(cell)) == plan_run(asked).id == plan_run(named).id


# -- nets and stacks ---------------------------------------------------------------------------------------------------


def test_a_cells_seed_decides_its_weights_and_nothing_else_is_drawn():
    data, _ = digits()
    before = torch.random.get_rng_state()
    first, again, other = (Plan.of(SMALL, data).build(Cell("highway", 5, 0.1, seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("gate", ["highway", "stochastic-depth"])
def test_every_cell_is_in_one_stack_of_its_gate_and_depth(gate):
    data, _ = digits()
    config = checked(replace(StudyConfig(), gates=("plain", gate), depths=(5, 100)))
    stacks = stacks_of(Plan.of(config, data))
    assert sorted((c.gate, c.depth, c.seed, c.learning_rate) for s in stacks for c in s.cells) == sorted(
        (c.gate, c.depth, c.seed, c.learning_rate) for c in cells_of(config)
    )
    for stack in stacks:
        assert len({(cell.gate, cell.depth) for cell in stack.cells}) == 1
        assert stack.ids == tuple(run_id(Plan.of(config, data).identity(cell)) for cell in stack.cells)
        assert stack.cost > 0
    assert len({stack.name for stack in stacks}) == len(stacks)
    assert stacks == stacks_of(Plan.of(config, data))
    alone = [stack for stack in stacks if len(stack.cells) == 1]
    assert bool(alone) == (gate == "stochastic-depth")
    sizes = {(s.cells[0].gate, s.cells[0].depth): [] for s in stacks}
    for s in stacks:
        sizes[s.cells[0].gate, s.cells[0].depth].append(len(s.cells))
    assert all(max(found) - min(found) <= 1 for found in sizes.values())


def test_a_rule_that_cannot_stand_in_the_body_is_refused_before_anything_is_trained():
    data, _ = digits()
    config = checked(StudyConfig(gates=("fixup",), depths=(5,)))
    with pytest.raises(ValueError, match="--net dense:layers=2"):
        stacks_of(Plan.of(config, data))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits-dense"),
        ("some/folder/t.csv:target=km/h", "t.csv-target-km-h-dense"),
        ("t.csv:target=price,drop=id", "t.csv-target-price-drop-id-dense"),
        ("owner/name:configuration", "name-configuration-dense"),
    ],
)
def test_studies_of_two_targets_of_a_table_have_two_directories(data, name):
    assert default_out(StudyConfig(data=data)).name == name
