"""Sentences on how deep nets fit their training data: with which gates depth makes that harder, and with which not."""

from __future__ import annotations

from skipway.report.numbers import counted, listed, rounded
from skipway.report.summary import Group
from skipway.report.verdict.chance import State, seeds_at_chance, state
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.inference import LEVEL, Estimate

FEWEST_SEEDS = 2


def fit(found: Findings) -> list[str]:
    """How deep each gate's nets train."""
    known = [gate for gate in found.summary.gates if found.summary.of(gate) and _known(found, gate)]
    harder = [gate for gate in known if found.harder(gate)]
    return [
        *(_harder(found, gate) for gate in harder),
        *_others(found, [gate for gate in known if gate not in harder]),
        *_failing(found, known),
        *_none(found, known),
    ]


def _known(found: Findings, gate: str) -> list[Group]:
    return [group for group in found.summary.of(gate) if group.state != "unfinished"]


def _harder(found: Findings, gate: str) -> str:
    """A gate whose nets depth makes harder to train."""
    best, deep = found.shallower(gate), found.nets(gate)[-1]
    assert best is not None
    ends = listed([f"{_fitted(found, net)} at depth {net.depth}" for net in (best, deep)])
    numbers = f"{_what(found, deep)} is {ends}"
    if state(deep, found.summary.guessing) == "at chance":
        return f"Depth stops {gate} nets from training: their {numbers}, no better than guessing. {_rates(deep)}."
    return f"Depth makes {gate} nets harder to train: their {numbers}. {_rates(deep)}."


def _rates(deep: Group) -> str:
    """That no rate helps, and what follows from it; of a rate at the edge of those tried, nothing follows yet."""
    does = "does the deeper net fit its own training data as the shallower one does"
    follows = ": this is the degradation problem, not overfitting"
    if deep.training is None or deep.training.edge == "":
        return f"At no learning rate tried {does}{follows}"
    rate = f"{deep.training.learning_rate:g}"
    if deep.training.edge == "only":
        return (
            f"At {rate}, the one learning rate tried, the deeper net does not fit its own training data as the "
            "shallower one does: at this rate it is the degradation problem, not overfitting"
        )
    return f"At no learning rate tried {does}; its best, {rate}, is the {deep.training.edge} tried, so another may help"


def _others(found: Findings, gates: list[str]) -> list[str]:
    """Gates whose nets do not get harder to train, or of which the seeds cannot tell."""
    changes = {gate: _change(found, gate) for gate in gates}
    level = LEVEL / max(1, len(found.ps))  # no interval leaves out 0 where the verdict's tests together show nothing
    bounded = {gate: own.interval(level)[1] for gate, own in changes.items() if own}
    steady = [gate for gate, most in bounded.items() if most <= _small(found, gate)]
    sentences = []
    if steady:
        most = max(bounded[gate] for gate in steady)
        sentences.append(_steady(found, steady, most))
    unsure = [gate for gate in gates if gate not in steady and len(found.nets(gate)) > 1]
    if unsure:
        sentences.append(_cannot_tell(found, unsure, changes, level))
    alone = [nets[0] for gate in gates if len(nets := found.nets(gate)) == 1]
    if alone:
        parts = [f"{_fitted(found, net)} with {net.gate} at depth {net.depth}" for net in alone]
        sentences.append(f"At the only depth that is in, {_what(found, alone[0])} is {listed(parts)}.")
    return sentences


def _change(found: Findings, gate: str) -> Estimate | None:
    """By how much a gate's deepest net fits its training data worse than its shallowest."""
    nets = found.nets(gate)
    return found.worse(nets[-1].train_metric, nets[0].train_metric) if len(nets) > 1 else None


def _small(found: Findings, gate: str) -> float:
    """What is no difference from a gate's shallowest net."""
    shallowest = found.nets(gate)[0].train_metric
    assert shallowest is not None
    return found.scale.small(shallowest.value)


def _steady(found: Findings, gates: list[str], most: float) -> str:
    """Gates with which depth hardly makes the training metric worse, and that is known."""
    metric = found.summary.metric
    firsts, lasts = ([found.nets(gate)[place] for gate in gates] for place in (0, -1))
    at = listed([f"{_fitted(found, net)} with {net.gate}" for net in lasts])
    does, beyond, no = ("raise", "above", "higher") if metric.lower else ("lower", "below", "lower")
    apart = f"at most {metric.difference(most)} {beyond} that" if metric.shows(most) else f"no {no} than"
    return (
        f"Depth does not {does} the training {metric.word} of {listed(gates)} nets: at {_depths(lasts)} it is {at}, "
        f"{apart} at {_depths(firsts)}."
    )


def _cannot_tell(found: Findings, gates: list[str], changes: dict[str, Estimate | None], level: float) -> str:
    """Gates of which the seeds do not show whether depth matters, with what they leave open."""
    seeds = max(net.train_loss.n for gate in gates for net in found.nets(gate) if net.train_loss)
    ends = "; ".join(_ends(found, gate, changes[gate], level, named=len(gates) > 1) for gate in gates)
    who = "One seed" if seeds < FEWEST_SEEDS else counted(seeds, "seed")
    what = _what(found, found.nets(gates[0])[-1])
    return f"{who} cannot tell whether depth matters with {listed(gates)}: the {what} is {ends}."


def _ends(found: Findings, gate: str, own: Estimate | None, level: float, *, named: bool) -> str:
    """A gate's shallowest net and its deepest."""
    first, last = found.nets(gate)[0], found.nets(gate)[-1]
    text = listed([f"{_fitted(found, net)} at depth {net.depth}" for net in (first, last)])
    text += f" with {gate}" if named else ""
    if own is None:
        return text
    metric, (low, high) = found.summary.metric, own.interval(level)
    low, high = (low, high) if metric.lower else (-high, -low)
    return f"{text}, a change of {metric.change(low)} to {metric.difference(high, sign=True)}"


def _failing(found: Findings, gates: list[str]) -> list[str]:
    """Single seeds at chance, whole depths at chance or without any rate that works: facts, not tests."""
    told: dict[State, list[str]] = {}
    for gate in gates:
        stopped = found.nets(gate)[-1:] if found.harder(gate) else []
        for group in _known(found, gate):
            kind = state(group, found.summary.guessing)
            if kind != "trains" and group not in stopped:
                told.setdefault(kind, []).append(_where(found, group, kind))
    parts = []
    if "some seeds fail" in told:
        parts.append(f"Some seeds stay at chance: {listed(told['some seeds fail'])}.")
    if "at chance" in told:
        parts.append(f"No better than guessing is every seed of {listed(told['at chance'])}.")
    if "diverged" in told:
        parts.append(f"Training diverged at every learning rate with {listed(told['diverged'])}.")
    return [" ".join(parts)] if parts else []


def _where(found: Findings, group: Group, kind: State) -> str:
    text = f"{group.gate} at depth {group.depth}"
    if kind == "some seeds fail" and group.train_loss:
        return f"{seeds_at_chance(group, found.summary.guessing)} of {group.train_loss.n} with {text}"
    if kind == "diverged" and group.reasons:
        return f"{text} ({group.reasons[0]})"
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
