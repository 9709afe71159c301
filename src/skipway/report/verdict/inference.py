"""Statistics by the book: contrasts of means with unequal spreads, and Holm's correction for many tests.

A contrast is a weighted sum of group means: a difference, or a trend over depths. Its standard error adds up what each
group's seeds scatter, and its degrees of freedom are Welch's and Satterthwaite's (Welch 1947, Biometrika 34), so that
groups may scatter as differently as deep and shallow nets do. A group's variance counts as no less than that of all
groups together: three seeds that happen to agree do not show that the next one would. Seeds are not paired: measured on
this project's studies, what one seed does at one depth says next to nothing of what it does at another (LOG.md, "The
verdict").
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy.special import stdtr, stdtrit

LEVEL = 0.05
"""Of all studies in which nothing differs, at most this share gets a verdict that claims anything."""
FEW = 3
"""Seeds from which on Satterthwaite's degrees of freedom can be trusted; with fewer, the least they can be is taken."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Sample:
    """A measure of one net over its seeds, and how exactly one seed's is known, such as from so many samples."""

    values: Sequence[float]
    known: float = 0.0
    """Variance that more seeds would not take away."""
    least: float = 0.0
    """What the variance over seeds counts as at the least, however well these few agree."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def variance(self) -> float:
        """Over seeds, and no less than `least`."""
        return max(self.least, _squares(self) / (len(self.values) - 1))


@dataclass(frozen=True)
class Estimate:
    """A contrast as it was measured."""

    value: float
    error: float
    """Its standard error."""
    freedom: float
    """Degrees of freedom of the standard error."""

    def p_above(self) -> float:
        """The chance of a value as high as this one where there is no contrast."""
        return float(stdtr(self.freedom, -self._t()))

    def p_below(self) -> float:
        """The chance of a value as low as this one where there is no contrast."""
        return float(stdtr(self.freedom, self._t()))

    def p_apart(self) -> float:
        """The chance of a value as far from 0 as this one where there is no contrast."""
        return 2 * float(stdtr(self.freedom, -abs(self._t())))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval that misses the true contrast with a chance of `level`."""
        reach = float(stdtrit(self.freedom, 1 - level / 2)) * self.error
        return self.value - reach, self.value + reach

    def _t(self) -> float:
        if self.error:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


def contrast(samples: Sequence[Sample], weights: Sequence[float]) -> Estimate | None:
    """A weighted sum of means; None where a group has a single seed, which shows no spread.

    Args:
        samples: a group each.
        weights: of each group's mean; they add up to 0.
    """
    counts = [len(sample.values) for sample in samples]
    if min(counts) < 2:
        return None
    parts = [weight**2 * sample.variance / len(sample.values) for sample, weight in zip(samples, weights, strict=True)]
    known = math.fsum(weight**2 * sample.known for sample, weight in zip(samples, weights, strict=True))
    value = math.fsum(weight * sample.mean for sample, weight in zip(samples, weights, strict=True))
    return Estimate(value, math.sqrt(math.fsum(parts) + known), _freedom(parts, known, counts))


def difference(one: Sample, other: Sample) -> Estimate | None:
    """`one` less `other`."""
    return contrast([one, other], [1.0, -1.0])


def trend(samples: Sequence[Sample], places: Sequence[float]) -> Estimate | None:
    """The slope of a least-squares line through the groups' means, at their places; None for fewer than two groups."""
    if len(samples) < 2:
        return None
    middle = math.fsum(places) / len(places)
    spread = math.fsum((place - middle) ** 2 for place in places)
    return contrast(samples, [(place - middle) / spread for place in places])


def step(samples: Sequence[Sample]) -> Estimate | None:
    """The last group's mean less that of all before it; None for fewer than two groups.

    It shows what a line does not: that only the deepest net fails.
    """
    before = len(samples) - 1
    return contrast(samples, [*[-1 / before] * before, 1.0]) if before > 0 else None


def pooled(samples: Iterable[Sample]) -> float:
    """The variance over seeds of all groups together; 0 where none has two seeds."""
    groups = [sample for sample in samples if len(sample.values) > 1]
    freedom = sum(len(sample.values) - 1 for sample in groups)
    return math.fsum(map(_squares, groups)) / freedom if freedom else 0.0


def rejected(ps: Mapping[Key, float], level: float = LEVEL) -> set[Key]:
    """What Holm's step-down rule takes as shown: the chance that any of it is false is at most `level`.

    Holm 1979, Scandinavian Journal of Statistics 6. It holds however the tests depend on each other.
    """
    found: set[Key] = set()
    for place, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        if p > level / (len(ps) - place):
            break
        found.add(key)
    return found


def logarithm(value: float, unit: float = 1.0) -> float:
    """A loss on the scale on which nets of all depths scatter about alike: its logarithm, from 1e-12 units on."""
    return math.log(max(value, 1e-12 * (unit or 1.0)))


def log_odds(share: float, samples: float) -> float:
    """A share of samples on the scale of log odds, half a sample added to both sides so that 0 and 1 have a place."""
    return math.log((share * samples + 0.5) / ((1 - share) * samples + 0.5))


def share(odds: float, samples: float) -> float:
    """The share of samples with these log odds: `log_odds` backwards; 0 and 1 are as far as it goes."""
    inside = 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))
    return min(1.0, max(0.0, (inside * (samples + 1) - 0.5) / samples))


def odds_variance(share: float, samples: float) -> float:
    """The variance of `log_odds` that comes from measuring on so many samples."""
    inside = _inside(share, samples)
    return 1 / ((samples + 1) * inside * (1 - inside))


def odds_rounding(share: float, samples: float) -> float:
    """The variance of `log_odds` that comes from counting whole samples: a twelfth of one, squared."""
    inside = _inside(share, samples)
    return 1 / 12 / ((samples + 1) * inside * (1 - inside)) ** 2


def _inside(share: float, samples: float) -> float:
    """A share with half a sample added to both sides: that none of them was wrong does not say that none ever is."""
    return (share * samples + 0.5) / (samples + 1)


def _squares(sample: Sample) -> float:
    return math.fsum((value - sample.mean) ** 2 for value in sample.values)


def _freedom(parts: Sequence[float], known: float, counts: Sequence[int]) -> float:
    """Satterthwaite's: what is known has no end of them, a group of n seeds n - 1."""
    least = min(counts) - 1
    squares = math.fsum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    if not squares or min(counts) < FEW:
        return float(least)
    return max(float(least), (math.fsum(parts) + known) ** 2 / squares)
