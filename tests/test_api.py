"""`skipway.study`: one value where several may be given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skipway.nets.registry import FAMILIES
from skipway.studies.api import study
from skipway.studies.defaults import default_config
from skipway.studies.grid import checked
from skipway.training.recipe import RECIPES, Recipe

SHORT = Recipe(steps=2, batch_size=8)


def test_a_single_value_is_a_list_of_one(tmp_path):
    recipe = Recipe(steps=2, batch_size=8)
    one = study(
        "digits", gates="plain", depths=3, learning_rates=0.1, seeds=7, recipe=recipe, out=tmp_path / "one", workers=1
    )
    config = one.info()["config"]
    assert (config["gates"], config["depths"], config["seeds"]) == (["plain"], [3], [7])
    assert config["recipe"]["learning_rates"] == [0.1]
    assert [run.info()["status"] for run in one.runs()] == ["done"]


def test_a_body_brings_its_own_depths_and_recipe(tmp_path):
    found = study("digits", net="highway-mnist", gates="plain", seeds=0, out=tmp_path, workers=1, recipe=SHORT)
    assert found.info()["config"]["depths"] == [10]
    assert default_config("highway-mnist").recipe == RECIPES["highway-mnist"]


@pytest.mark.parametrize("body", FAMILIES)
def test_every_familys_defaults_can_be_studied(body):
    config = default_config(body)
    assert checked(config) == replace(config, recipe=checked(config).recipe)


def test_several_values_may_come_from_anything_that_can_be_gone_through(tmp_path):
    several = study(
        "digits",
        gates=(gate for gate in ("plain", "residual")),
        depths=range(3, 5),
        learning_rates=[0.1],
        seeds={0},
        recipe=Recipe(steps=2, batch_size=8),
        out=tmp_path / "several",
        workers=1,
    )
    cells = {(cell["gate"], cell["depth"]) for cell in several.info()["cells"]}
    assert cells == {("plain", 3), ("plain", 4), ("residual", 3), ("residual", 4)}
