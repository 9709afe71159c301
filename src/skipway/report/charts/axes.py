"""A y axis with few, round ticks and, above its values, a place for what has none because it diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

ROW = 0.08
"""Height of one row of crosses, as a share of the values' height."""
_FINE = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)


class ValueAxis:
    """A y axis for several layers of one chart: logarithmic, but for values among which are negative ones.

    Args:
        title: What is measured.
        values: All values to be shown.
        diverged: Keys of what has no value; each gets a row above the values, the last one highest.
    """

    def __init__(self, title: str, values: Sequence[float], diverged: Sequence[Any] = ()) -> None:
        self._title = title
        self._type: Literal["log", "linear"] = "log" if min(values, default=1.0) > 0 else "linear"
        forward, back = (math.log, math.exp) if self._type == "log" else (float, float)
        low, high = _around(values, self._type) if values else (0.1, 1.0)
        self._ticks = ticks(low, high) if self._type == "log" else even_ticks(low, high)
        row, top = ROW * (forward(high) - forward(low)), forward(high)
        self.above = {key: back(top + row * (place + 0.7)) for place, key in enumerate(diverged)}
        """Height of each diverged key, in units of the axis."""
        self._middle = back(top + row * (0.2 + 0.5 * len(diverged)))  # of the diverged rows
        self._domain = [low, back(top + row * (0.2 + len(diverged))) if diverged else high]

    def y(self, field: str) -> alt.Y:
        """The encoding of a quantitative field on this axis."""
        marks, expression = list(self._ticks), "format(datum.value, '~g')"
        if self.above:
            between = (self._ticks[-1] + min(self.above.values())) / 2
            marks.append(self._middle)
            expression = f"datum.value > {between!r} ? 'diverged' : {expression}"
        return alt.Y(
            f"{field}:Q",
            title=self._title,
            scale=alt.Scale(type=self._type, domain=self._domain, nice=False),
            axis=alt.Axis(values=marks, labelExpr=expression),
        )


def least(values: Sequence[float]) -> float:
    """The lowest value that is drawn: where none is negative, one that has a place on a logarithmic axis."""
    return 1e-12 * min(1.0, max(values) or 1.0) if values and min(values) >= 0 else -math.inf


def _around(values: Sequence[float], kind: str) -> tuple[float, float]:
    """The values' range with a margin: a tenth of its height; on a logarithmic axis at most 30 % of a value."""
    low, high = min(values), max(values)
    if kind == "log":
        margin = min(1.3, max(1.02, (high / low) ** 0.1))
        return low / margin, high * margin
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def even_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two, evenly apart, at most `most`."""
    power = math.floor(math.log10(high - low)) - 1
    for step in (float(f"{digit}e{power + more}") for more in range(3) for digit in (1, 2, 5)):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            break
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two positive ones, at most `most`: several of each decade, one, or one every few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in (_FINE, (1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        inside = [value for power in powers for digit in digits if low <= (value := float(f"{digit}e{power}")) <= high]
        if len(inside) <= most:
            return inside or [float(f"{math.sqrt(low * high):.1e}")]
    step = math.ceil(len(powers) / most)
    return [value for power in powers if power % step == 0 and low <= (value := float(f"1e{power}")) <= high]
