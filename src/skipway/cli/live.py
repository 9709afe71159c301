"""Watching a study at the prompt: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from skipway.cli.console import Console
from skipway.cli.tell import tell
from skipway.data.dataset import Data
from skipway.report.files import run_info
from skipway.report.numbers import counted
from skipway.report.printable import printable
from skipway.rundir.study import Study
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack
from skipway.studies.observer import StudyObserver
from skipway.studies.rounds import Rounds

_SECONDS_BETWEEN_LINES = 20.0


@dataclass
class _Pair:
    """A gate at a depth: how far it is."""

    rounds: Rounds
    finished: int = 0
    diverged: int = 0
    failed: bool = False
    best: float = math.inf
    best_rate: float | None = None

    @property
    def cells(self) -> int:
        """Trainings asked for so far."""
        return len(self.rounds.ids)

    @property
    def expected(self) -> int:
        """About how many there will be; one that failed holds its pair up."""
        return self.cells if self.failed else self.rounds.expected

    @property
    def over(self) -> bool:
        """Whether there will be no more."""
        return self.failed or self.rounds.ended

    @property
    def cost(self) -> float:
        """Of one training."""
        return self.rounds.pair.cost


class StudyState(StudyObserver):
    """What is known of a study while it goes on, told by its runner; `view` draws it."""

    def __init__(self) -> None:
        self._study: Study | None = None
        self._rounds: Sequence[Rounds] = ()  # more may come
        self._known: dict[tuple[str, int], _Pair] = {}
        self._running: Sequence[tuple[CellStack, float]] = ()
        self._cost_before = 0.0
        self._began = time.monotonic()
        self._about = ""
        self._workers = 1
        self._scoring = ""
        self._found = 0

    @property
    def title(self) -> str:
        """What is studied, and how much work it is."""
        if not self._about:
            return "Reading the data and planning the study ..."
        number = sum(pair.expected for pair in self._pairs.values())
        about = "" if all(pair.over for pair in self._pairs.values()) else "about "
        found = f"; {counted(self._found, 'training')} found beside it" if self._found else ""
        return f"{self._about}; {about}{counted(number, 'training')}, {self._workers} at a time in stacks{found}"

    def on_found(self, runs: int) -> None:
        self._found += runs

    def on_plan(self, study: Study, config: StudyConfig, data: Data, pairs: Sequence[Rounds], workers: int) -> None:
        self._study, self._workers = study, workers
        self._rounds = pairs
        sizes = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test "
        self._about = f"{printable(data.name)}: {sizes}{data.samples}"
        self._began = time.monotonic()

    def on_stack(self, stack: CellStack, *, trained: bool) -> None:
        assert self._study is not None
        pair = self._pair(stack)
        if not trained:
            self._cost_before += stack.cost
        pair.finished += len(stack.cells)
        for cell, identifier in zip(stack.cells, stack.ids, strict=True):
            info = run_info(self._study.run(identifier))
            loss = info["metrics"]["validation_loss"]
            if info["status"] != "done":
                pair.diverged += 1
            elif loss < pair.best:
                pair.best, pair.best_rate = loss, cell.learning_rate

    def on_progress(self, running: Sequence[tuple[CellStack, float]]) -> None:
        self._running = running

    def on_failure(self, stack: CellStack, reason: str) -> None:
        self._pair(stack).failed = True

    def on_scoring(self, done: int, wanted: int) -> None:
        self._scoring = f"scoring the chosen nets on the test split: {done}/{wanted}"

    @property
    def _pairs(self) -> dict[tuple[str, int], _Pair]:
        for rounds in self._rounds[len(self._known) :]:
            self._known[rounds.pair.gate, rounds.pair.depth] = _Pair(rounds)
        return self._known

    def _pair(self, stack: CellStack) -> _Pair:
        return self._pairs[stack.cells[0].gate, stack.cells[0].depth]

    def done(self) -> float:
        """The share of the study's arithmetic that is behind it, by what it is expected to be."""
        whole = sum(pair.cost * pair.expected for pair in self._pairs.values())
        finished = sum(pair.cost * pair.finished for pair in self._pairs.values())
        running = sum(stack.cost * share for stack, share in self._running)
        return min(1.0, (finished + running) / whole) if whole else 0.0

    def times(self) -> str:
        """Time passed, and time left at the present rate."""
        passed, done = time.monotonic() - self._began, self.done()
        whole = sum(pair.cost * pair.expected for pair in self._pairs.values())
        fresh = done - self._cost_before / whole if whole else 0.0
        left = passed * (1 - done) / fresh if fresh > 0.01 else math.nan
        return f"{_clock(passed)} passed" + (f", about {_clock(left)} left" if left == left and done < 1 else "")

    def line(self) -> str:
        """All of it in one line, for logs."""
        finished = sum(pair.finished for pair in self._pairs.values())
        number = sum(pair.expected for pair in self._pairs.values())
        about = "" if all(pair.over for pair in self._pairs.values()) else "about "
        return f"{self.done():4.0%}  {finished} of {about}{number} trainings  {self.times()}  {self._best()}"

    def _best(self) -> str:
        best = min(self._pairs.items(), key=lambda item: item[1].best, default=None)
        if best is None or not math.isfinite(best[1].best):
            return ""
        (gate, depth), pair = best
        found = f"validation loss {pair.best:.4f} at learning rate {pair.best_rate:g}"
        return f"best so far: {printable(gate)} at depth {depth}, {found}"

    def view(self) -> RenderableType:
        """All of it as a table with a bar below."""
        depths = sorted({depth for _, depth in self._pairs})
        gates = list(dict.fromkeys(gate for gate, _ in self._pairs))
        table = Table("depth", *map(printable, gates), box=None, padding=(0, 2, 0, 0))
        for depth in depths:
            here = (self._pairs.get((gate, depth)) for gate in gates)
            table.add_row(str(depth), *(_state(pair) if pair else Text() for pair in here))
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=self.done(), width=40), f"{self.done():.0%}", self.times())
        legend = Text("best validation loss so far (its learning rate); finished/all trainings while it goes on", "dim")
        return Group(Text(self.title), table, legend, bar, Text(self._scoring or self._best()))


@contextmanager
def follow() -> Iterator[StudyObserver]:
    """A watch that shows the study while it goes on, on standard error."""
    state = StudyState()
    console = Console(file=sys.stderr)
    if console.is_terminal:
        # The state draws itself whenever the display asks, four times a second.
        with Live(console=console, get_renderable=state.view, refresh_per_second=4, transient=True):
            yield state
    else:
        yield _Lines(state)


class _Lines(StudyObserver):
    """A log's view: the plan, then a line now and then."""

    def __init__(self, state: StudyState) -> None:
        self._state, self._last = state, time.monotonic()

    def on_found(self, runs: int) -> None:
        self._state.on_found(runs)

    def on_plan(self, study: Study, config: StudyConfig, data: Data, pairs: Sequence[Rounds], workers: int) -> None:
        self._state.on_plan(study, config, data, pairs, workers)
        tell(self._state.title)

    def on_stack(self, stack: CellStack, *, trained: bool) -> None:
        self._state.on_stack(stack, trained=trained)

    def on_failure(self, stack: CellStack, reason: str) -> None:
        self._state.on_failure(stack, reason)
        tell(f"failed: {stack.cells[0].gate} at depth {stack.cells[0].depth}: {reason}")

    def on_scoring(self, done: int, wanted: int) -> None:
        if done == 0:
            tell(f"scoring {counted(wanted, 'chosen net')} on the test split")

    def on_progress(self, running: Sequence[tuple[CellStack, float]]) -> None:
        self._state.on_progress(running)
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            tell(self._state.line())


def _state(pair: _Pair) -> Text:
    text = Text()
    if math.isfinite(pair.best):
        text.append(f"{pair.best:.4f}", "bold").append(f" ({pair.best_rate:g})", "dim")
    if pair.diverged:
        text.append(f" {pair.diverged} diverged", "red")
    if pair.finished < pair.cells:
        text.append(f"  {pair.finished}/{pair.cells}", "cyan")
    return text


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{whole % 60:02} min"
