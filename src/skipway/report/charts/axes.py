"""A logarithmic axis with few, round ticks and, above its values, a place for what has none because it diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

ROW = 0.08
"""Height of one row of crosses, as a share of the values' height."""
_FINE = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)


class LogAxis:
    """A y axis for several layers of one chart.

    Args:
        title: What is measured.
        values: All positive values to be shown.
        diverged: Keys of what has no value; each gets a row above the values, the last one highest.
    """

    def __init__(self, title: str, values: Sequence[float], diverged: Sequence[Any] = ()) -> None:
        self._title = title
        low, high = _around(values) if values else (0.1, 1.0)
        self._ticks = ticks(low, high)
        row = (high / low) ** ROW
        self.above = {key: high * row ** (place + 0.7) for place, key in enumerate(diverged)}
        """Height of each diverged key, in units of the axis."""
        self._domain = [low, max(self.above.values(), default=high) * (row**0.5 if diverged else 1)]

    def y(self, field: str) -> alt.Y:
        """The encoding of a quantitative field on this axis."""
        marks, expression = list(self._ticks), "format(datum.value, '~g')"
        if self.above:
            middle = math.exp(sum(map(math.log, self.above.values())) / len(self.above))
            marks.append(middle)
            expression = f"datum.value > {self._ticks[-1] * 1.0001!r} ? 'diverged' : {expression}"
        return alt.Y(
            f"{field}:Q",
            title=self._title,
            scale=alt.Scale(type="log", domain=self._domain, nice=False),
            axis=alt.Axis(values=marks, labelExpr=expression),
        )


def _around(values: Sequence[float]) -> tuple[float, float]:
    """The values' range with a margin: a tenth of its height, at most 30 % of a value."""
    margin = min(1.3, max(1.02, (max(values) / min(values)) ** 0.1))
    return min(values) / margin, max(values) * margin


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two positive ones, at most `most`: several of each decade, one, or one every few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in (_FINE, (1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        inside = [value for power in powers for digit in digits if low <= (value := float(f"{digit}e{power}")) <= high]
        if len(inside) <= most:
            return inside or [float(f"{math.sqrt(low * high):.1e}")]
    step = math.ceil(len(powers) / most)
    return [value for power in powers if power % step == 0 and low <= (value := float(f"1e{power}")) <= high]
