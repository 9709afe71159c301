"""The run directory: what one training leaves behind, and all that the half that shows ever reads.

::

    <study>/study.json           config, the cells it asks for, choices made, chosen learning rates, status
    <study>/runs/<id>/           one directory a cell:
        run.json                 identity, config, environment, choices, status, reason, final metrics
        metrics.jsonl            one row an interval
        probes.parquet           one row a layer and moment ("start", "end")
        model.safetensors        weights; the metadata rebuilds the net, its preprocessing and its class names

Everything is written to a side place first and renamed, so a reader never sees half a file and a killed writer leaves
nothing that counts. Several runs that were computed together are committed by one rename (`Batch`), so that a stack of
replicas is found whole or not at all. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
RUNS, STUDY, RUN, METRICS, PROBES, WEIGHTS = (
    "runs",
    "study.json",
    "run.json",
    "metrics.jsonl",
    "probes.parquet",
    "model.safetensors",
)
CHECKPOINT = "checkpoint"
_STAGING, _READY, _PROGRESS, _CHECKPOINTS = ".staging-", ".ready-", ".progress", ".checkpoints"

Json = dict[str, Any]

PROBE_COLUMNS: dict[str, str] = {
    "moment": "string",  # "start" or "end" of the training
    "step": "int64",
    "layer": "int64",  # 0 is the stem, then the blocks in order, then the head
    "name": "string",  # the module's name in the net
    "kind": "string",  # "stem", "block" or "head"
    "activation_std": "float64",  # standard deviation of the layer's output over a batch and its units
    "gradient_norm": "float64",  # norm of the loss's gradient with respect to the layer's output, over the batch
    "weight_gradient_norm": "float64",  # the same with respect to the layer's own parameters
    "transform_mean": "float64",  # mean of T over a batch and its units; empty where there is no gate
    "carry_mean": "float64",  # mean of C
}


def run_id(identity: Mapping[str, Any]) -> str:
    """The name of a run: 16 hexadecimal digits that hash what decides its numbers, and nothing else."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; a reader, or a kill at any moment, sees the old file or the new one. NaN and infinities: null."""
    write_bytes(path, (json.dumps(_finite(content), indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: beside its place, flushed to the disk, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        side.unlink(missing_ok=True)
        with side.open("xb") as file:  # never through a link that lies there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        side.replace(path)
        _flush_folder(path.parent)
    finally:
        side.unlink(missing_ok=True)


def refuse_links(folder: Path) -> None:
    """Refuse a study or a run that holds a symbolic link, before anything is written into it, moved or cleared.

    The directory itself may be reached by a link, since whoever named it chose that.

    Raises:
        ValueError: if there is one; the message names it.
    """
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            link = os.path.join(path, name)  # noqa: PTH118  (a Path each would take a second of a large study)
            if os.path.islink(link):  # noqa: PTH114
                raise ValueError(
                    f"{link} is a symbolic link. In a directory that is written to none is followed: put what it "
                    "leads to in its place, or delete it. The directory as a whole may lie elsewhere."
                )


def _flush_folder(folder: Path) -> None:
    """Let a renamed file outlive a loss of power, where folders can be opened (not on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        ValueError: if the file holds something else; the message names the file.
    """
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a JSON object.")
    return content


@dataclass(frozen=True)
class RunContent:
    """All that a finished run's directory holds; it may travel between machines."""

    id: str
    info: Mapping[str, Any]  # of run.json
    metrics: Sequence[Mapping[str, Any]]
    probes: Sequence[Mapping[str, Any]]
    weights: bytes  # of a safetensors file


def write_run(folder: Path, content: RunContent) -> None:
    """Write a run's files; run.json comes last, and says that the others are there."""
    write_bytes(folder / WEIGHTS, content.weights)
    write_metrics(folder, content.metrics)
    write_bytes(folder / PROBES, _parquet(content.probes))
    write_json(folder / RUN, {"format": FORMAT, "id": content.id, **content.info})


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl, one row a line."""
    lines = (json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows)
    write_bytes(folder / METRICS, "".join(lines).encode())


@dataclass(frozen=True)
class Run:
    """A finished run on disk, read lazily."""

    path: Path

    @property
    def id(self) -> str:
        """The run's name: the hash of what decides its numbers."""
        return self.path.name

    def info(self) -> Json:
        """The content of run.json."""
        return read_json(self.path / RUN)

    def metrics(self) -> list[Json]:
        """The rows of metrics.jsonl, in order of steps."""
        with (self.path / METRICS).open() as lines:
            return [json.loads(line) for line in lines]

    def probes(self) -> list[Json]:
        """The rows of probes.parquet: `PROBE_COLUMNS`."""
        import pyarrow.parquet as pq

        rows: list[Json] = pq.read_table(self.path / PROBES).to_pylist()
        return rows

    @property
    def weights(self) -> Path:
        """Where the weights lie."""
        return self.path / WEIGHTS

    def update_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add final metrics to run.json, atomically."""
        info = self.info()
        info["metrics"] = {**info["metrics"], **metrics}
        write_json(self.path / RUN, info)


@dataclass(frozen=True)
class Study:
    """A study on disk: study.json and its runs."""

    path: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Study:
        """Open an existing study directory.

        Raises:
            FileNotFoundError: if there is no study.json; the message says what a study directory is.
        """
        folder = Path(path)
        if not (folder / STUDY).is_file():
            raise FileNotFoundError(
                f"{folder} holds no {STUDY}: give a study's directory, such as `skipway study` prints at its end."
            )
        return cls(folder)

    def info(self) -> Json:
        """The content of study.json."""
        return read_json(self.path / STUDY)

    def write(self, info: Mapping[str, Any]) -> None:
        """Write study.json."""
        write_json(self.path / STUDY, info)

    def has(self, identifier: str) -> bool:
        """Whether a run of this name is finished."""
        return (self.path / RUNS / identifier / RUN).is_file()

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

    def recover(self) -> None:
        """Finish what a killed process had committed, and clear away what it had not.

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
        shutil.rmtree(self.path / _PROGRESS, ignore_errors=True)

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

    def commit(self) -> None:
        """Make every run in the batch count: one rename decides; `Study.recover` can finish the moves after it."""
        ready = self._root / f"{_READY}{self._name}"
        self._staging.rename(ready)
        _release(ready, self._root)


def _release(ready: Path, root: Path) -> None:
    for folder in ready.iterdir():
        # A run of the same name holds the same numbers: the first one stays.
        if not (root / folder.name).exists():
            folder.rename(root / folder.name)
    with suppress(FileNotFoundError):
        shutil.rmtree(ready)


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in PROBE_COLUMNS.items()])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite becomes null; status and reason say why it was not."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_finite(item) for item in value]
    return value
