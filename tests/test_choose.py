"""The choice of a learning rate, from runs on disk."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from helpers import CLASSES, digits
from skipway.data.images.dataset import ImagePipeline
from skipway.nets.weights import weights_bytes
from skipway.rundir.run import RunContent
from skipway.rundir.study import Study
from skipway.studies.choose import choose, score_on_test
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Cell, Plan
from skipway.training.evaluate import evaluate
from skipway.training.replicas import Single

MEASURES = ("train_loss", "validation_error", "validation_loss")


def study_of(
    folder: Path, ends: dict[Cell, float | dict | None], weights: bytes = b""
) -> tuple[Study, dict[Cell, str]]:
    """A study whose runs ended with these metrics; a number alone is that of all of them, None a run that diverged."""
    study = Study(folder)
    ids = {cell: f"{place:016d}" for place, cell in enumerate(ends)}
    batch = study.batch("all")
    for cell, end in ends.items():
        status = "diverged" if end is None else "done"
        metrics = end if isinstance(end, dict) else dict.fromkeys(MEASURES, end)
        batch.add(RunContent(ids[cell], {"status": status, "metrics": metrics}, [], [], weights))
    batch.commit()
    return study, ids


def chosen_of(study: Study, ids: dict[Cell, str]) -> list[dict]:
    return choose(study, ids, sorted({each.seed for each in ids}), CLASSES.metric)


def ended(train_loss: float, validation_error: float, validation_loss: float = 1.0) -> dict:
    return dict(zip(MEASURES, (train_loss, validation_error, validation_loss), strict=True))


def both(rate: float, gate: str = "plain", depth: int = 5) -> dict:
    return {"gate": gate, "depth": depth, "learning_rate": {"training": rate, "validation": rate}}


def cell(rate: float, seed: int = 0, gate: str = "plain", depth: int = 5) -> Cell:
    return Cell(gate, depth, rate, seed)


def test_the_lowest_mean_wins_whatever_one_seed_says(tmp_path):
    losses = {cell(0.1, 0): 0.1, cell(0.1, 1): 0.9, cell(0.3, 0): 0.4, cell(0.3, 1): 0.4}
    assert chosen_of(*study_of(tmp_path, losses)) == [both(0.3)]


def test_two_questions_have_two_answers(tmp_path):
    """The demo's residual-10: a few validation images chose a rate at which it trains a hundred times worse."""
    ends = {cell(0.01): ended(0.065, 0.048, 0.16), cell(0.1): ended(0.0004, 0.050, 0.14)}
    (chosen,) = chosen_of(*study_of(tmp_path, ends))
    assert chosen["learning_rate"] == {"training": 0.1, "validation": 0.01}


def test_of_equal_validation_errors_the_lower_loss_decides(tmp_path):
    ends = {cell(0.01): ended(0.1, 0.05, 0.16), cell(0.1): ended(0.2, 0.05, 0.14)}
    (chosen,) = chosen_of(*study_of(tmp_path, ends))
    assert chosen["learning_rate"] == {"training": 0.01, "validation": 0.1}


def test_as_many_wrong_images_are_equal_whichever_seeds_had_them(tmp_path):
    """Ten of 540 wrong in two ways: their means differ in the last bit of a float."""
    ends = {cell(0.1, seed): ended(0.1, wrong / 180, 0.15) for seed, wrong in enumerate((5, 2, 3))}
    ends |= {cell(1.0, seed): ended(0.2, wrong / 180, 0.13) for seed, wrong in enumerate((4, 4, 2))}
    means = [fmean(end["validation_error"] for each, end in ends.items() if each.learning_rate == r) for r in (0.1, 1)]
    assert means[0] != means[1]
    (chosen,) = chosen_of(*study_of(tmp_path, ends))
    assert chosen["learning_rate"] == {"training": 0.1, "validation": 1.0}


def test_a_rate_that_lacks_a_seed_is_not_chosen(tmp_path):
    """In a race it fell out: one seed alone is no mean."""
    losses = {cell(0.1, 0): 0.1, cell(0.3, 0): 0.4, cell(0.3, 1): 0.4}
    assert chosen_of(*study_of(tmp_path, losses)) == [both(0.3)]


def test_of_equals_the_lower_learning_rate_wins(tmp_path):
    losses = {cell(0.3): 0.5, cell(0.1): 0.5, cell(1.0): 0.5}
    assert chosen_of(*study_of(tmp_path, losses))[0] == both(0.1)


def test_a_learning_rate_with_a_diverged_seed_is_out(tmp_path):
    losses = {cell(0.1, 0): 0.9, cell(0.1, 1): 0.9, cell(0.3, 0): 0.1, cell(0.3, 1): None}
    assert chosen_of(*study_of(tmp_path, losses))[0] == both(0.1)


def test_where_all_diverged_none_is_chosen(tmp_path):
    losses = {cell(0.1): None, cell(0.3): None, cell(0.1, depth=10): 0.5}
    assert chosen_of(*study_of(tmp_path, losses)) == [both(0.1, depth=10)]


def test_nothing_is_chosen_while_a_cell_is_missing(tmp_path):
    study, ids = study_of(tmp_path, {cell(0.1): 0.5, cell(0.1, gate="highway"): 0.5})
    ids[cell(0.3)] = "not there"
    assert [row["gate"] for row in chosen_of(study, ids)] == ["highway"]


def test_the_test_split_is_read_for_the_chosen_and_once(tmp_path):
    data, preprocess = digits()
    plan = Plan.of(StudyConfig(gates=("plain",), width=12), data)
    net = plan.build(cell(0.1))
    weights = weights_bytes(net, preprocess.to_dict(), data.classes)
    study, ids = study_of(tmp_path, {cell(0.1): 0.5, cell(0.3): 0.4}, weights)
    chosen = chosen_of(study, ids)
    with pytest.raises(RuntimeError, match="meta tensor"):  # a device without numbers: all are there, then
        score_on_test(study, ids, chosen, plan, device="meta")
    score_on_test(study, ids, chosen, plan)
    expected = evaluate(Single(net), data.test, ImagePipeline(preprocess), CLASSES)
    metrics = study.run(ids[cell(0.3)]).info()["metrics"]
    assert metrics["test_loss"] == float(expected.loss[0])
    assert metrics["test_error"] == float(expected.metric[0])
    assert "test_loss" not in study.run(ids[cell(0.1)]).info()["metrics"]
    study.run(ids[cell(0.3)]).update_metrics({"test_loss": -1.0})
    score_on_test(study, ids, chosen, plan)
    assert study.run(ids[cell(0.3)]).info()["metrics"]["test_loss"] == -1.0
