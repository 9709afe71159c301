"""What strangers made, shown: names that would steer a terminal, queries that would read elsewhere or never end."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import skipway
from image_folders import png
from skipway.cli import main as cli
from skipway.cli.console import Console
from skipway.cli.live import StudyState, _Pair
from skipway.cli.main import main
from skipway.cli.tell import telling_warnings
from skipway.report.printable import printable
from skipway.report.query import query
from skipway.rundir.files import write_bytes
from skipway.rundir.study import Study
from skipway.studies.config import StudyConfig
from skipway.studies.runner import run_study
from study_folders import made

# A tag that rich would close, an emoji's name, a cleared screen, a bell, letters reversed, a forged line.
HOSTILE = "[/b] :x: \x1b[2J\x07\u202e\n> done\x00\x85\u2028"
SHOWN = r"[/b] :x: \x1b[2J\x07\u202e\n> done\x00\x85\u2028"
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7"


def steers(text: str) -> list[str]:
    """The signs of a text that are not for the eye; lines end."""
    return [sign for sign in text if printable(sign, keep="\n") != sign]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A study of which every name is hostile; its folder's, too, but for what no file system takes."""
    folder = tmp_path_factory.mktemp("strangers") / "[/b] :x: \x1b[2J\x07\u202e\n> done"
    gate = f"highway:a={HOSTILE}"
    made(folder, (gate,), (5, 20), rates=[0.1], seeds=(0,), failed={(gate, 20)})
    study = Study(folder)
    info = study.info()
    info["name"] = info["command"] = info["data"]["name"] = HOSTILE
    info["config"] |= {"data": HOSTILE, HOSTILE: HOSTILE}
    info["failures"] = dict.fromkeys(info["failures"], HOSTILE)
    study.write(info)
    return study


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße 图 🏳\u200d🌈 می\u200cخواهم", "Grüße 图 🏳\u200d🌈 می\u200cخواهم"),
        ("", ""),
        (HOSTILE, SHOWN),
        ("\t\r\x7f\x9b\u2066\u200b\ufeff\U000e0041", r"\t\r\x7f\x9b\u2066\u200b\ufeff\U000e0041"),
    ],
)
def test_what_is_not_for_the_eye_is_written_out(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "command", [["report", "--markdown"], ["runs"], ["runs", "--sql", "SELECT * FROM metrics"]], ids=" ".join
)
def test_a_hostile_study_is_shown_and_steers_nothing(command, study, capsys):
    name, *options = command
    assert main([name, str(study.path), *options]) == 0
    shown = capsys.readouterr()
    assert not steers(shown.out + shown.err)
    assert r"[/b] :x: \x1b[2J\x07" in shown.out
    assert "\n> done" not in shown.out, "no name forges a line"


def test_a_hostile_study_is_reported_and_its_page_and_pictures_hold_no_such_sign(study, capsys):
    assert main(["report", str(study.path)]) == cli.FAILED, "one of its trainings failed"
    shown = capsys.readouterr()
    assert not steers(shown.out + shown.err + (study.path / "report.html").read_text())
    assert r"[/b] :x: \x1b[2J\x07" in shown.out
    assert len(list(study.path.glob("*.png"))) > 3


def test_comma_separated_values_are_as_they_are_but_for_a_terminal(study, capsys, monkeypatch):
    asked = ["runs", str(study.path), "--sql", "SELECT chr(27) || '[2J' AS a", "--csv"]
    assert main(asked) == 0
    assert capsys.readouterr().out == "a\n\x1b[2J\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(asked) == 0
    assert capsys.readouterr().out == "a\n\\x1b[2J\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", HOSTILE[:-5]],
        ["report", "\x1b[2J"],
        ["nets", "\x1b[2J"],
        ["\x1b[2J"],
        ["study", "--data", "\x1b[2J\udcff"],
    ],
    ids=["runs", "report", "nets", "a command", "study"],
)
def test_a_refusal_steers_nothing(arguments, capsys):
    assert main(arguments) == cli.WRONG_USAGE
    assert not steers(capsys.readouterr().err)


def test_a_training_on_a_hostile_folder_is_told(tmp_path, capsys):
    data = tmp_path / "[/b] \x1b[2J\u202e"
    for split in ("train", "test"):
        for label in ("[b]\x1b[2J", "[i]\u202e"):
            (data / split / label).mkdir(parents=True)
            for number in range(2):
                (data / split / label / f"{number}.png").write_bytes(png(number))
    flags = ["--net", "plain-dense-3", "--data", str(data), "--steps", "1", "--batch-size", "2"]
    assert main(["train", *flags, "--out", str(tmp_path / "[/b]\x1b[2J")]) == 0
    shown = capsys.readouterr()
    assert r"[/b]\x1b[2J" in shown.out
    assert not steers(shown.out + shown.err)


def test_a_live_table_steers_nothing():
    state = StudyState()
    rounds = SimpleNamespace(pair=SimpleNamespace(gate=HOSTILE, depth=5, cost=1.0), ids={}, expected=1, ended=True)
    state._known = {(HOSTILE, 5): _Pair(rounds, finished=1, best=0.5, best_rate=0.1)}
    console = Console(file=io.StringIO(), width=200)
    console.print(state.view())
    shown = console.file.getvalue()
    assert not steers(shown)
    assert shown.count(SHOWN) == 2, "in the table's head, and as the best so far"


def test_settings_of_a_file_with_hostile_names_are_refused(study, capsys):
    assert main(["study", "--config", str(study.path / "study.json"), "--help"]) == cli.WRONG_USAGE
    assert "control characters" in capsys.readouterr().err


def test_all_that_is_printed_goes_one_of_two_ways():
    """`cli.tell` and `cli.console` make what they print printable: nothing else prints."""
    package = Path(skipway.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).as_posix() in ("cli/tell.py", "cli/console.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"), f"{path} prints"
            names = [alias.name for alias in getattr(node, "names", ()) if isinstance(node, ast.ImportFrom)]
            assert not (getattr(node, "module", "") == "rich.console" and "Console" in names), f"{path}: rich's Console"


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "'/etc/passwd'",
        "glob('/etc/*')",
        "read_text('{study}/study.json')",
        "read_text('{study}/../outside')",
        "read_json('https://example.com/x.json')",
        "parquet_metadata('/etc/passwd')",
        "query('FROM read_text(''/etc/passwd'')')",
        "duckdb_secrets()",
        "enable_logging(storage := 'file', storage_path := '/tmp/log')",
        "sqlite_scan('/etc/passwd', 'x')",
        "frame",
        "rows",
    ],
)
def test_a_query_reads_nothing_but_its_tables(source, tmp_path):
    import pandas

    frame = rows = pandas.DataFrame({"secret": [1]})
    assert len(frame) == len(rows) == 1
    (tmp_path / "outside").touch()
    folder = tmp_path / "study"
    folder.mkdir()
    with pytest.raises(ValueError, match="the query is not valid"):
        query(f"SELECT * FROM {source.format(study=folder)}", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "study"]


def test_a_query_leaves_no_file_however_large_it_is(tmp_path):
    assert query("SELECT current_setting('temp_directory')", tmp_path)[1] == [("",)]


@pytest.mark.parametrize("name", ["metrics.jsonl", "probes.parquet", "run.json"])
def test_a_query_follows_no_link(name, tmp_path):
    study = made(tmp_path / "study", gates=("plain",), depths=(5,), rates=[0.1], seeds=(0,))
    file = next(study.runs()).path / name
    file.rename(tmp_path / name)
    file.symlink_to(tmp_path / name)
    assert query("SELECT count(*) FROM metrics JOIN probes USING (run)", study.path)[1] == [(0,)]
    ((status, reason),) = query("SELECT status, reason FROM runs, (SELECT count(*) FROM metrics, probes)", study.path)[
        1
    ]
    assert status == "damaged"
    assert "symbolic link" in reason


def test_times_with_a_zone_are_text(tmp_path):
    time = "TIMESTAMPTZ '2026-03-01 10:00:00+02'"
    names, rows = query(f"SELECT {time} AS t, 1 AS n, [{time}] AS l ORDER BY t", tmp_path)
    assert names == ["t", "n", "l"]
    assert rows[0][1] == 1
    assert "2026-03-01" in rows[0][0]
    assert "2026-03-01" in rows[0][2]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, cli.INTERRUPTED), (signal.SIGTERM, cli.TERMINATED)])
def test_a_signal_ends_a_query_that_would_run_for_hours(number, status, tmp_path):
    before = threading.active_count()
    sender = threading.Timer(0.3, os.kill, [os.getpid(), number])
    sender.start()
    began = time.monotonic()
    try:
        ended = main(["runs", str(tmp_path), "--sql", ENDLESS])
    except SystemExit as end:
        ended = end.code
    assert ended == status
    assert time.monotonic() - began < 10
    sender.join()
    assert threading.active_count() == before


LINKS = [
    *("runs", "runs/.ready-x", "runs/.staging-x", "runs/0123456789abcdef", ".progress", ".checkpoints"),
    *("study.json", "report.html", ".lock", "runs/0123456789abcdef/run.json"),
]


@pytest.mark.parametrize("place", LINKS)
def test_a_study_that_holds_a_link_is_not_gone_on_with(place, tmp_path):
    """Neither what a killed process left is moved or cleared through it, nor a lock, a record or a run written."""
    outside, link = tmp_path / "outside", tmp_path / "study" / place
    (outside / "precious").mkdir(parents=True)
    (outside / "precious" / "file").write_text("mine")
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "precious/file" if "." in place[1:] and "x" not in place else outside)
    for going_on in (Study(tmp_path / "study").recover, lambda: run_study(StudyConfig(), tmp_path / "study")):
        with pytest.raises(ValueError, match=f"{re.escape(place)} is a symbolic link"):
            going_on()
    assert [path.name for path in outside.rglob("*")] == ["precious", "file"]
    assert (outside / "precious/file").read_text() == "mine"
    assert link.is_symlink()


@pytest.mark.parametrize("place", ["checkpoint", "run.json", ".lock"])
def test_a_training_that_holds_a_link_is_not_gone_on_with(place, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / place).symlink_to(tmp_path / "outside")
    asked = ["train", "--net", "plain-dense-3", "--data", "digits", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(asked) == cli.WRONG_USAGE
    assert "is a symbolic link" in capsys.readouterr().err
    assert not (tmp_path / "outside").exists()


def test_a_directory_that_is_reached_by_a_link_is_the_one_that_was_named(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study").symlink_to(tmp_path / "elsewhere")
    Study(tmp_path / "study").recover()
    assert (tmp_path / "elsewhere/runs").is_dir()


@pytest.mark.parametrize("name", ["page", ".page.{pid}"])
def test_a_file_is_not_written_through_a_link(name, tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / name.format(pid=os.getpid())).symlink_to(tmp_path / "outside")
    write_bytes(tmp_path / "page", b"new")
    assert (tmp_path / "outside").read_text() == "mine"
    assert (tmp_path / "page").read_text() == "new"
    assert not (tmp_path / "page").is_symlink()


def test_a_warning_steers_nothing(capsys):
    with telling_warnings():
        logging.getLogger("skipway").warning("%s is damaged", HOSTILE)
    assert capsys.readouterr().err == f"skipway: {printable(HOSTILE, keep=chr(10))} is damaged\n"
