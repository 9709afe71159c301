"""Sentences on what the probes saw inside the nets: the gradient on its way back, the gates after training."""

from __future__ import annotations

import math

from skipway.report.numbers import listed, percent, rounded
from skipway.report.summary import Group, Summary
from skipway.report.verdict.findings import Findings, deepest_shared, healthy


def gradient(found: Findings) -> list[str]:
    """How the gradient travels back before training, at the deepest depth that all gates have been probed at."""
    summary = found.summary
    here = deepest_shared(summary, [group for group in summary.groups if group.gradient_ratio is not None])
    if not here:
        return []
    steady = [f"{group.gate} ({rounded(group.gradient_ratio)} times)" for group in here if _steady(group)]
    parts = [f"{_travels(group)} with {group.gate}" for group in here if not _steady(group)]
    if steady:
        parts.append(f"keeps its size within a factor of ten with {listed(steady)}")
    sentences = [
        f"Before training, on its way back from the last block to the first of a net of depth {here[0].depth}, "
        f"the gradient {listed(parts)}."
    ]
    for gate in summary.gates:
        deepest = found.nets(gate)[-1] if found.harder(gate) == "yes" else None
        if deepest and _steady(deepest):
            sentences.append(
                f"The {gate} nets get harder to train although their gradient arrives, at depth {deepest.depth}, at "
                f"{rounded(deepest.gradient_ratio)} times its size: that it fades before training is not the reason."
            )
    return sentences


def _steady(group: Group) -> bool:
    """Whether the gradient arrives with every seed: a mean of one that grows and one that fades is no sign of it."""
    return bool(group.gradient_ratios) and all(map(healthy, group.gradient_ratios))


def _travels(group: Group) -> str:
    ratio, ratios = group.gradient_ratio or 0.0, group.gradient_ratios
    if min(ratios) == 0:
        some = "" if max(ratios) == 0 else f" for {ratios.count(0.0)} of {len(ratios)} seeds"
        return f"vanishes entirely (it is 0 at the first){some}"
    if min(ratios) < 1 < max(ratios) or healthy(ratio):
        return f"comes to between {rounded(min(ratios))} and {rounded(max(ratios))} times its size, seed by seed,"
    if ratio < 1:
        return f"fades to 1 part in {rounded(1 / ratio)}"
    return f"grows {rounded(ratio)}-fold"


def gates(summary: Summary) -> list[str]:
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
    """In words, for gates that mix: T and C within 0 and 1, adding up to 1. Other gates' numbers stand alone."""
    share, carry = group.transform_end, group.carry_end
    if share is None or carry is None or not 0 <= share <= 1 or not math.isclose(share + carry, 1, abs_tol=0.01):
        return ""
    return (
        f": at depth {group.depth} a block's output is, on average over its blocks, {percent(share)} of what the block "
        f"computes plus {percent(carry)} of what it was given"
    )
