"""Checkpoints: whose state they are, that they are whole, and what happens where they are not."""

from __future__ import annotations

import shutil
import signal

import pytest
import torch

from helpers import StopsAt, stacks_of
from skipway.rundir.layout import RUN
from skipway.rundir.locks import locked
from skipway.rundir.study import Study
from skipway.runs.config import RunConfig
from skipway.runs.plan import load_data
from skipway.runs.run import run_training
from skipway.runs.sending import packed
from skipway.studies import worker
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Plan, checked
from skipway.studies.worker import Job, run_stack
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.recipe import Recipe
from skipway.training.saving import Stopped

STATE = {
    "step": 7,
    "net": {"w": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3), "none": torch.empty(0, 2)},
    "rows": [[{"loss": 0.1}]],
    "random": [{"cpu": None, "b": torch.tensor([True, False]), "h": torch.ones(2, dtype=torch.bfloat16)}],
}
RECIPE = Recipe(steps=4, learning_rates=(0.1,))


def test_a_state_comes_back_as_it_was(tmp_path):
    checkpoints = Checkpoints(tmp_path, ("a",))
    checkpoints.save(7, STATE)
    found = checkpoints.load()
    for name, tensor in STATE["net"].items():
        assert torch.equal(found["net"][name], tensor)
        assert found["net"][name].dtype == tensor.dtype
    assert torch.equal(found["random"][0]["h"], STATE["random"][0]["h"])
    assert (found["step"], found["rows"]) == (7, STATE["rows"])


def test_two_are_kept_and_a_flipped_bit_anywhere_is_noticed_and_told(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, ("a", "b"))
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step, "w": torch.arange(3.0)})
    older, newest = sorted(tmp_path.iterdir())
    assert [path.name for path in (older, newest)] == ["step-0000000002.safetensors", "step-0000000003.safetensors"]
    whole = newest.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        newest.write_bytes(content)
        caplog.clear()
        assert checkpoints.load()["step"] == 2, place
        assert f"{newest} is damaged and is passed over" in caplog.text, place
    newest.write_bytes(whole[:-1])
    assert checkpoints.load()["step"] == 2
    newest.write_bytes(whole)
    assert checkpoints.load()["step"] == 3


def test_one_of_another_format_is_passed_over_with_the_reason(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as older:
        older.setattr("skipway.training.checkpoint.FORMAT", "1")
        Checkpoints(tmp_path, ("a",)).save(7, STATE)
    assert Checkpoints(tmp_path, ("a",)).load() is None
    assert "its format is 1, and this version of Skipway reads 2" in caplog.text


@pytest.mark.parametrize("runs", [("b",), ("a", "b"), ()])
def test_a_state_of_others_is_refused(runs, tmp_path):
    Checkpoints(tmp_path, ("a",)).save(7, STATE)
    with pytest.raises(ValueError, match="is the state of another training"):
        Checkpoints(tmp_path, runs).load()


def test_an_unfinished_write_leaves_nothing_and_what_is_not_ours_stays(tmp_path):
    (tmp_path / ".step-0000000009.safetensors.123").write_bytes(b"half of it")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints = Checkpoints(tmp_path, ("a",))
    assert checkpoints.load() is None
    checkpoints.save(7, STATE)
    checkpoints.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_its_run_json_another_trainings_checkpoint_is_refused_and_stays(tmp_path):
    one, two = (RunConfig(net="plain-dense-3", width=4, seed=seed, recipe=RECIPE) for seed in (0, 1))
    with pytest.raises(Stopped):
        run_training(one, tmp_path, hooks=[StopsAt(2, signal.SIGTERM)])
    (tmp_path / RUN).unlink()
    saved = {path: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    with pytest.raises(ValueError, match="is the state of another training"):
        run_training(two, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()} == saved


def test_a_finished_trainings_checkpoints_are_cleared_when_it_is_started_again(tmp_path):
    config = RunConfig(net="plain-dense-3", width=4, recipe=RECIPE)
    run = run_training(config, tmp_path)
    Checkpoints(tmp_path / "checkpoint", (run.info()["id"],)).save(4, STATE)  # killed before it could clear them
    (tmp_path / ".run.json.4194305").touch()  # by more than the largest number of a process
    run_training(config, tmp_path)
    assert not (tmp_path / "checkpoint").exists()
    assert not (tmp_path / ".run.json.4194305").exists()


@pytest.fixture(scope="module")
def job() -> Job:
    """A stack of one gate and depth."""
    config = checked(StudyConfig(gates=("plain",), depths=(3,), width=4, recipe=RECIPE))
    (stack,) = stacks_of(Plan.of(config, load_data(config)))
    return Job(
        stack,
        config,
        device="cpu",
        threads=1,
        asked=Execution(),
        identities=tuple(Plan.of(config, load_data(config)).identity(cell) for cell in stack.cells),
        definitions=packed(()),
    )


def test_a_stack_takes_up_the_state_of_its_own_cells_alone(job, tmp_path):
    study, own = Study(tmp_path), job.stack
    folder = study.checkpoint_path(own.name)
    Checkpoints(folder, own.ids[:-1]).save(2, STATE)
    assert "is the state of another training" in run_stack(job, tmp_path)
    shutil.rmtree(folder)
    Checkpoints(folder, own.ids).save(2, STATE)
    assert "state_dict" in run_stack(job, tmp_path), "taken up, though it is no state of theirs"
    shutil.rmtree(folder)
    assert run_stack(job, tmp_path) is None
    assert all(study.has(identifier) for identifier in own.ids)


def test_a_stack_that_another_worker_trains_is_not_trained(job, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_SECONDS_FOR_ANOTHER", 0.1)
    study = Study(tmp_path)
    with locked(study.stack_lock(job.stack.name), ""):
        assert "is training the same cells in" in run_stack(job, tmp_path)
    assert not list(study.runs())
