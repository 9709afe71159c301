"""Reading a study's files, with the way out where somebody or something has damaged one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skipway.report.printable import printable_content
from skipway.rundir import METRICS, PROBES, RUN, STUDY, Json, Run, Study


def study_info(study: Study) -> Json:
    """The content of study.json, its texts printable.

    Raises:
        ValueError: if it is damaged.
    """
    with _mendable(study.path / STUDY, "delete that file"):
        return _with(study.info(), "cells")


def run_info(run: Run) -> Json:
    """The content of run.json, its texts printable.

    Raises:
        ValueError: if it is damaged; the message says what to do.
    """
    with _mendable(run.path / RUN):
        return _with(run.info(), "cell", "metrics", "net", "status")


def run_metrics(run: Run) -> list[Json]:
    """The rows of metrics.jsonl.

    Raises:
        ValueError: if they are damaged.
    """
    with _mendable(run.path / METRICS):
        return run.metrics()


def run_probes(run: Run) -> list[Json]:
    """The rows of probes.parquet.

    Raises:
        ValueError: if they are damaged.
    """
    with _mendable(run.path / PROBES):
        return run.probes()


@contextmanager
def _mendable(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn an error in reading a file into one that names it and says how to mend the study."""
    try:
        yield
    except (ValueError, OSError) as error:  # JSON's and Arrow's own errors are ValueErrors
        reason = str(error).removeprefix(f"{path} ").rstrip(".")
        remedy = remedy or f"delete that run's directory, {path.parent},"
        raise ValueError(
            f"{path} is damaged: {reason}. To mend the study, {remedy} and start the study again; it goes on with all "
            "runs that are whole."
        ) from error


def _with(content: Json, *keys: str) -> Json:
    """The content, to be shown, where it holds these keys."""
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"it holds no {' and no '.join(map(repr, missing))}")
    shown: Json = printable_content(content)
    return shown
