"""Which trainings come to anything: those whose nets do better than the best constant answer."""

from __future__ import annotations

from typing import Literal

from skipway.report.summary import Group, Guessing

CHANCE = 0.95
"""Of what the best constant answer gets wrong."""

State = Literal["trains", "some seeds fail", "at chance", "diverged", "unfinished"]


def state(group: Group, guessing: Guessing | None) -> State:
    """Whether a gate's nets train at a depth, at the learning rate that trains best."""
    if group.state != "done":
        return group.state
    failed = seeds_at_chance(group, guessing)
    if not failed:
        return "trains"
    return "at chance" if group.train_loss and failed == group.train_loss.n else "some seeds fail"


def seeds_at_chance(group: Group, guessing: Guessing | None) -> int:
    """How many seeds do hardly better on their training data than the best constant answer."""
    if guessing is None or group.train_loss is None:
        return 0
    told, guessed = group.train_loss.values, guessing.loss
    if group.train_metric and guessing.value is not None and judged_by(guessing) != "loss":
        told, guessed = group.train_metric.values, guessing.value
    if judged_by(guessing) == "rest":
        told, guessed = tuple(1 - value for value in told), 1 - guessed
    # A loss may be negative: then to be 5 % better is to be further below 0.
    limit = guessed * (CHANCE if guessed > 0 else 2 - CHANCE)
    return sum(value >= limit for value in told)


def judged_by(guessing: Guessing) -> Literal["metric", "rest", "loss"]:
    """What of a net is held to what guessing gets.

    The metric, where lower values of it are better; the rest up to 100 %, where higher shares are; else the loss, since
    it is not known what a perfect net would have of the metric.
    """
    if guessing.value is None:
        return "loss"
    if guessing.metric.lower:
        return "metric"
    return "rest" if guessing.metric.is_share else "loss"
