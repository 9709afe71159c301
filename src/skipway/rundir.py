"""The run directory: what one training leaves behind, and all that the half that shows ever reads.

::

    <study>/study.json           config, the cells it asks for, choices made, chosen learning rates, status
    <study>/runs/<id>/           one directory a cell:
        run.json                 identity, config, environment, choices, status, reason, final metrics, digests
        metrics.jsonl            one row an interval
        probes.parquet           one row a layer and moment ("start", "end")
        model.safetensors        weights; the metadata rebuilds the net, its preprocessing and its class names

Everything is written to a side place first and renamed, so a reader never sees half a file and a killed writer leaves
nothing that counts. Several runs that were computed together are committed by one rename (`Batch`), so that a stack of
replicas is found whole or not at all.

run.json and study.json hold a digest of their own content; run.json holds those of the files beside it. Whoever reads a
file compares: JSON and whatever is read as a whole with its digest, the others with their size. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipway.digests import fingerprint, json_digest, why_no_file, why_other
from skipway.records import METRIC_ROW, problem

FORMAT = 2
RUNS, STUDY, RUN, METRICS, PROBES, WEIGHTS = (
    "runs",
    "study.json",
    "run.json",
    "metrics.jsonl",
    "probes.parquet",
    "model.safetensors",
)
CHECKPOINT, LOCK = "checkpoint", ".lock"
ASIDE = ".damaged"
_STAGING, _READY, _PROGRESS, _CHECKPOINTS = ".staging-", ".ready-", ".progress", ".checkpoints"
_LOCKS = ".locks"
_MOST_JSON_BYTES = 2**28

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


def clear_sides(folder: Path) -> None:
    """Delete what killed writers left beside the files of a folder that they were about to write."""
    for side in folder.glob(".*.*"):
        writer = side.suffix[1:]
        # One of this process's own number is that of a namesake before it: here nothing is being written.
        if writer.isdecimal() and (int(writer) == os.getpid() or not _lives(int(writer))):
            side.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _flush_folder(folder: Path) -> None:
    """Let a renamed file outlive a loss of power, where folders can be opened (not on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DamagedError(ValueError):
    """A file of a run or a study does not hold what was written there.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        home = shlex.quote(str(home_of(self.path.parent)))
        return (
            f"{self.path} is damaged: {self.reason}. `skipway check {home} --mend` sets it aside; started again, the "
            "command that wrote it makes it anew and keeps all that is whole."
        )


def home_of(folder: Path) -> Path:
    """What to check and to start again where a run or a study is damaged: a run's study, or else itself."""
    study = folder.parent.parent
    return study if folder.parent.name == RUNS and os.path.lexists(study / STUDY) else folder


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        ValueError: if the file holds something else; the message names the file.
        OSError: if it cannot be read.
    """
    size = path.stat().st_size
    if size > _MOST_JSON_BYTES:
        raise ValueError(
            f"{path} is not readable as JSON: it has {size:,} bytes, and up to {_MOST_JSON_BYTES:,} are read."
        )
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not readable as JSON: {reason}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a JSON object.")
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> Json:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return content


def _no_number(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself, as `write_json` does."""
    plain = json.loads(json.dumps(_finite(content), allow_nan=False))  # as it will be read: keys are text, lists lists
    write_json(path, {**plain, "digest": json_digest(plain)})


def read_sealed(path: Path) -> Json:
    """Read what `write_sealed` wrote, without its digest.

    Raises:
        DamagedError: if it is not what was written, or was written in another format than `FORMAT`.
    """
    if reason := why_no_file(path):
        raise DamagedError(path, reason)
    try:
        content = read_json(path)
        digest = content.pop("digest", None)
        same = digest == json_digest(content)
    except ValueError as error:
        raise DamagedError(path, str(error).removeprefix(f"{path} ").rstrip(".")) from error
    except OSError as error:
        raise DamagedError(path, f"it cannot be read: {error.strerror}") from error
    if content.get("format", FORMAT) != FORMAT:
        raise DamagedError(path, f"its format is {content['format']!r}, and this version of Skipway reads {FORMAT}")
    if not same:
        found = "it has none" if digest is None else "it has another"
        raise DamagedError(path, f"its content is not what was written: that has a digest, and {found}")
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
    files = {WEIGHTS: content.weights, METRICS: _lines(content.metrics), PROBES: _parquet(content.probes)}
    for name, written in files.items():
        write_bytes(folder / name, written)
    fingerprints = {name: fingerprint(written) for name, written in files.items()}
    write_sealed(folder / RUN, {"format": FORMAT, "id": content.id, **content.info, "files": fingerprints})


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl, one row a line."""
    write_bytes(folder / METRICS, _lines(rows))


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Run:
    """A finished run on disk, read lazily."""

    path: Path

    @property
    def id(self) -> str:
        """The run's name: the hash of what decides its numbers."""
        return self.path.name

    def info(self) -> Json:
        """The content of run.json.

        Raises:
            DamagedError: if it is not what was written.
        """
        return read_sealed(self.path / RUN)

    def metrics(self) -> list[Json]:
        """The rows of metrics.jsonl, in order of steps.

        Raises:
            DamagedError: if they are not what was written.
        """
        path = self.checked(METRICS)
        try:
            rows = [json.loads(line, parse_constant=_no_number) for line in path.read_bytes().splitlines()]
        except (ValueError, RecursionError) as error:
            raise DamagedError(path, f"a line of it is not readable as JSON: {error}") from error
        if wrong := problem(rows, [METRIC_ROW], "row"):
            raise DamagedError(path, wrong)
        return rows

    def probes(self) -> list[Json]:
        """The rows of probes.parquet: `PROBE_COLUMNS`.

        Raises:
            DamagedError: if they are not what was written.
        """
        import pyarrow.parquet as pq

        path = self.checked(PROBES)
        try:
            rows: list[Json] = pq.read_table(path, columns=list(PROBE_COLUMNS)).to_pylist()
        except (ValueError, OSError) as error:  # Arrow's own errors are both
            raise DamagedError(path, f"it is not readable as Parquet: {error}") from error
        return rows

    @property
    def weights(self) -> Path:
        """Where the weights lie."""
        return self.path / WEIGHTS

    def checked(self, name: str) -> Path:
        """Where a file of the run lies, all of its content compared with its digest; unfinished runs have none.

        Raises:
            DamagedError: if it is not what was written.
        """
        path = self.path / name
        written = self.info().get("files", {}).get(name)
        reason = why_other(path, written, thorough=True) if written else why_no_file(path)
        if reason:
            raise DamagedError(path, reason)
        return path

    def update_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add final metrics to run.json, atomically."""
        info = self.info()
        info["metrics"] = {**info["metrics"], **metrics}
        write_sealed(self.path / RUN, info)


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


def set_aside(path: Path) -> Path:
    """Move a damaged file or directory into `ASIDE` beside it, out of everybody's way. Returns its new place."""
    aside = path.parent / ASIDE
    if aside.is_symlink():
        raise ValueError(f"{aside} is a link to another place: nothing is moved there. Remove the link.")
    aside.mkdir(exist_ok=True)
    place, count = aside / path.name, 1
    while os.path.lexists(place):
        count += 1
        place = aside / f"{path.name}-{count}"
    return path.rename(place)


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
