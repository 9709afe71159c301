"""Data of fewer samples than the usual batch: it shrinks where nobody asked for it, and is refused otherwise."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.datasets import load_iris

import skipway as sw
from skipway.cli.main import main

FEW = {"gates": "residual", "depths": 3, "seeds": 0, "learning_rates": 0.1, "steps": 2, "workers": 1}


def test_the_commonest_first_try_runs(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="skipway"):
        study = sw.study(load_iris(return_X_y=True), out=tmp_path / "study", **FEW)
    assert study.info()["config"]["recipe"]["batch_size"] == 64
    assert "batch_size 64: the usual 128 is more than the 108 training samples" in caplog.text
    (run,) = study.runs()
    asked = sw.fit("dense", load_iris(return_X_y=True), gate="residual", depth=3, learning_rate=0.1, steps=2,
                   batch_size=64, out=tmp_path / "asked")  # fmt: skip
    found = sw.fit("dense", load_iris(return_X_y=True), gate="residual", depth=3, learning_rate=0.1, steps=2,
                   out=tmp_path / "found")  # fmt: skip
    assert run.info()["identity"] == asked.info()["identity"] == found.info()["identity"]
    assert run.info()["identity"]["recipe"]["batch_size"] == 64


@pytest.mark.parametrize("settings", [{"batch_size": 128}, {"recipe": sw.Recipe()}])
def test_one_that_was_asked_for_is_refused(settings, tmp_path):
    with pytest.raises(ValueError, match="batch_size 128 is more than the 108 training samples"):
        sw.study(load_iris(return_X_y=True), out=tmp_path / "study", **FEW, **settings)
    with pytest.raises(ValueError, match="batch_size 128 is more than the 108 training samples"):
        sw.fit("residual-dense-3", load_iris(return_X_y=True), out=tmp_path / "run", steps=2, **settings)


def test_commands_shrink_it_likewise(tmp_path, capsys):
    rows = np.column_stack([np.arange(60.0), np.arange(60.0) ** 2])
    np.savetxt(tmp_path / "few.csv", rows, delimiter=",", header="x,y", comments="")
    data = ["--data", f"{tmp_path}/few.csv:target=y", "--steps", "2"]
    train = ["train", *data, "--net", "residual-dense-3", "--out", str(tmp_path / "run")]
    assert main(train) == 0
    assert sw.Run(tmp_path / "run").info()["config"]["recipe"]["batch_size"] == 32
    assert main([*train, "--batch-size", "128"]) == 2
    study = ["study", *data, "--gates", "residual", "--depths", "3", "--seeds", "0", "--learning-rates", "0.1"]
    study += ["--out", str(tmp_path / "study"), "--workers", "1"]
    for _ in range(2):
        capsys.readouterr()
        assert main(study) == 0
        assert "other settings" not in capsys.readouterr().err
    assert main([*study, "--batch-size", "64"]) == 2
