"""The depths of a study: those that it names, or, with ``auto``, for each gate those that tell how deep its nets go."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from skipway.nets.factory import NetFactory
from skipway.report.summary import summarise
from skipway.report.verdict.findings import Findings
from skipway.rundir.study import Study
from skipway.settings.limits import DEPTH
from skipway.studies.config import AUTO, StudyConfig
from skipway.studies.grid import Pair, PairMaker, Plan
from skipway.studies.rounds import Rounds
from skipway.studies.search.deeper import next_depth

_NEAR = 64  # depths looked at for a valid one
End = Literal["found", "budget", "limit"]


class Depths(ABC):
    """Which gates are tried at which depths."""

    @abstractmethod
    def first(self) -> Iterator[Pair]:
        """Those that are known before anything is trained."""

    @abstractmethod
    def after(self, ended: Rounds, pairs: Sequence[Rounds]) -> Iterator[Pair]:
        """What comes when a pair's search is at its end and study.json tells of it.

        Args:
            ended: the pair.
            pairs: all so far.
        """

    @property
    def ends(self) -> dict[str, End]:
        """Why no deeper nets are tried, by the gate; empty where depths are named."""
        return {}


class NamedDepths(Depths):
    """Every gate at every depth that a study names."""

    def __init__(self, config: StudyConfig, maker: PairMaker) -> None:
        self._config, self._maker = config, maker

    def first(self) -> Iterator[Pair]:
        for gate, depth in product(self._config.gates, self._config.named_depths):
            yield self._maker.make(gate, depth)

    def after(self, ended: Rounds, pairs: Sequence[Rounds]) -> Iterator[Pair]:
        return iter(())


@dataclass
class AutoDepths(Depths):
    """For each gate depths double until its nets stop training, and then the gap is halved.

    By the rule of the verdict: `skipway.report.verdict.findings.Findings.holds`.

    Args:
        config: of the study.
        maker: of pairs.
        nets: what counts depths.
        study: whose directory tells what is in.
        budget: seconds; no net is begun that is expected to end after them.
        workers: that train at the same time.
    """

    config: StudyConfig
    maker: PairMaker
    nets: NetFactory
    study: Study
    budget: float
    workers: int
    _ends: dict[str, End] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def first(self) -> Iterator[Pair]:
        smallest = next_depth({}, self._valid)
        if smallest is None:
            raise ValueError(f"net {self.nets.spec}: no depth was found that is valid; name some with --depths.")
        for gate in self.config.gates:
            pair = self.maker.make(gate, smallest)
            if (second := self._valid(2 * smallest)) is not None:
                self.maker.make(gate, second)  # nets that do not heed depth are refused before anything is trained
            yield pair

    def after(self, ended: Rounds, pairs: Sequence[Rounds]) -> Iterator[Pair]:
        gate = ended.pair.gate
        holds = Findings(summarise(self.study)).holds(gate)
        depth = next_depth(holds, self._valid)
        if depth is None:
            self._ends[gate] = "limit" if all(holds.values()) else "found"
            return
        pair = self.maker.make(gate, depth)
        if self._fits([*pairs, Rounds(pair, ended.plan)]):
            yield pair
        else:
            self._ends[gate] = "budget"

    @property
    def ends(self) -> dict[str, End]:
        return dict(self._ends)

    def _fits(self, pairs: Sequence[Rounds]) -> bool:
        """Whether all that is still to come is expected to end within the budget.

        A training takes as much longer than one of the gate's last depth as it has more to compute. (Small nets take
        more than that says, so this expects too much of deeper ones, not too little.)
        """
        paces: dict[str, float] = {}
        left = []
        for pair in pairs:
            if pair.inside:
                paces[pair.pair.gate] = pair.seconds / (pair.inside * pair.pair.cost)
            if not pair.ended:
                pace = paces.get(pair.pair.gate, 0.0)
                left.append((pair.expected - pair.inside) * pair.pair.cost * pace)
        passed = time.monotonic() - self._began
        return passed + max(sum(left) / self.workers, max(left)) <= self.budget

    def _valid(self, depth: int) -> int | None:
        """The first valid depth from a number on."""
        for near in range(depth, min(depth + _NEAR, int(DEPTH.most) + 1)):
            try:
                self.nets.check_depth(near)
            except ValueError:
                continue
            return near
        return None


def depths_of(plan: Plan, maker: PairMaker, study: Study, budget: float, workers: int) -> Depths:
    """Those of a study."""
    if plan.config.depths == AUTO:
        return AutoDepths(plan.config, maker, plan.nets, study, budget, workers)
    return NamedDepths(plan.config, maker)
