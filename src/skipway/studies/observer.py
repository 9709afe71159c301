"""What wants to know how a study goes on."""

from __future__ import annotations

from collections.abc import Sequence

from skipway.data.dataset import Data
from skipway.rundir.study import Study
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack
from skipway.studies.rounds import Rounds


class StudyObserver:
    """Every method does nothing unless a subclass says otherwise."""

    def on_plan(self, study: Study, config: StudyConfig, data: Data, pairs: Sequence[Rounds], workers: int) -> None:
        """Everything is checked and planned; nothing is trained yet. Pairs tell how far they are at any time."""

    def on_found(self, runs: int) -> None:
        """So many more trainings were finished beside it, and are copied."""

    def on_progress(self, running: Sequence[tuple[CellStack, float]]) -> None:
        """The stacks in training, each with the share of it that is done. Called several times a second."""

    def on_stack(self, stack: CellStack, *, trained: bool) -> None:
        """A stack's runs are on disk: trained now, or before the study was started again."""

    def on_failure(self, stack: CellStack, reason: str) -> None:
        """A stack ended by an exception."""

    def on_scoring(self, done: int, wanted: int) -> None:
        """So many of the chosen nets are scored on the test split."""

    def on_end(self, study: Study) -> None:
        """The study's status is written."""
