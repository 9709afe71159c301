"""The rules behind the verdict: when a net counts as trained, when two numbers differ, and where depth stops paying.

Each rule is a function of the rows alone. The sentences that tell their results are in `verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skipway.report.summary import Group, Mean, Summary

TIMES, NATS = 10.0, 0.1
CHANCE = 0.95
WORSE = 0.02  # nats
POINT = 0.01  # of an error, a fraction
HEALTHY = (0.1, 10.0)
ENOUGH_SEEDS = 3
"""With two, a 95 % test passes only differences of a dozen standard errors."""

# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom; beyond the table the normal distribution's.
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10)
_NORMAL = 1.96


@dataclass(frozen=True)
class Reach:
    """How deep one gate's nets train."""

    gate: str
    trained: tuple[Group, ...]
    """Those that train, by ascending depth."""
    stopped: tuple[Group, ...]
    """Those that do not, by ascending depth."""
    best: Group | None
    """The net that deeper ones are measured by: of those that train, the one with the lowest training loss among the
    nets shallower than the first that stops (among all, if none stops)."""

    @property
    def known(self) -> int:
        """How many depths are in."""
        return len(self.trained) + len(self.stopped)

    @property
    def deepest(self) -> Group | None:
        """The deepest net before the first that stops."""
        before = [group for group in self.trained if not self.stopped or group.depth < self.stopped[0].depth]
        return before[-1] if before else None

    @property
    def again(self) -> list[Group]:
        """Nets that train although a shallower one does not."""
        return [group for group in self.trained if self.stopped and group.depth > self.stopped[0].depth]


def reach(summary: Summary, gate: str) -> Reach:
    """Part a gate's nets into those that train and those that do not.

    A net *stops training* if

    * it diverges at every learning rate, or
    * its training error is at chance: at least 95 % of what guessing among equally likely classes gives, or
    * its training loss is more than 10 times that of its best shallower net, and at least 0.1 nats above it.

    Both halves of the last rule are needed. In the digits study plain's loss goes from 0.00024 at depth 5 to 0.0027 at
    depth 20: eleven times, and yet a net that fits every image. At depth 50 it is 0.69: 2,900 times, and a net that
    gets training images wrong. A difference alone would call a slightly slower start a stop, where all losses are high.
    """
    trained: list[Group] = []
    stopped: list[Group] = []
    for group in summary.of(gate):
        if group.state == "unfinished":
            continue
        (stopped if _stops(group, trained, summary.classes) else trained).append(group)
    first = stopped[0].depth if stopped else math.inf
    before = [group for group in trained if group.depth < first]
    return Reach(gate, tuple(trained), tuple(stopped), min(before, key=_loss) if before else None)


def _stops(group: Group, shallower: Sequence[Group], classes: int | None) -> bool:
    if group.state == "diverged" or at_chance(group, classes):
        return True
    best = min((_loss(other) for other in shallower), default=math.inf)
    return _loss(group) > TIMES * best and _loss(group) >= best + NATS


def at_chance(group: Group, classes: int | None) -> bool:
    """Whether a net does no better on its training data than guessing among `classes` equally likely ones."""
    if group.train_error is None or classes is None:
        return False
    return group.train_error.value >= CHANCE * (1 - 1 / classes)


def trains_worse(group: Group, best: Group) -> bool:
    """Whether a net trains, but worse than a shallower one: by 0.02 nats or more, and beyond the spread of seeds."""
    return group.depth > best.depth and worse(group.train_loss, best.train_loss, WORSE)


def worse(deeper: Mean | None, shallower: Mean | None, least: float) -> bool:
    """Whether a deeper net's loss or error is the higher one: by `least` or more, and beyond the spread of seeds.

    The spread is `differ`'s test, or that with three seeds or more on both sides each deeper one does worse than each
    shallower one. By chance that happens once in twenty times, whatever the spreads; and depth makes them unequal, to
    which `differ` is half blind. A single seed shows no spread: then `least` alone decides.
    """
    if deeper is None or shallower is None or deeper.value - shallower.value < least:
        return False
    known = deeper.low is not None and shallower.high is not None and min(deeper.n, shallower.n) >= ENOUGH_SEEDS
    if known and deeper.low > shallower.high:  # type: ignore[operator]
        return True
    return differ(deeper, shallower) is not False


@dataclass(frozen=True)
class Growth:
    """A gate whose deepest net has a higher training error than a shallower one."""

    shallow: Group
    """Of the shallower nets, the one with the lowest error."""
    deep: Group
    before: Mean
    after: Mean

    @property
    def points(self) -> Mean:
        """By how much the error grows; the spreads of both ends add up as independent ones do."""
        spreads = (self.before.std, self.after.std)
        std = None if None in spreads else math.hypot(*(spread or 0.0 for spread in spreads))
        return Mean(self.after.value - self.before.value, std, min(self.before.n, self.after.n))


def growth(nets: Sequence[Group], error: Callable[[Group], Mean | None]) -> Growth | None:
    """Whether depth makes one gate's training error worse: by one point or more, and beyond the spread of seeds.

    Args:
        nets: The gate's nets by ascending depth.
        error: Which training error; nets without it, such as diverged ones, are passed over.
    """
    measured = [(net, mean) for net in nets if (mean := error(net)) is not None]
    if len(measured) < 2:
        return None
    deep, after = measured[-1]
    shallow, before = min(measured[:-1], key=lambda pair: pair[1].value)
    return Growth(shallow, deep, before, after) if worse(after, before, POINT) else None


def differ(one: Mean, other: Mean, grain: float = 0.0) -> bool | None:
    """Whether two means differ beyond the spread of their seeds; None where a single seed shows no spread.

    The rule is Welch's t test at 95 %: the difference against its standard error, with the degrees of freedom that the
    spreads allow, so that three seeds must differ by more than thirty would have to.

    Args:
        one: A mean over seeds.
        other: Another.
        grain: The smallest step the measure can take, such as one test image; no smaller difference counts.
    """
    if one.std is None or other.std is None:
        return None
    gap = abs(one.value - other.value)
    if gap <= grain * 1.001:
        return False
    first, second = one.std**2 / one.n, other.std**2 / other.n
    error = first + second
    if error == 0:
        return gap > 0
    freedom = error**2 / (first**2 / (one.n - 1) + second**2 / (other.n - 1))
    limit = _STUDENT[int(freedom) - 1] if freedom < len(_STUDENT) + 1 else _NORMAL
    return gap > limit * math.sqrt(error)


def grain(summary: Summary, split: str) -> float:
    """What one example of a split is of its error."""
    size = (summary.data.get("sizes") or {}).get(split)
    return 1 / size if size else 0.0


def pays_until(summary: Summary, gate: str) -> Group | None:
    """The shallowest net of a gate that no deeper one beats in validation error beyond the spread of seeds.

    The validation error, because choosing a depth by the test error would spend the test data. None where the study
    has one depth, one seed or no errors, so that nothing can be said.
    """
    nets = [group for group in summary.of(gate) if group.state == "done"]
    errors = [group.validation_error for group in nets if group.validation_error is not None]
    if len(nets) < 2 or len(errors) < len(nets) or any(error.std is None for error in errors):
        return None
    step = grain(summary, "validation")
    for place, error in enumerate(errors):
        deeper = errors[place + 1 :]
        if not any(other.value < error.value and differ(other, error, step) for other in deeper):
            return nets[place]
    return None


def deepest_shared(summary: Summary, groups: Sequence[Group]) -> list[Group]:
    """Of some groups, those at the greatest depth that every gate among them has; empty if they share none."""
    gates = {group.gate for group in groups}
    for depth in reversed(summary.depths):
        here = [group for group in groups if group.depth == depth]
        if here and {group.gate for group in here} == gates:
            return here
    return []


def is_plain(gate: str) -> bool:
    """Whether a gate is the baseline without skips, whatever its settings."""
    return gate.partition(":")[0] == "plain"


def healthy(ratio: float) -> bool:
    """Whether a gradient keeps its size on its way back, within a factor of ten."""
    return HEALTHY[0] <= ratio <= HEALTHY[1]


def _loss(group: Group) -> float:
    return group.train_loss.value if group.train_loss else math.inf
