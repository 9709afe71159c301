"""A study on disk: study.json, its runs, and what lies beside them while they train."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipway.rundir.files import clear_sides, read_sealed, refuse_links, write_sealed
from skipway.rundir.layout import LOCK, RUN, RUNS, STUDY, Json
from skipway.rundir.run import Run, RunContent, copy_run, write_run

_STAGING, _READY, _PROGRESS, _CHECKPOINTS = ".staging-", ".ready-", ".progress", ".checkpoints"


_LOCKS = ".locks"


@dataclass(frozen=True)
class Study:
    """A study on disk: study.json and its runs. It stands for its path wherever one is taken.

    Args:
        path: its directory; a text will do.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Study:
        """Open an existing study directory.

        Raises:
            FileNotFoundError: if there is no study.json; the message says what a study directory is.
        """
        folder = Path(path)
        if not os.path.lexists(folder / STUDY):
            raise FileNotFoundError(
                f"{folder} holds no {STUDY}: give a study's directory, such as `skipway study` prints at its end."
            )
        return cls(folder)

    def info(self) -> Json:
        """The content of study.json.

        Raises:
            DamagedError: if it is not what was written.
        """
        return read_sealed(self.path / STUDY)

    def write(self, info: Mapping[str, Any]) -> None:
        """Write study.json."""
        write_sealed(self.path / STUDY, info)

    def has(self, identifier: str) -> bool:
        """Whether a run of this name is there: whole, or damaged."""
        return _holds_something(self.path / RUNS / identifier)

    def run(self, identifier: str) -> Run:
        """The run of this name."""
        return Run(self.path / RUNS / identifier)

    def runs(self) -> Iterator[Run]:
        """All finished runs, ordered by name; more than the present study.json may ask for."""
        for folder in sorted((self.path / RUNS).glob("[!.]*")):
            if (folder / RUN).is_file():
                yield Run(folder)

    def progress_path(self, name: str) -> Path:
        """Where a stack in training says how far it is; of no use to anyone after."""
        return self.path / _PROGRESS / f"{name}.json"

    def checkpoint_path(self, name: str) -> Path:
        """Where a stack in training keeps what it needs to go on after a kill."""
        return self.path / _CHECKPOINTS / name

    @property
    def lock(self) -> Path:
        """Held by the one process that runs the study."""
        return self.path / LOCK

    @property
    def locks(self) -> Path:
        """The folder of the stacks' locks."""
        return self.path / _LOCKS

    def stack_lock(self, name: str) -> Path:
        """Held by the one process that trains this stack, and writes its checkpoints and runs."""
        return self.locks / f"{name}.lock"

    def recover(self) -> None:
        """Finish what a killed process had committed, and clear away what it had not; nobody may be writing.

        Raises:
            ValueError: if something in the directory is a symbolic link.
        """
        refuse_links(self.path)
        root = self.path / RUNS
        root.mkdir(parents=True, exist_ok=True)
        for ready in root.glob(_READY + "*"):
            _release(ready, root)
        for staging in root.glob(_STAGING + "*"):
            shutil.rmtree(staging)
        for folder in (self.path, *root.iterdir()):
            clear_sides(folder)
        self.leave()

    def leave(self) -> None:
        """Clear away what is of use only while stacks train; checkpoints of unfinished ones stay."""
        shutil.rmtree(self.path / _PROGRESS, ignore_errors=True)
        shutil.rmtree(self.path / _LOCKS, ignore_errors=True)
        with suppress(OSError):  # it is not there, or not empty
            (self.path / _CHECKPOINTS).rmdir()

    def batch(self, name: str) -> Batch:
        """A place to write runs that are computed together; `Batch.commit` makes all of them count at once."""
        return Batch(self.path / RUNS, name)


class Batch:
    """Runs written together: none of them counts before `commit`, all of them after its one rename."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._name = root, name
        self._staging = root / f"{_STAGING}{name}"
        if self._staging.exists():
            shutil.rmtree(self._staging)
        self._staging.mkdir(parents=True)

    def add(self, content: RunContent) -> None:
        """Write one run."""
        write_run(self._staging / content.id, content)

    def copy(self, run: Run) -> None:
        """Take over a finished run from another place."""
        copy_run(run, self._staging / run.id)

    def commit(self) -> None:
        """Make every run in the batch count: one rename decides; `Study.recover` can finish the moves after it."""
        ready = self._root / f"{_READY}{self._name}"
        self._staging.rename(ready)
        _release(ready, self._root)


def _release(ready: Path, root: Path) -> None:
    for folder in ready.iterdir():
        # A run of the same name holds the same numbers: the first one stays.
        if not _holds_something(root / folder.name):
            folder.rename(root / folder.name)
    with suppress(FileNotFoundError):
        shutil.rmtree(ready)


def _holds_something(folder: Path) -> bool:
    """Whether there is anything but an empty folder. A run's folder appears with all its files, or not at all."""
    if folder.is_symlink() or not folder.is_dir():
        return os.path.lexists(folder)
    return any(folder.iterdir())
