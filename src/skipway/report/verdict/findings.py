"""What a study shows, as data: which nets train, and which differences are more than chance. No words here.

The rules, which the report states (`rules.rules`), with the study's metric in its place:

* A training is *at chance* if its error is at least 95 % of what the best constant answer gets wrong (`chance`).
* A net *trains* at a depth if no seed is at chance, at the learning rate that trains best. *Some seeds fail* if some
  are, it *does not train* if all are, and it *diverges* if at every rate that was tried a seed did.
* Depth makes a gate's nets *harder to train* if the training loss rises with depth, beyond chance, over all depths or
  at the deepest alone, and no rate that was tried brings the deepest net as near to the training error of the best
  shallower one as makes no difference (`scale`): one point, of an error.
* A gate is *better* than the baseline at a depth if its test error is lower, beyond chance.
* More depth *pays* if the validation error falls with depth, beyond chance, over all depths.
* Nothing is said against a net whose best learning rate is the lowest or the highest of several that were tried:
  another rate might have made it better.

Beyond chance: all tests of a study together claim something in at most 5 % of studies in which nothing differs
(`inference.rejected`). `benchmarks/verdict.py` measures that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from skipway.report.means import Mean
from skipway.report.metric import LOSS
from skipway.report.summary import Choice, Group, Summary
from skipway.report.verdict.chance import state
from skipway.report.verdict.inference import FEW, LEVEL, Estimate, Sample, difference, pooled, rejected, step, trend
from skipway.report.verdict.scale import Scale, Split

HEALTHY = (0.1, 10.0)
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Kind = Literal["harder", "apart", "pays"]


@dataclass(frozen=True)
class Claim:
    """One thing that a verdict may claim, if the seeds show it."""

    kind: Kind
    gate: str
    depth: int | None = None
    """Of a comparison with the baseline; trends are over all depths."""


@dataclass(frozen=True)
class Change:
    """By how much a net's metric is worse than another's, in its own values: from `low` to `high`; below 0 is better.

    Intervals of all changes that a verdict tells miss one of them with a chance of 5 % at the most.
    """

    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the two differ."""
        return self.low > 0 or self.high < 0


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
        guessing, sizes = self.summary.guessing, self.summary.data.get("sizes")
        values = _values(mean for split in _SPLITS for mean in self._metrics(split))
        return Scale(self.summary.metric, values, guessing.value if guessing else None, sizes)

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

    def rises(self, gate: str) -> bool:
        """Whether a gate's training loss rises with depth, beyond chance."""
        return Claim("harder", gate) in self.shown

    def harder(self, gate: str) -> Literal["yes", "unfair", "unknown"]:
        """Whether depth makes a gate's nets harder to train; unfair where the deepest net's rate lies at an edge."""
        best, nets = self.shallower(gate), self.nets(gate)
        if not self.rises(gate) or best is None or self._fits(nets[-1], best):
            return "unknown"
        return "unfair" if _at_edge(nets[-1].training) else "yes"

    def holds(self, gate: str) -> dict[int, bool]:
        """Whether a gate's nets train at each of its depths that are in, as well as shallower ones do.

        The shallowest that trains does. A deeper one does if no seed is at chance, and some rate that was tried brings
        it near the training metric of the best shallower one.
        """
        found: dict[int, bool] = {}
        best: Group | None = None
        for net in self.summary.of(gate):
            if net.state == "unfinished":
                continue
            trains = state(net, self.summary.guessing) == "trains"
            found[net.depth] = trains and (best is None or self._fits(net, best))
            if trains and (best is None or _loss(net) < _loss(best)):
                best = net
        return found

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
        if _at_edge((base if better else other).validation):
            return "unfair"
        return "better" if better else "worse"

    def pays(self, gate: str) -> Literal["yes", "unfair", "unknown"]:
        """Whether more depth makes a gate's validation metric better; unfair if the shallowest's rate is at an edge."""
        nets = self.nets(gate)
        first, last = (net.validation_metric for net in (nets[0], nets[-1]))
        gained = first and last and self.summary.metric.is_better(last.value, first.value)
        if Claim("pays", gate) not in self.shown or not gained:
            return "unknown"
        return "unfair" if _at_edge(nets[0].validation) else "yes"

    def depths_compared(self) -> list[int]:
        """The shallowest and the deepest depth at which gates can be compared."""
        depths = [depth for depth in self.summary.depths if self.compared(depth)]
        return list(dict.fromkeys([*depths[:1], *depths[-1:]]))

    def change(self, after: Group, before: Group, split: Split, among: int = 1) -> Change | None:
        """By how much one net's metric on a split is worse than another's; None where too few seeds leave all open.

        Args:
            after: the one.
            before: the other.
            split: of the data.
            among: how many changes are looked at for one that is shown.
        """
        one, two = (_metric(net, split) for net in (after, before))
        if one is None or two is None or min(one.n, two.n) < FEW:
            return None
        apart = difference(self._sample(one, split), self._sample(two, split))
        if apart is None:
            return None
        # At this level no interval leaves out 0 where Holm's rule finds nothing.
        ends = apart.interval(LEVEL / max(1, len(self.ps)) / among)
        return Change(*(self.scale.worse(two.value, end, split) for end in ends))

    def _tests(self) -> Iterator[tuple[Claim, float]]:
        for gate in self.summary.gates:
            nets = self.nets(gate)
            # The best of several rates looks better than it is, and the more so the more its seeds scatter: a trend is
            # held to what the luckiest of so many would have to show.
            chosen = max((group.rates for group in nets), default=1)
            rises = _rises([(net.depth, self._loss_sample(net.train_loss)) for net in nets if net.train_loss])
            if rises:
                yield Claim("harder", gate), min(1.0, chosen * len(rises) * min(rise.p_above() for rise in rises))
            validated = [(net, net.validation_metric) for net in nets if net.validation_metric]
            fall = _trend([(net.depth, self._sample(mean, "validation")) for net, mean in validated])
            if fall:
                yield Claim("pays", gate), min(1.0, chosen * fall.p_below())
        for depth in self.depths_compared():
            base, others = self.compared(depth) or (None, [])
            for other in others:
                apart = base and self._apart(base, other)
                if apart:
                    yield Claim("apart", other.gate, depth), apart.p_apart()

    def _apart(self, base: Group, other: Group) -> Estimate | None:
        assert base.test_metric is not None
        assert other.test_metric is not None
        return difference(self._sample(other.test_metric, "test"), self._sample(base.test_metric, "test"))

    def _fits(self, deep: Group, shallow: Group) -> bool:
        """Whether some rate that was tried lets the deeper net fit its data as the shallower one does."""
        if deep.best_train_metric is None or shallow.train_metric is None:
            return self.loss_scale.close(_loss(deep), _loss(shallow))
        return self.scale.close(deep.best_train_metric, shallow.train_metric.value)

    def _sample(self, mean: Mean, split: Split) -> Sample:
        own = self.scale.sample(mean, split)
        return replace(own, least=max(own.least, self._spreads[split]))

    def _loss_sample(self, mean: Mean) -> Sample:
        return replace(self.loss_scale.sample(mean, "train"), least=self._loss_spread)

    @cached_property
    def _spreads(self) -> dict[Split, float]:
        """How far the seeds of a net scatter in this study, for each split: the variance on the scale."""
        return {
            split: pooled(self.scale.sample(mean, split) for mean in self._metrics(split) if mean) for split in _SPLITS
        }

    @cached_property
    def _loss_spread(self) -> float:
        """The same of training losses."""
        losses = (net.train_loss for net in self.summary.groups)
        return pooled(self.loss_scale.sample(loss, "train") for loss in losses if loss)

    def _metrics(self, split: Split) -> list[Mean | None]:
        return [_metric(net, split) for net in self.summary.groups]


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


def _rises(nets: Sequence[tuple[int, Sample]]) -> list[Estimate]:
    """How losses rise with depth: all along, and at the deepest alone; of two depths both are the same."""
    rises = [_trend(nets)] if len(nets) < 3 else [_trend(nets), step([sample for _, sample in nets])]
    return [rise for rise in rises if rise]


def _trend(nets: Sequence[tuple[int, Sample]]) -> Estimate | None:
    """Over the logarithm of depth, since depths are tried by factors."""
    return trend([sample for _, sample in nets], [math.log(depth) for depth, _ in nets])


def _at_edge(choice: Choice | None) -> bool:
    return choice is None or not choice.bracketed


def _metric(group: Group, split: Split) -> Mean | None:
    return {"train": group.train_metric, "validation": group.validation_metric, "test": group.test_metric}[split]


def _values(means: Iterable[Mean | None]) -> list[float]:
    return [value for mean in means if mean for value in mean.values]


def _loss(group: Group) -> float:
    return group.train_loss.value if group.train_loss else math.inf
