"""Bounds on numbers that people give, told before memory or time is taken: beyond them is a slip of the hand.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """From a least number to a most, both valid, and why there is a most."""

    least: float
    most: float
    why: str

    def problems(self, name: str, value: float | None) -> list[str]:
        """A sentence if a number is out of bounds; none for None."""
        if value is None or self.least <= value <= self.most:
            return []
        if value > self.most:
            return [f"{name} must be {self.most:,} or less, since {self.why}; it is {_short(value)}."]
        return [f"{name} must be {self.least:,} or more; it is {_short(value)}."]


DEPTH = Bound(0, 10_000, "no deeper net was ever trained (Xiao et al. 2018, arXiv 1806.05393)")
WIDTH = Bound(1, 65_536, "one dense layer of that width has 16 GiB of weights")
PIXELS = Bound(1, 4_096, "a batch of larger images fits nowhere")
SEED = Bound(0, 2**63 - 1, "torch's generators and columns of integers have 64 bits")
STEPS = Bound(1, 10**9, "more would take decades")
WARMUP_STEPS = Bound(0, 10**9, "more would take decades")
EPOCHS = Bound(0, 10**6, "more would take decades")
TRAININGS = Bound(1, 100_000, "each has a directory of its own, and a report reads all of them")


def workers(cores: int) -> Bound:
    """Processes that train at the same time."""
    return Bound(1, 8 * cores, "more than 8 a core only wait for each other")


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) < 1e30 else f"{value:.3g}"
