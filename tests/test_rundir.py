"""The run directory: what was committed is there whole, what was not does not count, whatever killed the writer."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skipway.rundir.files import read_json, write_bytes, write_json
from skipway.rundir.layout import FORMAT, METRICS, PROBE_COLUMNS, PROBES, RUN, WEIGHTS, run_id
from skipway.rundir.run import Run, RunContent
from skipway.rundir.study import Batch, Study

IDENTITY = {"data": {"fingerprint": "f"}, "net": {"gate": "highway", "depth": 5}, "learning_rate": 0.1, "seed": 0}


def probe_row(layer: int = 0, **changes: object) -> dict[str, object]:
    numbers = {name: 0.5 for name, kind in PROBE_COLUMNS.items() if kind == "float64"}
    return {"moment": "start", "step": 0, "layer": layer, "name": "stem", "kind": "stem", **numbers, **changes}


def add(batch: Batch, name: str, loss: float = 0.25) -> None:
    batch.add(
        RunContent(
            name,
            {"status": "done", "metrics": {"train_loss": loss}},
            [{"step": 1, "train_loss": 2.5}, {"step": 2, "train_loss": loss}],
            [probe_row(0), probe_row(1, gradient_norm=None)],
            b"weights of " + name.encode(),
        )
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_runs_name_is_the_same_for_ever():
    """Runs on people's disks are found by it: if this fails, FORMAT must rise."""
    assert FORMAT == 2
    assert run_id(IDENTITY) == "13c72403da11dd51"


def test_a_runs_name_does_not_depend_on_the_order_of_what_it_hashes():
    assert run_id(dict(reversed(IDENTITY.items()))) == run_id(IDENTITY)
    again = subprocess.run(
        [sys.executable, "-c", f"from skipway.rundir.layout import run_id; print(run_id({IDENTITY!r}))"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert again.stdout.strip() == run_id(IDENTITY)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"learning_rate": 0.1000001}, {"net": {"gate": "highway", "depth": 6}}, {"more": None}]
)
def test_what_decides_a_runs_numbers_decides_its_name(change):
    assert run_id({**IDENTITY, **change}) != run_id(IDENTITY)


def test_a_number_that_is_not_finite_cannot_be_part_of_a_name():
    with pytest.raises(ValueError):
        run_id({**IDENTITY, "learning_rate": math.nan})


# -- files -------------------------------------------------------------------------------------------------------------


def test_json_has_no_nan(tmp_path):
    content = {"a": math.nan, "b": [math.inf, 1.5, (-math.inf, 2)], "c": {"d": math.nan, "e": "nan", "f": True}}
    write_json(tmp_path / "x.json", content)
    assert "NaN" not in (tmp_path / "x.json").read_text()
    assert read_json(tmp_path / "x.json") == {
        "a": None,
        "b": [None, 1.5, [None, 2]],
        "c": {"d": None, "e": "nan", "f": True},
    }


def test_writing_leaves_one_file_and_makes_its_folder(tmp_path):
    write_bytes(tmp_path / "deep" / "x", b"1")
    write_bytes(tmp_path / "deep" / "x", b"2")
    assert files(tmp_path) == ["deep", "deep/x"]
    assert (tmp_path / "deep" / "x").read_bytes() == b"2"


def test_a_writing_that_fails_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"new": object()})
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "x.json", "not bytes")  # type: ignore[arg-type]
    assert read_json(tmp_path / "x.json") == {"old": 1}
    assert files(tmp_path) == ["x.json"]


def test_a_reader_beside_a_writer_never_sees_half_a_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"n": 0, "pad": ["x"] * 20_000})
    code = (
        "import sys; from pathlib import Path; from skipway.rundir.files import write_json\n"
        "for n in range(60): write_json(Path(sys.argv[1]), {'n': n, 'pad': ['x'] * 20_000})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    seen = set()
    while writer.poll() is None:
        content = read_json(path)
        assert len(content["pad"]) == 20_000
        seen.add(content["n"])
    assert writer.returncode == 0
    assert len(seen) > 1


@pytest.mark.parametrize(("text", "words"), [("{", "not readable as JSON"), ("[1]", "holds a list, not a JSON object")])
def test_what_is_no_json_object_is_named(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_json(tmp_path / "x.json")
    assert "x.json" in str(error.value)


# -- studies -----------------------------------------------------------------------------------------------------------


def test_a_study_is_opened_by_its_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no study\.json: give a study's directory"):
        Study.open(tmp_path)
    Study(tmp_path).write({"name": "x", "loss": math.nan})
    assert Study.open(str(tmp_path)).info() == {"name": "x", "loss": None}
    assert list(Study.open(tmp_path).runs()) == []


def test_a_committed_run_is_read_back(tmp_path):
    study = Study(tmp_path)
    batch = study.batch("b")
    add(batch, "r1", loss=math.nan)
    batch.commit()
    run = study.run("r1")
    assert run.id == "r1"
    info = run.info()
    written = info.pop("files")
    assert info == {"format": FORMAT, "id": "r1", "status": "done", "metrics": {"train_loss": None}}
    assert {name: file["bytes"] for name, file in written.items()} == {
        name: (run.path / name).stat().st_size for name in (METRICS, PROBES, WEIGHTS)
    }
    assert run.metrics() == [{"step": 1, "train_loss": 2.5}, {"step": 2, "train_loss": None}]
    assert run.weights.read_bytes() == b"weights of r1"
    rows = run.probes()
    assert [list(row) for row in rows] == [list(PROBE_COLUMNS)] * 2
    assert rows[0] == probe_row(0)
    assert rows[1]["gradient_norm"] is None
    assert files(study.path / "runs") == sorted(["r1", *(f"r1/{name}" for name in (METRICS, PROBES, RUN, WEIGHTS))])


def test_a_probes_file_holds_its_columns_even_when_they_are_empty(tmp_path):
    import pyarrow.parquet as pq

    batch = Study(tmp_path).batch("b")
    batch.add(RunContent("r1", {"metrics": {}}, [], [probe_row(transform_mean=None, carry_mean=None)], b""))
    batch.commit()
    schema = pq.read_schema(tmp_path / "runs" / "r1" / PROBES)
    assert {field.name: str(field.type).replace("double", "float64") for field in schema} == PROBE_COLUMNS


def test_metrics_are_added_to_a_run(tmp_path):
    batch = Study(tmp_path).batch("b")
    add(batch, "r1")
    batch.commit()
    run = Study(tmp_path).run("r1")
    run.update_metrics({"test_loss": 0.5, "test_error": math.inf})
    assert run.info()["metrics"] == {"train_loss": 0.25, "test_loss": 0.5, "test_error": None}
    assert run.info()["status"] == "done"


def test_runs_are_found_in_order_of_their_names(tmp_path):
    study = Study(tmp_path)
    for name in ("c", "a", "b"):
        batch = study.batch(name)
        add(batch, name)
        batch.commit()
    (tmp_path / "runs" / "z-empty").mkdir()
    assert [run.id for run in study.runs()] == ["a", "b", "c"]
    assert study.has("a")
    assert not study.has("z-empty")
    assert not study.has("d")
    assert study.run("a") == Run(tmp_path / "runs" / "a")


# -- kills -------------------------------------------------------------------------------------------------------------


def test_nothing_counts_before_the_commit_and_all_of_it_after(tmp_path):
    study = Study(tmp_path)
    batch = study.batch("b")
    add(batch, "r1")
    add(batch, "r2")
    assert list(study.runs()) == []
    assert not study.has("r1")
    batch.commit()
    assert [run.id for run in study.runs()] == ["r1", "r2"]
    assert files(tmp_path / "runs") == [p for p in files(tmp_path / "runs") if p.startswith("r")]


def test_a_writer_killed_before_its_commit_leaves_nothing_that_counts(tmp_path):
    code = (
        "import os, sys, signal; from pathlib import Path\n"
        "from skipway.rundir.run import RunContent; from skipway.rundir.study import Study\n"
        "batch = Study(Path(sys.argv[1])).batch('b')\n"
        "for name in ('r1', 'r2'): batch.add(RunContent(name, {'metrics': {}}, [], [], b''))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert killed.returncode == -9
    study = Study(tmp_path)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert list(study.runs()) == []
    study.recover()
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_commit_that_was_cut_short_is_finished(tmp_path, moved):
    """The rename that decides is done; the process died when so many of the runs had been moved to their places."""
    study = Study(tmp_path)
    batch = study.batch("b")
    for name in ("r1", "r2"):
        add(batch, name)
    (staging,) = (tmp_path / "runs").iterdir()
    ready = staging.rename(staging.with_name(staging.name.replace("staging", "ready")))
    for name in ("r1", "r2")[:moved]:
        (ready / name).rename(tmp_path / "runs" / name)
    assert [run.id for run in study.runs()] == ["r1", "r2"][:moved]
    study.recover()
    assert [run.id for run in study.runs()] == ["r1", "r2"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["r1", "r2"]
    study.recover()
    assert [run.id for run in study.runs()] == ["r1", "r2"]


def test_a_run_that_is_there_stays_when_it_comes_again(tmp_path):
    study = Study(tmp_path)
    for loss in (0.1, 0.2):
        batch = study.batch("b")
        add(batch, "r1", loss)
        batch.commit()
    assert study.run("r1").info()["metrics"]["train_loss"] == 0.1
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["r1"]


def test_a_batch_begun_again_starts_empty(tmp_path):
    study = Study(tmp_path)
    add(study.batch("b"), "old")
    batch = study.batch("b")
    add(batch, "new")
    batch.commit()
    assert [run.id for run in study.runs()] == ["new"]


def test_recovery_clears_progress_and_keeps_runs_and_the_study(tmp_path):
    study = Study(tmp_path / "study")
    study.path.mkdir()
    study.recover()  # a fresh directory
    study.write({"name": "x"})
    batch = study.batch("b")
    add(batch, "r1")
    batch.commit()
    progress = study.progress_path("stack")
    write_json(progress, {"step": 1, "steps": 2})
    study.recover()
    assert not progress.exists()
    assert study.info() == {"name": "x"}
    assert study.has("r1")


def test_metrics_are_lines_of_json(tmp_path):
    batch = Study(tmp_path).batch("b")
    add(batch, "r1")
    batch.commit()
    lines = (tmp_path / "runs" / "r1" / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
