"""Reading a study's files, each held to its digest, to its kinds of fields and to its place.

Each raises `skipway.rundir.DamagedError`, whose message names the file, the reason and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipway.report.printable import printable_content
from skipway.rundir.integrity import check_cell, read_run, read_study
from skipway.rundir.layout import Json
from skipway.rundir.run import Run
from skipway.rundir.study import Study

run_metrics, run_probes = Run.metrics, Run.probes


def study_info(study: Study) -> Json:
    """The content of study.json, its texts printable."""
    shown: Json = printable_content(read_study(study))
    return shown


def run_info(run: Run, cell: Mapping[str, Any] | None = None) -> Json:
    """The content of run.json, its texts printable; of a study's run, with the cell of study.json, which must agree."""
    info: Json = printable_content(read_run(run))
    check_cell(run, info, cell or {})
    return info
