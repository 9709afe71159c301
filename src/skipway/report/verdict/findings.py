"""What a study shows, as data: which nets train, and which differences are more than chance. No words here.

The rules, which the report states (`verdict.RULES`):

* A training is *at chance* if its error is at least 95 % of what the best constant answer gets wrong.
* A net *trains* at a depth if no seed is at chance, at the learning rate that trains best. *Some seeds fail* if some
  are, it *does not train* if all are, and it *diverges* if at every rate that was tried a seed did.
* Depth makes a gate's nets *harder to train* if the training loss rises with depth, beyond chance, over all depths,
  and no rate that was tried brings the deepest net within one point of the training error of the best shallower one.
* A gate is *better* than the baseline at a depth if its test error is lower, beyond chance, unless the learning rate of
  the worse one lies at the edge of those tried: another rate might have made it better.
* More depth *pays* if the validation error falls with depth, beyond chance, over all depths.

Beyond chance: all tests of a study together claim something in at most 5 % of studies in which nothing differs
(`inference.rejected`). `benchmarks/verdict.py` measures that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from skipway.report.means import Mean
from skipway.report.summary import Group, Guessing, Summary
from skipway.report.verdict.inference import (
    Estimate,
    Sample,
    difference,
    error_variance,
    log_loss,
    log_odds,
    odds_variance,
    rejected,
    trend,
)

CHANCE = 0.95
"""Of what the best constant answer gets wrong."""
POINT = 0.01
"""One point of an error, which is a fraction: no smaller difference of training errors is spoken of."""
RATIO = 1.1
"""The same for losses, where a study measures no error."""
HEALTHY = (0.1, 10.0)

State = Literal["trains", "some seeds fail", "at chance", "diverged", "unfinished"]
Kind = Literal["harder", "apart", "pays"]


def state(group: Group, guessing: Guessing | None) -> State:
    """Whether a gate's nets train at a depth, at the learning rate that trains best."""
    if group.state != "done":
        return group.state
    failed = seeds_at_chance(group, guessing)
    if not failed:
        return "trains"
    return "at chance" if group.train_error and failed == group.train_error.n else "some seeds fail"


def seeds_at_chance(group: Group, guessing: Guessing | None) -> int:
    """How many seeds do hardly better on their training data than the best constant answer."""
    if group.train_error is None or guessing is None:
        return 0
    return sum(error >= CHANCE * guessing.error for error in group.train_error.values)


@dataclass(frozen=True)
class Claim:
    """One thing that a verdict may claim, if the seeds show it."""

    kind: Kind
    gate: str
    depth: int | None = None
    """Of a comparison with the baseline; trends are over all depths."""


class Findings:
    """A study's tests and what they show; each is made once, and all share one level.

    Args:
        summary: the study.
    """

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @cached_property
    def baseline(self) -> str | None:
        """The gate that others are compared with: the one without skips, or else the first."""
        gates = self.summary.gates
        return next((gate for gate in gates if is_plain(gate)), gates[0] if gates else None)

    @cached_property
    def ps(self) -> dict[Claim, float]:
        """Every test with the chance of what was measured where nothing differs."""
        return dict(self._tests())

    @cached_property
    def shown(self) -> set[Claim]:
        """The tests whose result is more than chance."""
        return rejected(self.ps)

    def nets(self, gate: str) -> list[Group]:
        """A gate's finished nets, by ascending depth."""
        return [group for group in self.summary.of(gate) if group.state == "done"]

    def trained(self, gate: str) -> list[Group]:
        """Those of them that train."""
        return [group for group in self.nets(gate) if state(group, self.summary.guessing) == "trains"]

    def shallower(self, gate: str) -> Group | None:
        """The best-trained net of a gate that trains, other than its deepest."""
        deepest = self.nets(gate)[-1:]
        before = [group for group in self.trained(gate) if group not in deepest]
        return min(before, key=_loss, default=None)

    def harder(self, gate: str) -> bool:
        """Whether depth makes a gate's nets harder to train."""
        best, nets = self.shallower(gate), self.nets(gate)
        return Claim("harder", gate) in self.shown and best is not None and not _fits(nets[-1], best)

    def compared(self, depth: int) -> tuple[Group, list[Group]] | None:
        """The baseline's net at a depth and the others, where test errors are there to compare."""
        measured = [group for group in self.summary.at(depth) if group.test_error and group.blocks != 0]
        base = next((group for group in measured if group.gate == self.baseline), None)
        others = [group for group in measured if group.gate != self.baseline]
        return (base, others) if base and others else None

    def apart(self, base: Group, other: Group) -> Literal["better", "worse", "unfair", "unknown"]:
        """How another gate's test error stands to the baseline's; unfair where the worse one's rate is at an edge."""
        assert base.test_error is not None
        assert other.test_error is not None
        if Claim("apart", other.gate, other.depth) not in self.shown:
            return "unknown"
        better = other.test_error.value < base.test_error.value
        worse = base if better else other
        if worse.validation is None or not worse.validation.bracketed:
            return "unfair"
        return "better" if better else "worse"

    def pays(self, gate: str) -> bool:
        """Whether more depth lowers a gate's validation error."""
        return Claim("pays", gate) in self.shown

    def depths_compared(self) -> list[int]:
        """The shallowest and the deepest depth at which gates can be compared."""
        depths = [depth for depth in self.summary.depths if self.compared(depth)]
        return list(dict.fromkeys([*depths[:1], *depths[-1:]]))

    def _tests(self) -> Iterator[tuple[Claim, float]]:
        for gate in self.summary.gates:
            nets = self.nets(gate)
            # The best of several rates looks better than it is, and the more so the more its seeds scatter: a trend is
            # held to what the luckiest of so many would have to show.
            chosen = max((group.rates for group in nets), default=1)
            rise = _trend(nets, [_losses(group.train_loss) for group in nets])
            if rise:
                yield Claim("harder", gate), min(1.0, chosen * rise.p_above())
            fall = _trend(nets, [_odds(group.validation_error, self._images("validation")) for group in nets])
            if fall:
                yield Claim("pays", gate), min(1.0, chosen * fall.p_below())
        for depth in self.depths_compared():
            base, others = self.compared(depth) or (None, [])
            for other in others:
                apart = base and self._apart(base, other)
                if apart:
                    yield Claim("apart", other.gate, depth), apart.p_apart()

    def _apart(self, base: Group, other: Group) -> Estimate | None:
        images = self._images("test")
        one, two = _odds(other.test_error, images), _odds(base.test_error, images)
        return difference(one, two) if one and two else None

    def _images(self, split: str) -> float:
        return float((self.summary.data.get("sizes") or {}).get(split) or math.inf)


def change(after: Mean | None, before: Mean | None, images: float | None = None) -> Estimate | None:
    """The difference of two errors as fractions; what so many images leave open counts to its standard error."""
    if after is None or before is None:
        return None
    samples = [Sample(mean.values, error_variance(mean.value, images) if images else 0.0) for mean in (after, before)]
    return difference(*samples)


def is_plain(gate: str) -> bool:
    """Whether a gate is the baseline without skips, whatever its settings."""
    return gate.partition(":")[0] == "plain"


def deepest_shared(summary: Summary, groups: Sequence[Group]) -> list[Group]:
    """Of some groups, those at the greatest depth that every gate among them has; empty if they share none."""
    gates = {group.gate for group in groups}
    for depth in reversed(summary.depths):
        here = [group for group in groups if group.depth == depth]
        if here and {group.gate for group in here} == gates:
            return here
    return []


def healthy(ratio: float) -> bool:
    """Whether a gradient keeps its size on its way back, within a factor of ten."""
    return HEALTHY[0] <= ratio <= HEALTHY[1]


def _trend(nets: Sequence[Group], samples: Sequence[Sample | None]) -> Estimate | None:
    """Over the logarithm of depth, since depths are tried by factors."""
    pairs = [(math.log(group.depth), sample) for group, sample in zip(nets, samples, strict=True) if sample]
    return trend([sample for _, sample in pairs], [place for place, _ in pairs])


def _losses(loss: Mean | None) -> Sample | None:
    return Sample([log_loss(value) for value in loss.values]) if loss else None


def _odds(error: Mean | None, images: float) -> Sample | None:
    """Errors on so many images, which stand for others that were not seen."""
    if error is None:
        return None
    if math.isinf(images):  # how many there were is not known: take the errors as they are
        return Sample(error.values)
    return Sample([log_odds(value, images) for value in error.values], odds_variance(error.value, images))


def _fits(deep: Group, shallow: Group) -> bool:
    """Whether some rate that was tried lets the deeper net fit its data as the shallower one does."""
    if deep.least_train_error is None or shallow.train_error is None:
        return _loss(deep) < RATIO * _loss(shallow)
    return deep.least_train_error < shallow.train_error.value + POINT


def _loss(group: Group) -> float:
    return group.train_loss.value if group.train_loss else math.inf
