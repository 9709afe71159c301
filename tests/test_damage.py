"""Damage is noticed by whoever reads it, told with file, reason and remedy, and costs nothing that is whole."""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import skipway as sw
from damages import FOREIGN, KINDS, OTHERS, Kind, ask, contents, cut, flip, foreign, forged, run, tiny_study, victim
from skipway.cli.main import DONE, FAILED, WRONG_USAGE
from skipway.cli.study import parse
from skipway.rundir.files import DamagedError, read_json, set_aside, write_sealed
from skipway.rundir.integrity import examine
from skipway.rundir.layout import ASIDE, LOCK, METRICS, PROBES, RUN, WEIGHTS
from skipway.rundir.locks import locked
from skipway.rundir.run import Run
from skipway.rundir.study import Study
from skipway.runs.config import RunConfig
from skipway.runs.run import run_training
from skipway.studies.runner import run_study
from skipway.training.recipe import Recipe


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    return tiny_study(tmp_path_factory.mktemp("damage") / "study")


@pytest.fixture
def study(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_damage_is_told_by_all_who_read_it_and_nothing_whole_is_lost(kind: Kind, study):
    path = victim(study, kind.file)
    before = contents(study, path)
    kind.damage(path)
    status, said = ask("check", study)
    assert (status, kind.told in said) == (FAILED, True), said
    for command in set(OTHERS) - set(kind.silent):
        status, said = ask(command, study)
        assert status == (DONE if command in ("runs", "sql") else FAILED)
        assert "damaged" in said
        assert command in ("runs", "sql") or f"{path} is damaged" in said
    assert before <= contents(study, path)
    assert ask("mend", study)[0] == FAILED
    assert before <= contents(study, path)
    assert "damaged" not in ask("check", study)[1].replace(".damaged", "")


@pytest.mark.parametrize(("name", "file", "content", "told"), FOREIGN, ids=[f"{f[1]}: {f[0]}" for f in FOREIGN])
def test_a_file_that_another_program_wrote_is_refused_by_who_reads_it(name, file, content, told, study):
    """run.json has its digest, so nothing was damaged since; what is in it is still not what we read."""
    path = victim(study, file)
    foreign(content)(path)
    with pytest.raises(DamagedError) as caught:
        Run(path.parent).metrics() if file == METRICS else Run(path.parent).probes()
    assert told in caught.value.reason
    for command in ("report", "sql"):
        status, said = ask(command, study)
        assert status == (DONE if command == "sql" else FAILED)
        assert "damaged" in said
        assert told in said


def test_a_whole_study_is_whole(study):
    status, said = ask("check", study)
    assert (status, said) == (DONE, f"{study} (study.json and 2 runs): 3 whole")
    assert ask("mend", study) == (DONE, said)
    assert not list(study.rglob(ASIDE))


def test_a_mended_study_started_again_is_whole_and_computes_only_what_was_damaged(study):
    path = victim(study, WEIGHTS)
    kept = {folder: (folder / RUN).read_bytes() for folder in (study / "runs").iterdir() if folder != path.parent}
    cut(path)
    status, said = ask("mend", study)
    assert status == FAILED
    assert f"Set aside: {path.parent.parent / ASIDE / path.parent.name}" in said
    command = f"skipway study --config {study}/study.json --out {study}"
    assert command in said
    status, said = ask("check", study)
    assert "1 missing" in said
    assert command in said
    run_study(parse(command.split()[2:]).settings, study)
    assert ask("check", study) == (DONE, f"{study} (study.json and 2 runs): 3 whole")
    assert {folder: (folder / RUN).read_bytes() for folder in kept} == kept


def test_set_aside_twice_both_are_kept(study):
    places = []
    for content in ("one", "two"):
        (study / "x").write_text(content)
        places.append(set_aside(study / "x"))
    assert [place.read_text() for place in places] == ["one", "two"]
    assert [place.name for place in places] == ["x", "x-2"]


def test_nothing_is_set_aside_through_a_link(study, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (study / "runs" / ASIDE).symlink_to(tmp_path / "elsewhere")
    cut(victim(study, WEIGHTS))
    status, said = ask("mend", study)
    assert status == WRONG_USAGE
    assert "is a link to another place" in said
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_study_that_is_running_is_not_mended(study):
    cut(victim(study, WEIGHTS))
    with locked(study / LOCK, ""):
        status, said = ask("mend", study)
    assert status == FAILED
    assert "is at work in" in said
    assert victim(study, WEIGHTS).exists()


def test_weights_with_one_wrong_bit_are_not_scored(study):
    """Scoring reads them wholly: here the test scores are still to come."""
    path = victim(study, WEIGHTS)
    content = read_json(path.with_name(RUN))
    content["metrics"] = {key: value for key, value in content["metrics"].items() if not key.startswith("test")}
    write_sealed(path.with_name(RUN), {key: value for key, value in content.items() if key != "digest"})
    flip(path)
    status, said = ask("study", study)
    assert status == FAILED
    assert f"{path} is damaged: its content is not what was written" in said
    assert Study(study).info()["status"] == "failed"


def test_a_run_whose_run_json_is_gone_does_not_keep_its_place_for_ever(study):
    """A study told that its run is damaged sets it aside first; one that is empty is nothing, and is filled."""
    folder = victim(study, RUN).parent
    shutil.rmtree(folder)
    folder.mkdir()
    assert not Study(study).has(folder.name)
    (folder / "x").touch()
    assert Study(study).has(folder.name)
    assert "run.json is damaged: it is missing" in ask("study", study)[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("file", [RUN, METRICS, WEIGHTS])
def test_a_file_that_may_not_be_read_is_told(file, study):
    victim(study, file).chmod(0)
    status, said = ask("check", study)
    assert status == FAILED
    assert "it cannot be read: Permission denied" in said


def test_check_of_nothing_is_wrong_usage(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        status, said = run("check", str(place))
        assert status == WRONG_USAGE
        assert "holds no study and no run" in said


def test_a_folder_above_is_checked_study_by_study(study):
    other = Path(shutil.copytree(study, study.with_name("other")))
    cut(victim(other, PROBES))
    found = {examined.path: examined.whole for examined in examine(study.parent)}
    assert found == {study: True, other: False}
    assert run("check", str(victim(study, RUN).parent)) == (DONE, f"{victim(study, RUN).parent} (a run): 1 whole")


def test_one_damaged_run_is_a_row_among_the_others(study):
    cut(victim(study, RUN))
    names, rows = sw.query("select status, reason from runs order by status", study)
    assert names == ["status", "reason"]
    (damaged, reason), whole_one = rows
    assert damaged == "damaged"
    assert reason.startswith("run.json: is not readable as JSON")
    assert whole_one == ("done", None)


def test_the_python_ways_raise_the_same(study):
    flip(path := victim(study, METRICS))
    for way in (Run(path.parent).metrics, lambda: sw.write_report(study), lambda: Run(path.parent).checked(METRICS)):
        with pytest.raises(DamagedError, match=r"metrics\.jsonl is damaged: its content .* `skipway check .* --mend`"):
            way()
    error = pickle.loads(pickle.dumps(DamagedError(path, "it is old")))  # as it comes from a worker
    assert (error.path, error.reason) == (path, "it is old")


# -- skipway train -----------------------------------------------------------------------------------------------------

CONFIG = RunConfig(net="plain-dense-3", width=4, recipe=Recipe(steps=4, learning_rates=(0.1,)))
TRAIN = ["train", "--net", "plain-dense-3", "--width", "4", "--steps", "4", "--learning-rates", "0.1", "--out"]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    return run_training(CONFIG, tmp_path_factory.mktemp("damage") / "run").path


@pytest.mark.parametrize("file", [RUN, METRICS, PROBES, WEIGHTS])
@pytest.mark.parametrize("damage", [Path.unlink, cut, lambda path: path.write_bytes(b"")], ids=["gone", "cut", "empty"])
def test_a_finished_training_is_not_taken_for_whole_when_it_is_not(file, damage, whole_run, tmp_path):
    folder = Path(shutil.copytree(whole_run, tmp_path / "run"))
    damage(folder / file)
    assert run("check", str(folder))[0] == FAILED
    for arguments in ([*TRAIN, str(folder)], ["train", "--resume", str(folder)]):
        status, said = run(*arguments)
        if file == RUN and arguments[1] == "--resume" and not (folder / RUN).exists():
            assert "holds no run.json" in said
            continue
        assert status == FAILED
        assert f"{folder / file} is damaged" in said
    run("check", str(folder), "--mend")
    assert not folder.exists()


def test_a_mended_training_started_again_is_whole(whole_run, tmp_path):
    folder = Path(shutil.copytree(whole_run, tmp_path / "a run"))
    cut(folder / WEIGHTS)
    status, said = run("check", str(folder), "--mend")
    command = f"skipway train --config '{tmp_path / ASIDE / 'a run' / RUN}' --out '{folder}'"
    assert (status, command in said) == (FAILED, True), said
    assert run(*shlex.split(command)[1:])[0] == DONE
    assert run("check", str(folder))[0] == DONE
    assert {name: (folder / name).read_bytes() for name in (METRICS, WEIGHTS)} == {
        name: (whole_run / name).read_bytes() for name in (METRICS, WEIGHTS)
    }


@pytest.mark.parametrize(
    ("keys", "to", "told"),
    [
        (("choices", "threads"), 100_000, "choices.threads must be a whole number from 1 to 1024"),
        (("choices",), None, "choices must be an object"),
        (("choices",), {}, "it has no choices.threads"),
        (("id",), "0" * 16, "it names the run 0000000000000000"),
        (("config",), {"net": 3}, "RunConfig field 'net'"),
        (("metrics",), None, "metrics must be an object"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_an_unfinished_training_is_not_gone_on_with_by_wrong_settings(keys, to, told, whole_run, tmp_path):
    folder = Path(shutil.copytree(whole_run, tmp_path / "run"))
    forged("status", to="interrupted")(folder / RUN)
    forged(*keys, to=to)(folder / RUN)
    status, said = run("train", "--resume", str(folder))
    assert status in (FAILED, WRONG_USAGE)
    assert told in said


def test_mending_keeps_the_checkpoint_of_a_training_that_can_go_on(whole_run, tmp_path):
    folder = Path(shutil.copytree(whole_run, tmp_path / "run"))
    (folder / "checkpoint").mkdir()
    cut(folder / RUN)
    run("check", str(folder), "--mend")
    assert (folder / "checkpoint").is_dir()
    assert not (folder / RUN).exists()
    assert (folder / ASIDE / RUN).exists()


# -- weights by themselves ---------------------------------------------------------------------------------------------


def weights_of_another_shape(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file({name: torch.zeros(3, 3) for name in load_file(path)}, path, about)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "is not readable as safetensors"),
        (lambda path: path.write_bytes(b""), "is not readable as safetensors"),
        (lambda path: path.write_bytes(b"\xff" * 64), "is not readable as safetensors"),
        (weights_of_another_shape, "do not fit the net that it names"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"plain-dense-3", b"plain-dense-4")), "do not fit"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"architecture", b"architexture")), "does not say"),
    ],
)
def test_a_net_is_not_rebuilt_from_damaged_weights(damage, told, whole_run, tmp_path):
    path = Path(shutil.copy(whole_run / WEIGHTS, tmp_path))
    damage(path)
    with pytest.raises(ValueError, match=told) as error:
        sw.load_net(path)
    assert str(path) in str(error.value)
