"""The verdict: what a study shows, in sentences with their numbers.

Every sentence follows from the rows by a rule of `findings`; where the rows do not carry one, it is left out or says
what is missing.
"""

from __future__ import annotations

from skipway.report.findings import reach
from skipway.report.fit import fit
from skipway.report.gains import deep, pays, shallow
from skipway.report.inside import gates, gradient
from skipway.report.numbers import counted, listed
from skipway.report.summary import Group, Summary


def verdict(summary: Summary) -> list[str]:
    """What the study shows: how deep each gate trains, whether that is overfitting, what a skip gains, and why."""
    reaches = [reach(summary, gate) for gate in summary.gates]
    return [
        *_progress(summary),
        *fit(summary, reaches),
        *_scope(summary),
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


def _scope(summary: Summary) -> list[str]:
    """What the depths of this study cannot tell."""
    known = [group for group in summary.groups if group.state != "unfinished"]
    sentences = []
    if known and len(summary.depths) == 1:
        sentences.append(
            f"This study has one depth, {summary.depths[0]}: it says nothing of what more or less depth would do."
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
