"""One run on disk: its files, written together, and read one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipway.rundir.digests import fingerprint, why_no_file, why_other
from skipway.rundir.files import DamagedError, finite, no_number, read_sealed, write_bytes, write_sealed
from skipway.rundir.layout import FORMAT, METRICS, PROBE_COLUMNS, PROBES, RUN, WEIGHTS, Json
from skipway.rundir.records import FINISHED, METRIC_ROW, problem


@dataclass(frozen=True)
class RunContent:
    """All that a finished run's directory holds; it may travel between machines."""

    id: str
    info: Mapping[str, Any]  # of run.json
    metrics: Sequence[Mapping[str, Any]]
    probes: Sequence[Mapping[str, Any]]
    weights: bytes | None  # of a safetensors file; a watched run may have none


def write_run(folder: Path, content: RunContent) -> None:
    """Write a run's files; run.json comes last, and says that the others are there."""
    files = {METRICS: _lines(content.metrics), PROBES: _parquet(content.probes)}
    if content.weights is not None:
        files[WEIGHTS] = content.weights
    for name, written in files.items():
        write_bytes(folder / name, written)
    fingerprints = {name: fingerprint(written) for name, written in files.items()}
    write_sealed(folder / RUN, {"format": FORMAT, "id": content.id, **content.info, "files": fingerprints})


def copy_run(run: Run, folder: Path) -> None:
    """Copy a finished run's files; run.json comes last, and says that the others are there."""
    for name in (METRICS, PROBES, WEIGHTS, RUN):
        write_bytes(folder / name, (run.path / name).read_bytes())


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl, one row a line."""
    write_bytes(folder / METRICS, _lines(rows))


def write_probes(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write probes.parquet: `PROBE_COLUMNS`."""
    write_bytes(folder / PROBES, _parquet(rows))


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(finite(row), allow_nan=False) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Run:
    """A finished run on disk, read lazily. It stands for its path wherever one is taken.

    Args:
        path: its directory; a text will do.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        return str(self.path)

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
        """The rows of metrics.jsonl, in order of steps; none of a run that has not ended its first interval.

        Raises:
            DamagedError: if they are not what was written.
        """
        if self._has_not_come_to(METRICS):
            return []
        path = self.checked(METRICS)
        try:
            rows = [json.loads(line, parse_constant=no_number) for line in path.read_bytes().splitlines()]
        except (ValueError, RecursionError) as error:
            raise DamagedError(path, f"a line of it is not readable as JSON: {error}") from error
        if wrong := problem(rows, [METRIC_ROW], "row"):
            raise DamagedError(path, wrong)
        return rows

    def probes(self) -> list[Json]:
        """The rows of probes.parquet: `PROBE_COLUMNS`; none of a run that has not come to write them.

        Raises:
            DamagedError: if they are not what was written.
        """
        import pyarrow.parquet as pq

        if self._has_not_come_to(PROBES):
            return []
        path = self.checked(PROBES)
        try:
            rows: list[Json] = pq.read_table(path, columns=list(PROBE_COLUMNS)).to_pylist()
        except (ValueError, OSError) as error:  # Arrow's own errors are both
            raise DamagedError(path, f"it is not readable as Parquet: {error}") from error
        return rows

    def _has_not_come_to(self, name: str) -> bool:
        """Whether a file is missing because the run is not finished."""
        return not os.path.lexists(self.path / name) and self.info().get("status") not in FINISHED

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


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in PROBE_COLUMNS.items()])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
