"""Recipes: schedules by their formulas, everything wrong told at once, and what is part of a run's identity."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from skipway.training.recipe import RECIPES, Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_run(name):
    recipe = RECIPES[name]
    assert recipe.problems() == []
    assert json.dumps(recipe.identity())
    steps = recipe.total_steps(1257)
    factors = [recipe.rate_factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1


def test_the_dense_recipe_is_the_measured_one():
    recipe = RECIPES["dense"]
    assert recipe.learning_rates == (0.03, 0.1, 0.3, 1.0)
    assert (recipe.optimizer, recipe.momentum, recipe.batch_size, recipe.steps) == ("sgd", 0.9, 128, 300)
    assert (recipe.schedule, recipe.clip, recipe.weight_decay) == ("cosine", 1.0, 0.0)


def test_cosine_is_half_a_wave():
    recipe = Recipe(schedule="cosine")
    for step in (0, 1, 50, 99):
        assert recipe.rate_factor(step, 100) == pytest.approx((1 + math.cos(math.pi * step / 100)) / 2)
    assert recipe.rate_factor(0, 100) == 1
    assert recipe.rate_factor(50, 100) == pytest.approx(0.5)
    assert recipe.rate_factor(99, 100) < 0.001


def test_steps_fall_at_their_milestones():
    recipe = Recipe(schedule="step", milestones=(0.5, 0.75), decay=0.1)
    found = [recipe.rate_factor(step, 100) for step in (0, 49, 50, 74, 75, 99)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_he_2015s_schedule():
    """0.1, divided by 10 at 32k and 48k iterations of 64k."""
    recipe = RECIPES["he2015"]
    assert (recipe.steps, recipe.learning_rates, recipe.weight_decay) == (64_000, (0.1,), 1e-4)
    found = [0.1 * recipe.rate_factor(step, 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_he_2015s_resnet_110_leaves_its_warm_up():
    """0.01 for 400 iterations, then as the others."""
    recipe, without = RECIPES["he2015-110"], RECIPES["he2015"]
    found = [0.1 * recipe.rate_factor(step, 64_000) for step in (0, 399)]
    assert found == pytest.approx([0.01, 0.01])
    for step in (400, 31_999, 32_000, 48_000):
        assert recipe.rate_factor(step, 64_000) == without.rate_factor(step, 64_000)


@pytest.mark.parametrize(
    ("name", "rate", "falls", "steps"),
    [
        ("highway-mnist", 0.01, (60_000, 120_000), 180_000),
        ("highway-cifar", 0.025, (100_000, 150_000, 175_000), 200_000),
    ],
)
def test_the_highway_authors_schedules(name, rate, falls, steps):
    recipe = RECIPES[name]
    assert (recipe.learning_rates, recipe.steps, recipe.batch_size) == ((rate,), steps, 100)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 1e-3)
    assert (recipe.bias_rate, recipe.decay_on) == (2.0, "weights")
    for place, step in enumerate(falls):
        before, after = (recipe.rate_factor(at, steps) for at in (step - 1, step))
        assert (before, after) == pytest.approx((0.1**place, 0.1 ** (place + 1)))


def test_exponential_reaches_its_factor_at_the_end():
    recipe = Recipe(schedule="exponential", decay=0.01)
    for step in (0, 10, 50, 99):
        assert recipe.rate_factor(step, 100) == pytest.approx(0.01 ** (step / 100))


def test_constant_is_constant():
    assert {Recipe(schedule="constant").rate_factor(step, 10) for step in range(10)} == {1.0}


@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine"])
def test_the_warm_up_rises_and_then_the_schedule_has_the_rest(schedule):
    recipe = Recipe(schedule=schedule, warmup_steps=4)
    found = [recipe.rate_factor(step, 24) for step in range(24)]
    assert found[:4] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5])
    without = replace(recipe, warmup_steps=0)
    assert found[4:] == pytest.approx([without.rate_factor(step, 20) for step in range(20)])
    assert found[4] == 1


def test_steps_of_epochs():
    assert Recipe(epochs=2, batch_size=100).total_steps(1000) == 20
    assert Recipe(epochs=1, batch_size=100).total_steps(1001) == 11
    assert Recipe(epochs=0.5, batch_size=128).total_steps(1257) == math.ceil(0.5 * 1257 / 128)
    assert Recipe(epochs=0.001, batch_size=100).total_steps(1000) == 1
    assert Recipe(steps=7).total_steps(1000) == 7
    assert Recipe(steps=7, epochs=1, batch_size=10).total_steps(1000) == 100  # epochs count where given


WRONG = {
    "learning_rates": [(), (0.1, 0.0), (-0.1,), (0.1, 0.1), (float("nan"),)],
    "momentum": [-0.1, 1.0],
    "beta2": [-0.1, 1.0],
    "weight_decay": [-1e-4],
    "batch_size": [0],
    "steps": [0, None],
    "epochs": [0.0, -1.0],
    "decay": [0.0, 1.5],
    "warmup_steps": [-1, 300],
    "clip": [0.0, -1.0],
    "milestones": [(0.0,), (1.0,), (0.75, 0.5)],
    "optimizer": ["adam"],
    "schedule": ["cosin"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_each_field_out_of_range_is_one_sentence_that_names_it(name, value):
    problems = replace(Recipe(), **{name: value}).problems()
    assert len(problems) == 1
    assert problems[0].startswith(name) or (name, value) == ("steps", None)
    assert problems[0].endswith(".")


def test_nesterov_needs_sgd_and_a_momentum():
    assert Recipe(nesterov=True).problems() == []
    assert "momentum above 0" in Recipe(nesterov=True, momentum=0).problems()[0]
    assert "form of sgd" in Recipe(nesterov=True, optimizer="adamw").problems()[0]


def test_all_problems_are_told_at_once():
    recipe = Recipe(learning_rates=(), batch_size=0, clip=-1, schedule="cosin", warmup_steps=-2)
    words = [sentence.split()[0] for sentence in recipe.problems()]
    assert words == ["schedule", "learning_rates", "batch_size", "clip", "warmup_steps"]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (Recipe(), {"learning_rates": (1.0,), "epochs": None, "beta2": 0.5, "milestones": (0.1,), "decay": 0.5}),
        (Recipe(epochs=2), {"steps": 17}),
        (Recipe(optimizer="adamw"), {"nesterov": True}),
        (Recipe(schedule="exponential"), {"milestones": (0.1,)}),
    ],
)
def test_what_has_no_part_in_a_run_is_not_in_its_identity(recipe, changes):
    assert replace(recipe, **changes).identity() == recipe.identity()


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (Recipe(), {"steps": 299}),
        (Recipe(), {"epochs": 1.0}),
        (Recipe(), {"optimizer": "adamw"}),
        (Recipe(), {"nesterov": True}),
        (Recipe(), {"momentum": 0.8}),
        (Recipe(), {"weight_decay": 1e-4}),
        (Recipe(), {"batch_size": 64}),
        (Recipe(), {"schedule": "constant"}),
        (Recipe(), {"warmup_steps": 5}),
        (Recipe(), {"clip": None}),
        (Recipe(schedule="step"), {"milestones": (0.1,)}),
        (Recipe(schedule="step"), {"decay": 0.5}),
        (Recipe(schedule="exponential"), {"decay": 0.5}),
        (Recipe(optimizer="adamw"), {"beta2": 0.5}),
    ],
)
def test_what_decides_a_runs_numbers_is_in_its_identity(recipe, changes):
    assert replace(recipe, **changes).identity() != recipe.identity()


# Of every field that decides numbers, a value beside its default.
OTHER = Recipe(
    optimizer="adamw",
    momentum=0.8,
    nesterov=True,
    beta2=0.9,
    weight_decay=0.1,
    steps=7,
    decay_on="weights",
    bias_rate=2.0,
    batch_size=64,
    epochs=2.0,
    schedule="step",
    milestones=(0.4,),
    decay=0.2,
    warmup_steps=3,
    warmup_hold=0.1,
    clip=None,
    preprocess="scale",
    augment=("flip",),
)


def test_every_field_but_the_learning_rates_is_in_some_identity():
    others = (OTHER, replace(OTHER, optimizer="sgd"), replace(OTHER, epochs=None))
    seen = {name for recipe in others for name in recipe.identity()}
    assert seen == {f.name for f in fields(Recipe)} - {"learning_rates"}


def test_what_stands_at_its_default_is_not_in_an_identity_so_that_a_new_field_changes_none():
    assert Recipe().identity() == {}
    assert Recipe(batch_size=64).identity() == {"batch_size": 64}


def test_a_raised_version_is_another_recipe(monkeypatch):
    before = Recipe().identity()
    monkeypatch.setattr(Recipe, "version", 2)
    assert Recipe().identity() != before
