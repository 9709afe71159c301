"""What a study shows, as data: which nets train, and which differences are more than chance. No words here.

The rules, which the report states (`rules.rules`), with the study's metric in its place:

* A training is *at chance* if its error is at least 95 % of what the best constant answer gets wrong (`chance`).
* A net *trains* at a depth if no seed is at chance, at the learning rate that trains best. *Some seeds fail* if some
  are, it *does not train* if all are, and it *diverges* if at every rate that was tried a seed did.
* Depth makes a gate's nets *harder to train* if the training loss rises with depth, beyond chance, over all depths,
  and no rate that was tried brings the deepest net as near to the training error of the best shallower one as makes no
  difference (`scale`): one point, of an error.
* A gate is *better* than the baseline at a depth if its test error is lower, beyond chance, unless the learning rate of
  the worse one lies at the edge of those tried: another rate might have made it better.
* More depth *pays* if the validation error falls with depth, beyond chance, over all depths.

Beyond chance: all tests of a study together claim something in at most 5 % of studies in which nothing differs
(`inference.rejected`). `benchmarks/verdict.py` measures that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from skipway.report.means import Mean
from skipway.report.metric import LOSS
from skipway.report.summary import Group, Summary
from skipway.report.verdict.chance import state
from skipway.report.verdict.inference import Estimate, Sample, difference, rejected, trend
from skipway.report.verdict.scale import Scale

HEALTHY = (0.1, 10.0)

Kind = Literal["harder", "apart", "pays"]


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
    def scale(self) -> Scale:
        """How values of the study's metric are compared."""
        groups, guessing = self.summary.groups, self.summary.guessing
        means = (mean for net in groups for mean in (net.train_metric, net.validation_metric, net.test_metric))
        return Scale(self.summary.metric, _values(means), guessing.value if guessing else None)

    @cached_property
    def loss_scale(self) -> Scale:
        """How training losses are compared."""
        return Scale(LOSS, _values(net.train_loss for net in self.summary.groups))

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
        return Claim("harder", gate) in self.shown and best is not None and not self._fits(nets[-1], best)

    def compared(self, depth: int) -> tuple[Group, list[Group]] | None:
        """The baseline's net at a depth and the others, where the test split has been read to compare them."""
        measured = [group for group in self.summary.at(depth) if group.test_metric and group.blocks != 0]
        base = next((group for group in measured if group.gate == self.baseline), None)
        others = [group for group in measured if group.gate != self.baseline]
        return (base, others) if base and others else None

    def apart(self, base: Group, other: Group) -> Literal["better", "worse", "unfair", "unknown"]:
        """How another gate's net does on test data; unfair where the rate of the worse one lies at an edge."""
        assert base.test_metric is not None
        assert other.test_metric is not None
        if Claim("apart", other.gate, other.depth) not in self.shown:
            return "unknown"
        better = self.summary.metric.is_better(other.test_metric.value, base.test_metric.value)
        worse = base if better else other
        if worse.validation is None or not worse.validation.bracketed:
            return "unfair"
        return "better" if better else "worse"

    def pays(self, gate: str) -> bool:
        """Whether more depth makes a gate's validation metric better."""
        return Claim("pays", gate) in self.shown

    def depths_compared(self) -> list[int]:
        """The shallowest and the deepest depth at which gates can be compared."""
        depths = [depth for depth in self.summary.depths if self.compared(depth)]
        return list(dict.fromkeys([*depths[:1], *depths[-1:]]))

    def worse(self, after: Mean | None, before: Mean | None, split: str | None = None) -> Estimate | None:
        """By how much a net's metric is worse than another's; what the size of a split leaves open counts, if named."""
        return self.scale.worse(after, before, self._sizes.get(split) if split else None)

    def _tests(self) -> Iterator[tuple[Claim, float]]:
        for gate in self.summary.gates:
            nets = self.nets(gate)
            # The best of several rates looks better than it is, and the more so the more its seeds scatter: a trend is
            # held to what the luckiest of so many would have to show.
            chosen = max((group.rates for group in nets), default=1)
            rise = _trend(nets, [self.loss_scale.sample(net.train_loss) for net in nets])
            if rise:
                yield Claim("harder", gate), min(1.0, chosen * rise.p_above())
            fall = _trend(nets, [self.scale.sample(net.validation_metric, self._size("validation")) for net in nets])
            if fall:
                yield Claim("pays", gate), min(1.0, chosen * fall.p_below())
        for depth in self.depths_compared():
            base, others = self.compared(depth) or (None, [])
            for other in others:
                apart = base and self._apart(base, other)
                if apart:
                    yield Claim("apart", other.gate, depth), apart.p_apart()

    def _apart(self, base: Group, other: Group) -> Estimate | None:
        one, two = (self.scale.sample(net.test_metric, self._size("test")) for net in (other, base))
        return difference(one, two) if one and two else None

    def _fits(self, deep: Group, shallow: Group) -> bool:
        """Whether some rate that was tried lets the deeper net fit its data as the shallower one does."""
        if deep.best_train_metric is None or shallow.train_metric is None:
            return self.loss_scale.close(_loss(deep), _loss(shallow))
        return self.scale.close(deep.best_train_metric, shallow.train_metric.value)

    @property
    def _sizes(self) -> dict[str, int]:
        return self.summary.data.get("sizes") or {}

    def _size(self, split: str) -> float:
        return float(self._sizes.get(split) or math.inf)


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


def _values(means: Iterable[Mean | None]) -> list[float]:
    return [value for mean in means if mean for value in mean.values]


def _loss(group: Group) -> float:
    return group.train_loss.value if group.train_loss else math.inf
