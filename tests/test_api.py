"""`skipway.study` and `skipway.fit`: the settings of the command line; whatever is given reaches the run."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from typing import get_type_hints

import pytest
import torch

from skipway.cli.study import StudyCommand
from skipway.cli.train import TrainCommand
from skipway.nets.registry import FAMILIES
from skipway.runs.api import fit
from skipway.runs.config import RunConfig
from skipway.studies.api import study
from skipway.studies.config import StudyConfig
from skipway.studies.defaults import default_config
from skipway.studies.grid import checked
from skipway.training.changes import RecipeSettings, changed
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


# What only a prompt needs: a file of flags, short ways to write what `net=` says, a look before the work.
_PROMPT = {"study": {"config", "match", "dry_run"}, "train": {"config", "resume"}}


@pytest.mark.parametrize(
    ("python", "command", "config"),
    [(study, StudyCommand, StudyConfig), (fit, TrainCommand, RunConfig)],
    ids=["study", "train"],
)
def test_every_setting_at_the_prompt_is_an_argument_of_the_same_name(python, command, config, request):
    arguments = set(inspect.signature(python).parameters) | set(RecipeSettings.__annotations__)
    flags = {each.name for each in (*fields(command), *fields(config), *fields(Recipe))}
    prompt = _PROMPT[request.node.callspec.id] | {"named", "settings"}  # a recipe by its name; where the fields lie
    own = {"learning_rates": "learning_rate"} if python is fit else {}
    assert {own.get(flag, flag) for flag in flags - prompt} <= arguments


def test_a_recipes_settings_have_the_recipes_names_and_types():
    told, own = get_type_hints(RecipeSettings), get_type_hints(Recipe)
    lists = ("milestones", "augment")
    assert told.keys() == {each.name for each in fields(Recipe)} - {"learning_rates"}
    assert {name: told[name] for name in told if name not in lists} == {n: own[n] for n in told if n not in lists}


def test_settings_of_the_recipe_are_given_by_name(tmp_path):
    found = study(
        "digits",
        gates="plain",
        depths=3,
        learning_rates=0.1,
        seeds=0,
        recipe="he2015",
        steps=2,
        batch_size=8,
        augment="crop:pad=1",
        clip=None,
        validation=0.2,
        split_seed=3,
        out=tmp_path,
        workers=1,
    )
    recipe = found.info()["config"]["recipe"]
    assert (recipe["steps"], recipe["epochs"], recipe["batch_size"]) == (2, None, 8)
    assert (recipe["augment"], recipe["clip"], recipe["schedule"]) == (["crop:pad=1"], None, "step")
    assert (found.info()["config"]["validation"], found.info()["config"]["split_seed"]) == (0.2, 3)
    same = replace(RECIPES["he2015"], steps=2, batch_size=8, augment=("crop:pad=1",), clip=None, learning_rates=(0.1,))
    run = fit("plain-dense-3", "digits", same, learning_rate=0.1, validation=0.2, split_seed=3, out=tmp_path / "run")
    assert run.info()["id"] == next(iter(found.runs())).info()["id"]


@pytest.mark.parametrize("python", [study, lambda **more: fit("plain-dense-3", "digits", **more)], ids=["study", "fit"])
def test_settings_that_contradict_or_do_not_exist_are_refused(python):
    with pytest.raises(ValueError, match="steps=5 and epochs=1 were given; give one of them"):
        python(steps=5, epochs=1)
    with pytest.raises(TypeError, match="there is no setting stpes.*batch_size, steps"):
        python(stpes=5)


def test_steps_count_where_the_recipe_has_epochs():
    recipe = Recipe(steps=None, epochs=2.0)
    assert changed(recipe, Recipe(), {"steps": 7}) == Recipe(steps=7)
    assert changed(None, recipe, {"batch_size": 8}) == Recipe(steps=None, epochs=2.0, batch_size=8)


def test_fit_tells_its_curves_to_hooks_and_trackers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []

    class Told(Hook):
        def on_interval(self, step, steps, rows):
            told.append((step, steps, len(rows)))

    fit("plain-dense-3", "digits", learning_rate=0.1, steps=4, track="tensorboard", hooks=[Told()], save_every=0)
    assert told[-1] == (4, 4, 1)
    assert [*(tmp_path / "tracking").rglob("events.out.*")]


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
