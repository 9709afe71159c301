"""What one training leaves in its directory, from its start to its end, whoever takes the steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from skipway.rundir.files import write_sealed
from skipway.rundir.layout import FORMAT, RUN, Json
from skipway.rundir.records import FINISHED
from skipway.rundir.run import RunContent, write_metrics, write_probes, write_run

Row = dict[str, Any]

_MOST_TIME = (
    0.02  # of a training may go into writing its curve: a long one's files are large, and written anew each time
)


class Recorder:
    """run.json through a run's life, its curve, and its signals as far as they are known.

    Our own loop makes its means over replicas and processes, and gives finished rows to `interval`. For somebody else's
    loop `step` takes what it tells, and the interval's row holds the means. A killed process leaves what was written
    last, with the status "running".

    Args:
        folder: the run's directory.
        identifier: the hash of its identity.
        about: what run.json holds beside status, reason, metrics and times.
        started: when it began, where that was before.

    Attributes:
        rows: the content of metrics.jsonl.
    """

    def __init__(self, folder: Path, identifier: str, about: Json, *, started: str | None = None) -> None:
        self.folder, self.id, self.about = folder, identifier, about
        self.rows: list[Row] = []
        self._started = started or now()
        self._told: dict[str, tuple[Tensor | float, int]] = {}
        self._written, self._cost = 0.0, 0.0

    def start(self) -> None:
        """Say that it runs."""
        self._write("running", None, {}, None)

    def step(self, values: Mapping[str, Tensor | float]) -> None:
        """Take numbers of a step, or of a part of its batch; tensors stay on their device, so that nothing waits."""
        for name, value in values.items():
            total, count = self._told.get(name, (0.0, 0))
            self._told[name] = total + (value.detach() if isinstance(value, Tensor) else value), count + 1

    def interval(self, row: Row, probes: Callable[[], Sequence[Row]] = tuple) -> None:
        """End an interval.

        Args:
            row: the step at which it ends, and what else its row holds beside the means of what `step` took.
            probes: gives the content of probes.parquet so far; asked where it is written.
        """
        self.rows.append(row | {name: float(total) / count for name, (total, count) in self._told.items()})
        self._told.clear()
        began = time.perf_counter()
        if (began - self._written) * _MOST_TIME >= self._cost:
            self._write_rows(probes())
            self._written = time.perf_counter()
            self._cost = self._written - began

    def end(
        self,
        status: str,
        reason: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        *,
        probes: Sequence[Row] = (),
        weights: bytes | None = None,
    ) -> None:
        """Write all that the run leaves.

        Args:
            status: one of `skipway.rundir.records`' words; with "done" and "diverged" the files get their digests.
            reason: why it is not "done".
            metrics: the final ones.
            probes: the content of probes.parquet.
            weights: of a safetensors file.
        """
        if status not in FINISHED:
            self._write_rows(probes)
            self._write(status, reason, metrics or {}, now())
            return
        info = self._info(status, reason, metrics or {}, now())
        write_run(self.folder, RunContent(self.id, info, self.rows, probes, weights))

    def _write_rows(self, probes: Sequence[Row]) -> None:
        if self.rows:  # else what lies there is that of a training that was begun before
            write_metrics(self.folder, self.rows)
        if probes:
            write_probes(self.folder, probes)

    def _write(self, status: str, reason: str | None, metrics: Mapping[str, Any], ended: str | None) -> None:
        write_sealed(self.folder / RUN, {"format": FORMAT, "id": self.id, **self._info(status, reason, metrics, ended)})

    def _info(self, status: str, reason: str | None, metrics: Mapping[str, Any], ended: str | None) -> Json:
        changing = {"status": status, "reason": reason, "metrics": dict(metrics)}
        return {**changing, **self.about, "started": self._started, "ended": ended}


def now() -> str:
    """The time, as run.json holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
