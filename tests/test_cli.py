"""The command line as a person meets it: help at once, names nearly right, exit statuses, settings from files."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from skipway.cli import main as cli
from skipway.cli.main import COMMANDS, main
from skipway.cli.study import parse
from skipway.studies.config import StudyConfig
from skipway.training.recipe import RECIPES

TINY = ["--gates", "plain", "highway", "--depths", "3", "--seeds", "0", "--learning-rates", "0.1", "--steps", "10"]
ALONE = ["--workers", "1"]  # one pool of one worker for all studies


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "study"
    assert main(["study", *TINY, *ALONE, "--out", str(out)]) == 0
    return out


def test_a_study_prints_table_verdict_and_where_the_report_is(study, capsys):
    assert main(["study", *TINY, *ALONE, "--out", str(study)]) == 0
    printed = capsys.readouterr().out
    assert "highway" in printed
    assert "training error" in printed
    assert f"{study}/report.html" in printed.replace("\n", "")


def processor_seconds(*arguments: str) -> float:
    """What a Python process takes of the processor, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def import_of_torch() -> float:
    return processor_seconds("-c", "import torch")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_takes_a_fourth_of_an_import_of_torch(arguments, import_of_torch):
    assert any(processor_seconds("-m", "skipway", *arguments) < import_of_torch / 4 for _ in range(2))


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_loads_no_torch(arguments):
    code = f"""
import sys
from skipway.cli.main import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stuyd"], ["unknown command 'stuyd'", "'study'"]),
        (["study", "--gates", "plian"], ["unknown gate 'plian'", "Did you mean 'plain'", "highway"]),
        (["study", "--gates", "highway:bais=-2"], ["no setting 'bais'", "bias=auto"]),
        (["study", "--net", "dence"], ["unknown family of nets 'dence'", "'dense'"]),
        (["study", "--depths", "0"], ["depth", "Nearest: 1"]),
        (["study", "--recipe", "dens"], ["unknown recipe 'dens'", "'dense'"]),
        (["study", "--net", "cifar", "--depths", "19"], ["6n + 2", "14 and 20"]),
        (["study", "--augment", "flop"], ["unknown augmentation 'flop'", "'flip'"]),
        (["study", "--augment", "crop:pad=9"], ["crop:pad=9", "1 to 7"]),
        (["study", "--preprocess", "pixels"], ["unknown preprocessing 'pixels'", "'pixel'"]),
        (["study", "--decay-on", "biases"], ["decay", "all", "weights"]),
        (["study", "--memory", "recomput"], ["unknown memory 'recomput'", "'recompute'"]),
        (["study", "--warmup-hold", "2"], ["warmup_hold", "up to 1"]),
        (["study", "--data", "no-such-data"], ["no-such-data", "digits"]),
        (["study", "--steps", "3", "--epochs", "1"], ["--steps 3 and --epochs 1", "give one"]),
        (["study", "--learning-rates", "-1"], ["learning_rates", "above 0"]),
        (["study", "--learning-rates", "inf"], ["learning_rates", "above 0"]),
        (["study", "--device", "foo"], ["device 'foo'", "auto"]),
        (["study", "--data", ""], ["data is the name"]),
        (["study", "--batch-size", "100000"], ["batch_size 100000", "1257"]),
        (["study", "--config", "nowhere.json"], ["nowhere.json", "run.json"]),
        (["study", "--dephts", "3"], ["--dephts", "--depths"]),
        (["study", "--depths", "three"], ["three", "INT"]),
        (["study", "--depths", "5,50"], ["spaces between them: --depths 5 50."]),
        (["study", "--learning-rates=0.1,0.3"], ["--learning-rates 0.1 0.3."]),
        (["study", "--seeds", "0", "1,2"], ["--seeds 1,2: several values have spaces between them: --seeds 1 2."]),
        (["study", "--milestones", "0.5,0.75"], ["--milestones 0.5 0.75."]),
        (["study", "--data", "t.csv:target=y,drop=id", "--seeds", "0,1"], ["--seeds 0 1."]),
        (["study", "digits"], ["'digits' has none before it", "--data digits"]),
        (["train", "resnet-20"], ["'resnet-20' has none before it", "--net resnet-20"]),
        (
            ["train", "--net", "resnet20"],
            ["18, 34, 50, 101, 152", "With a dash, 'resnet-20' is a net of the family cifar"],
        ),
        (["study", "--net", "resnet-20"], ["one net", "give 'cifar', with gate 'residual' and depth 20."]),
        (["report", "nowhere"], ["nowhere", "study.json"]),
        (["runs", "nowhere"], ["nowhere"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_told_with_what_would_be_right(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as end:  # tyro's own refusals
        status = end.code
    output = capsys.readouterr()
    assert status == cli.WRONG_USAGE
    for part in told:
        assert part in output.err
    assert "Traceback" not in output.err
    assert not list(tmp_path.glob("**/runs/*"))


def test_an_out_that_is_a_file_fails_without_a_traceback(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["study", *TINY, "--out", str(tmp_path / "file")]) == cli.FAILED
    assert "file" in capsys.readouterr().err


def test_other_settings_in_the_same_directory_are_told(tmp_path, capsys):
    assert main(["study", *TINY, *ALONE, "--out", str(tmp_path)]) == 0
    assert "other settings" not in capsys.readouterr().err
    assert main(["study", *TINY, *ALONE, "--depths", "4", "--out", str(tmp_path)]) == 0
    assert "holds a study with other settings" in capsys.readouterr().err
    assert len(list(tmp_path.glob("runs/[!.]*"))) == 4


def test_a_broken_query_names_the_views(study, capsys):
    assert main(["runs", str(study), "--sql", "select nothing from nowhere"]) == cli.WRONG_USAGE
    assert "metrics" in capsys.readouterr().err


def test_runs_answers_sql(study, capsys):
    query = "select gate, count(*) as n from runs group by gate order by gate"
    assert main(["runs", str(study), "--sql", query, "--csv"]) == 0
    assert capsys.readouterr().out == "gate,n\nhighway,1\nplain,1\n"


def test_runs_lists_every_run(study, capsys):
    assert main(["runs", str(study)]) == 0
    listed = capsys.readouterr().out
    for run in (study / "runs").glob("[!.]*"):
        assert run.name in listed


def test_report_is_rebuilt_from_the_files_alone(study, capsys):
    before = (study / "report.html").read_bytes()
    (study / "report.html").unlink()
    assert main(["report", str(study)]) == 0
    assert (study / "report.html").read_bytes() == before
    assert "highway" in capsys.readouterr().out


def test_a_command_called_from_python_leaves_signals_as_they_were(capsys):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert main(["gates"]) == 0
    with pytest.raises(SystemExit):
        main(["gates", "--nothing"])
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_gates_and_nets_list_what_exists(capsys):
    from skipway.nets.registry import FAMILIES
    from skipway.skip.gate import GATES

    assert main(["gates"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in GATES)
    assert main(["nets"]) == 0
    listed = capsys.readouterr().out
    assert all(example in listed for family in FAMILIES.values() for example in family.examples)
    rows = {cells[0]: cells[1:] for line in listed.splitlines() if len(cells := line.split()) >= 6}
    assert rows["highway-mnist-10"][:3] == ["1x28x28", "10", "151,690"]
    assert rows["resnet-56"] == ["3x32x32", "10", "853,018", "125", "M", "4.07", "MiB"]
    assert rows["resnet50"] == ["3x224x224", "1000", "25,557,032", "4.09", "G", "81.9", "MiB"]


def test_nets_by_name_cost_what_their_images_ask(capsys):
    assert main(["nets", "resnet-110", "plain-dense-7", "--shape", "1", "16", "24", "--classes", "3"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    heads, resnet, dense = lines[:3]
    assert heads == ["net", "images", "classes", "parameters", "multiply-adds", "activations"]
    assert resnet[:4] == ["resnet-110", "1x16x24", "3", f"{1_727_962 - 9 * 16 * 2 - 7 * 65:,}"]
    weights = 384 * 71 + 6 * 71 * 71 + 71 * 3
    # A weight is multiplied once; the input and each layer's output are kept.
    assert dense == ["plain-dense-7", "1x16x24", "3", f"{weights + 7 * 71 + 3:,}", "57.7", "k", "3.44", "KiB"]
    assert (round(weights / 1e3, 1), round((384 + 7 * 71) * 4 / 1024, 2)) == (57.7, 3.44)


def test_nets_say_which_families_do_not_take_such_images(capsys, monkeypatch):
    from skipway.nets.registry import FAMILIES

    # One that takes only squares stands before one that takes all.
    some = {name: FAMILIES[name] for name in ("highway-mnist", "highway-cifar")}
    monkeypatch.setattr(FAMILIES, "_entries", some)
    assert main(["nets", "--shape", "3", "16", "24"]) == 0
    listed = capsys.readouterr().out
    assert "takes square images; these are 16 x 24 pixels" in " ".join(listed.split())
    assert "highway-mnist-10" not in listed
    assert "highway-cifar-19" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnt-20"], "Did you mean 'resnet-20'"),
        (["resnet-21"], "Nearest: 20 and 26"),
        (["resnet-20", "--shape", "3", "0", "32"], "height is a whole number from 1; it is 0"),
        (["resnet-20", "--classes", "0"], "classes is a whole number from 1; it is 0"),
        (["--classes", "-1"], "classes is a whole number from 1; it is -1"),
        (["--shape", "0", "32", "32"], "channels is a whole number from 1; it is 0"),
        (["highway-mnist-10", "--shape", "1", "28", "29"], "takes square images"),
    ],
)
def test_nets_that_cannot_be_are_wrong_usage(arguments, said, capsys):
    assert main(["nets", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_settings_come_from_a_study_or_a_run(study):
    whole = parse(["--config", str(study / "study.json")]).settings
    assert whole == parse(TINY).settings
    run = next((study / "runs").glob("[!.]*"))
    one = parse(["--config", str(run / "run.json")]).settings
    cell = json.loads((run / "run.json").read_text())["cell"]
    assert (one.gates, one.depths, one.seeds) == ((cell["gate"],), (cell["depth"],), (cell["seed"],))


def test_flags_replace_a_files_settings_one_by_one(study):
    file = ["--config", str(study / "study.json")]
    changed = parse([*file, "--depths", "7", "--epochs", "2"]).settings
    assert (changed.depths, changed.recipe.epochs, changed.gates) == ((7,), 2.0, ("plain", "highway"))


def test_steps_replace_a_files_epochs(study, tmp_path):
    content = json.loads((study / "study.json").read_text())
    content["config"]["recipe"]["epochs"] = 2.0
    (tmp_path / "study.json").write_text(json.dumps(content))
    changed = parse(["--config", str(tmp_path / "study.json"), "--steps", "50"]).settings
    assert (changed.recipe.steps, changed.recipe.epochs) == (50, None)


def test_a_body_brings_its_papers_depths_and_recipe():
    asked = parse(["--net", "cifar", "--steps", "300"]).settings
    assert asked.depths == (20, 32, 44, 56)
    assert asked.recipe == replace(RECIPES["he2015"], steps=300)
    assert parse(["--net", "cifar", "--recipe", "dense"]).settings.recipe == RECIPES["dense"]
    assert parse(["--net", "highway-mnist"]).settings.depths == (10,)
    assert parse([]).settings == StudyConfig()


def test_a_files_recipe_stays_when_the_body_changes(study):
    file = ["--config", str(study / "study.json")]
    changed = parse([*file, "--net", "cifar", "--depths", "8"]).settings
    assert changed.recipe == parse(file).settings.recipe


def test_augmentations_are_given_and_left_out():
    asked = parse(["--net", "cifar", "--augment", "flip", "cutout:size=4"]).settings
    assert asked.recipe.augment == ("flip", "cutout:size=4")
    assert parse(["--net", "cifar", "--augment"]).settings.recipe.augment == ()


def test_version(capsys):
    import skipway

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skipway {skipway.__version__}\n"
