"""On what scale a study's metric is compared, and which differences are too small to be spoken of.

The scale is one on which nets of all depths scatter about alike. Shares of samples have log odds, and how much a finite
number of samples leaves open is known. Other numbers that are never negative have logarithms; all others stay as they
are. Of both, no more is known than how far seeds scatter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from skipway.report.means import Mean
from skipway.report.metric import Metric
from skipway.report.verdict.inference import Sample, log_odds, logarithm, odds_rounding, odds_variance, share

POINT = 0.01
"""Of a share: one point of a hundred."""
PART = 0.05
"""Of another metric's value. The root of a squared loss changes by so much where the loss changes by a tenth."""
LOSS_PART = 0.1
"""Of a loss."""
GUESSED = 0.01
"""Of what guessing gets: a net so close to perfect fits, as one does that gets one sample of a hundred wrong."""
UNKNOWN_SIZE = 10_000
"""Samples of a split whose size is not known: where the log odds of 0 and 1 lie, no more."""
LARGEST = 700.0
"""The largest logarithm whose number can be told."""

Split = Literal["train", "validation", "test"]


class Scale:
    """How values of a metric are compared.

    Args:
        metric: of the study.
        values: all there are of it, by which the scale is chosen.
        guessed: what the best constant answer gets, where it is known.
        sizes: samples in each split, as far as they are known.
    """

    def __init__(
        self,
        metric: Metric,
        values: Sequence[float],
        guessed: float | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.metric = metric
        self.kind: Literal["odds", "logarithm", "itself"] = "itself"
        if metric.is_share and all(0 <= value <= 1 for value in values):
            self.kind = "odds"
        elif min(values, default=0.0) >= 0:
            self.kind = "logarithm"
        self._unit = min(1.0, max(values, default=1.0))
        self._guessed = abs(guessed or 0.0)
        self._sizes = sizes or {}

    def sample(self, mean: Mean, split: Split) -> Sample:
        """A net's values on this scale, turned so that higher ones are worse.

        Validation and test samples stand for those not seen, so what so many leave open counts. Training samples stand
        for themselves.
        """
        values = [self._to_scale(value, split) for value in mean.values]
        if self.kind != "odds":
            return Sample(values)
        samples = self._size(split)
        drawn = split != "train" and split in self._sizes
        known = odds_variance(mean.value, samples) if drawn else 0.0
        return Sample(values, known, odds_rounding(mean.value, samples))

    def worse(self, value: float, shift: float, split: Split) -> float:
        """By how much, in its own unit, a value is worse once it is shifted on this scale; negative if it is better."""
        moved = self._from_scale(self._to_scale(value, split) + shift, split)
        return moved - value if self.metric.lower else value - moved

    def small(self, value: float) -> float:
        """The largest difference from a value that is not spoken of."""
        if self.kind == "odds":
            return POINT
        return max((LOSS_PART if self.metric.is_loss else PART) * abs(value), GUESSED * self._guessed)

    def close(self, value: float, other: float) -> bool:
        """Whether a value is better than another one, or worse by less than is spoken of."""
        apart = value - other if self.metric.lower else other - value
        return apart < self.small(other)

    def _size(self, split: Split) -> int:
        return self._sizes.get(split) or UNKNOWN_SIZE

    def _to_scale(self, value: float, split: Split) -> float:
        if self.kind == "odds":
            value = log_odds(value, self._size(split))
        elif self.kind == "logarithm":
            value = logarithm(value, self._unit)
        return value if self.metric.lower else -value

    def _from_scale(self, place: float, split: Split) -> float:
        place = place if self.metric.lower else -place
        if self.kind == "odds":
            return share(place, self._size(split))
        if self.kind == "logarithm":
            return math.exp(min(place, LARGEST))
        return place
