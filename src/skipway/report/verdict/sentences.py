"""The verdict: what a study shows, in sentences with their numbers.

Every sentence follows from the rows by a rule of `findings`; where the rows do not carry one, it is left out or says
what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skipway.report.numbers import counted, listed
from skipway.report.summary import Choice, Group, Summary
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.fit import fit
from skipway.report.verdict.gains import gains, pays
from skipway.report.verdict.inside import gates, gradient
from skipway.report.verdict.rates import moving_rates
from skipway.report.verdict.reach import reach

_UNGATED = "own"  # the gate of nets whose maker takes none


@dataclass(frozen=True)
class Verdict:
    """Sentences in the order of their weight."""

    answers: list[str]
    """How deep each gate trains, what a skip gains, whether depth pays, and how far that is to be trusted."""
    inside: list[str]
    """What the probes saw in the nets."""
    tests: int
    """How many claims the seeds were asked for."""

    @property
    def sentences(self) -> list[str]:
        """All of them."""
        return [*self.answers, *self.inside]


def verdict(summary: Summary) -> Verdict:
    """What the study shows."""
    found = Findings(summary)
    answers = [
        *_progress(summary),
        *reach(found),
        *fit(found),
        *_scope(summary),
        *gains(found),
        *pays(found),
        *_edges(summary),
    ]
    return Verdict(answers, [*gradient(found), *gates(summary), *moving_rates(summary)], len(found.ps))


def _edges(summary: Summary) -> list[str]:
    """Where the best learning rate is the lowest or the highest of several that were tried."""
    trains = _at_edge(summary, lambda group: group.training)
    generalises = _at_edge(summary, lambda group: group.validation)
    if trains == generalises:
        told = [f"the best learning rate with {listed(trains)}"] if trains else []
    else:
        questions = {"trains best": trains, "generalises best": generalises}
        told = [f"the learning rate that {which} with {listed(nets)}" for which, nets in questions.items() if nets]
    if not told:
        return []
    remedy = (
        "The search has gone as far as it goes: start it elsewhere with --learning-rates."
        if summary.search
        else "Give more with --learning-rates."
    )
    return [
        f"The lowest or the highest of those tried is {', and '.join(told)}: a rate that was not tried may do better "
        f"there, and nothing is concluded against these nets. {remedy}"
    ]


def _at_edge(summary: Summary, choice: Callable[[Group], Choice | None]) -> list[str]:
    parts = []
    for gate in summary.gates:
        chosen = [(group.depth, choice(group)) for group in summary.of(gate)]
        depths = [str(depth) for depth, rate in chosen if rate is not None and not rate.bracketed]
        if depths:
            parts.append(f"{gate} at depth {listed(depths)}")
    return parts


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


def _scope(summary: Summary) -> list[str]:
    """What the depths of this study cannot tell."""
    known = [group for group in summary.groups if group.state != "unfinished"]
    sentences = []
    if known and len(summary.depths) == 1:
        sentences.append(
            f"This study has one depth, {summary.depths[0]}: it says nothing of what more or less depth would do."
        )
    if summary.gates == [_UNGATED]:
        sentences.append(
            "The net takes no gate, so gates were not varied: nothing here compares a net that has skips with one that "
            "has none."
        )
    bare = sorted({group.depth for group in known if group.blocks == 0})
    if bare:
        many = len(summary.gates) > 1
        depths = listed([f"{depth}" for depth in bare])
        sentences.append(
            f"At depth {depths} a net has no block, and so no gate: "
            f"{'whatever differs there between gates is not their doing' if many else 'the gate plays no part there'}."
        )
    return sentences


def _net(group: Group) -> str:
    return f"{group.gate} at depth {group.depth}"
