"""study.json through the study's life."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from skipway.data.dataset import Data
from skipway.rundir.integrity import read_study
from skipway.rundir.layout import FORMAT, STUDY, Json
from skipway.rundir.study import Study
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Plan
from skipway.studies.rounds import Rounds
from skipway.tasks.task import Task
from skipway.training.machine import environment


class StudyRecord:
    """What a study is, how far it is, and what it chose.

    Args:
        study: where it is written.
        plan: of the study.
        pairs: whose cells it lists: those that were asked for so far.
        choices: tells of workers, threads and the like: what changes no number.
        command: the shell command that asked for it.
        device: where its nets train.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        pairs: Sequence[Rounds],
        choices: Callable[[], Json],
        *,
        command: str | None,
        device: str,
    ) -> None:
        self.status = "running"
        self._study, self._pairs, self._choices, self._began = study, pairs, choices, time.perf_counter()
        before = read_study(study) if os.path.lexists(study.path / STUDY) else {}
        same = before.get("config") == _as_json(plan.config)
        self._seconds_before = float(before.get("seconds", 0.0)) if same else 0.0
        config, data, task = plan.config, plan.data, plan.task
        self._fixed: Json = {
            "format": FORMAT,
            "name": study.path.name,
            "command": command,
            "config": config.to_dict(),
            "task": task.describe(),
            "data": {**data.describe(), "guessing": _guess(data, task)},
            "environment": environment(device),
            "started": before.get("started") if same else _now(),
        }

    def write(self, status: str, failures: Mapping[str, str], chosen: Iterable[Json] = ()) -> None:
        """Write it as it is now."""
        self.status = status
        self._study.write(
            {
                **self._fixed,
                "cells": [{"id": own, **cell.to_dict()} for pair in self._in_order() for cell, own in pair.ids.items()],
                "choices": self._choices(),
                "status": status,
                "chosen": list(chosen),
                "failures": dict(failures),
                "seconds": self._seconds_before + time.perf_counter() - self._began,
                "ended": None if status == "running" else _now(),
            }
        )

    def _in_order(self) -> list[Rounds]:
        """Those of a search for depths come as they end; people read them by gate and depth."""
        gates: list[str] = list(self._fixed["config"]["gates"])
        return sorted(self._pairs, key=lambda rounds: (gates.index(rounds.pair.gate), rounds.pair.depth))


def _guess(data: Data, task: Task) -> Json | None:
    """What the best constant answer gets, as study.json holds it."""
    guess = task.guess(data.targets(data.train))
    if guess is None:
        return None
    return {"loss": guess.loss} if task.metric is None else {"loss": guess.loss, task.metric.name: guess.metric}


def _as_json(config: StudyConfig) -> Json:
    content: Json = json.loads(json.dumps(config.to_dict()))
    return content


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
