"""`skipway.study`: one value where several may be given. `skipway.fit`: whatever is given reaches the run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from skipway.nets.registry import FAMILIES
from skipway.runs.api import fit
from skipway.studies.api import study
from skipway.studies.defaults import default_config
from skipway.studies.grid import checked
from skipway.training.loop import Hook
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


DEFAULTS = {"precision": "float32", "memory": "store", "accumulate": 1}


@pytest.mark.parametrize(
    ("given", "choice", "found"),
    [
        ({"precision": "bfloat16"}, "bfloat16", True),
        ({"memory": "recompute"}, "recompute", True),
        ({"accumulate": 2}, "accumulate", 2),
        ({"device": "cpu"}, "device", "cpu"),
        (DEFAULTS, "bfloat16", False),
        (DEFAULTS, "recompute", False),
        (DEFAULTS, "accumulate", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value),
)
def test_how_a_fit_is_computed_is_as_it_was_asked(given, choice, found, tmp_path):
    info = fit("plain-dense-3", "digits", SHORT, out=tmp_path, **given).info()
    assert info["choices"][choice] == found
    assert info["identity"].get("precision") == ("bfloat16" if given.get("precision") == "bfloat16" else None)


def test_a_fit_in_bfloat16_computes_in_bfloat16(tmp_path):
    class Looks(Hook):
        def on_start(self, net):
            net.net.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    seen: list[torch.dtype] = []
    fit("plain-dense-3", "digits", SHORT, precision="bfloat16", hooks=[Looks()], out=tmp_path)
    assert seen.count(torch.bfloat16) == SHORT.steps


@pytest.mark.parametrize(
    ("given", "field", "found"),
    [
        ({"seed": 3}, "seed", 3),
        ({"width": 9}, "width", 9),
        ({"gate": "highway:bias=-3"}, "gate", "highway:bias=-3"),
        ({"learning_rate": 0.07}, "recipe", [0.07]),
        ({"recipe": "he2015-110"}, "recipe", [0.1]),
    ],
)
def test_what_a_fit_is_given_is_in_its_config(given, field, found, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("skipway.runs.api.run_training", lambda config, out, **_: asked.update(config.to_dict()))
    fit("highway-dense-3", "digits", **given)
    value = asked[field]
    assert (list(value["learning_rates"]) if field == "recipe" else value) == found
