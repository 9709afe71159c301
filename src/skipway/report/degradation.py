"""Sentences on degradation: more depth that makes the error on the training data itself worse (arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skipway.report.findings import ENOUGH_SEEDS, POINT, Growth, Reach, differ, growth, is_plain
from skipway.report.numbers import counted, percent
from skipway.report.summary import Group, Mean, Summary

_UNFITTED = 0.1


@dataclass(frozen=True)
class _Measure:
    """One of the two training errors: of the final weights, or of the last batches."""

    words: str
    error: Callable[[Group], Mean | None]


def degradation(summary: Summary, reaches: list[Reach]) -> tuple[list[str], set[str]]:
    """With which gates the training error grows with depth, by how much, and with which it does not.

    The error of the final weights decides. Where it shows nothing, as in a short training whose last weights are a
    moment between two others, the error on the last batches does. Where the shallower net does not train, nothing is
    said: between two nets that guess, depth is not the difference.

    Returns:
        The sentences, and the gates whose error grows.
    """
    for measure in _measures(summary):
        grown = [(found, growth(summary.of(found.gate), measure.error)) for found in reaches]
        found = {reach.gate: pair for reach, pair in grown if pair and pair.shallow in reach.trained}
        if found:
            return _told(summary, reaches, measure, found), set(found)
    return [], set()


def _measures(summary: Summary) -> list[_Measure]:
    return [
        _Measure("the error on the training data itself", lambda group: group.train_error),
        _Measure(f"the error on the training batches of the {_late_steps(summary)}", _late_error),
    ]


def _told(summary: Summary, reaches: list[Reach], measure: _Measure, found: dict[str, Growth]) -> list[str]:
    """The gate that suffers most first, a plain one if one suffers; then the others beside it."""
    main = max(found.values(), key=lambda grown: (is_plain(grown.deep.gate), grown.points.value))
    gate = main.deep.gate
    trains = any(main.deep in reach.trained for reach in reaches)
    name = "that is the degradation problem, not overfitting" if trains else "that is not overfitting"
    sentences = [
        f"With {gate}, depth makes {measure.words} worse: {_ends(main)}{_single(main)}. "
        f"The deeper net does worse on what it is trained on; {name}."
    ]
    too = [_beside(grown, main) for other, grown in found.items() if other != gate]
    spared = [
        text for other in summary.gates if other not in found and (text := _spared(summary, other, measure, main))
    ]
    sentences += [" ".join([*too, *spared])] if too or spared else []
    if measure.error is not _late_error and main.before.value >= _UNFITTED:
        sentences += _late(summary, main)
    return sentences


def _beside(grown: Growth, main: Growth) -> str:
    """A gate whose error grows too, against the one that suffers most."""
    apart = differ(grown.points, main.points)
    less = grown.points.value < main.points.value
    how = "" if apart is False else ", but by less" if less else ", and by more"
    return (
        f"With {grown.deep.gate} it gets worse too{how}: {_ends(grown)} "
        f"({_points(grown)} points against {_points(main)} with {main.deep.gate})."
    )


def _spared(summary: Summary, gate: str, measure: _Measure, main: Growth) -> str:
    """A gate whose error does not grow, at the depths of the one that suffers most if it has been there."""
    measured = [(net, mean) for net in summary.of(gate) if (mean := measure.error(net)) is not None]
    before = [pair for pair in measured if pair[0].depth == main.shallow.depth] or measured[:1]
    if not measured or before[0][0] is measured[-1][0]:
        return ""
    (shallow, first), (deep, last) = before[0], measured[-1]
    return (
        f"With {gate} {_unchanged(first, last)}: {_percent(first)} at depth {shallow.depth}, "
        f"{_percent(last)} at depth {deep.depth}."
    )


def _unchanged(first: Mean, last: Mean) -> str:
    """In what sense an error that does not count as grown has not."""
    if last.value <= first.value:
        return "it does not"
    if last.value - first.value < POINT:
        return "it hardly does"
    few = ", which are few" if last.n < ENOUGH_SEEDS else ""
    return f"it does no more than the spread of {counted(last.n, 'seed')}{few}"


def _late(summary: Summary, main: Growth) -> list[str]:
    """All gates on their last batches, at the same two depths: far from a fit, a steadier measure."""
    parts = []
    for gate in summary.gates:
        nets = {group.depth: group.late_error for group in summary.of(gate)}
        before, after = nets.get(main.shallow.depth), nets.get(main.deep.depth)
        if before and after:
            parts.append(f"{_percent(before)} and {_percent(after)} with {gate}")
    if not parts:
        return []
    return [
        f"On the training batches of the {_late_steps(summary)}, errors at depth {main.shallow.depth} and "
        f"{main.deep.depth} are {'; '.join(parts)}."
    ]


def _late_error(group: Group) -> Mean | None:
    return group.late_error


def _late_steps(summary: Summary) -> str:
    steps = max((group.late_steps for group in summary.groups), default=0)
    return "last step" if steps == 1 else f"last {steps:,} steps"


def _ends(grown: Growth) -> str:
    return (
        f"{_percent(grown.before)} at depth {grown.shallow.depth}, {_percent(grown.after)} at depth {grown.deep.depth}"
    )


def _points(grown: Growth) -> str:
    return percent(grown.points.value, sign=False)


def _percent(mean: Mean) -> str:
    return percent(mean.value, mean.std)


def _single(grown: Growth) -> str:
    return " (one seed, so how much of that is chance cannot be told)" if grown.points.std is None else ""
