"""Sentences on how deep nets fit their training data: how far each gate goes, where it stops, what that is not."""

from __future__ import annotations

import math

from skipway.report.degradation import degradation
from skipway.report.findings import Reach, at_chance, trains_worse
from skipway.report.numbers import listed, percent, rounded
from skipway.report.summary import Group, Mean, Summary


def fit(summary: Summary, reaches: list[Reach]) -> list[str]:
    """How deep each gate's nets train, those that suffer first, and that this is not overfitting."""
    suffering = [found for found in reaches if found.stopped or _degraded(found)]
    well = [found for found in reaches if found not in suffering]
    degraded, told = degradation(summary, reaches)
    return [
        *(sentence for found in suffering for sentence in _one(found, summary)),
        *degraded,
        *_overfitting([found for found in suffering if found.gate not in told], again=bool(told)),
        *(sentence for found in well for sentence in _one(found, summary)),
        *_none(reaches),
        *_scale(reaches, summary),
    ]


def _degraded(found: Reach) -> bool:
    """Whether the deepest net trains, but worse than a shallower one."""
    return found.deepest is not None and found.best is not None and trains_worse(found.deepest, found.best)


def _one(found: Reach, summary: Summary) -> list[str]:
    """How deep one gate's nets train."""
    if not found.known:
        return []
    if not found.trained:
        return [_never(found, summary)]
    if found.stopped:
        return _some(found, summary)
    deepest, best, first = found.trained[-1], found.best, found.trained[0]
    if first is deepest:
        only = "the only depth studied" if len(summary.depths) == 1 else "the only depth that is in"
        return [f"The {found.gate} nets train at depth {deepest.depth}, {only}: {_loss(deepest)}."]
    which = "the deepest studied" if deepest is summary.of(found.gate)[-1] else "the deepest that is in"
    if best and _degraded(found):
        alone = _one_seed(deepest.train_loss, best.train_loss)
        return [
            f"The {found.gate} nets still train at depth {deepest.depth}, {which}, but worse than at depth "
            f"{best.depth}: {_loss(deepest)} against {_loss(best, short=True)}{alone}."
        ]
    return [
        f"The {found.gate} nets go on to depth {deepest.depth}, {which}: {_loss(deepest)} there, "
        f"{_loss(first, short=True)} at depth {first.depth}."
    ]


def _never(found: Reach, summary: Summary) -> str:
    """Of nets that train at none of the depths."""
    by_reason: dict[str, list[str]] = {}
    for group in found.stopped:
        by_reason.setdefault(_failure(group, summary), []).append(f"{group.depth}")
    if len(found.stopped) == 1:
        ((reason, _),) = by_reason.items()
        only = ", the only depth studied" if len(summary.depths) == 1 else ", the only depth that is in"
        return f"The {found.gate} nets do not train at depth {found.stopped[0].depth}{only}: they {reason}."
    parts = [f"at depth {listed(depths)} they {reason}" for reason, depths in by_reason.items()]
    return f"The {found.gate} nets do not train at any depth: {'; '.join(parts)}."


def _failure(group: Group, summary: Summary) -> str:
    """Why a net that has no shallower one to be compared with counts as not trained."""
    if group.state == "diverged":
        return group.note
    guess = percent(1 - 1 / (summary.classes or 1))
    return f"get {percent(_value(group.train_error))} of their training data wrong, and guessing {guess}"


def _some(found: Reach, summary: Summary) -> list[str]:
    """Of nets that train at some depths and not at others."""
    first, last, deepest = found.stopped[0], found.stopped[-1], found.deepest
    until = f"train at depth {deepest.depth} ({_loss(deepest)}) but stop training" if deepest else "do not train"
    text = f"The {found.gate} nets {until} at depth {first.depth}: {_stop(found, summary)}"
    if last is not first:
        end = f"they {last.note}" if last.state == "diverged" else f"the loss is {_loss(last, short=True)}"
        text += f"; at depth {last.depth} {end}"
    sentences = [f"{text}."]
    if found.again:
        depths = listed([f"{group.depth}" for group in found.again])
        sentences.append(f"Not every deeper {found.gate} net stops, though: at depth {depths} they train.")
    return sentences


def _stop(found: Reach, summary: Summary) -> str:
    """What happens at the first depth at which a gate's nets do not train."""
    first, best = found.stopped[0], found.best
    if first.state == "diverged" or at_chance(first, summary.classes) or best is None:
        return f"they {_failure(first, summary)}"
    times = _value(first.train_loss) / max(_value(best.train_loss), 1e-12)
    return f"{_loss(first)} there, {rounded(times)} times the {_loss(best, short=True)} of depth {best.depth}"


def _none(reaches: list[Reach]) -> list[str]:
    """What follows if no net of the study trains, at several depths."""
    if any(found.trained for found in reaches) or all(found.known < 2 for found in reaches):
        return []
    return [
        "No net of this study trains, the shallowest no more than the others, so nothing here shows that depth is the "
        "reason: look at learning rates, steps and data first."
    ]


def _overfitting(suffering: list[Reach], *, again: bool) -> list[str]:
    """That a stop shows in the training loss; of gates whose training errors do not say so already.

    Args:
        suffering: Those that stop or get worse.
        again: Whether the same has been said of other gates.
    """
    gates = []
    for found in suffering:
        worse = [*found.stopped, *([found.deepest] if found.deepest and _degraded(found) else [])]
        if found.best and any(group.train_loss for group in worse):
            gates.append(found.gate)
    if not gates:
        return []
    if again:
        return [f"With {listed(gates)} the training loss alone says the same."]
    return [
        f"With {listed(gates)}, that is the loss on the training data itself, so it is not overfitting; the deeper "
        "net does worse on what it is trained on."
    ]


def _scale(reaches: list[Reach], summary: Summary) -> list[str]:
    """What the losses are to be held against."""
    if not summary.classes or not any(found.known for found in reaches):
        return []
    guess = rounded(math.log(summary.classes))
    return [f"For scale: a training loss of 0 is a perfect fit, {guess} is guessing among {summary.classes} classes."]


def _loss(group: Group, *, short: bool = False) -> str:
    number = rounded(_value(group.train_loss))
    return number if short else f"training loss {number}"


def _one_seed(*means: Mean | None) -> str:
    return " (from one seed)" if any(mean is None or mean.std is None for mean in means) else ""


def _value(mean: Mean | None) -> float:
    return mean.value if mean else math.nan
