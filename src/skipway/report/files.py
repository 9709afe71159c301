"""Reading a study's files, each held to its digest, to its kinds of fields and to its place.

Each raises `skipway.rundir.DamagedError`, whose message names the file, the reason and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipway.integrity import check_cell, read_run, read_study
from skipway.rundir import Json, Run, Study

run_metrics, run_probes = Run.metrics, Run.probes


def study_info(study: Study) -> Json:
    """The content of study.json."""
    return read_study(study)


def run_info(run: Run, cell: Mapping[str, Any] | None = None) -> Json:
    """The content of run.json; of a study's run, with the cell that study.json has it for, which must agree."""
    info = read_run(run)
    check_cell(run, info, cell or {})
    return info
