"""The moments of a training at which its signals were seen: few enough to keep, however long it is."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

_MOST = 256


class Moments:
    """Signals by step. Where there are too many, every second moment is left out, and they then come half as often.

    Args:
        every: steps between two moments, at first.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._rows: dict[int, list[Row]] = {}

    def is_due(self, step: int) -> bool:
        """Whether the pass after so many steps is one to look at: the first is, and then each `every`-th."""
        return step % self.every == 0

    def add(self, step: int, rows: list[Row]) -> None:
        """Keep what was seen in the pass after so many steps."""
        self._rows[step] = rows
        if len(self._rows) > _MOST:
            self.every *= 2
            self._rows = {step: rows for step, rows in self._rows.items() if self.is_due(step)}

    def rows(self, *, ended: bool = False) -> list[Row]:
        """The content of probes.parquet: the first moment is the "start"; the last, when all has ended, the "end"."""
        steps = list(self._rows)
        names = dict.fromkeys(steps, "step")
        if ended and steps:
            names[steps[-1]] = "end"
        if steps:
            names[steps[0]] = "start"
        return [{"moment": names[step], "step": step, **row} for step in steps for row in self._rows[step]]
