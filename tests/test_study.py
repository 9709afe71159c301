"""Studies end to end on real data: run directories, going on after kills, extension, a user's own gate, failures."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import torch

import skipway as sw
from helpers import CLASSES, left_after, stacks_of, workers_of
from skipway.cli.main import FAILED
from skipway.cli.show import show
from skipway.cli.study import parse
from skipway.data.images.augment import AUGMENTATIONS, Augmentation
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.nets.registry import FAMILIES
from skipway.nets.weights import load_net
from skipway.probe.lesion import lesion
from skipway.report import page
from skipway.rundir.locks import BusyError, locked
from skipway.rundir.study import Study
from skipway.skip.gate import GATES, Flow, Gate
from skipway.studies.config import StudyConfig
from skipway.studies.defaults import default_config
from skipway.studies.grid import CellStack, Plan, cells_of, checked
from skipway.studies.observer import StudyObserver
from skipway.studies.runner import run_study
from skipway.training.evaluate import evaluate
from skipway.training.recipe import Recipe
from skipway.training.replicas import Single

SMALL = StudyConfig(
    gates=("plain", "highway"),
    depths=(3, 6),
    seeds=(0, 1),
    search="grid",
    recipe=Recipe(steps=40, learning_rates=(0.1, 0.01)),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Study:
    return run_study(SMALL, tmp_path_factory.mktemp("study"), workers=2)


def numbers(study: Study) -> dict[str, tuple]:
    """Everything that a study found: final metrics and curves of every run, bit for bit."""
    found = {}
    for cell in study.info()["cells"]:
        run = study.run(cell["id"])
        metrics = {key: value for key, value in run.info()["metrics"].items() if key != "seconds"}
        found[cell["id"]] = (metrics, run.metrics(), run.probes(), run.weights.read_bytes())
    return found


def test_every_cell_becomes_a_whole_run_directory(small):
    info = small.info()
    assert info["status"] == "done"
    assert len(info["cells"]) == len(cells_of(SMALL)) == 16
    for cell in info["cells"]:
        run = small.run(cell["id"])
        found = run.info()
        assert found["status"] == "done"
        assert found["cell"] == {key: cell[key] for key in ("gate", "depth", "learning_rate", "seed")}
        assert run.metrics()[-1]["step"] == 40
        moments = {(row["moment"], row["layer"]) for row in run.probes()}
        assert moments == {(m, layer) for m in ("start", "end") for layer in range(cell["depth"] + 1)}


def test_the_test_split_is_read_for_the_chosen_learning_rate_alone(small):
    chosen = {(row["gate"], row["depth"]): row["learning_rate"] for row in small.info()["chosen"]}
    assert set(chosen) == {(gate, depth) for gate in SMALL.gates for depth in SMALL.depths}
    for cell in small.info()["cells"]:
        is_chosen = chosen[cell["gate"], cell["depth"]]["validation"] == cell["learning_rate"]
        assert ("test_error" in small.run(cell["id"]).info()["metrics"]) == is_chosen


def test_the_chosen_learning_rates_have_the_lowest_mean_training_loss_and_validation_error(small):
    metrics: dict[tuple, list[dict]] = {}
    for cell in small.info()["cells"]:
        key = (cell["gate"], cell["depth"], cell["learning_rate"])
        metrics.setdefault(key, []).append(small.run(cell["id"]).info()["metrics"])
    for row in small.info()["chosen"]:
        for question, measure in (("training", "train_loss"), ("validation", "validation_error")):
            ends = {rate: metrics[row["gate"], row["depth"], rate] for rate in (0.1, 0.01)}
            means = {rate: sum(own[measure] for own in seeds) for rate, seeds in ends.items()}
            assert means[row["learning_rate"][question]] == min(means.values())


def test_saved_weights_alone_give_the_recorded_validation_scores(small):
    from skipway.data.images.sources import load

    data = load("digits")
    for cell in small.info()["cells"][:4]:
        run = small.run(cell["id"])
        saved = load_net(run.weights)
        assert saved.classes == data.classes
        x = Preprocess.from_dict(saved.preprocess)(data.validation.images)
        with torch.no_grad():
            wrong = (saved.net.eval()(x).argmax(1) != data.validation.labels).double().mean()
        assert float(wrong) == pytest.approx(run.info()["metrics"]["validation_error"], abs=1e-12)


def test_started_again_it_computes_nothing(small):
    before = {path: path.stat().st_mtime_ns for path in small.path.glob("runs/*/*")}
    run_study(SMALL, small.path)
    assert {path: path.stat().st_mtime_ns for path in small.path.glob("runs/*/*")} == before


def test_a_larger_grid_computes_only_what_is_new(tmp_path):
    first = run_study(replace(SMALL, depths=(3,)), tmp_path)
    before = {run.id: (run.path / "run.json").stat().st_ino for run in first.runs()}
    second = run_study(replace(SMALL, depths=(3, 4)), tmp_path)
    assert len(list(second.runs())) == 16
    unchanged = {
        run.id: (run.path / "model.safetensors").stat().st_mtime_ns for run in second.runs() if run.id in before
    }
    assert set(unchanged) == set(before)


def test_two_ways_to_write_a_gate_are_one_cell(tmp_path):
    config = replace(SMALL, gates=("highway:bias=-4",), depths=(3,))
    first = run_study(config, tmp_path, workers=2)
    again = run_study(replace(config, gates=("highway: bias=-4.0",)), tmp_path, workers=2)
    assert first.info()["cells"] == again.info()["cells"]


def test_a_run_json_is_a_config_of_its_cell_alone(small, tmp_path):
    cell = next(cell for cell in small.info()["cells"] if cell["seed"] == 1)
    config = StudyConfig.from_dict(small.run(cell["id"]).info()["config"])
    study = run_study(config, tmp_path, workers=2)
    assert [c["id"] for c in study.info()["cells"]] == [cell["id"]]
    again = study.run(cell["id"]).info()["metrics"]["validation_loss"]
    # Alone against stacked: the order of sums differs, 40 steps amplify it a little.
    assert again == pytest.approx(small.run(cell["id"]).info()["metrics"]["validation_loss"], rel=1e-3)


def test_a_diverged_cell_is_a_row_and_its_neighbours_are_well(tmp_path):
    recipe = Recipe(steps=40, learning_rates=(0.1, 1e30), clip=None)
    study = run_study(StudyConfig(gates=("residual",), depths=(4,), seeds=(0,), recipe=recipe), tmp_path, workers=2)
    by_rate = {c["learning_rate"]: study.run(c["id"]).info() for c in study.info()["cells"]}
    assert by_rate[0.1]["status"] == "done"
    assert by_rate[1e30]["status"] == "diverged"
    assert "not finite" in by_rate[1e30]["reason"]
    assert study.info()["chosen"] == [
        {"gate": "residual", "depth": 4, "learning_rate": {"training": 0.1, "validation": 0.1}}
    ]


def test_a_users_gate_is_one_class(tmp_path):
    """Named, studied in worker processes, reported and lesioned with no other change."""

    class Halves(Gate, name="halves"):
        """T = weight, C = 1 - weight."""

        def __init__(self, placement, *, weight: float = 0.5):
            super().__init__(placement)
            self.weight = weight

        def forward(self, z):
            return Flow(self.weight, 1 - self.weight)

    try:
        study = run_study(replace(SMALL, gates=("plain", "halves:weight=0.25"), depths=(4,)), tmp_path)
        assert study.info()["status"] == "done"
        report, *_ = page.write(study)
        assert "halves:weight=0.25" in report.read_text()
        cell = next(c for c in study.info()["cells"] if c["gate"].startswith("halves"))
        rows = [r for r in study.run(cell["id"]).probes() if r["kind"] == "block"]
        assert {(r["transform_mean"], r["carry_mean"]) for r in rows} == {(0.25, 0.75)}
        net = load_net(study.run(cell["id"]).weights).net
        x = torch.rand(5, 1, 8, 8)
        with torch.no_grad(), lesion(net, [f"blocks.{i}" for i in range(3)]):
            assert torch.equal(net(x), net.head(net.stem(x)))
    finally:
        GATES.remove("halves")


# A pool of one worker from here on, which has all cores for its threads.


def test_rules_that_draw_random_numbers_repeat_by_seed(tmp_path):
    config = replace(SMALL, gates=("stochastic-depth",), depths=(4,))
    one, two = run_study(config, tmp_path / "one", workers=1), run_study(config, tmp_path / "two", workers=1)
    assert numbers(one) == numbers(two)


@pytest.mark.parametrize("body", [body for body in FAMILIES if body != "dense"])
def test_convolutional_nets_repeat_by_seed_and_score_as_saved(body, tmp_path):
    """With their papers' own preprocessing, augmentation, dropout and optimizer, on digits."""
    default = default_config(body)
    # At the size of digits, the ImageNet body's last stage sees one pixel: batch norm needs more than one image.
    width, depth = {"highway-cifar": (8, 19), "highway-mnist": (8, 10), "imagenet": (8, 18)}.get(body, (4, 8))
    recipe = replace(default.recipe, steps=6, batch_size=16)
    if recipe.augment:
        recipe = replace(recipe, augment=("crop:pad=1", "flip"))
    config = replace(
        default, gates=("highway",), depths=(depth,), width=None if body == "highway-2025" else width, seeds=(0,)
    )
    config = replace(config, recipe=recipe)
    one, two = (run_study(config, tmp_path / name, workers=1) for name in ("one", "two"))
    assert numbers(one) == numbers(two)
    ((identifier, (metrics, *_)),) = numbers(one).items()
    assert one.run(identifier).info()["choices"]["channels_last"]
    saved = load_net(one.run(identifier).weights)
    assert saved.preprocess["kind"] == recipe.preprocess
    data = load("digits")
    scores = evaluate(Single(saved.net), data.test, data.restored(saved.preprocess), CLASSES)
    assert float(scores.metric[0]) == pytest.approx(metrics["test_error"], abs=1e-9)
    assert float(scores.loss[0]) == pytest.approx(metrics["test_loss"], rel=1e-5)


def test_recomputing_finds_the_same_numbers(tmp_path):
    default = default_config("cifar")
    recipe = replace(default.recipe, steps=6, batch_size=16, augment=("flip",))
    config = replace(default, gates=("highway",), depths=(20,), width=4, seeds=(0,), recipe=recipe)
    stored, again = (run_study(config, tmp_path / name, memory=name, workers=1) for name in ("store", "recompute"))
    assert numbers(stored) == numbers(again)
    assert [run.info()["choices"]["recompute"] for study in (stored, again) for run in study.runs()] == [False, True]


def test_a_users_augmentation_is_one_class(tmp_path):
    """Named, and used in worker processes, with no other change: here it leaves nothing to learn from."""

    @dataclass(frozen=True, kw_only=True)
    class Dark(Augmentation, name="dark"):
        share: float = 1.0

        def draw(self, count, shape, generator):
            return torch.rand(count, generator=generator) < self.share

        def apply(self, images, drawn):
            return images.masked_fill(drawn[:, None, None, None], 0)

    try:
        recipe = replace(SMALL.recipe, augment=("dark:share=1",), learning_rates=(0.1,))
        study = run_study(replace(SMALL, gates=("plain",), depths=(3,), recipe=recipe), tmp_path)
        assert study.info()["config"]["recipe"]["augment"] == ["dark"]
        assert all(metrics["train_error"] > 0.8 for metrics, *_ in numbers(study).values())
    finally:
        AUGMENTATIONS.remove("dark")


def test_a_gate_that_cannot_stand_in_the_body_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="fixup needs bodies of two layers"):
        run_study(replace(SMALL, gates=("plain", "fixup")), tmp_path)
    assert not list(tmp_path.glob("runs/*"))


def test_all_problems_are_named_together(tmp_path):
    bad = replace(SMALL, gates=("plan", "highway:bais=1"), depths=(0, 3), recipe=Recipe(steps=0, clip=-1.0))
    with pytest.raises(ValueError) as caught:
        run_study(bad, tmp_path)
    message = str(caught.value)
    for part in ("'plan'", "'plain'", "'bais'", "bias=auto", "depth", "steps must be", "clip must be"):
        assert part in message


class Stays(Exception):
    """No pickle: it takes two arguments and says one, and it holds a lock."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is {why}")
        self.lock = threading.Lock()


def test_a_cell_that_fails_is_told_and_tried_again(tmp_path):
    """By an exception that no process can send: the pool lives, all else is finished, and then Python hears of it."""

    class Broken(Gate, name="broken"):
        """Fails in training, not when it is built."""

        def forward(self, z):
            if z.requires_grad:
                raise Stays("this gate", "broken")
            return Flow(1.0, 1.0)

    def again() -> Study:
        settings = {"depths": 4, "learning_rates": (0.1, 0.01), "seeds": 0, "search": "grid", "recipe": SMALL.recipe}
        return sw.study(gates=["broken", "plain"], out=tmp_path, **settings)

    try:
        with pytest.raises(sw.StudyFailedError, match="2 of 4 trainings failed") as caught:
            again()
        info = caught.value.study.info()
        assert info["status"] == "failed"
        assert [row["gate"] for row in info["chosen"]] == ["plain"]
        (reason,) = set(info["failures"].values())
        line = Broken.forward.__code__.co_firstlineno + 2
        assert reason == f"Stays: this gate is broken ({__file__}, line {line}, in forward)"
        assert reason in str(caught.value)
        assert show(tmp_path) == FAILED
        Broken.forward = lambda self, z: Flow(1.0, 1.0)
        assert again().info()["status"] == "done"
    finally:
        GATES.remove("broken")


FLAGS = "--gates plain highway --depths 4 12 --seeds 0 1 --learning-rates 0.1 0.03 0.01 --steps 200"
TWO_STACKS = "--gates plain highway --depths 12 --seeds 0 --learning-rates 0.1 0.03 --search grid --steps 300"


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "skipway", "study", "--out", str(out), *FLAGS.split()]


def wait_for(there: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not there():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_and_started_again_at_once_it_ends_with_the_same_bits(tmp_path):
    """SIGKILL while workers start and while they train: none is left, no cell is computed twice, numbers are equal."""
    draw = random.Random(0)
    killed, seen, orphans = Study(tmp_path / "killed"), {}, []
    for moment in ("start", "training", "start", "training"):
        process = subprocess.Popen(command(killed.path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda own=process: bool(workers_of(own.pid)), process)
        if moment == "training":
            wait_for(lambda: any(killed.path.glob(".progress/*")), process)
        workers = workers_of(process.pid)
        time.sleep(draw.uniform(0.0, 1.0 if moment == "training" else 0.5))
        orphans += [*workers, *workers_of(process.pid)]
        process.kill()
        process.wait()
        for run in killed.runs():
            stamp = (run.path / "model.safetensors").stat().st_mtime_ns
            assert seen.setdefault(run.id, stamp) == stamp
    assert orphans
    assert not left_after(5, orphans)
    settings = parse(FLAGS.split()).settings
    wanted = [own for stack in stacks_of(Plan.of(checked(settings), load("digits"))) for own in stack.ids]
    assert not all(map(killed.has, wanted)), "the last kill came in the middle"
    run_study(settings, killed.path, workers=2)
    for run in killed.runs():
        stamp = (run.path / "model.safetensors").stat().st_mtime_ns
        assert seen.get(run.id, stamp) == stamp
    assert killed.info()["status"] == "done"
    assert numbers(killed) == numbers(run_study(settings, tmp_path / "whole", workers=2))


class Kills(StudyObserver):
    """Takes a worker away, once, as soon as one says how far it is."""

    def __init__(self) -> None:
        self.killed: list[psutil.Process] = []

    def on_progress(self, running: Sequence[tuple[CellStack, float]]) -> None:
        if not self.killed and any(done for _, done in running):
            self.killed = workers_of(os.getpid())[-1:]
            self.killed[0].kill()


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path):
    watch = Kills()
    study = run_study(parse(TWO_STACKS.split()).settings, tmp_path, workers=2, observer=watch)
    assert not left_after(5, watch.killed)
    assert len(watch.killed) == 1
    assert study.info()["status"] == "done"
    assert not study.info()["failures"]


@pytest.mark.slow
def test_control_c_ends_tidily(tmp_path):
    process = subprocess.Popen(
        [*command(tmp_path), "--steps", "6000"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    study = Study(tmp_path)
    wait_for(lambda: any(tmp_path.glob(".progress/*")), process)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "start the same command again" in err
    assert study.info()["status"] == "interrupted"
    assert (study.path / "report.html").is_file()
    assert "The report" in out


def test_a_second_process_on_the_same_study_is_refused(tmp_path):
    with locked(tmp_path / ".lock", ""), pytest.raises(BusyError, match="is running the study in"):
        run_study(SMALL, tmp_path)


def test_what_killed_processes_left_is_cleared_and_what_unfinished_stacks_need_is_not(small):
    def plant(*parts: str) -> None:
        small.path.joinpath(*parts).parent.mkdir(parents=True, exist_ok=True)
        small.path.joinpath(*parts).touch()

    assert {path.name for path in small.path.glob(".*")} == {".lock"}
    done = stacks_of(Plan.of(checked(SMALL), load("digits")))[0].name
    run = next(small.runs())
    for folder in (small.path, run.path):
        plant(str(folder), ".run.json.4194305")  # more than the largest number of a process
    plant(".progress", "some.part")
    plant(".locks", f"{done}.lock")
    plant(".checkpoints", done, "step-0000000009.safetensors")
    plant(".checkpoints", "of-a-larger-grid", "step-0000000009.safetensors")
    run_study(SMALL, small.path)
    assert {path.name for path in small.path.glob(".*")} == {".lock", ".checkpoints"}
    assert not list(run.path.glob(".*"))
    assert [path.name for path in small.path.glob(".checkpoints/*")] == ["of-a-larger-grid"]
    shutil.rmtree(small.path / ".checkpoints")


def test_study_json_is_a_config(small):
    assert StudyConfig.from_dict(json.loads(json.dumps(small.info()["config"]))) == SMALL
