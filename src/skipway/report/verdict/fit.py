"""Sentences on how deep nets fit their training data: with which gates depth makes that harder, and with which not."""

from __future__ import annotations

import math
from itertools import combinations

from skipway.report.numbers import counted, listed, rounded
from skipway.report.summary import Choice, Group
from skipway.report.verdict.chance import State, seeds_at_chance, state
from skipway.report.verdict.findings import Change, Findings

FEWEST_SEEDS = 2


def fit(found: Findings) -> list[str]:
    """How deep each gate's nets train."""
    known = [gate for gate in found.summary.gates if found.summary.of(gate) and _known(found, gate)]
    worse = [gate for gate in known if found.harder(gate) != "unknown"]
    return [
        *(_harder(found, gate) for gate in worse),
        *_others(found, [gate for gate in known if gate not in worse]),
        *_failing(found, known),
        *_none(found, known),
    ]


def _known(found: Findings, gate: str) -> list[Group]:
    return [group for group in found.summary.of(gate) if group.state != "unfinished"]


def _harder(found: Findings, gate: str) -> str:
    """A gate whose nets are the harder to train the deeper they are."""
    best, deep = found.shallower(gate), found.nets(gate)[-1]
    assert best is not None
    assert deep.training is not None
    ends = listed([f"{_fitted(found, net)} at depth {net.depth}" for net in (best, deep)])
    numbers = f"{_what(found, deep)} is {ends}"
    chance = state(deep, found.summary.guessing) == "at chance"
    numbers += ", hardly better than guessing" if chance else ""
    if found.harder(gate) == "unfair":
        rate = f"{deep.training.learning_rate:g}, is the {deep.training.edge} tried"
        return (
            f"At the learning rates tried, deeper {gate} nets do not fit their training data as shallower ones do: "
            f"their {numbers}. But the best rate at depth {deep.depth}, {rate}, so another may help."
        )
    does = f"stops {gate} nets from training" if chance else f"makes {gate} nets harder to train"
    return f"Depth {does}: their {numbers}. {_rates(deep.training)}."


def _rates(rate: Choice) -> str:
    """That no rate helps, and what follows from it."""
    follows = "the degradation problem, not overfitting"
    if rate.edge == "only":
        return (
            f"At {rate.learning_rate:g}, the one learning rate tried, the deeper net does not fit its own training "
            f"data as the shallower one does: at this rate it is {follows}"
        )
    return (
        "No learning rate tried brings the deeper one near the shallower one, on the very data that it learns from: "
        f"this is {follows}"
    )


def _others(found: Findings, gates: list[str]) -> list[str]:
    """Gates whose nets are not known to get harder to train."""
    several = [gate for gate in gates if len(found.nets(gate)) > 1 and found.trained(gate)]
    steady = [gate for gate in several if _is_steady(found, gate)]
    uneven = [gate for gate in several if gate not in steady and (found.rises(gate) or _differs(found, gate))]
    unsure = [gate for gate in several if gate not in steady and gate not in uneven]
    sentences = [_steady(found, steady)] if steady else []
    sentences += [_uneven(found, gate) for gate in uneven]
    if unsure:
        sentences.append(_cannot_tell(found, unsure))
    alone = [nets[0] for gate in gates if len(nets := found.nets(gate)) == 1]
    if alone:
        parts = [f"{_fitted(found, net)} with {net.gate} at depth {net.depth}" for net in alone]
        sentences.append(f"At the only depth that is in, {_what(found, alone[0])} is {listed(parts)}.")
    return sentences


def _changes(found: Findings, gate: str) -> list[tuple[Group, Change | None]]:
    """By how much each deeper net of a gate fits its training data worse than each shallower one, and that one."""
    return [(before, found.change(after, before, "train")) for before, after in combinations(found.nets(gate), 2)]


def _is_steady(found: Findings, gate: str) -> bool:
    """Whether it is known that no deeper net fits its training data worse than a shallower one by more than is told."""
    return all(
        own is not None and before.train_metric is not None and own.high <= found.scale.small(before.train_metric.value)
        for before, own in _changes(found, gate)
    )


def _differs(found: Findings, gate: str) -> bool:
    """Whether some depth differs from another one, however many pairs there are and rates to choose from."""
    nets = found.nets(gate)
    among = math.comb(len(nets), 2) * max(net.rates for net in nets)
    changes = [found.change(after, before, "train", among) for before, after in combinations(nets, 2)]
    return any(own is not None and own.shown for own in changes)


def _steady(found: Findings, gates: list[str]) -> str:
    """Gates with which depth hardly makes the training metric worse, and that is known."""
    metric = found.summary.metric
    lasts = [found.nets(gate)[-1] for gate in gates]
    most = max(own.high for gate in gates for _, own in _changes(found, gate) if own)
    at = listed([f"{_fitted(found, net)} with {net.gate}" for net in lasts])
    does, change = ("raise", "a rise") if metric.lower else ("lower", "a fall")
    left = f"{change} by more than {metric.difference(most)}" if metric.shows(most) else change
    return (
        f"Depth does not {does} the training {metric.word} of {listed(gates)} nets: at {_depths(lasts)} it is {at}, "
        f"each at the learning rate that trains it best. The seeds rule out {left}."
    )


def _uneven(found: Findings, gate: str) -> str:
    """A gate whose depths differ, which is not known to be depth's doing, or makes too little difference."""
    what = (
        f"The training {found.summary.metric.word} of {gate} nets is not the same at all depths: {_places(found, gate)}"
    )
    if not found.rises(gate):
        return f"{what}. The training loss is not shown to rise with depth."
    if found.shallower(gate) is None:
        return f"{what}. The training loss rises with depth."
    return f"{what}. The training loss rises with depth, but at some learning rate the deepest net fits as well."


def _places(found: Findings, gate: str) -> str:
    """What a gate's shallowest net, its deepest, and the best and the worst of them get."""
    nets = found.nets(gate)
    value = {net.depth: mean.value for net in nets if (mean := net.train_metric or net.train_loss)}
    extremes = (min(value, key=value.__getitem__), max(value, key=value.__getitem__))
    shown = [net for net in nets if net in (nets[0], nets[-1]) or net.depth in extremes]
    return listed([f"{_fitted(found, net)} at depth {net.depth}" for net in shown])


def _cannot_tell(found: Findings, gates: list[str]) -> str:
    """Gates of which the seeds do not show whether depth matters, with what they leave open."""
    seeds = max(net.train_loss.n for gate in gates for net in found.nets(gate) if net.train_loss)
    ends = "; ".join(_ends(found, gate, named=len(gates) > 1) for gate in gates)
    who = "One seed" if seeds < FEWEST_SEEDS else counted(seeds, "seed")
    what = _what(found, found.nets(gates[0])[-1])
    return f"{who} cannot tell whether depth matters with {listed(gates)}: the {what} is {ends}."


def _ends(found: Findings, gate: str, *, named: bool) -> str:
    """What a gate's nets get, and how far its deepest may be from its shallowest."""
    text = f"{_places(found, gate)}{f' with {gate}' if named else ''}"
    first, last = found.nets(gate)[0], found.nets(gate)[-1]
    own = found.change(last, first, "train")
    if own is None:
        return text
    better, worse = (found.summary.metric.difference(max(0.0, value)) for value in (-own.low, own.high))
    return f"{text}; compared to the shallowest net, the deepest may be up to {better} better or {worse} worse"


def _failing(found: Findings, gates: list[str]) -> list[str]:
    """Single seeds at chance, whole depths at chance or without any rate that works: facts, not tests."""
    told: dict[State, list[str]] = {}
    for gate in gates:
        stopped = found.nets(gate)[-1:] if found.harder(gate) != "unknown" else []
        for group in _known(found, gate):
            kind = state(group, found.summary.guessing)
            if kind != "trains" and group not in stopped:
                told.setdefault(kind, []).append(_where(found, group, kind))
    parts = []
    if "some seeds fail" in told:
        parts.append(f"Some seeds stay at chance level: {listed(told['some seeds fail'])}.")
    if "at chance" in told:
        parts.append(f"Hardly better than guessing is every seed of {listed(told['at chance'])}.")
    if "diverged" in told:
        parts.append(f"Training diverged at every learning rate tried with {listed(told['diverged'])}.")
    return [" ".join(parts)] if parts else []


def _where(found: Findings, group: Group, kind: State) -> str:
    text = f"{group.gate} at depth {group.depth}"
    if kind == "some seeds fail" and group.train_loss:
        return f"{seeds_at_chance(group, found.summary.guessing)} of {group.train_loss.n} with {text}"
    if kind == "diverged" and group.reasons:
        return f"{text} ({group.reason})"
    return text


def _none(found: Findings, gates: list[str]) -> list[str]:
    """What follows if no net of the study trains, at several depths."""
    if not gates or any(found.trained(gate) for gate in gates) or all(len(_known(found, gate)) < 2 for gate in gates):
        return []
    return [
        "No net of this study trains, the shallowest no more than the others, so nothing here shows that depth is the "
        "reason: look at learning rates, steps and data first."
    ]


def _fitted(found: Findings, group: Group) -> str:
    """A net's metric on the training data, or its loss where that is missing."""
    if group.train_metric:
        return found.summary.metric.text(group.train_metric.value, group.train_metric.std)
    return rounded(group.train_loss.value if group.train_loss else None)


def _what(found: Findings, group: Group) -> str:
    return f"training {found.summary.metric.word if group.train_metric else 'loss'}"


def _depths(nets: list[Group]) -> str:
    return f"depth {listed([str(depth) for depth in sorted({net.depth for net in nets})], 'or')}"
