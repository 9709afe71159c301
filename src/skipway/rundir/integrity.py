"""Whether runs and studies are whole: each file is what was written, is of its kind, and is in its own place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skipway.rundir.digests import why_other
from skipway.rundir.files import DamagedError, set_aside
from skipway.rundir.layout import CHECKPOINT, METRICS, PROBES, RUN, RUNS, STUDY, WEIGHTS, Json, home_of, run_id
from skipway.rundir.records import (
    DONE_METRICS,
    FINISHED,
    RESUMED_CHOICES,
    RUN_FIELDS,
    STUDY_FIELDS,
    WATCHED,
    WATCHED_FIELDS,
    problem,
)
from skipway.rundir.run import Run
from skipway.rundir.study import Study

FILES = (METRICS, PROBES, WEIGHTS)


def read_study(study: Study) -> Json:
    """The content of study.json, every field of it of its kind.

    Raises:
        DamagedError: if the file is damaged.
    """
    info = study.info()
    if wrong := problem(info, STUDY_FIELDS):
        raise DamagedError(study.path / STUDY, wrong)
    return info


def read_run(run: Run) -> Json:
    """The content of run.json of a run, finished or not, after all checks that read none of the files beside it.

    Raises:
        DamagedError: for the first thing that is damaged.
    """
    info = _read_record(run)
    for name in files_of(info) if info["status"] in FINISHED else ():
        if reason := why_other(run.path / name, info["files"][name], thorough=False):
            raise DamagedError(run.path / name, reason)
    return info


def files_of(info: Json) -> tuple[str, ...]:
    """The files that a finished run has beside its run.json: a watched one has weights only if that says so."""
    without = info.get("kind") == WATCHED and WEIGHTS not in info.get("files", {})
    return tuple(name for name in FILES if name != WEIGHTS or not without)


def check_cell(run: Run, info: Json, cell: Mapping[str, Any]) -> None:
    """Hold what study.json says of a run to what the run says of itself.

    Args:
        run: a run of a study.
        info: the content of its run.json, whose cell agrees with its identity, and that with its id.
        cell: of study.json: gate, depth, learning_rate and seed, and whatever else.

    Raises:
        DamagedError: if study.json has it for another cell.
    """
    if difference := _difference(cell, info["cell"]):
        raise DamagedError(home_of(run.path) / STUDY, f"it has for the run {run.id} {difference} in its run.json")


def run_folders(root: Path) -> Iterator[Path]:
    """The runs at or below a folder, whole or damaged, in order; nothing whose name begins with a dot."""
    for path, names in _walk(root):
        if not {RUN, *FILES}.isdisjoint([*names]):
            names.clear()
            yield path


def examine(root: Path) -> Iterator[Examined]:
    """Every study and every run at or below a folder, with every byte of them read; studies' runs belong to them."""
    for path, names in _walk(root):
        if STUDY in names:
            names.clear()
            yield _examine_study(Study(path))
        elif not {RUN, *FILES}.isdisjoint(names):
            names.clear()
            yield Examined(path, [_examine_run(Run(path))])


@dataclass(frozen=True)
class Part:
    """A run, or study.json, and how it stands."""

    path: Path
    state: Literal["whole", "unfinished", "damaged", "missing"]
    damage: Sequence[DamagedError] = ()

    def set_aside(self) -> Path:
        """Move it out of the way: of a run that can go on from its checkpoint the damaged file alone.

        Returns:
            The new place of what was moved.
        """
        goes_on = (self.path / CHECKPOINT).is_dir()
        return set_aside(self.damage[0].path if goes_on else self.path)


@dataclass(frozen=True)
class Examined:
    """A study or a single run, part by part."""

    path: Path
    parts: Sequence[Part]

    def of(self, state: str) -> list[Part]:
        """The parts that stand so."""
        return [part for part in self.parts if part.state == state]

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged and nothing is missing; what is not finished is no damage."""
        return not self.of("damaged") and not self.of("missing")


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders from `root` down, with the names in each; whoever clears those goes no deeper."""
    for path, folders, files in os.walk(root):
        names = sorted(name for name in [*folders, *files] if not name.startswith("."))
        yield Path(path), names
        folders[:] = sorted(set(folders) & set(names))


def _examine_study(study: Study) -> Examined:
    names = sorted(path.name for path in (study.path / RUNS).glob("[!.]*"))
    runs = [_examine_run(study.run(name)) for name in names]
    try:
        info = read_study(study)
        cells = {cell["id"]: cell for cell in info["cells"]}
        for part in runs:
            if part.state != "damaged" and part.path.name in cells:
                check_cell(Run(part.path), Run(part.path).info(), cells[part.path.name])
    except DamagedError as error:
        return Examined(study.path, [Part(study.path / STUDY, "damaged", [error]), *runs])
    absent: Literal["missing", "unfinished"] = "missing" if info["status"] == "done" else "unfinished"
    others = [Part(study.run(own).path, absent) for own in cells if not study.has(own)]
    return Examined(study.path, [Part(study.path / STUDY, "whole"), *others, *runs])


def _examine_run(run: Run) -> Part:
    try:
        info = _read_record(run)
    except DamagedError as error:
        return Part(run.path, "damaged", [error])
    if info["status"] not in FINISHED:
        return Part(run.path, "unfinished")
    reasons = {name: why_other(run.path / name, info["files"][name], thorough=True) for name in files_of(info)}
    damage = [DamagedError(run.path / name, reason) for name, reason in reasons.items() if reason]
    return Part(run.path, "damaged" if damage else "whole", damage)


def _read_record(run: Run) -> Json:
    info = run.info()
    fields = WATCHED_FIELDS if info.get("kind") == WATCHED else RUN_FIELDS
    wrong = problem(info, fields) or _misplaced(run, info) or _contradiction(info)
    if wrong:
        raise DamagedError(run.path / RUN, wrong)
    return info


def _misplaced(run: Run, info: Json) -> str | None:
    """What is wrong with a run's name: it follows from its identity, and in a study it is its folder's name."""
    if (own := run_id(info["identity"])) != info["id"]:
        return f"it names the run {info['id']}, and its identity is that of {own}"
    if home_of(run.path) != run.path and run.path.name != info["id"]:
        return f"it is that of the run {info['id']}"
    return None


def _contradiction(info: Json) -> str | None:
    """Where run.json contradicts itself."""
    net = info["identity"].get("net")
    told = {**info["identity"], **(net if isinstance(net, dict) else {})}
    if difference := _difference(info["cell"], told):
        return f"its cell has {difference} in its identity"
    watched = info.get("kind") == WATCHED  # it cannot be gone on with, and its losses were told or not
    if info["status"] not in FINISHED:
        return None if watched else problem(info["choices"], RESUMED_CHOICES, "choices")
    if missing := [name for name in files_of(info) if name not in info.get("files", {})]:
        return f"it says {info['status']}, and has no digest of {missing[0]}"
    done = info["status"] == "done" and not watched
    return problem(info["metrics"], DONE_METRICS, "metrics") if done else None


def _difference(cell: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """The first field in which they differ: ``the depth 4, which is 3``."""
    for key, value in cell.items():
        if key in told and told[key] != value:
            return f"the {key.replace('_', ' ')} {value}, which is {told[key]}"
    return None
