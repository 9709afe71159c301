"""The search of one gate at one depth, round by round, over the runs on disk."""

from __future__ import annotations

from collections.abc import Iterable

from skipway.rundir.integrity import read_run
from skipway.rundir.layout import Json
from skipway.rundir.study import Study
from skipway.studies.grid import Cell, CellStack, Pair, Plan
from skipway.studies.search.measures import Scores, scores
from skipway.studies.search.rules import SEARCHES, Grid, Trial


class Rounds:
    """What is asked for, what of it is in, and what comes next.

    A round is what the search wants by the results before it, whenever its runs came to be: so a study that goes on
    asks for the same rounds, and trains the same stacks to the same bits.

    Args:
        pair: a gate at a depth.
        plan: of the study.
    """

    def __init__(self, pair: Pair, plan: Plan) -> None:
        self.pair, self.plan = pair, plan
        config = plan.config
        self._search = SEARCHES[config.search]()
        self._grid = Grid(config.recipe.learning_rates, config.seeds)
        self._results: dict[Trial, Scores | None] = {}
        self._waiting: dict[str, CellStack] = {}  # by the names of stacks that are not in
        self.ids: dict[Cell, str] = {}
        """The cells that were asked for so far, in the order seed, learning rate."""
        self.seconds = 0.0
        """That the trainings which are in took, on one worker."""
        self.ended = False
        """Whether the search wants no more."""
        self.chosen: list[Json] | None = None
        """The rates that answer its questions best, once it is at its end: `skipway.studies.choose`."""

    @property
    def expected(self) -> int:
        """How many trainings there will be: about, until the end."""
        return len(self.ids) if self.ended else max(len(self.ids), self._search.expected(self._grid))

    @property
    def inside(self) -> int:
        """How many trainings are in."""
        return len(self._results)

    @property
    def open(self) -> bool:
        """Whether something that was asked for is not in."""
        return bool(self._waiting)

    def next(self) -> list[CellStack]:
        """The stacks of the next round; none where the search is at its end."""
        assert not self._waiting, "the round before is not in"
        fresh = self._search.wanted(self._grid, self._results) - self._results.keys()
        cells = [
            Cell(self.pair.gate, self.pair.depth, trial.learning_rate, trial.seed)
            for trial in sorted(fresh, key=self._grid.place)
        ]
        stacks = self.pair.stacks(self.plan, cells) if cells else []
        self.ended = not stacks
        self._waiting = {stack.name: stack for stack in stacks}
        asked = self.ids | {cell: own for s in stacks for cell, own in zip(s.cells, s.ids, strict=True)}
        self.ids = dict(sorted(asked.items(), key=lambda item: self._grid.place(trial_of(item[0]))))
        return stacks

    def take(self, study: Study, ids: Iterable[str]) -> None:
        """Take in runs that are on disk."""
        done = {*ids}
        for cell, own in self.ids.items():
            if own in done:
                info = read_run(study.run(own))
                self.seconds += info["metrics"].get("seconds") or 0.0
                found = scores(info["metrics"], self.plan.task.metric) if info["status"] == "done" else None
                self._results[trial_of(cell)] = found
        self._waiting = {
            name: stack
            for name, stack in self._waiting.items()
            if any(trial_of(cell) not in self._results for cell in stack.cells)
        }


def trial_of(cell: Cell) -> Trial:
    """What a search knows of a cell."""
    return Trial(cell.learning_rate, cell.seed)
