"""One training has one id, and is computed once: train, fit and study find each other's runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

import skipway as sw
from skipway.rundir.layout import RUN, WEIGHTS
from skipway.runs.config import RunConfig
from skipway.runs.plan import plan_run
from skipway.runs.run import run_training
from skipway.studies.config import StudyConfig
from skipway.studies.runner import run_study
from skipway.training.recipe import Recipe

RECIPE = Recipe(learning_rates=(0.1,), steps=5)
STUDY = StudyConfig(gates=("plain", "highway"), depths=(3,), seeds=(0, 1), recipe=RECIPE)
RUN_CONFIG = RunConfig(net="highway-dense-3", seed=1, recipe=RECIPE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study in it."""
    folder = tmp_path_factory.mktemp("place")
    run_study(STUDY, folder / "studies" / "first", workers=1)
    return folder


def written(path) -> int:
    return (path / WEIGHTS).stat().st_mtime_ns


def test_a_training_finds_a_studys_run_and_copies_it(place):
    study = sw.Study(place / "studies" / "first")
    cell = next(c for c in study.info()["cells"] if c["gate"] == "highway" and c["seed"] == 1)
    run = run_training(RUN_CONFIG, place / "runs" / cell["id"])
    assert run.id == cell["id"]
    assert run.weights.read_bytes() == study.run(cell["id"]).weights.read_bytes()
    assert run.info()["computed"] == study.run(cell["id"]).info()["computed"]
    assert "test_error" in run.info()["metrics"]


def test_a_study_finds_what_was_trained_and_trains_the_rest(place):
    config = replace(RUN_CONFIG, net="residual-dense-3", seed=0)
    alone = run_training(config, place / "runs" / plan_run(config).id)
    grown = replace(STUDY, gates=("plain", "residual"))
    study = run_study(grown, place / "studies" / "second", workers=1)
    assert study.info()["status"] == "done"
    found = study.run(alone.id)
    assert found.info()["computed"]["replicas"] == 1
    assert found.weights.read_bytes() == (place / "runs" / found.id / WEIGHTS).read_bytes()
    for cell in study.info()["cells"]:
        before = place / "studies" / "first" / "runs" / cell["id"] / WEIGHTS
        assert not before.exists() or before.read_bytes() == study.run(cell["id"]).weights.read_bytes()


@pytest.mark.parametrize("name", [RUN, WEIGHTS])
def test_a_damaged_run_elsewhere_is_not_taken(place, name):
    study = sw.Study(place / "studies" / "first")
    cell = next(c for c in study.info()["cells"] if c["gate"] == "highway" and c["seed"] == 0)
    config = replace(RUN_CONFIG, seed=0)
    damaged = study.run(cell["id"]).path / name
    before = damaged.read_bytes()
    damaged.write_bytes(before[:-20] + b"x" * 20)
    try:
        run = run_training(config, place / "runs" / f"{name}-damaged")
        assert run.info()["computed"]["replicas"] == 1
    finally:
        damaged.write_bytes(before)


def test_what_lies_anywhere_else_is_not_looked_at(place, tmp_path):
    run = run_training(RUN_CONFIG, tmp_path / "runs" / "own")
    assert run.info()["computed"]["replicas"] == 1
