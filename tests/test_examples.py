"""Every script in examples/ runs, with a small budget, and says what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import skipway as sw
from helpers import one_core
from skipway.report.charts.makers import charts
from skipway.report.summary import summarise

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODULES = {"local.py", "mlp.py", "texts.py"}  # others import these; they do nothing by themselves
SCRIPTS = {path.name for path in EXAMPLES.glob("*.py")} - MODULES
# Declares what a torchvision that was built for another torch would define, before anything imports it: as `peers`.
DECLARES = """
import sys

class First:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch
            for operator in ("nms", "qnms"):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", schema)

sys.meta_path.insert(0, First())
"""


def run(script: str, folder: Path, *arguments: str) -> str:
    """What a script prints, run in a folder."""
    paths = [str(folder / "site"), str(Path(sw.__file__).parents[1])]
    if find_spec("torchvision") and "torchvision" in sys.modules and not _whole():
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site" / "sitecustomize.py").write_text(DECLARES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    with one_core():
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _whole() -> bool:
    """Whether torchvision has its compiled part."""
    from torchvision.extension import _has_ops

    return bool(_has_ops())


def test_all_examples_are_run_here_and_say_what_they_show():
    source = Path(__file__).read_text()
    for script in SCRIPTS | MODULES:
        assert (script in MODULES) or f'run("{script}"' in source, script
        text = (EXAMPLES / script).read_text()
        assert text.startswith('"""'), script
        assert 15 <= len(text.splitlines()) <= 55, script
        assert (script in MODULES) or "minute" in text.split('"""')[1], script


@pytest.mark.slow
def test_a_table_by_one_command_and_the_same_from_python(tmp_path):
    told = run("diabetes.py", tmp_path, "--steps", "6", "--depths", "4", "64", "--seeds", "0")
    assert re.search(r"^ residual +64 +67,969", told, re.M)
    verdict = " ".join(told.split("•", 1)[1].split())
    assert re.search(r"At depth 64 the test RMSE is \d+", verdict)
    assert "error" not in told
    assert len(re.findall(r"^(plain|residual|highway) at depth \d+: a validation RMSE of \d+\.\d$", told, re.M)) == 3
    study = sw.Study(tmp_path / "studies/diabetes")
    # The command and Python asked for the same trainings: the second time all of them were there. (Some rates more than
    # the three that are named are tried, where the best is the lowest or the highest.)
    assert len(list(study.runs())) == len(study.info()["cells"]) >= 3 * 2 * 3
    page = (study.path / "report.html").read_text()
    assert "How deep can mlp networks go on diabetes.csv" in page
    assert "Training RMSE" in page
    assert "Test RMSE" in page
    drawn = {chart.name: str(chart.spec) for chart in charts(summarise(study))}
    assert "Training RMSE" in drawn["error-by-depth"]
    assert not any("error, %" in spec for spec in drawn.values())


@pytest.mark.slow
def test_texts_are_classified(tmp_path):
    told = run("docstrings.py", tmp_path, "--steps", "10", "--paragraphs", "60", "--depths", "2", "4")
    assert len(re.findall(r"^\w+ at depth [24]: \d+\.\d% of the validation paragraphs", told, re.M)) == 6
    assert "120 paragraphs." in told
    study = sw.Study(tmp_path / "studies/docstrings")
    info = next(study.runs()).info()
    assert info["task"]["name"] == "classification"
    assert info["net"]["blocks"] in (2, 4)
    assert info["metrics"]["train_loss"] < 0.7  # it has begun to tell them apart


@pytest.mark.slow
def test_an_lstm_is_studied_by_depth(tmp_path):
    told = run("lstm.py", tmp_path, "--steps", "4", "--depths", "1", "3", "--characters", "5000")
    found = {
        (gate, int(depth)): float(n)
        for gate, depth, n in re.findall(r"^(\S+) at depth (\d): ([\d.]+) nats", told, re.M)
    }
    assert found.keys() == {(gate, depth) for gate in ("plain", "residual:scale=1", "highway") for depth in (1, 3)}
    study = sw.Study(tmp_path / "studies/lstm")
    gates = Counter((row["name"], row["transform_mean"] is not None) for r in study.runs() for row in r.probes())
    assert gates["layers.2", True]
    assert {r.info()["task"]["name"] for r in study.runs()} == {"next-token"}


def test_somebodys_block_gets_a_gate(peers, tmp_path):
    told = run("their_block.py", tmp_path, "--steps", "20")
    assert "64 -> 64 features of (batch, ..., features)" in told
    assert "it lets T = 0.27 through" in told
    assert "20 gates were read" in told
    assert "parameters=167690" in told
    assert float(re.search(r"without block 10 the outputs change by (\d+)%", told)[1]) > 0
    assert sw.Run(tmp_path / "runs/their-block").info()["status"] == "done"


@pytest.mark.slow
def test_timms_resnets_are_studied_by_depth(peers, tmp_path):
    told = run("timm_resnets.py", tmp_path, "--steps", "3", "--images", "120", "--depths", "18", "34")
    assert re.findall(r"^ResNet-(\d+): (\d+) blocks, a validation error of \d+\.\d%$", told, re.M) == [
        ("18", "8"),
        ("34", "16"),
    ]
    probed = re.findall(r"^(layer\d\.\d): T 1\.0, C 1\.0, norm of the gradient ([\d.e-]+)$", told, re.M)
    assert [name for name, _ in probed] == [f"layer{stage}.{place}" for stage in range(1, 5) for place in range(2)]
    assert all(float(norm) > 0 for _, norm in probed)


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_trainer_is_watched(peers, tmp_path):
    pytest.importorskip("transformers", reason="the extra transformers is not installed")
    told = run("trainer.py", tmp_path, "--steps", "20")
    assert re.search(r"^\{'step': 20, .*'train_loss': 0\.\d+", told, re.M)
    assert re.search(r"^bert\.encoder\.layer\.5: gradient", told, re.M)
    info = sw.Run(tmp_path / "runs/bert").info()
    assert (info["status"], info["unseen"]) == ("done", [])


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_module_is_watched(peers, tmp_path):
    pytest.importorskip("lightning", reason="the extra lightning is not installed")
    told = run("lightning_module.py", tmp_path, "--steps", "40")
    losses = [float(loss) for loss in re.findall(r"^\{'step': \d+, .*'train_loss': ([\d.]+)\}$", told, re.M)]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert re.search(r"^49 gates; mean T of the first 0\.\d{3}, of the last 0\.\d{3}$", told, re.M)
