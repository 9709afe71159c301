"""Exceptions as text: what went wrong, and where in the user's own files."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from helpers import digits, stacks_of
from skipway.rundir.study import Study
from skipway.runs.failure import told
from skipway.skip.gate import make_gate
from skipway.skip.placement import Placement
from skipway.studies.api import StudyFailedError
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Plan, checked
from skipway.studies.worker import Job, run_stack
from skipway.training.execution import Execution


def caught(function) -> str:
    try:
        function()
    except (Exception, SystemExit) as error:
        return told(error)
    raise AssertionError("it raised nothing")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def mute() -> None:
    raise Mute


@pytest.mark.parametrize(
    ("function", "beginning"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero ("),
        (lambda: torch.ones(2) @ torch.ones(3), "RuntimeError: "),
        (lambda: json.loads("{"), "JSONDecodeError: "),
        (lambda: make_gate("plan", Placement(features=1, out_features=1)), "UnknownNameError: unknown gate 'plan'."),
        (mute, "Mute: its message cannot be shown ("),
        (lambda: exit(3), "SystemExit: 3 ("),
    ],
    ids=["python", "torch", "library", "skipway", "mute", "exit"],
)
def test_the_place_is_the_last_one_in_the_users_own_files(function, beginning):
    text, line = caught(function), function.__code__.co_firstlineno + (function is mute)
    assert text.startswith(beginning)
    assert text.endswith(f"({__file__}, line {line}, in {function.__name__})")


def test_without_a_line_of_the_users_it_is_the_innermost():
    with pytest.raises(ValueError) as error:
        make_gate("plan", Placement(features=1, out_features=1))
    assert "registry.py, line " in told(error.value.with_traceback(error.value.__traceback__.tb_next))
    assert told(ValueError()) == "ValueError"


def test_a_task_that_cannot_be_read_fails_by_itself(tmp_path):
    data, _ = digits()
    config = checked(StudyConfig(gates=("plain",), depths=(3,), seeds=(0,)))
    (stack,) = stacks_of(Plan.of(config, data))
    identities = tuple(Plan.of(config, data).identity(cell) for cell in stack.cells)
    job = Job(stack, config, "cpu", 1, Execution(), identities, definitions=b"cno_such_module\nMine\n.")
    reason = run_stack(job, tmp_path)
    assert reason is not None
    assert reason.startswith("ModuleNotFoundError: No module named 'no_such_module' (")
    assert not list(Study(tmp_path).runs())


def test_a_failed_study_comes_whole_from_another_process(tmp_path):
    study = Study(tmp_path)
    study.write({"failures": {"a": "OSError: no", "b": "OSError: no"}, "cells": [{}] * 5})
    error = pickle.loads(pickle.dumps(StudyFailedError(study)))
    assert error.study == study
    assert str(error).startswith(f"2 of 5 trainings failed in {tmp_path}.")
    assert str(error).endswith("- 2 of them: OSError: no")
