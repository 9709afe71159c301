"""Which share of the work is whose, where several processes train one net."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One of `count` contiguous shares; shares differ in size by one at most, and together they are the whole."""

    index: int = 0
    """Which one, from 0: the process's rank."""
    count: int = 1
    """How many there are: the number of processes."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"part {self.index} of {self.count}: parts are counted from 0, and there is one or more. "
                f"0 to {max(self.count, 1) - 1} are valid."
            )

    def of(self, size: int) -> slice:
        """Its share of `size` things in order; empty for some parts where there are fewer things than parts."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)


WHOLE = Part()
"""All of it: the part of a process alone."""
