"""On what scale a study's metric is compared, and which differences are too small to be spoken of.

The scale is one on which nets of all depths scatter about alike. Shares of samples have log odds, and how much a finite
number of samples leaves open is known. Other numbers that are never negative have logarithms; all others stay as they
are. Of both, no more is known than how far seeds scatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from skipway.report.means import Mean
from skipway.report.metric import Metric
from skipway.report.verdict.inference import (
    Estimate,
    Sample,
    difference,
    log_odds,
    logarithm,
    odds_variance,
    share_variance,
)

POINT = 0.01
"""Of a share: one point of a hundred."""
PART = 0.05
"""Of another metric's value. The root of a squared loss changes by so much where the loss changes by a tenth."""
LOSS_PART = 0.1
"""Of a loss."""
GUESSED = 0.01
"""Of what guessing gets: a net so close to perfect fits, as one does that gets one sample of a hundred wrong."""


class Scale:
    """How values of a metric are compared.

    Args:
        metric: of the study.
        values: all there are of it, by which the scale is chosen.
        guessed: what the best constant answer gets, where it is known.
    """

    def __init__(self, metric: Metric, values: Sequence[float], guessed: float | None = None) -> None:
        self.metric = metric
        self.kind: Literal["odds", "logarithm", "itself"] = "itself"
        if metric.is_share and all(0 <= value <= 1 for value in values):
            self.kind = "odds"
        elif min(values, default=0.0) >= 0:
            self.kind = "logarithm"
        self._unit = min(1.0, max(values, default=1.0))
        self._guessed = abs(guessed or 0.0)

    def sample(self, mean: Mean | None, samples: float = math.inf) -> Sample | None:
        """A net's values on this scale, turned so that higher ones are worse; they stand for samples not seen.

        Args:
            mean: over seeds.
            samples: how many were measured; infinite where that is not known.
        """
        if mean is None:
            return None
        known = 0.0
        if self.kind == "odds" and math.isfinite(samples):
            values = [log_odds(value, samples) for value in mean.values]
            known = odds_variance(mean.value, samples)
        elif self.kind == "logarithm":
            values = [logarithm(value, self._unit) for value in mean.values]
        else:
            values = list(mean.values)
        return Sample([self._turned(value) for value in values], known)

    def worse(self, after: Mean | None, before: Mean | None, samples: float | None = None) -> Estimate | None:
        """By how much one net's metric is worse than another's, in its own values.

        What so many samples leave open counts to the standard error of a share; without a number, nothing does.
        """
        if after is None or before is None:
            return None
        return difference(
            *(
                Sample([self._turned(value) for value in mean.values], self._variance(mean.value, samples))
                for mean in (after, before)
            )
        )

    def small(self, value: float) -> float:
        """The largest difference from a value that is not spoken of."""
        if self.kind == "odds":
            return POINT
        return max((LOSS_PART if self.metric.is_loss else PART) * abs(value), GUESSED * self._guessed)

    def close(self, value: float, other: float) -> bool:
        """Whether a value is better than another one, or worse by less than is spoken of."""
        return self._turned(value) < self._turned(other) + self.small(other)

    def room(self, value: float) -> float:
        """By how much a value can get better: an error can fall to 0 and no further."""
        if self.metric.lower:
            return math.inf if self.kind == "itself" else value
        return 1 - value if self.kind == "odds" else math.inf

    def _variance(self, value: float, samples: float | None) -> float:
        return share_variance(value, samples) if samples and self.kind == "odds" else 0.0

    def _turned(self, value: float) -> float:
        return value if self.metric.lower else -value
