"""Schedules by name: what becomes of the learning rate after the warm-up. No torch here.

One class a schedule. A subclass that names itself is registered, and `--schedule` takes it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from skipway.settings.registry import Named, Registry

if TYPE_CHECKING:
    from skipway.training.recipe import Recipe

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


class Moment(NamedTuple):
    """Where a training stands."""

    done: float
    """The share of the steps after the warm-up that is done: 0 at the first of them, below 1 at the last."""
    step: int
    """From 0."""
    steps: int
    """Of the training, the warm-up included."""
    recipe: Recipe


class Schedule(Named, ABC):
    """How the learning rate goes on.

    A subclass that names itself is registered; it defines `factor`::

        class Linear(sw.Schedule, name="linear"):
            def __init__(self, *, end: float = 0.0):
                self.end = end

            def factor(self, at):
                return 1 - (1 - self.end) * at.done

    Keyword-only arguments are its settings, ``linear:end=0.1``. The warm-up is the recipe's.
    """

    registry = SCHEDULES

    @abstractmethod
    def factor(self, at: Moment) -> float:
        """What the learning rate is multiplied by at a step: a number from 0."""


class Constant(Schedule, name="constant"):
    """The learning rate stays."""

    def factor(self, at: Moment) -> float:
        return 1.0


class Step(Schedule, name="step"):
    """It falls by the recipe's `decay` at each of its `milestones`."""

    def factor(self, at: Moment) -> float:
        return float(at.recipe.decay ** sum(at.step / at.steps >= milestone for milestone in at.recipe.milestones))


class Exponential(Schedule, name="exponential"):
    """It falls by the same factor in every step, to the recipe's `decay` at the end."""

    def factor(self, at: Moment) -> float:
        return float(at.recipe.decay**at.done)


class Cosine(Schedule, name="cosine"):
    """Half a cosine, to 0 at the end (arXiv 1608.03983, without restarts)."""

    def factor(self, at: Moment) -> float:
        return 0.5 * (1 + math.cos(math.pi * at.done))
