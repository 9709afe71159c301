"""What divergence is: the one rule for it."""

from __future__ import annotations

import math

_TIMES_GUESSING = 100.0


def divergence(loss: float, guessing: float | None) -> str | None:
    """What is wrong with a loss where the training that ended with it has diverged; None where it has not.

    It has if the loss is not finite, or more than 100 times that of guessing: `skipway.tasks.task.Task.guessing_loss`,
    None where a task knows none.

    The end of a training is judged, not its way: nets without normalisation have begun with losses of 10¹⁰ and
    learned.
    """
    if not math.isfinite(loss):
        return "was not finite"
    if guessing is not None and loss > _TIMES_GUESSING * guessing:
        return f"was {_told(loss)}, more than {_TIMES_GUESSING:g} times that of guessing, {guessing:.2f}"
    return None


def _told(loss: float) -> str:
    return f"{loss:,.0f}" if loss < 1e6 else f"{loss:.1g}"
