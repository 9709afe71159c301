"""What divergence is, and what a training leaves that has diverged."""

from __future__ import annotations

import math

import pytest

from helpers import StopsAt
from skipway.rundir.layout import METRICS, PROBES, WEIGHTS
from skipway.runs.config import RunConfig
from skipway.runs.divergence import divergence
from skipway.runs.run import run_training
from skipway.training.recipe import Recipe
from skipway.training.saving import Stopped


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_divergence(loss):
    assert divergence(loss, math.log(10)) == "was not finite"


@pytest.mark.parametrize(
    ("loss", "classes", "diverged"),
    [
        *((0.0, 10, False), (2.3, 10, False), (230.2, 10, False), (230.3, 10, True), (4900.0, 10, True)),
        *((69.3, 2, False), (69.4, 2, True), (690.0, 1000, False), (691.0, 1000, True), (0.0, 1, False)),
    ],
)
def test_a_hundred_times_the_cost_of_guessing_is_divergence(loss, classes, diverged):
    assert (divergence(loss, math.log(classes)) is not None) == diverged


def test_the_reason_holds_the_loss_and_the_cost_of_guessing():
    assert divergence(4900.25, math.log(10)) == "was 4,900, more than 100 times that of guessing, 2.30"
    assert divergence(1e33, math.log(10)) == "was 1e+33, more than 100 times that of guessing, 2.30"


def _config(rate: float, steps: int) -> RunConfig:
    recipe = Recipe(steps=steps, learning_rates=(rate,), schedule="constant", clip=None, batch_size=32)
    return RunConfig(net="plain-dense-4", width=8, recipe=recipe)


def test_a_diverged_training_ends_and_says_when_however_often_it_was_stopped(tmp_path):
    config = _config(1e38, steps=1000)
    whole = run_training(config, tmp_path / "whole")
    info = whole.info()
    assert (info["status"], info["reason"]) == ("diverged", "the training loss was not finite at step 2")
    assert info["metrics"]["steps"] == 50
    assert [row["step"] for row in whole.metrics()] == [33, 50]
    assert {row["step"] for row in whole.probes()} == {0, 50}
    for stop in (1, 50):
        with pytest.raises(Stopped):
            run_training(config, tmp_path / str(stop), hooks=[StopsAt(stop)])
        again = run_training(config, tmp_path / str(stop))
        for name in (WEIGHTS, METRICS, PROBES):
            assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_finite_loss_far_beyond_that_of_guessing_is_no_success(tmp_path):
    """Highway nets have ended so; here one step throws a net of two layers out of sight, and it is over."""
    info = run_training(_config(1e5, steps=1), tmp_path).info()
    assert info["status"] == "diverged"
    assert info["reason"].startswith("the training loss of the final weights was ")
    assert info["reason"].endswith(" more than 100 times that of guessing, 2.30")
    assert math.isfinite(info["metrics"]["train_loss"])


def test_a_loss_far_beyond_reading_is_told_by_its_size():
    assert divergence(5.6963e29, 2.3) == "was 6e+29, more than 100 times that of guessing, 2.30"
