"""The verdict: what a study shows, in sentences with their numbers.

Every sentence follows from the rows by a rule of `findings`; where the rows do not carry one, it is left out or says
what is missing.
"""

from __future__ import annotations

import math

from skipway.report.findings import (
    Reach,
    at_chance,
    deepest_shared,
    differ,
    grain,
    healthy,
    is_plain,
    pays_until,
    reach,
    trains_worse,
)
from skipway.report.numbers import counted, listed, percent, rounded
from skipway.report.summary import Group, Mean, Summary


def verdict(summary: Summary) -> list[str]:
    """What the study shows: how deep each gate trains, whether that is overfitting, what a skip gains, and why."""
    reaches = [reach(summary, gate) for gate in summary.gates]
    return [
        *_progress(summary),
        *_training(reaches, summary),
        *_shallow(summary, reaches),
        *_deep(summary),
        *_pays(summary),
        *_gradient(summary, reaches),
        *_gates(summary),
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
    """How deep each gate's nets train, those that stop first, and that this is not overfitting."""
    stop = [sentence for found in reaches if found.stopped for sentence in _one(found, summary)]
    go_on = [sentence for found in reaches if not found.stopped for sentence in _one(found, summary)]
    scale = []
    if (stop or go_on) and summary.classes:
        guess = rounded(math.log(summary.classes))
        scale = [f"For scale: a training loss of 0 is a perfect fit, {guess} is guessing among {summary.classes} classes."]
    return [*stop, *_overfitting(reaches), *go_on, *scale]


def _one(found: Reach, summary: Summary) -> list[str]:
    """How deep one gate's nets train."""
    sentences = []
    deepest, best = found.deepest, found.best
    if found.stopped:
        until = f"trains at depth {deepest.depth} ({_loss(deepest)}) but " if deepest else ""
        sentences.append(f"{found.gate} {until}{_stop(found, summary)}.")
        if found.again:
            depths = listed([f"{group.depth}" for group in found.again])
            sentences.append(f"Not every deeper {found.gate} net stops, though: it trains at depth {depths}.")
    elif deepest and best and len(found.trained) == 1:
        sentences.append(f"{found.gate} trains at depth {deepest.depth}, the only depth that is in: {_loss(deepest)}.")
    elif deepest and best and trains_worse(deepest, best):
        alone = _one_seed(deepest.train_loss, best.train_loss)
        sentences.append(
            f"{found.gate} still trains at depth {deepest.depth}, its deepest net, but worse than at depth "
            f"{best.depth}: {_loss(deepest)}{_wrong(deepest)} against {_loss(best, short=True)}{_wrong(best)}{alone}."
        )
    elif deepest:
        first = found.trained[0]
        sentences.append(
            f"{found.gate} goes on to depth {deepest.depth}, its deepest net: {_loss(deepest)} there, "
            f"{_loss(first, short=True)} at depth {first.depth}."
        )
    return sentences


def _stop(found: Reach, summary: Summary) -> str:
    """The clause that says where and how a gate stops."""
    first, best = found.stopped[0], found.best
    start = "does not train at depth" if found.deepest is None else "stops training at depth"
    if first.state == "diverged":
        text = f"{start} {first.depth}: it {first.note}"
    elif at_chance(first, summary.classes):
        text = f"{start} {first.depth}: it gets {percent(_value(first.train_error))} of its training data wrong, "
        text += f"as guessing would ({percent(1 - 1 / (summary.classes or 1))})"
    elif best:
        times = _value(first.train_loss) / max(_value(best.train_loss), 1e-12)
        text = f"{start} {first.depth}: {_loss(first)} there, {rounded(times)} times the "
        text += f"{_loss(best, short=True)} of depth {best.depth}"
    else:
        text = f"{start} {first.depth}: {_loss(first)}"
    last = found.stopped[-1]
    if last is not first:
        text += f"; at depth {last.depth} it " + (last.note if last.state == "diverged" else f"is {_loss(last, short=True)}")
    return text


def _overfitting(reaches: list[Reach]) -> list[str]:
    """That a stop shows in the training loss: said once, of the gates that it holds for, with their training errors."""
    cases = []
    for found in reaches:
        group = next((group for group in found.stopped if group.train_loss), None)
        if group and found.best:
            cases.append((group, found.best))
    if not cases:
        return []
    group, best = cases[0]
    errors = ""
    if group.train_error and best.train_error:
        errors = (
            f": at depth {group.depth} {group.gate} gets {percent(group.train_error.value)} of them wrong, "
            f"at depth {best.depth} {percent(best.train_error.value)}"
        )
    others = [other.gate for other, _ in cases[1:]]
    also = f" The same holds for {listed(others)}." if others else ""
    return [
        "That is the loss on the training data itself, so it is not overfitting: the deeper net fails on examples that "
        f"the shallower one has learned{errors}.{also}"
    ]


def _shallow(summary: Summary, reaches: list[Reach]) -> list[str]:
    """Whether a skip gains anything at the shallowest depth, where the plain net trains too."""
    if not summary.depths:
        return []
    depth = summary.depths[0]
    plain, others = _against_plain(summary, depth)
    trains = any(plain in found.trained for found in reaches)
    if plain is None or not others or not trains:
        return []
    start = f"At depth {depth}, where {plain.gate} trains too, test errors are {_errors([plain, *others])}: "
    return [start + _compared(plain, others, grain(summary, "test")) + "."]


def _deep(summary: Summary) -> list[str]:
    """What a skip gains at the deepest depth, if that is not also the shallowest."""
    if len(summary.depths) < 2:
        return []
    depth = summary.depths[-1]
    here = summary.at(depth)
    plain, others = _against_plain(summary, depth)
    if plain is None or not others:
        diverged = [group.gate for group in here if is_plain(group.gate) and group.state == "diverged"]
        if diverged and others:
            return [
                f"At depth {depth}, where {diverged[0]} gives no net at all, the test errors are {_errors(others)}."
            ]
        return []
    start = f"At depth {depth} test errors are {_errors([plain, *others])}: "
    return [start + _compared(plain, others, grain(summary, "test")) + "."]


def _against_plain(summary: Summary, depth: int) -> tuple[Group | None, list[Group]]:
    measured = [group for group in summary.at(depth) if group.test_error]
    plain = next((group for group in measured if is_plain(group.gate)), None)
    return plain, [group for group in measured if not is_plain(group.gate)]


def _compared(plain: Group, others: list[Group], step: float) -> str:
    """Who differs from plain beyond the spread of the seeds."""
    if plain.test_error is None:
        return ""
    better, worse, same, unknown = [], [], [], []
    for group in others:
        if group.test_error is None:
            continue
        apart = differ(group.test_error, plain.test_error, step)
        lower = group.test_error.value < plain.test_error.value
        kind = unknown if apart is None else same if not apart else better if lower else worse
        kind.append(group.gate)
    seeds = counted(plain.test_error.n, "seed")
    parts = []
    if better:
        parts.append(f"{_are(better)} better than {plain.gate} beyond the spread of {seeds}")
    if worse:
        parts.append(f"{_are(worse)} worse than {plain.gate} beyond the spread of {seeds}")
    if same:
        between = "" if not (better or worse) else f" between {plain.gate} and {listed(same)}"
        parts.append(f"no difference{between} beyond the spread of {seeds}")
    if unknown:
        parts.append("from a single seed, so how much of that is chance cannot be told")
    return "; ".join(parts)


def _pays(summary: Summary) -> list[str]:
    """Up to which depth more depth lowers the validation error."""
    until: dict[int, list[str]] = {}
    still: list[str] = []
    for gate in summary.gates:
        group = pays_until(summary, gate)
        if group is None:
            continue
        text = f"{gate} (validation error {percent(_value(group.validation_error))})"
        if group is summary.of(gate)[-1]:
            still.append(f"depth {group.depth} with {text}")
        else:
            until.setdefault(group.depth, []).append(text)
    sentences = []
    if until:
        parts = [f"depth {depth} with {listed(texts)}" for depth, texts in sorted(until.items())]
        sentences.append(
            f"More depth stops paying at {listed(parts)}: no deeper net of that gate has a validation error lower than "
            "that beyond the spread of the seeds."
        )
    if still:
        sentences.append(f"More depth still pays at {listed(still)}, the deepest studied.")
    return sentences


def _gradient(summary: Summary, reaches: list[Reach]) -> list[str]:
    """How the gradient travels back before training, at the deepest depth that all gates have been probed at."""
    here = deepest_shared(summary, [group for group in summary.groups if group.gradient_ratio is not None])
    if not here:
        return []
    steady = [f"{group.gate} ({rounded(group.gradient_ratio)} times)" for group in here if _steady(group)]
    parts = [f"{_travels(group.gradient_ratio or 0.0)} with {group.gate}" for group in here if not _steady(group)]
    if steady:
        parts.append(f"keeps its size within a factor of ten with {listed(steady)}")
    sentences = [
        f"Before training, on its way back from the last block to the first of a net of depth {here[0].depth}, "
        f"the gradient {', and '.join(parts)}."
    ]
    for found in reaches:
        first = found.stopped[0] if found.stopped else None
        if first and _steady(first):
            sentences.append(
                f"{found.gate} stops at depth {first.depth} although its gradient arrives there at "
                f"{rounded(first.gradient_ratio)} times its size: a gradient fading before training is not the reason."
            )
    return sentences


def _steady(group: Group) -> bool:
    return group.gradient_ratio is not None and healthy(group.gradient_ratio)


def _travels(ratio: float) -> str:
    if ratio == 0:
        return "vanishes entirely (it is 0 at the first)"
    if ratio < 1:
        return f"fades to 1 part in {rounded(1 / ratio)}"
    return f"grows {rounded(ratio)} times"


def _gates(summary: Summary) -> list[str]:
    """How far the gates stand open after training, from the shallowest net to the deepest."""
    sentences = []
    for gate in summary.gates:
        nets = [group for group in summary.of(gate) if group.transform_end is not None]
        moving = [group for group in nets if group.transform_end != 1 or group.transform_start not in (None, 1)]
        if not moving:
            continue
        first, last = moving[0], moving[-1]
        text = f"After training, the gates of {gate} stand at a mean T of {_opening(first)}"
        if last is not first:
            text += f" and {_opening(last)}"
        sentences.append(f"{text}{_meaning(last)}.")
    return sentences


def _opening(group: Group) -> str:
    before = f" (before it, {rounded(group.transform_start)})" if group.transform_start is not None else ""
    return f"{rounded(group.transform_end)} at depth {group.depth}{before}"


def _meaning(group: Group) -> str:
    """In words, for gates that mix (T and C between 0 and 1, adding up to 1); other gates' numbers stand for themselves."""
    share, carry = group.transform_end, group.carry_end
    if share is None or carry is None or not 0 <= share <= 1 or not math.isclose(share + carry, 1, abs_tol=0.01):
        return ""
    return (
        f": at depth {group.depth} a block's output is, on average, {percent(share)} its own work and "
        f"{percent(carry)} what it was given"
    )


def _net(group: Group) -> str:
    return f"{group.gate} at depth {group.depth}"


def _loss(group: Group, *, short: bool = False) -> str:
    number = rounded(_value(group.train_loss))
    return number if short else f"training loss {number}"


def _wrong(group: Group) -> str:
    return f" ({percent(group.train_error.value)} of the training data wrong)" if group.train_error else ""


def _errors(groups: list[Group]) -> str:
    return listed(
        [f"{percent(group.test_error.value, group.test_error.std)} with {group.gate}" for group in groups if group.test_error]
    )


def _are(gates: list[str]) -> str:
    return f"{listed(gates)} {'is' if len(gates) == 1 else 'are'}"


def _one_seed(*means: Mean | None) -> str:
    return " (from one seed)" if any(mean is None or mean.std is None for mean in means) else ""


def _value(mean: Mean | None) -> float:
    return mean.value if mean else math.nan
