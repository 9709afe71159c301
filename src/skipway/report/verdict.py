"""The verdict: what a study shows, in sentences with their numbers.

Every sentence follows from the rows by a rule of `findings`; where the rows do not carry one, it is left out or says
what is missing.
"""

from __future__ import annotations

import math

from skipway.report.findings import Reach, at_chance, reach, trains_worse
from skipway.report.gains import deep, pays, shallow
from skipway.report.inside import gates, gradient
from skipway.report.numbers import counted, listed, percent, rounded
from skipway.report.summary import Group, Mean, Summary


def verdict(summary: Summary) -> list[str]:
    """What the study shows: how deep each gate trains, whether that is overfitting, what a skip gains, and why."""
    reaches = [reach(summary, gate) for gate in summary.gates]
    return [
        *_progress(summary),
        *_training(reaches, summary),
        *shallow(summary, reaches),
        *deep(summary, reaches),
        *pays(summary),
        *gradient(summary, reaches),
        *gates(summary),
    ]


def _progress(summary: Summary) -> list[str]:
    """How much of the study is in, and what went wrong in it."""
    sentences = []
    if summary.finished < summary.cells:
        known = sum(group.state != "unfinished" for group in summary.groups)
        sentences.append(
            f"This study is not finished: {summary.finished:,} of {counted(summary.cells, 'training')} are in, and "
            f"{known} of {len(summary.groups)} rows of the table are complete. What follows is about those alone."
        )
    failed = [group for group in summary.groups if group.failed]
    if failed:
        number = sum(group.failed for group in failed)
        where = listed([_net(group) for group in failed])
        sentences.append(
            f"{counted(number, 'training')} failed ({where}): {failed[0].reasons[-1]}. "
            "Starting the study again tries them again."
        )
    return sentences


def _training(reaches: list[Reach], summary: Summary) -> list[str]:
    """How deep each gate's nets train, those that suffer first, and that this is not overfitting."""
    suffering = [found for found in reaches if found.stopped or _degraded(found)]
    well = [found for found in reaches if found not in suffering]
    scale = []
    if summary.classes and any(found.trained or found.stopped for found in reaches):
        guess = rounded(math.log(summary.classes))
        scale = [
            f"For scale: a training loss of 0 is a perfect fit, {guess} is guessing among {summary.classes} classes."
        ]
    return [
        *(sentence for found in suffering for sentence in _one(found, summary)),
        *_overfitting(suffering),
        *(sentence for found in well for sentence in _one(found, summary)),
        *scale,
    ]


def _degraded(found: Reach) -> bool:
    """Whether the deepest net trains, but worse than a shallower one."""
    return found.deepest is not None and found.best is not None and trains_worse(found.deepest, found.best)


def _one(found: Reach, summary: Summary) -> list[str]:
    """How deep one gate's nets train."""
    deepest, best = found.deepest, found.best
    if found.stopped:
        until = f"train at depth {deepest.depth} ({_loss(deepest)}) but " if deepest else ""
        sentences = [f"The {found.gate} nets {until}{_stop(found, summary)}."]
        if found.again:
            depths = listed([f"{group.depth}" for group in found.again])
            sentences.append(f"Not every deeper {found.gate} net stops, though: at depth {depths} they train.")
        return sentences
    if deepest is None or best is None:
        return []
    which = "the deepest studied" if deepest is summary.of(found.gate)[-1] else "the deepest that is in"
    if _degraded(found):
        alone = _one_seed(deepest.train_loss, best.train_loss)
        return [
            f"The {found.gate} nets still train at depth {deepest.depth}, {which}, but worse than at depth "
            f"{best.depth}: {_loss(deepest)}{_wrong(deepest)} against {_loss(best, short=True)}{_wrong(best)}{alone}."
        ]
    first = found.trained[0]
    if first is deepest:
        return [f"The {found.gate} nets train at depth {deepest.depth}, the only depth that is in: {_loss(deepest)}."]
    return [
        f"The {found.gate} nets go on to depth {deepest.depth}, {which}: {_loss(deepest)} there, "
        f"{_loss(first, short=True)} at depth {first.depth}."
    ]


def _stop(found: Reach, summary: Summary) -> str:
    """The clause that says where and how a gate's nets stop."""
    first, last, best = found.stopped[0], found.stopped[-1], found.best
    text = f"{'do not train' if found.deepest is None else 'stop training'} at depth {first.depth}: "
    if first.state == "diverged":
        text += f"they {first.note}"
    elif at_chance(first, summary.classes):
        text += f"they get {percent(_value(first.train_error))} of their training data wrong, "
        text += f"and guessing {percent(1 - 1 / (summary.classes or 1))}"
    elif best:
        times = _value(first.train_loss) / max(_value(best.train_loss), 1e-12)
        text += f"{_loss(first)} there, {rounded(times)} times the {_loss(best, short=True)} of depth {best.depth}"
    if last is not first:
        end = f"they {last.note}" if last.state == "diverged" else f"the loss is {_loss(last, short=True)}"
        text += f"; at depth {last.depth} {end}"
    return text


def _overfitting(suffering: list[Reach]) -> list[str]:
    """That a stop shows in the training loss: said once, of the gates that it holds for, with their training errors."""
    cases = []
    for found in suffering:
        worse = [*found.stopped, *([found.deepest] if found.deepest and _degraded(found) else [])]
        group = next((group for group in worse if group.train_loss), None)
        if group and found.best:
            cases.append((group, found.best))
    if not cases:
        return []
    group, best = cases[0]
    errors = ""
    if group.train_error and best.train_error:
        errors = (
            f": at depth {group.depth} {group.gate} gets {percent(group.train_error.value)} of it wrong, "
            f"at depth {best.depth} {percent(best.train_error.value)}"
        )
    others = [other.gate for other, _ in cases[1:]]
    also = f" The same holds for {listed(others)}." if others else ""
    return [
        "That is the loss on the training data itself, so it is not overfitting; the deeper net does worse on what it "
        f"is trained on{errors}.{also}"
    ]


def _net(group: Group) -> str:
    return f"{group.gate} at depth {group.depth}"


def _loss(group: Group, *, short: bool = False) -> str:
    number = rounded(_value(group.train_loss))
    return number if short else f"training loss {number}"


def _wrong(group: Group) -> str:
    return f" ({percent(group.train_error.value)} of the training data wrong)" if group.train_error else ""


def _one_seed(*means: Mean | None) -> str:
    return " (from one seed)" if any(mean is None or mean.std is None for mean in means) else ""


def _value(mean: Mean | None) -> float:
    return mean.value if mean else math.nan
