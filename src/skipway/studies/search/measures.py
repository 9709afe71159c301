"""By what learning rates are compared: two questions, each with its measures.

How well can a net be trained? At the rate with the lowest mean training loss. How well does it generalise? At the one
with the best mean metric on the validation data. One rate for both would answer neither: a validation split of a few
hundred images chooses among rates at which they are equally well classified, and so at times one that trains ten times
worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Literal, get_args

from skipway.rundir.layout import Json

if TYPE_CHECKING:
    from skipway.tasks.task import Metric

Question = Literal["training", "validation"]
QUESTIONS: tuple[Question, ...] = get_args(Question)
Scores = Mapping[Question, tuple[float, ...]]
"""What a training got, for each question: the lower, the better; of equals the next number decides."""
_DIGITS = 12


def scores(metrics: Json, metric: Metric | None) -> Scores:
    """What a finished training got; a measure that it lacks decides nothing.

    Args:
        metrics: of its run.json.
        metric: by which its task judges, beside the loss.
    """
    loss = metrics.get("validation_loss", math.inf)
    validation: tuple[float, ...] = (loss,)
    if metric is not None:
        sign = 1 if metric.better == "lower" else -1
        validation = (sign * metrics.get(f"validation_{metric.name}", math.inf), loss)
    return {"training": (metrics.get("train_loss", math.inf),), "validation": validation}


def mean(seeds: Iterable[Scores]) -> Scores:
    """The mean over seeds.

    Ten wrong images are as many, whichever seeds had them: to 12 digits, whose last no order of a sum changes.
    """
    each = [*seeds]
    return {
        question: tuple(
            float(f"{fmean(values):.{_DIGITS}g}") for values in zip(*(own[question] for own in each), strict=True)
        )
        for question in QUESTIONS
    }


def best(rates: Mapping[float, Scores], question: Question) -> float:
    """The rate that answers a question best; of equals the lower one."""
    return ranked(rates, question)[0]


def ranked(rates: Mapping[float, Scores], question: Question) -> list[float]:
    """All of them, the best first."""
    return sorted(rates, key=lambda rate: (rates[rate][question], rate))
