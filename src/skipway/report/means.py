"""A number over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mean:
    """A measure of several seeds, one value each."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean | None:
        """The values that are there, or None if none is."""
        present = tuple(value for value in values if value is not None)
        return cls(present) if present else None

    @property
    def value(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator); None for a single seed."""
        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def low(self) -> float:
        """The lowest seed."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest seed."""
        return max(self.values)
