"""Locks: one writer at a time, whose name the others are told; what killed writers left is cleared, and no more."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading

import pytest

from skipway.cli.main import main
from skipway.rundir.files import clear_sides
from skipway.rundir.layout import LOCK
from skipway.rundir.locks import BusyError, locked, wait_until_free
from skipway.studies import runner
from skipway.studies.config import StudyConfig
from skipway.studies.runner import run_study

HOLDS = """
import sys
from pathlib import Path
from skipway.rundir.locks import locked
with locked(Path(sys.argv[1]), ""):
    print("held", flush=True)
    input()
"""


def test_who_holds_a_lock_is_told_until_it_is_free(tmp_path):
    path = tmp_path / "new" / LOCK
    with locked(path, ""), pytest.raises(BusyError) as caught, locked(path, "{holder} is at work: wait for it."):
        pass
    assert f"another process ({os.getpid()} on {platform.node()}, since 20" in str(caught.value)
    assert str(caught.value).endswith("+00:00) is at work: wait for it.")
    assert [entry.name for entry in path.parent.iterdir()] == [LOCK]
    with locked(path, ""):
        pass


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"another process \\({holder.pid} on"), locked(tmp_path / LOCK, "{holder}"):
            pass
        holder.kill()
        with locked(tmp_path / LOCK, "{holder}", seconds=5):
            pass


def test_all_locks_of_a_folder_are_waited_for(tmp_path):
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path / "a.lock", ""):
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with pytest.raises(BusyError, match="still there"):
        wait_until_free(tmp_path, "still there", seconds=0.1)
    threading.Timer(0.1, release.set).start()
    wait_until_free(tmp_path, "still there", seconds=5)
    holder.join()


def test_sides_of_writers_that_are_gone_are_cleared_and_no_others(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (".run.json", ".metrics.jsonl"):
        for writer in (gone.pid, os.getpid(), os.getppid(), 2**70):
            (tmp_path / f"{name}.{writer}").touch()
    others = {".lock", ".lock.holder", ".damaged", "run.json.7", f"notes.{gone.pid}"}
    for name in others:
        (tmp_path / name).touch()
    clear_sides(tmp_path)
    living = {f"{name}.{os.getppid()}" for name in (".run.json", ".metrics.jsonl")}
    assert {entry.name for entry in tmp_path.iterdir()} == living | others


def test_a_training_whose_folder_is_locked_says_so_in_one_line_and_leaves_all_as_it_is(tmp_path, capsys):
    with locked(tmp_path / LOCK, ""):
        before = set(tmp_path.iterdir())
        assert main(["train", "--net", "plain-dense-3", "--steps", "2", "--out", str(tmp_path)]) == 1
        assert set(tmp_path.iterdir()) == before
    told = capsys.readouterr().err
    assert told.startswith(f"skipway: another process ({os.getpid()} on ")
    assert f"is training in {tmp_path}: wait for it, or give this one a directory of its own with --out." in told
    assert told.count("\n") == 1


def test_a_study_waits_for_no_worker_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_SECONDS_FOR_ORPHANS", 0.1)
    with (
        locked(tmp_path / ".locks" / "1234.lock", ""),
        pytest.raises(BusyError, match="a worker of an earlier start, is still writing in"),
    ):
        run_study(StudyConfig(gates=("plain",), depths=(3,)), tmp_path)
    assert not (tmp_path / "study.json").exists()
