"""What divergence is: the one rule for it."""

from __future__ import annotations

import math

_TIMES_GUESSING = 100.0


def divergence(loss: float, classes: int) -> str | None:
    """What is wrong with a loss, in nats, where the training that ended with it has diverged; None where it has not.

    It has if the loss is not finite, or more than 100 times that of guessing among so many classes, ln(classes). The
    classes' frequencies are left out: where nearly all is one class, to say that class costs next to nothing, and every
    net would have diverged before its first step.

    The end of a training is judged, not its way: nets without normalisation have begun with losses of 10¹⁰ and
    learned.
    """
    if not math.isfinite(loss):
        return "was not finite"
    guessing = math.log(classes)
    if loss > _TIMES_GUESSING * guessing:
        return f"was {loss:,.5g}, more than {_TIMES_GUESSING:g} times that of guessing, {guessing:.2f}"
    return None
