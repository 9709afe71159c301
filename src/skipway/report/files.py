"""Reading a study's files, each held to its digest, to its kinds of fields and to its place.

Each raises `skipway.rundir.DamagedError`, whose message names the file, the reason and the remedy.
"""

from __future__ import annotations

from skipway.integrity import read_run as run_info
from skipway.integrity import read_study as study_info
from skipway.rundir import Run

run_metrics, run_probes = Run.metrics, Run.probes

__all__ = ["run_info", "run_metrics", "run_probes", "study_info"]
