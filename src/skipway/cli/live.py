"""Watching a study at the prompt: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
from skipway.studies.runner import StudyObserver

_SECONDS_BETWEEN_LINES = 20.0


@dataclass
class _Pair:
    """A gate at a depth: how far it is."""

    cells: int = 0
    finished: int = 0
    diverged: int = 0
    best: float = math.inf
    best_rate: float | None = None


class StudyState(StudyObserver):
    """What is known of a study while it goes on, told by its runner; `view` draws it."""

    def __init__(self) -> None:
        self._study: Study | None = None
        self._stacks: list[CellStack] = []
        self._pairs: dict[tuple[str, int], _Pair] = {}
        self._fractions: Mapping[str, float] = {}
        self._cost_before, self._cost_done, self._cost = 0.0, 0.0, 1.0
        self._began = time.monotonic()
        self.title = "Reading the data and planning the study ..."
        self.training = False
        self._scoring = ""
        self._found = 0

    def on_found(self, runs: int) -> None:
        self._found = runs

    def on_plan(self, study: Study, config: StudyConfig, data: Data, stacks: Sequence[CellStack], workers: int) -> None:
        self._study, self._stacks = study, [*stacks]
        self._cost = sum(stack.cost for stack in stacks)
        for gate in config.gates:
            for depth in config.depths:
                self._pairs[gate, depth] = _Pair()
        for stack in stacks:
            self._pair(stack).cells += len(stack.cells)
        cells = sum(len(stack.cells) for stack in stacks)
        sizes = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test "
        sizes += data.samples
        self.title = f"{printable(data.name)}: {sizes}; {counted(cells, 'training')}, {workers} at a time in stacks"
        if self._found:
            self.title += f"; {counted(self._found, 'training')} found beside it"
        self._began = time.monotonic()

    def on_stack(self, stack: CellStack) -> None:
        assert self._study is not None
        self._cost_done += stack.cost
        if not self.training:
            self._cost_before += stack.cost
        pair = self._pair(stack)
        pair.finished += len(stack.cells)
        for cell, identifier in zip(stack.cells, stack.ids, strict=True):
            info = run_info(self._study.run(identifier))
            loss = info["metrics"]["validation_loss"]
            if info["status"] != "done":
                pair.diverged += 1
            elif loss < pair.best:
                pair.best, pair.best_rate = loss, cell.learning_rate

    def on_progress(self, fractions: Mapping[str, float]) -> None:
        self.training = True
        self._fractions = fractions

    def on_failure(self, stack: CellStack, reason: str) -> None:
        self._cost_done += stack.cost

    def on_scoring(self, done: int, wanted: int) -> None:
        self._scoring = f"scoring the chosen nets on the test split: {done}/{wanted}"

    def _pair(self, stack: CellStack) -> _Pair:
        return self._pairs[stack.cells[0].gate, stack.cells[0].depth]

    def done(self) -> float:
        """The share of the study's arithmetic that is behind it."""
        costs = {stack.name: stack.cost for stack in self._stacks}
        running = sum(costs.get(name, 0.0) * share for name, share in self._fractions.items())
        return min(1.0, (self._cost_done + running) / self._cost)

    def times(self) -> str:
        """Time passed, and time left at the present rate."""
        passed, done = time.monotonic() - self._began, self.done()
        fresh = done - self._cost_before / self._cost
        left = passed * (1 - done) / fresh if fresh > 0.01 else math.nan
        return f"{_clock(passed)} passed" + (f", about {_clock(left)} left" if left == left and done < 1 else "")

    def line(self) -> str:
        """All of it in one line, for logs."""
        finished = sum(pair.finished for pair in self._pairs.values())
        cells = sum(pair.cells for pair in self._pairs.values())
        return f"{self.done():4.0%}  {finished}/{cells} trainings  {self.times()}  {self._best()}"

    def _best(self) -> str:
        best = min(self._pairs.items(), key=lambda item: item[1].best, default=None)
        if best is None or not math.isfinite(best[1].best):
            return ""
        (gate, depth), pair = best
        found = f"validation loss {pair.best:.4f} at learning rate {pair.best_rate:g}"
        return f"best so far: {printable(gate)} at depth {depth}, {found}"

    def view(self) -> RenderableType:
        """All of it as a table with a bar below."""
        depths = list(dict.fromkeys(depth for _, depth in self._pairs))
        gates = list(dict.fromkeys(gate for gate, _ in self._pairs))
        table = Table("depth", *map(printable, gates), box=None, padding=(0, 2, 0, 0))
        for depth in depths:
            table.add_row(str(depth), *(_state(self._pairs[gate, depth]) for gate in gates))
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

    def on_plan(self, study: Study, config: StudyConfig, data: Data, stacks: Sequence[CellStack], workers: int) -> None:
        self._state.on_plan(study, config, data, stacks, workers)
        tell(self._state.title)

    def on_stack(self, stack: CellStack) -> None:
        self._state.on_stack(stack)

    def on_failure(self, stack: CellStack, reason: str) -> None:
        self._state.on_failure(stack, reason)
        tell(f"failed: {stack.cells[0].gate} at depth {stack.cells[0].depth}: {reason}")

    def on_scoring(self, done: int, wanted: int) -> None:
        if done == 0:
            tell(f"scoring {counted(wanted, 'chosen net')} on the test split")

    def on_progress(self, fractions: Mapping[str, float]) -> None:
        self._state.on_progress(fractions)
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
