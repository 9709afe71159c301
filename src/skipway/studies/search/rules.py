"""How a study searches among learning rates. One class a way; `--search` takes its name.

A search is a rule without a memory: told what is in, it says all that it wants by now. So a study that was killed asks
for the same trainings again, and finds those that are done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from skipway.settings.registry import Named, Registry
from skipway.studies.search.bracket import more
from skipway.studies.search.measures import QUESTIONS, Question, Scores, best, mean, ranked

SEARCHES: Registry[type[Search]] = Registry("search")
KEPT = 2
"""Rates for each question that go on after the first seed in a race, at least."""
NEAR = 0.1
"""And all that were no more than this share behind the last of them."""


@dataclass(frozen=True)
class Trial:
    """A learning rate and a seed."""

    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Grid:
    """What a study names."""

    rates: tuple[float, ...]
    seeds: tuple[int, ...]

    def of(self, rates: Iterable[float]) -> set[Trial]:
        """Rates with all of its seeds."""
        return {Trial(*pair) for pair in product(rates, self.seeds)}

    def place(self, trial: Trial) -> tuple[int, int, float]:
        """Orders trials: seeds and rates as the study names them, then rates beyond."""
        rate = trial.learning_rate
        named = self.rates.index(rate) if rate in self.rates else len(self.rates)
        return self.seeds.index(trial.seed), named, rate


Results = Mapping[Trial, Scores | None]
"""What is in; None is a training that diverged."""


class Search(Named, ABC):
    """Which trainings a study asks for, of one gate at one depth.

    A subclass that names itself is registered; it defines `wanted` and `expected`.
    """

    registry = SEARCHES

    @abstractmethod
    def wanted(self, grid: Grid, results: Results) -> set[Trial]:
        """All trainings that are wanted by what is in; when all of them are in, the search is at its end."""

    @abstractmethod
    def expected(self, grid: Grid) -> int:
        """About how many trainings it will want."""


class Asked(Search, name="grid"):
    """Every rate that the study names, with every seed, and no other."""

    def wanted(self, grid: Grid, results: Results) -> set[Trial]:
        return grid.of(grid.rates)

    def expected(self, grid: Grid) -> int:
        return len(grid.rates) * len(grid.seeds)


class Full(Search, name="full"):
    """Every rate with every seed, and rates beyond an end at which the best one stands."""

    def wanted(self, grid: Grid, results: Results) -> set[Trial]:
        tried = _tried(grid, results)
        asked = grid.of(tried)
        if asked - results.keys():
            return asked
        whole = _whole(grid, results)
        return asked | grid.of(more(tried, grid.rates, _leaders(whole)))

    def expected(self, grid: Grid) -> int:
        beyond = len(grid.rates) > 1
        return (len(grid.rates) + beyond) * len(grid.seeds)


class Race(Search, name="race"):
    """Every rate with the first seed, the best ones with the others, and rates beyond an end as in a full search.

    With the other seeds go on, for either question: the two rates with the best first seed, what was no more than a
    tenth behind the second, and, in the end, all that had a better first seed than the rate that is chosen. Rates are
    chosen among those that have all seeds.
    """

    def wanted(self, grid: Grid, results: Results) -> set[Trial]:
        if self._all_go_on(grid):
            return Full().wanted(grid, results)
        tried = _tried(grid, results)
        asked = {Trial(rate, grid.seeds[0]) for rate in tried} | results.keys()
        if asked - results.keys():
            return asked
        diverged = {trial.learning_rate for trial, found in results.items() if found is None}
        first = {
            trial.learning_rate: found
            for trial, found in results.items()
            if found is not None and trial.seed == grid.seeds[0] and trial.learning_rate not in diverged
        }
        if beyond := more(tried, grid.rates, _leaders(first)):
            return asked | {Trial(rate, grid.seeds[0]) for rate in beyond}
        whole = _whole(grid, results)
        wanted = asked | grid.of(rate for question in QUESTIONS for rate in _go_on(first, whole, question))
        if wanted - results.keys():
            return wanted
        return wanted | {Trial(rate, grid.seeds[0]) for rate in more(tried, grid.rates, _leaders(whole))}

    def expected(self, grid: Grid) -> int:
        if self._all_go_on(grid):
            return Full().expected(grid)
        # The two questions have a rate in common, as a rule.
        return len(grid.rates) + 1 + (2 * KEPT - 1) * (len(grid.seeds) - 1)

    def _all_go_on(self, grid: Grid) -> bool:
        return len(grid.rates) <= KEPT or len(grid.seeds) == 1


def _go_on(first: Mapping[float, Scores], whole: Mapping[float, Scores], question: Question) -> list[float]:
    """The rates that may still answer a question best.

    Args:
        first: what each rate got with the first seed.
        whole: the means of those that have all seeds.
        question: of the two.
    """
    order = ranked(first, question)
    last = order[:KEPT][-1:]
    limits = [_behind(first[rate][question][0]) for rate in last]
    limits += [first[best(whole, question)][question][0]] if whole else []
    return [rate for place, rate in enumerate(order) if place < KEPT or first[rate][question][0] <= max(limits)]


def _behind(score: float) -> float:
    return score + NEAR * abs(score)


def _tried(grid: Grid, results: Results) -> list[float]:
    return sorted({*grid.rates, *(trial.learning_rate for trial in results)})


def _whole(grid: Grid, results: Results) -> dict[float, Scores]:
    """The means of the rates that have all seeds, none of them diverged."""
    found: dict[float, Scores] = {}
    for rate in _tried(grid, results):
        seeds = [results.get(Trial(rate, seed)) for seed in grid.seeds]
        done = [own for own in seeds if own is not None]
        if len(done) == len(seeds):
            found[rate] = mean(done)
    return found


def _leaders(rates: Mapping[float, Scores]) -> Sequence[float]:
    return [best(rates, question) for question in QUESTIONS] if rates else []
